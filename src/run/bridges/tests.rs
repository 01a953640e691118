//! What commands and SIGHUP make of bridges, with a real hub and no upstream.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::control::{BridgeState, Done, Error};
use super::*;
use crate::auth::Auth;
use crate::bridge::Rest;
use crate::config::{Config, Kind, StartType};
use crate::net::Reactor;
use crate::run::start;
use crate::tls;

/// The bridges of a configuration, and what they need.
struct Here {
    bridges: Bridges,
    executor: Rc<LocalExecutor<'static>>,
}

fn config(text: &str) -> Config {
    let text = format!("persistence false\n{text}");
    let env = config::Env::default();
    Config::parse(&text, "x.conf", &env).unwrap().config
}

/// A section of a bridge whose upstream is not there.
fn section(name: &str, lines: &str) -> String {
    format!(
        "connection {name}\naddress 127.0.0.1:1\nremote_clientid {name}\ntopic # out 1\n{lines}\n"
    )
}

fn spec(name: &str, lines: &str) -> config::Bridge {
    config(&section(name, lines)).bridges.remove(0)
}

impl Here {
    fn new(text: &str) -> Here {
        let config = config(text);
        let reactor = Reactor::new().unwrap();
        let executor = Rc::new(LocalExecutor::new());
        let auth = Auth::for_config(&config).unwrap().0;
        let clock = tls::Clock::default();
        let (hub, _) = start::hub(&config, auth, &clock, (&reactor, &executor)).unwrap();
        let bridges = Bridges::set_up(&config.bridges, &hub, &executor);
        let mut made = Here { bridges, executor };
        made.settle();
        made
    }

    /// Lets each task go on as far as it gets without time.
    fn settle(&mut self) {
        while self.executor.try_tick() {}
    }

    fn reload(&mut self, text: &str) {
        self.bridges.reload(&config(text).bridges);
        self.settle();
    }

    /// Name, source and why it rests, if it does, of each.
    fn list(&self) -> Vec<(String, Source, Option<Rest>)> {
        let list = self.bridges.list().into_iter();
        let rest = |state| match state {
            BridgeState::Resting(rest) => Some(rest),
            _ => None,
        };
        list.map(|view| (view.name, view.source, rest(view.state)))
            .collect()
    }

    fn spec(&self, name: &str) -> &config::Bridge {
        let mut running = self.bridges.running.iter();
        &running
            .find(|bridge| bridge.spec.name == name)
            .unwrap()
            .spec
    }

    fn rest(&self, name: &str) -> Option<Rest> {
        let list = self.list();
        list.iter().find(|(known, ..)| known == name).unwrap().2
    }
}

#[test]
fn a_stopped_bridge_stays_so_until_it_is_started() {
    let text = section("a", "") + &section("b", "");
    let mut here = Here::new(&text);
    assert_eq!(here.bridges.stop("a"), Ok(Done::Now));
    assert_eq!(
        here.rest("a"),
        Some(Rest::Stopped),
        "before its task has begun"
    );
    here.settle();
    assert_eq!(here.bridges.stop("a"), Ok(Done::Already));
    here.reload(&text);
    here.reload(&(section("a", "keepalive_interval 7") + &section("b", "")));
    assert_eq!(here.rest("a"), Some(Rest::Stopped));
    assert_eq!(here.spec("a").keepalive.as_secs(), 7);
    assert_eq!(here.rest("b"), None);
    assert_eq!(here.bridges.start("a"), Ok(Done::Now));
    here.settle();
    assert_eq!(here.rest("a"), None);
    let unknown = Err(Error::Unknown("c".to_owned()));
    assert_eq!(here.bridges.start("c"), unknown);
    assert_eq!(here.bridges.stop("c"), unknown);
    assert_eq!(
        here.bridges.remove("c").unwrap_err().to_string(),
        "there is no bridge c"
    );
}

#[test]
fn a_manual_bridge_waits_for_the_command_and_then_goes_on() {
    let mut here = Here::new(&section("a", "start_type manual"));
    assert_eq!(here.rest("a"), Some(Rest::Manual));
    let view = here.bridges.list().remove(0);
    assert_eq!(view.start_type, StartType::Manual);
    assert_eq!(view.address.as_deref(), Some("127.0.0.1:1"));
    assert_eq!(here.bridges.start("a"), Ok(Done::Now));
    here.settle();
    here.reload(&section("a", "start_type manual\nkeepalive_interval 7"));
    assert_eq!(here.rest("a"), None, "started is started");
    assert_eq!(here.bridges.stop("a"), Ok(Done::Now));
    here.settle();
    assert_eq!(here.rest("a"), Some(Rest::Stopped));
}

