mod bridge;
mod builder;
mod damage;
mod handshakes;
mod left;

use std::io::Cursor;
use std::path::Path;

use tempfile::TempDir;

use self::builder::{KIND, Kind, Writer, all_kinds, client, msg, waits};
use super::{Error, Import, Moment, Report};
use crate::config::{Config, Env};
use crate::message::Message;
use crate::mqtt::{PacketId, QoS};
use crate::owed::Owed;
use crate::store::{Db, Loaded, LoadedSession, Location, decode_message};
use crate::time::Time;

/// When it is brought over, in seconds since 1970.
const WALL: u64 = 1_764_000_000;

const MOMENT: Moment = Moment {
    now: Time::from_secs(WALL),
    wall: WALL,
};

fn config(text: &str) -> Config {
    Config::parse(text, "x", &Env::default()).unwrap().config
}

/// A store with what was brought over.
struct Brought {
    _folder: TempDir,
    db: Db,
    loaded: Loaded,
    report: Report,
}

fn open(folder: &Path) -> (Db, Loaded) {
    Db::open(Location::File(folder.join("footbridge.db"))).unwrap()
}

/// Brings a file over into a new store, and opens that anew.
fn bring(writer: &Writer, text: &str) -> Result<Brought, Error> {
    let folder = tempfile::tempdir().unwrap();
    let (mut db, loaded) = open(folder.path());
    let first = (loaded.next_message, loaded.next_session);
    let config = config(text);
    let import = |bytes: &[u8]| Import::open(Cursor::new(bytes.to_vec()));
    let dry = import(&writer.bytes)?.into_report(&config, MOMENT);
    let done = import(&writer.bytes)?.into_store(&mut db, (&config, MOMENT), first);
    let report = match (dry, done) {
        (Ok(dry), Ok(report)) => {
            assert_eq!(dry, report, "what was told before is what was done");
            report
        }
        (Err(dry), Err(error)) => {
            assert_eq!(dry.to_string(), error.to_string());
            return Err(error);
        }
        other => panic!("{other:?}"),
    };
    drop(db);
    let (db, loaded) = open(folder.path());
    assert_eq!(loaded.damaged, 0);
    Ok(Brought {
        _folder: folder,
        db,
        loaded,
        report,
    })
}

impl Brought {
    fn session(&self, id: &str) -> &LoadedSession {
        let mut sessions = self.loaded.sessions.iter();
        sessions
            .find(|session| &*session.record.client_id == id)
            .unwrap()
    }

    /// What is owed to a session, in the order in which it goes out.
    fn queue(&mut self, id: &str) -> Vec<(Message, Owed)> {
        let session = self.session(id);
        let (number, ids): (_, Vec<u64>) = (session.id, session.queue.iter().collect());
        let of_id = |id: u64| {
            let ids = id..id + 1;
            let rows = self.db.read(std::slice::from_ref(&ids), usize::MAX);
            let rows = rows.unwrap();
            let (id, row) = rows.iter().next().unwrap();
            let (message, targets) = decode_message(id, row).unwrap();
            let mut targets = targets.into_iter();
            (
                message,
                targets.find(|owed| owed.session == number).unwrap(),
            )
        };
        ids.into_iter().map(of_id).collect()
    }

    fn topics(&mut self, id: &str) -> Vec<String> {
        let queue = self.queue(id).into_iter();
        queue
            .map(|(message, _)| message.topic().to_owned())
            .collect()
    }
}

fn packet_id(owed: &Owed) -> u16 {
    PacketId::of_sequence(owed.seq).get()
}

/// What Mosquitto 2.0 on a PC writes, and each version on each machine.
#[test]
fn each_format_of_each_machine_is_read() {
    for kind in all_kinds() {
        let mut writer = Writer::new(kind);
        writer.message(msg(70_001, "b"));
        writer.message(msg(70_000, "a"));
        writer.message(msg(70_002, "kept"));
        let name = builder::Cl {
            username: "anna",
            last: 17,
            end: match kind.format {
                3 | 4 => WALL - 600,
                _ => 0,
            },
            ..client("reader")
        };
        writer.client(name);
        writer.place(waits("reader", 70_000, 1));
        writer.place(builder::Place {
            retain: true,
            ..waits("reader", 70_001, 1)
        });
        writer.client(client("other"));
        writer.place(waits("other", 70_001, 2));
        writer.subscription("reader", "+/x", 0b1101, 7);
        writer.subscription("reader", "y/#", 2, 0);
        writer.retained(70_002);
        let mut brought = bring(&writer, "").unwrap();

        assert_eq!(brought.report.left(), [""; 0], "{kind:?}");
        let queue = brought.queue("reader");
        let found: Vec<_> = queue
            .iter()
            .map(|(message, owed)| (message.topic(), message.payload(), owed.qos, owed.retain))
            .collect();
        let qos = QoS::AtLeastOnce;
        let expected = [("a", &b"a"[..], qos, false), ("b", &b"b"[..], qos, true)];
        assert_eq!(found, expected, "{kind:?}");
        assert_eq!(packet_id(&queue[0].1), 18, "goes on counting: {kind:?}");
        assert_eq!(brought.queue("other")[0].1.qos, QoS::ExactlyOnce);
        check_names(&brought, kind);
        check_subscriptions(&brought, kind);
    }
}

