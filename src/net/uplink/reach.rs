//! The way to an upstream: its name, TCP, a proxy, TLS, WebSocket. Each has its own sentence where it fails.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::task::Context;
use std::time::{Duration, Instant};

use futures_lite::future;

use super::dial::{self, Local};
use super::resolve::Resolver;
use super::state::Helpers;
use super::upstream::{Unanswered, Upstream};
use crate::bridge::Error;
use crate::config::{self, BridgeTls, Proxy, UpstreamAddress, WebAddress};
use crate::net::hub::{Hub, Shared, let_others_go_first, sleep};
use crate::net::progress::End;
use crate::net::reactor::Reactor;
use crate::net::stream::Meter;
use crate::net::web::{Tunnel, Upgrade};
use crate::tls::{ClientSide, Session};

/// An address to connect to.
pub(super) struct Target {
    pub(super) address: UpstreamAddress,
    pub(super) proxy: Option<Proxy>,
    /// How long the whole way may take.
    pub(super) within: Duration,
}

/// What is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Tcp,
    Proxy,
    Tls,
    Web,
}

const UNDONE: &str = "there is no thread that shakes hands";
const IS_TLS: &str = "is this a port with TLS? MQTT over TLS has 8883, as a rule";
const IS_WEB: &str = "is this the port for WebSocket, and does it need wss:// (TLS)?";

impl Stage {
    /// There was no answer in time.
    fn late(self) -> Error {
        Error::Io(match self {
            Stage::Tcp => return Error::ConnectTimeout,
            Stage::Proxy => "no answer of the proxy in time: check bridge_proxy".to_owned(),
            Stage::Tls => format!("no answer to the TLS handshake in time: {IS_TLS}"),
            Stage::Web => format!("no answer to the request for a WebSocket in time: {IS_WEB}"),
        })
    }

    /// The connection has ended.
    fn ended(self, end: &End) -> Error {
        if let End::Tls(failure) = end {
            return Error::Io(failure.to_string());
        }
        Error::Io(match self {
            Stage::Tcp => return end.of_upstream(),
            Stage::Proxy => format!("the proxy, asked for a way to the upstream: {end}"),
            Stage::Tls => format!("in the TLS handshake: {end}: {IS_TLS}"),
            Stage::Web => format!("when asked for a WebSocket: {end}: {IS_WEB}"),
        })
    }

    fn unanswered(self, why: Unanswered) -> Error {
        match why {
            Unanswered::End(end) => self.ended(&end),
            Unanswered::Refused(refusal) if self == Stage::Proxy => {
                Error::Io(format!("the proxy: {refusal}"))
            }
            Unanswered::Refused(refusal) => Error::Io(refusal.to_string()),
        }
    }
}

/// Gets the password of the bridge, if it has one, and goes the way to `target`.
///
/// # Errors
/// There is no password, or something stands in the way.
pub(super) async fn prepare(
    hub: &Shared,
    index: u32,
    (resolver, secrets): &mut Helpers,
    target: &Target,
) -> Result<(Upstream, Option<Vec<u8>>), Error> {
    let spec = hub
        .borrow_mut()
        .uplink(index)
        .map(|uplink| Rc::clone(uplink.link.spec()));
    let spec = spec.ok_or(Error::GivenUp)?;
    let reactor = Rc::clone(hub.borrow().reactor());
    let password = secrets
        .get(&reactor, &spec)
        .await
        .map_err(Error::Password)?;
    let upstream = reach(hub, index, resolver, target).await?;
    Ok((upstream, password))
}

/// Goes all the way to `target`, within its time.
///
/// # Errors
/// What stands in the way.
async fn reach(
    hub: &Shared,
    index: u32,
    resolver: &mut Resolver,
    target: &Target,
) -> Result<Upstream, Error> {
    let stage = Cell::new(Stage::Tcp);
    let late = async {
        sleep(hub, target.within).await;
        // What has come by now is not too late.
        let_others_go_first(hub).await;
        Err(stage.get().late())
    };
    let way = async {
        let Target { address, proxy, .. } = target;
        let mut upstream = connect(hub, index, resolver, target).await?;
        if let Some(proxy) = proxy {
            stage.set(Stage::Proxy);
            tunnel(&mut upstream, proxy, address).await?;
        }
        stage.set(Stage::Tls);
        if let Some(session) = session(hub, index, address).await? {
            let shaken = upstream.secure(hub, session).await;
            shaken.map_err(|end| {
                hub.borrow_mut().await_clock(index, &end);
                Stage::Tls.ended(&end)
            })?;
        }
        if let Some(web) = &address.web {
            stage.set(Stage::Web);
            upgrade(&mut upstream, address, web).await?;
        }
        Ok(upstream)
    };
    future::or(way, late).await
}

