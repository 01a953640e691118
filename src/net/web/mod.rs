//! What stands between the socket and MQTT on a listener with `protocol websockets` or `http`: an
//! HTTP request, then WebSocket frames (RFC 6455; MQTT 5.0 §6), the status page, figures or a file. And the
//! other side of it, for bridges: `client` has what is asked of a server and of a proxy.
//!
//! All of it is sans-io: [`Web::take`] turns what was read into MQTT in place, [`Web::parts`] says
//! what to write next. `conn` moves the bytes.
//!
//! HTTP heads are parsed by httparse. The frames are read here: tungstenite would gather each in a
//! buffer a connection, up to its whole length, and its parser of headers alone brings a dozen
//! crates.

mod body;
mod client;
mod files;
mod frames;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod http;
mod page;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, IoSlice};
use std::mem;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::broker::Outbox;
use crate::config::{self, Protocol};
pub(super) use body::{Body, Permit, Permits};
pub(super) use client::{Answered, Head, Refusal, Tunnel, Upgrade};
use files::Found;
pub(super) use frames::{Code, Over};
use frames::{Frames, Opcode, Peer};
pub(super) use http::Figures;
use http::{Answer, Rules};

/// The longest payload of a frame to a server, in bytes.
const MASKED: usize = 16 * 1024;

/// What a listener serves over HTTP.
#[derive(Debug)]
pub(super) struct Site {
    /// `protocol http`, not `websockets`.
    is_http: bool,
    rules: Rules,
    /// `http_dir`, canonical.
    root: Option<PathBuf>,
}

impl Site {
    /// What `listener` serves; `None` if it speaks plain MQTT.
    ///
    /// # Errors
    /// When `http_dir` can't be used: it, and the system's answer.
    pub(super) fn of(listener: &config::Listener) -> Result<Option<Rc<Site>>, (&Path, io::Error)> {
        let web = &listener.web;
        if web.protocol == Protocol::Mqtt {
            return Ok(None);
        }
        let folder = |path: &PathBuf| match path.canonicalize()? {
            path if path.is_dir() => Ok(path),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        };
        let root = match &web.http_dir {
            Some(path) => Some(folder(path).map_err(|e| (path.as_path(), e))?),
            None => None,
        };
        let page = web.status_page();
        let is_open = web.protocol == Protocol::WebSockets && web.origins.is_empty();
        let rules = Rules {
            upgrades: page || web.protocol == Protocol::WebSockets,
            files: root.is_some(),
            page,
            origins: (!is_open).then(|| web.origins.clone()),
        };
        Ok(Some(Rc::new(Site {
            is_http: web.protocol == Protocol::Http,
            rules,
            root,
        })))
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_http { "http" } else { "websockets" })?;
        if self.rules.page {
            f.write_str(", status page")?;
        }
        match &self.root {
            Some(root) => write!(f, ", {}", root.display()),
            None => Ok(()),
        }
    }
}

/// The state of such a connection.
#[derive(Debug)]
pub(super) struct Web {
    stage: Stage,
    /// MQTT that was read but not yet decoded.
    pub partial: Vec<u8>,
    /// To be written before anything else: a response, control frames, a frame's header.
    out: Vec<u8>,
    /// Bytes of the outbox that the frame which has begun still needs.
    in_frame: usize,
    /// How many of them lie masked at the end of `out`: towards a server all.
    masked: u16,
    /// What the Close frame says when the broker closes.
    pub code: Code,
    /// The Close frame is written or in `out`: nothing may follow.
    closed: bool,
}

#[derive(Debug)]
enum Stage {
    /// Reading the request.
    Request { site: Rc<Site>, head: Vec<u8> },
    /// The request wants figures, which others know: [`Web::asked`].
    Asked(Figures, bool),
    /// A WebSocket.
    Open(Frames),
    /// The request was answered; then the connection ends.
    Answered {
        /// Why it was no valid request.
        refused: Option<&'static str>,
        /// What goes out behind the head.
        body: Option<Body>,
    },
}

impl Web {
    pub(super) fn new(site: Rc<Site>) -> Web {
        Web {
            stage: Stage::Request {
                site,
                head: Vec::new(),
            },
            partial: Vec::new(),
            out: Vec::new(),
            in_frame: 0,
            masked: 0,
            code: Code::NORMAL,
            closed: false,
        }
    }

