//! A client made with rumqttc that does what stdin says and tells on stdout what came.
//!
//! `rumqttc-probe 4|5 PORT CLIENT_ID [durable] [will TOPIC QOS]` connects. Then, a line each:
//! `subscribe TOPIC QOS`, `unsubscribe TOPIC`, `publish TOPIC QOS RETAIN PAYLOAD`, `disconnect`.
//! The end of stdin ends the process and so the connection, without DISCONNECT.

mod v4;
mod v5;

use std::process::exit;
use std::thread;

/// What the command line says.
struct Options {
    port: u16,
    client_id: String,
    durable: bool,
    will: Option<(String, u8)>,
}

/// A line of stdin.
enum Command {
    Subscribe(String, u8),
    Unsubscribe(String),
    Publish(String, u8, bool, String),
    Disconnect,
}

impl Options {
    fn parse(words: &[String]) -> Option<Options> {
        let [port, client_id, rest @ ..] = words else {
            return None;
        };
        let will = rest.iter().position(|word| word == "will");
        let will =
            will.and_then(|at| Some((rest.get(at + 1)?.clone(), number(rest.get(at + 2)?)?)));
        Some(Options {
            port: port.parse().ok()?,
            client_id: client_id.clone(),
            durable: rest.iter().any(|word| word == "durable"),
            will,
        })
    }
}

impl Command {
    fn parse(line: &str) -> Option<Command> {
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        Some(match words[..] {
            ["subscribe", topic, qos] => Command::Subscribe(topic.into(), number(qos)?),
            ["unsubscribe", topic] => Command::Unsubscribe(topic.into()),
            ["publish", topic, qos, retain, payload] => {
                Command::Publish(topic.into(), number(qos)?, retain == "1", payload.into())
            }
            ["disconnect"] => Command::Disconnect,
            _ => return None,
        })
    }
}

fn number(word: &str) -> Option<u8> {
    word.parse().ok()
}

/// Hands each line of stdin to `obey`, beside the caller; its end is the process's.
fn listen(obey: impl Fn(Command) + Send + 'static) {
    thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            match Command::parse(&line) {
                Some(command) => obey(command),
                None => fail(&format!("unknown command: {line}")),
            }
        }
        exit(0);
    });
}

fn fail(why: &str) -> ! {
    println!("error {why}");
    exit(1);
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((version, rest)) = words.split_first() else {
        fail("usage: rumqttc-probe 4|5 PORT CLIENT_ID [durable] [will TOPIC QOS]");
    };
    match (&**version, Options::parse(rest)) {
        ("4", Some(options)) => v4::run(&options),
        ("5", Some(options)) => v5::run(&options),
        _ => fail("not a version, or too few arguments"),
    }
}
