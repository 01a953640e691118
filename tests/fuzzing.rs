//! The fuzz targets, each over inputs that are the same in every run, so that none falls behind what
//! it fuzzes. `tests/fuzz/run` looks for more.

#[allow(unreachable_pub, reason = "for cargo-fuzz it is a crate of its own")]
#[path = "fuzz/lib.rs"]
mod fuzz;

use std::path::Path;

use fastrand::Rng;

/// Runs `target` over `count` inputs of up to `len` bytes: noise, and `seeds` with some of their
/// bytes changed, cut and put together.
fn try_out(target: fn(&[u8]), seeds: &[Vec<u8>], count: u32, len: usize) {
    let mut rng = Rng::with_seed(20_261_130);
    for seed in seeds {
        target(seed);
    }
    for n in 0..count {
        let mut input: Vec<u8> = match (n % 4, seeds) {
            (0, _) | (_, []) => (0..rng.usize(..len)).map(|_| rng.u8(..)).collect(),
            _ => seeds[rng.usize(..seeds.len())].clone(),
        };
        for _ in 0..rng.usize(..8) {
            change(&mut input, seeds, &mut rng);
        }
        target(&input);
    }
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(..=input.len());
    match rng.u8(..4) {
        0 => input.truncate(at),
        1 => input.insert(at, rng.u8(..)),
        2 if !seeds.is_empty() => {
            let other = &seeds[rng.usize(..seeds.len())];
            input.truncate(at);
            input.extend_from_slice(&other[rng.usize(..=other.len())..]);
        }
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte = rng.u8(..);
            }
        }
    }
}

/// The packets of tests/vectors.
fn vectors() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for text in texts("tests/vectors") {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let fields = lines.filter_map(|line| line.split('|').nth(1));
        for hex in fields {
            let digits = hex.split_whitespace().collect::<String>();
            let byte = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
            found.extend(
                (0..digits.len())
                    .step_by(2)
                    .map(byte)
                    .collect::<Option<Vec<u8>>>(),
            );
        }
    }
    assert!(found.len() > 50, "{} vectors", found.len());
    found
}

/// All files in a folder of the repository that are text.
fn texts(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect()
}

/// How many inputs to take: `all` with `FOOTBRIDGE_SLOW=1`, else a sample.
fn cases(all: u32, sample: u32) -> u32 {
    match std::env::var_os("FOOTBRIDGE_SLOW") {
        Some(value) if value == "1" => all,
        _ => sample,
    }
}

#[test]
fn packets() {
    try_out(fuzz::decode::run, &vectors(), 20_000, 64);
}

#[test]
fn the_broker() {
    try_out(fuzz::broker::run, &[], cases(5_000, 120), 4_000);
}

#[test]
fn answers_of_auth_socket() {
    let seeds = [
        "{\"id\":1,\"answer\":\"allow\",\"acl\":[\"topic read a/#\",\"pattern %c\"],\"username\":\"u\",\"cache\":9}",
        "{\"id\":2,\"answer\":\"ignore\"}\n{\"id\":3,\"answer\":\"deny\",\"x\":[{},-1.5e+2,\"\\ud83d\\ude00\"]}",
        "{\"v\":1,\"revoke\":{\"username\":\"u\",\"client_id\":\"c\"}}",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    try_out(fuzz::answers::run, &seeds, 20_000, 200);
}

#[test]
fn lines_of_the_control_socket() {
    let seeds = [
        "{\"v\":1,\"do\":\"bridge add\",\"section\":\"connection b\\naddress u\\ntopic # out 1\",\"save\":true}",
        "{\"v\":1,\"do\":\"bridge stop\",\"name\":\"b\"}\n{\"v\":1,\"do\":\"help\"}",
        "{\"v\":1,\"item\":{\"name\":\"b\",\"messages\":3}}\n{\"v\":1,\"ok\":true,\"already\":false}",
        "{\"v\":1,\"ok\":false,\"error\":\"there is no bridge b\"}",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    try_out(fuzz::control::run, &seeds, 20_000, 200);
}

#[test]
fn files_of_the_operator() {
    let mut seeds = Vec::new();
    for text in texts("tests/configs").into_iter().chain(texts("etc")) {
        seeds.push([&[0], text.as_bytes()].concat());
    }
    for (kind, text) in [
        (
            1,
            "u:$7$1000$c2FsdA==$c2FsdA==\nv:$6$c2FsdA==$aGFzaA==\n# x\n\n:x\nno colon\n",
        ),
        (
            2,
            "user u\ntopic read a/#\ntopic deny a/b\npattern write %u/%c\ntopic x\n",
        ),
    ] {
        seeds.push([&[kind], text.as_bytes()].concat());
    }
    seeds.push([&[3], &mosquittos()[..]].concat());
    assert!(seeds.len() > 8);
    try_out(fuzz::files::run, &seeds, 2_000, 200);
}

/// A persistence file of Mosquitto 2.0: two messages, one of them retained, and a client that waits for
/// both.
fn mosquittos() -> Vec<u8> {
    let mut file = b"\0\xb5\0mosquitto db\0\0\0\0\0\0\0\x06".to_vec();
    let mut record = |kind: u8, parts: &[&[u8]]| {
        let body = parts.concat();
        let len = u8::try_from(body.len()).expect("a short record");
        file.extend([0, 0, 0, kind, 0, 0, 0, len]);
        file.extend(body);
    };
    record(1, &[&[2, 0, 0, 0, 0, 0, 0, 0, 0, 8], &[0; 6]]);
    for number in [1, 2] {
        let lengths = [0, 0, 0, 2, 0, 9, 0, 1, 0, 0, 0, 3, 7, 91, 2, 1];
        record(
            2,
            &[&[number, 0, 0, 0, 0, 0, 0, 0], &[0; 8], &lengths, b"pa/bxy"],
        );
    }
    record(
        6,
        &[
            &[0; 8],
            &[255; 4],
            &[0, 4, 0, 1, 7, 91, 0, 0, 0, 0, 0, 0],
            b"c",
        ],
    );
    for (number, state) in [(1, 5), (2, 11)] {
        let rest = [0, number, 0, 1, 2, state, 0, 1];
        record(3, &[&[number, 0, 0, 0, 0, 0, 0, 0], &rest, b"c"]);
    }
    record(5, &[&[0, 0, 0, 0, 0, 1, 0, 3, 2, 0, 0, 0], b"ca/#"]);
    record(4, &[&[2, 0, 0, 0, 0, 0, 0, 0]]);
    file
}

/// The seed is one that is read: what is changed of it else proves little.
#[test]
fn the_persistence_file_is_whole() {
    use footbridge::config::Config;
    use footbridge::import::{Import, Moment};
    let moment = Moment {
        now: footbridge::time::Time::ZERO,
        wall: 0,
    };
    let import = Import::open(std::io::Cursor::new(mosquittos())).expect("a head");
    let report = import.into_report(&Config::default(), moment);
    let report = report.expect("a file");
    assert_eq!((report.queued, report.sent, report.retained), (2, 1, 1));
    assert_eq!(report.left(), [""; 0]);
}