    /// That to a server which has agreed to it.
    pub(super) fn to_server() -> Web {
        Web {
            stage: Stage::Open(Frames::new(Peer::Server)),
            partial: Vec::new(),
            out: Vec::new(),
            in_frame: 0,
            masked: 0,
            code: Code::NORMAL,
            closed: false,
        }
    }

    /// Takes in what was read, and moves what is MQTT to the front; returns how long that is.
    pub(super) fn take(&mut self, bytes: &mut [u8]) -> usize {
        if bytes.is_empty() {
            // What came was for TLS alone.
            return 0;
        }
        match &mut self.stage {
            Stage::Request { head, .. } => {
                let from = head.len();
                head.extend_from_slice(bytes);
                let rest = self.take_head(from).min(bytes.len());
                let Stage::Open(frames) = &mut self.stage else {
                    return 0;
                };
                // Frames right behind the request.
                let len = bytes.len();
                bytes.copy_within(len - rest.., 0);
                frames.take(bytes.get_mut(..rest).unwrap_or_default())
            }
            Stage::Open(frames) => frames.take(bytes),
            Stage::Asked(..) | Stage::Answered { .. } => 0,
        }
    }

    /// Answers the request if it is whole; what is before `from` was looked at before. Returns how
    /// many bytes lie behind it.
    fn take_head(&mut self, from: usize) -> usize {
        let Stage::Request { site, head } = &mut self.stage else {
            return 0;
        };
        if !head.first().is_some_and(u8::is_ascii_alphabetic) {
            let refusal = http::no_http(head);
            self.refuse(&refusal);
            return 0;
        }
        let (site, end) = (Rc::clone(site), http::head_len(head, from));
        if end.unwrap_or(head.len()) > http::MAX_HEAD {
            self.refuse(&http::TOO_LONG);
            return 0;
        }
        let Some(end) = end else {
            return 0;
        };
        let mut head = mem::take(head);
        let rest = head.len() - end;
        head.truncate(end);
        match http::answer(&head, &site.rules) {
            Answer::Upgrade(response) => {
                self.out = response.into_bytes();
                self.stage = Stage::Open(Frames::new(Peer::Client));
            }
            Answer::Page { body: with_body } => {
                let (head, body) = page::get();
                self.answer_with(&head, with_body, body);
            }
            Answer::Figures { what, body } => self.stage = Stage::Asked(what, body),
            Answer::File { path, body } => self.answer_file(&site, &path, body),
            Answer::Refusal(refusal) => self.refuse(&refusal),
        }
        rest
    }