/// A connection to the upstream, or to the proxy.
async fn connect(
    hub: &Shared,
    index: u32,
    resolver: &mut Resolver,
    target: &Target,
) -> Result<Upstream, Error> {
    let Target {
        address,
        proxy,
        within,
    } = target;
    let (host, port, whose) = match proxy {
        Some(proxy) => (&proxy.host, proxy.port, "the proxy "),
        None => (&address.host, address.port, ""),
    };
    let spec = hub.borrow_mut().spec(index).ok_or(Error::GivenUp)?;
    let (begun, reactor) = (Instant::now(), Rc::clone(hub.borrow().reactor()));
    let local = local(&reactor, resolver, &spec, *within).await?;
    let unknown = |e| Error::Io(format!("{whose}{host}: {e}"));
    let mut question = resolver.ask(host, port).map_err(unknown)?;
    let left = within.saturating_sub(begun.elapsed());
    let first = question.first(&reactor, left).await.map_err(unknown)?;
    if let Some((why, old)) = first.old {
        let since = span(old.age);
        let line = format!("trying the addresses that it had {since} ago");
        let line = format!("Bridge {}: {whose}{host}: {why}: {line}.", spec.name);
        let level = if old.is_news {
            log::Level::Warn
        } else {
            log::Level::Debug
        };
        log::log!(level, "{line}");
    }
    let left = within.saturating_sub(begun.elapsed());
    let more = |cx: &mut Context<'_>| question.poll_more(cx);
    let (stream, found) = dial::connect(&reactor, &first.addresses, more, &local, left)
        .await
        .map_err(|e| Error::Io(format!("connecting to {whose}{host} port {port}: {e}")))?;
    log::debug!("Connected to {whose}{host} at {found}.");
    let meter = hub.borrow_mut().meter(index).ok_or(Error::GivenUp)?;
    Ok(Upstream::plain(stream.metered(meter)))
}

/// What `bridge_bind_address` stands for.
async fn local(
    reactor: &Reactor,
    resolver: &mut Resolver,
    spec: &config::Bridge,
    within: Duration,
) -> Result<Local, Error> {
    let Some(name) = &spec.tcp.bind_address else {
        return Ok(Local::default());
    };
    let unknown = |e| Error::Io(format!("bridge_bind_address {name}: {e}"));
    let mut question = resolver.ask(name, 0).map_err(unknown)?;
    let found = question.first(reactor, within).await.map_err(unknown)?;
    Ok(Local {
        name: name.clone(),
        addresses: found.addresses,
    })
}

/// A time in its largest unit.
fn span(time: Duration) -> String {
    match time.as_secs() {
        secs @ 0..120 => format!("{secs} s"),
        secs @ 120..7200 => format!("{} min", secs / 60),
        secs => format!("{} h", secs / 3600),
    }
}

/// A session of TLS with the upstream, by the bridge's files, which are read now. `None` without TLS.
async fn session(
    hub: &Shared,
    index: u32,
    address: &UpstreamAddress,
) -> Result<Option<Session>, Error> {
    let found = hub.borrow_mut().client_side(index, address)?;
    let Some((mut side, tls)) = found else {
        return Ok(None);
    };
    let host = address.name().to_owned();
    let made = hub.borrow_mut().aside(move || {
        let session = Session::connect(&mut side, &tls, &host);
        (side, session)
    });
    let (side, session) = made.await.ok_or_else(|| Error::Io(UNDONE.to_owned()))?;
    if let Some(uplink) = hub.borrow_mut().uplink(index) {
        // Another one stands there if the bridge has gone another way meanwhile, to look whether it is open.
        uplink.tls.get_or_insert(side);
    }
    session.map(Some).map_err(|why| Error::Io(why.to_string()))
}

/// Asks the proxy for a way to the upstream.
async fn tunnel(
    upstream: &mut Upstream,
    proxy: &Proxy,
    address: &UpstreamAddress,
) -> Result<(), Error> {
    let tunnel = Tunnel::new(proxy, address);
    let head = upstream.ask(&tunnel.request).await;
    let head = head.map_err(|why| Stage::Proxy.unanswered(why))?;
    let checked = tunnel.check(&head);
    checked.map_err(|refusal| Error::Io(refusal.to_string()))
}

/// Asks the upstream for a WebSocket.
async fn upgrade(
    upstream: &mut Upstream,
    address: &UpstreamAddress,
    web: &WebAddress,
) -> Result<(), Error> {
    let mut nonce = [0; 16];
    getrandom::getrandom(&mut nonce).map_err(|e| Error::Io(format!("no random numbers: {e}")))?;
    let upgrade = Upgrade::new(address, web, nonce);
    let head = upstream.ask(&upgrade.request).await;
    let head = head.map_err(|why| Stage::Web.unanswered(why))?;
    let checked = upgrade.check(&head);
    checked.map_err(|refusal| Error::Io(refusal.to_string()))?;
    upstream.upgraded();
    Ok(())
}

impl Hub {
    /// The section of the bridge, as it is now.
    fn spec(&mut self, index: u32) -> Option<Rc<config::Bridge>> {
        let uplink = self.uplink(index)?;
        Some(Rc::clone(uplink.link.spec()))
    }

    /// What counts the bytes of the bridge.
    fn meter(&mut self, index: u32) -> Option<Meter> {
        Some(self.uplink(index)?.meter.clone())
    }

    /// What the bridge's next handshake goes by, and the files for it. `None` without TLS.
    fn client_side(
        &mut self,
        index: u32,
        address: &UpstreamAddress,
    ) -> Result<Option<(ClientSide, BridgeTls)>, Error> {
        let clock = self.listeners_tls.clock();
        let Some(uplink) = self.uplink(index) else {
            return Err(Error::GivenUp);
        };
        let spec = Rc::clone(uplink.link.spec());
        let Some(tls) = spec.tls.to(address) else {
            return Ok(None);
        };
        if let Some(line) = clock.complaint() {
            log::warn!("{line}");
        }
        let side = uplink.tls.take().unwrap_or_else(|| ClientSide::new(clock));
        Ok(Some((side, tls.into_owned())))
    }

    /// Has the thread that shakes hands do something first of all, for a bridge.
    pub(super) fn aside<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &mut self,
        work: F,
    ) -> impl Future<Output = Option<T>> + use<T, F> {
        self.listeners_tls.handshakes.aside(work)
    }
}