fn check_names(brought: &Brought, kind: Kind) {
    let record = &brought.session("reader").record;
    let username = (kind.format == 6).then_some("anna");
    assert_eq!(record.username.as_deref(), username);
    assert_eq!(record.expiry, u32::MAX);
    let absent = if kind.format < 5 { 600 } else { 0 };
    let since = Time::from_secs(WALL - absent);
    assert_eq!(record.disconnected_at, Some(since), "{kind:?}");
    let kept = &brought.loaded.retained[0];
    assert_eq!((kept.topic(), kept.retain), ("kept", true));
    assert_eq!(kept.origin.client_id(), "publisher");
    assert_eq!(brought.loaded.wall, WALL * 1000);
}

fn check_subscriptions(brought: &Brought, kind: Kind) {
    let subscriptions = &brought.session("reader").record.subscriptions;
    let [first, second] = &subscriptions[..] else {
        panic!("{subscriptions:?}");
    };
    assert_eq!((&*first.filter, &*second.filter), ("+/x", "y/#"));
    assert_eq!(
        (first.qos, second.qos),
        (QoS::AtLeastOnce, QoS::ExactlyOnce)
    );
    let has_options = kind.format >= 5;
    let found = (first.no_local, first.retain_as_published, first.sub_id);
    assert_eq!(found, (has_options, has_options, has_options.then_some(7)));
}

/// Mosquitto's numbers tell when a message came, but a queue may have another order: a retained message
/// comes when its topic is subscribed to.
#[test]
fn each_queue_keeps_its_order() {
    let mut writer = Writer::new(KIND);
    for n in 1..=6 {
        writer.message(msg(n, ["", "1", "2", "3", "4", "5", "6"][n as usize]));
    }
    let queues: [(&str, &[u64]); 4] = [
        ("a", &[1, 2, 3, 4, 5, 6]),
        ("b", &[4, 2, 1, 5, 3, 6]),
        ("c", &[6, 6, 1]),
        ("d", &[3]),
    ];
    for (id, numbers) in queues {
        writer.client(client(id));
        for number in numbers {
            writer.place(waits(id, *number, 1));
        }
    }
    let mut brought = bring(&writer, "").unwrap();
    for (id, numbers) in queues {
        let expected: Vec<String> = numbers.iter().map(u64::to_string).collect();
        assert_eq!(brought.topics(id), expected);
        let queue = brought.queue(id);
        let seqs: Vec<u64> = queue.iter().map(|(_, owed)| owed.seq).collect();
        assert!(seqs.is_sorted(), "{seqs:?}");
    }
    // Six, and those that had to be stored once more: 2, 1 and 3 of b, 6 and 1 of c.
    assert_eq!(brought.loaded.refs.len(), 6 + 5);
}

#[test]
fn properties_and_expiry_come_along() {
    let mut writer = Writer::new(KIND);
    // Payload format, content type, a user property.
    let props = b"\x0e\x01\x01\x03\0\x01c\x26\0\x01k\0\x02vv";
    let with = |number, expires, retain| builder::Msg {
        props,
        expires,
        retain,
        username: "anna",
        ..msg(number, "t")
    };
    writer.message(with(1, WALL + 60, false));
    writer.message(with(2, 0, true));
    writer.client(builder::Cl {
        end: WALL + 100,
        interval: 300,
        ..client("reader")
    });
    writer.place(builder::Place {
        props: b"\x02\x0b\x05",
        ..waits("reader", 1, 1)
    });
    writer.retained(2);
    let mut brought = bring(&writer, "per_listener_settings true\nlistener 1883").unwrap();
    let (message, owed) = brought.queue("reader").remove(0);
    assert_eq!(message.props(), &props[1..]);
    assert_eq!(message.expiry, Some(Time::from_secs(WALL + 60)));
    assert_eq!(*owed.sub_ids, [5]);
    let record = &brought.session("reader").record;
    assert_eq!(record.expiry, 300);
    assert_eq!(record.disconnected_at, Some(Time::from_secs(WALL - 200)));
    assert_eq!(record.listener.as_deref(), Some("1883"));
    let kept = &brought.loaded.retained[0];
    assert_eq!(kept.props(), &props[1..]);
    let origin = (kept.origin.username(), kept.origin.listener());
    assert_eq!(origin, (Some("anna"), Some("1883")));
}