    fn answer_file(&mut self, site: &Site, path: &str, with_body: bool) {
        let root = site.root.as_deref().unwrap_or(Path::new(""));
        let response = match files::open(root, path) {
            Ok(Found::File(file, kind)) => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n");
                return self.answer_with(&head, with_body, file);
            }
            Ok(Found::Folder) => {
                format!("HTTP/1.1 302 Found\r\nLocation: {path}/\r\nContent-Length: 0")
            }
            Err(refusal) => return self.answer(refusal.response(with_body), None, None),
        };
        self.answer(
            format!("{response}\r\nConnection: close\r\n\r\n"),
            None,
            None,
        );
    }

    /// The figures that the request wants and that have not been told yet: [`Web::tell`] takes them.
    pub(super) fn asked(&self) -> Option<Figures> {
        match &self.stage {
            Stage::Asked(what, _) => Some(*what),
            _ => None,
        }
    }

    /// What [`Web::asked`] for: a status with its phrase, a content type and the text.
    pub(super) fn tell(&mut self, status: &str, kind: &str, text: String, permit: Permit) {
        let Stage::Asked(_, with_body) = self.stage else {
            return;
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\n"
        );
        let body = Body::made(text.into_bytes(), permit);
        self.answer_with(&head, with_body, body);
    }

    /// Too many answers are held already by peers that do not read.
    pub(super) fn tell_nothing(&mut self) {
        self.refuse(&http::TOO_MANY);
    }

    /// `head` and how long the body is, then `body`, if that is wanted.
    fn answer_with(&mut self, head: &str, with_body: bool, body: Body) {
        let length = body.left();
        let head = format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        let body = Some(body).filter(|_| with_body && length > 0);
        self.answer(head, None, body);
    }

    fn refuse(&mut self, refusal: &http::Refusal) {
        self.answer(refusal.response(true), Some(refusal.why), None);
    }

    fn answer(&mut self, response: String, refused: Option<&'static str>, body: Option<Body>) {
        self.out = response.into_bytes();
        self.stage = Stage::Answered { refused, body };
    }

    /// Set once the peer has closed the WebSocket, or broken its rules.
    pub(super) fn over(&self) -> Option<Over> {
        match &self.stage {
            Stage::Open(frames) => frames.over(),
            _ => None,
        }
    }

    /// Why the request was refused, if it was not for a file.
    pub(super) fn refused(&self) -> Option<&'static str> {
        match &self.stage {
            Stage::Answered { refused, .. } => *refused,
            _ => None,
        }
    }

    /// True while there is something to write that is not in the outbox.
    pub(super) fn has_output(&self) -> bool {
        let stage = match &self.stage {
            Stage::Request { .. } | Stage::Asked(..) => false,
            Stage::Open(frames) => frames.has_pong(),
            Stage::Answered { .. } => true,
        };
        stage || !self.out.is_empty()
    }

    /// True once the request is answered to the last byte, and the connection is to be closed.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.stage, Stage::Answered { body: None, .. }) && self.out.is_empty()
    }

    /// What to write next; both are empty if there is nothing. A frame carries all that is in the
    /// outbox when it begins: a turn's output [MQTT-6.0.0-1].
    pub(super) fn parts<'a>(&'a mut self, outbox: &'a Outbox) -> [IoSlice<'a>; 2] {
        if self.in_frame == 0 && !self.closed {
            self.begin_frame(outbox);
        }
        let pending = outbox.pending();
        let left = self.in_frame.saturating_sub(self.masked.into());
        let framed = pending.get(..left).unwrap_or(pending);
        [IoSlice::new(&self.out), IoSlice::new(framed)]
    }

    fn begin_frame(&mut self, outbox: &Outbox) {
        let Stage::Open(frames) = &mut self.stage else {
            return;
        };
        let (waiting, mask) = (outbox.len(), frames.mask());
        if let Some(pong) = frames.take_pong() {
            frames::put(&mut self.out, Opcode::Pong, &pong, mask);
        }
        if waiting > 0 && mask.is_some() {
            // What is masked is a copy: a frame has a bound then.
            let pending = outbox.pending();
            let payload = pending.get(..MASKED).unwrap_or(pending);
            frames::put(&mut self.out, Opcode::Binary, payload, mask);
            self.in_frame = payload.len();
            self.masked = u16::try_from(payload.len()).unwrap_or(u16::MAX); // It has a bound.
        } else if waiting > 0 {
            frames::put_header(&mut self.out, Opcode::Binary, waiting, None);
            self.in_frame = waiting;
        } else if outbox.close {
            let answer = frames.over().map(Over::code);
            frames::put_close(&mut self.out, answer.unwrap_or(Some(self.code)), mask);
            self.closed = true;
        }
    }

    /// `n` bytes of [`Web::parts`] were written. True if some were the outbox's.
    pub(super) fn advance(&mut self, n: usize, outbox: &mut Outbox) -> bool {
        /// What [`Web::out`] may keep: a frame's header.
        const KEPT: usize = 16;
        let ahead = n.min(self.out.len());
        self.out.drain(..ahead);
        if self.out.is_empty() && self.out.capacity() > KEPT {
            self.out = Vec::new();
        }
        let masked = u16::try_from(self.out.len()).map_or(self.masked, |n| n.min(self.masked));
        let gone = self.masked - masked;
        self.masked = masked;
        let framed = (n - ahead + usize::from(gone)).min(self.in_frame);
        self.in_frame -= framed;
        outbox.advance(framed);
        framed > 0
    }

    /// What is to be sent, once all before it is written.
    pub(super) fn body(&mut self) -> Option<&mut Body> {
        match &mut self.stage {
            Stage::Answered { body, .. } if self.out.is_empty() => body.as_mut(),
            _ => None,
        }
    }

    /// It is sent.
    pub(super) fn end_body(&mut self) {
        if let Stage::Answered { body, .. } = &mut self.stage {
            *body = None;
        }
    }
}