#[test]
fn what_was_added_by_command_stays_beside_the_configuration() {
    let text = section("a", "");
    let mut here = Here::new(&text);
    here.bridges.add(spec("b", "")).unwrap();
    here.bridges.add(spec("c", "start_type lazy")).unwrap();
    here.settle();
    here.reload(&text);
    let (file, command) = (Source::File, Source::Command);
    let expected = [
        ("a", file, None),
        ("b", command, None),
        ("c", command, Some(Rest::Idle)),
    ];
    assert_eq!(
        here.list(),
        expected.map(|(name, source, rest)| (name.to_owned(), source, rest))
    );
    let Err(Error::Clashes(name, clashes)) = here.bridges.add(spec("b", "local_clientid other"))
    else {
        panic!("taken");
    };
    assert_eq!(name, "b");
    assert!(clashes.contains(&Kind::DuplicateConnection), "{clashes:?}");
    let same_id = spec("d", "local_clientid local.b");
    assert!(matches!(here.bridges.add(same_id), Err(Error::Clashes(..))));
    // The configuration has one of that name, and one with that client id.
    here.reload(&(text + &section("b", "") + &section("d", "local_clientid local.c")));
    let expected = [("a", file), ("b", file), ("d", file)];
    let list: Vec<_> = here
        .list()
        .into_iter()
        .map(|(name, source, _)| (name, source))
        .collect();
    assert_eq!(
        list,
        expected.map(|(name, source)| (name.to_owned(), source))
    );
}

#[test]
fn a_removed_bridge_of_the_configuration_comes_back_with_it() {
    let text = section("a", "");
    let mut here = Here::new(&text);
    here.bridges.add(spec("b", "")).unwrap();
    let sources = ["a", "b"].map(|name| here.bridges.source(name));
    assert_eq!(sources, [Ok(Source::File), Ok(Source::Command)]);
    assert_eq!(here.bridges.remove("a").unwrap().messages, 0);
    assert_eq!(here.bridges.remove("b").unwrap().messages, 0);
    assert!(matches!(here.bridges.source("b"), Err(Error::Unknown(_))));
    here.settle();
    assert_eq!(here.list(), []);
    here.reload(&text);
    assert_eq!(here.list(), [("a".to_owned(), Source::File, None)]);
}

/// Another local_clientid is the same bridge, unless the other one is there already.
#[test]
fn a_bridge_keeps_its_place_when_its_client_id_changes() {
    let mut here = Here::new(&(section("a", "") + &section("b", "")));
    here.bridges.stop("a").unwrap();
    here.bridges.stop("b").unwrap();
    here.reload(&(section("a", "local_clientid new") + &section("b", "")));
    assert_eq!(here.rest("a"), Some(Rest::Stopped), "it was not made anew");
    assert_eq!(here.spec("a").local_clientid, "new");
    here.reload(&(section("a", "local_clientid local.b") + &section("b", "local_clientid new")));
    assert_eq!(here.list().len(), 2);
    assert_eq!(
        (here.rest("a"), here.rest("b")),
        (None, None),
        "each goes on with the queue of its id"
    );
}

/// What hangs is bounded by the bridge, not by how often the operator starts it.
#[test]
fn a_start_by_command_waits_for_what_hangs_since_the_last_one() {
    let folder = tempfile::tempdir().unwrap();
    let (ran, rest) = (folder.path().join("ran"), folder.path().join("rest"));
    // What is left when the program was killed holds its output open.
    let program = folder.path().join("program");
    let line = format!(
        "echo ran >> {}\nsetsid sh -c 'echo $$ > {}; exec sleep 1000' &\nwait\n",
        ran.display(),
        rest.display()
    );
    std::fs::write(&program, line).unwrap();
    let command = format!(
        "start_type manual\nremote_username u\nremote_password_command sh {}",
        program.display()
    );
    let mut here = Here::new(&section("a", &command));
    let text = |path| std::fs::read_to_string(path).unwrap_or_default();
    // One that is started by command does so at once.
    assert_eq!(here.bridges.start("a"), Ok(Done::Now));
    for _ in 0..3000 {
        here.settle();
        if text(&rest).ends_with('\n') {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for _ in 0..3 {
        assert_eq!(here.bridges.stop("a"), Ok(Done::Now));
        here.settle();
        assert_eq!(here.bridges.start("a"), Ok(Done::Now));
        for _ in 0..20 {
            here.settle();
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let pid = text(&rest).trim().parse().ok().and_then(Pid::from_raw);
    kill_process(pid.unwrap(), Signal::KILL).unwrap();
    assert_eq!(text(&ran), "ran\n");
}
