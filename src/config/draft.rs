//! A configuration while it is being read.

mod places;
pub(super) mod plugin;
mod plugins;
mod position;

use std::path::PathBuf;

use super::defaults::{PORT, STORE_FILE};
use super::error::shortened;
use super::{Bridge, Config, Env, Error, General, Kind, Listener, Security, whole};
use places::Owner;
pub use places::Places;
use plugin::Plugin;
pub use position::Position;

/// What has been read so far. The rows of the table of directives write into it.
pub(super) struct Draft<'e> {
    pub env: &'e Env,
    /// The line that is being read.
    pub place: Position,
    pub general: General,
    /// `persistence_location` and `persistence_file`, joined at the end.
    pub store_dir: Option<PathBuf>,
    pub store_file: Option<PathBuf>,
    /// A first `log_dest` or `log_type` replaces the default, later ones add.
    pub log_dest_given: bool,
    pub log_type_given: bool,
    /// `port`, `bind_address` and what stands before any `listener`.
    pub default_listener: Listener,
    /// Where `port`, `bind_address` or, above any `listener`, `certfile` or `keyfile` was given, and the default listener listens.
    pub default_given: Option<Position>,
    /// What `per_listener_settings` is about was given.
    pub security_given: bool,
    pub listeners: Vec<Listener>,
    /// Where each of them stands.
    pub listener_places: Vec<Position>,
    pub bridges: Vec<BridgeDraft>,
    pub plugins: Vec<Plugin>,
    /// The `listener`, the `connection` and the plugin of this file that lines belong to.
    pub open: Open,
    /// A directory that `include_dir` just named.
    pub include: Option<PathBuf>,
    pub notes: Vec<String>,
    pub errors: Vec<Error>,
    /// Where what was understood stands.
    pub places: Places,
}

/// The sections that are open, as indices.
#[derive(Clone, Copy, Default)]
pub(super) struct Open {
    pub listener: Option<usize>,
    pub bridge: Option<usize>,
    pub plugin: Option<usize>,
}

/// A bridge whose defaults depend on lines still to come.
pub(super) struct BridgeDraft {
    pub place: Position,
    pub bridge: Bridge,
    pub remote_clientid: Option<String>,
    pub local_clientid: Option<String>,
    pub local_clean_session: Option<bool>,
    /// The directives of lines that are wrong: what seems to be missing may be there.
    pub mistaken: Vec<String>,
}

impl<'e> Draft<'e> {
    pub(super) fn new(env: &'e Env) -> Draft<'e> {
        Draft {
            env,
            place: Position::default(),
            general: General::default(),
            store_dir: None,
            store_file: None,
            log_dest_given: false,
            log_type_given: false,
            default_listener: Listener::on(PORT),
            default_given: None,
            security_given: false,
            listeners: Vec::new(),
            listener_places: Vec::new(),
            bridges: Vec::new(),
            plugins: Vec::new(),
            open: Open::default(),
            include: None,
            notes: Vec::new(),
            errors: Vec::new(),
            places: Places::default(),
        }
    }

    /// The bridge that a line belongs to.
    pub(super) fn bridge(&mut self) -> Result<&mut BridgeDraft, Kind> {
        let open = self.open.bridge.ok_or(Kind::NoConnection)?;
        self.bridges.get_mut(open).ok_or(Kind::NoConnection)
    }

    /// The listener that a line belongs to: the default listener above any `listener`.
    pub(super) fn listener(&mut self) -> &mut Listener {
        let open = self.open.listener;
        let listener = open.and_then(|open| self.listeners.get_mut(open));
        listener.unwrap_or(&mut self.default_listener)
    }

    /// A line of a certificate above any `listener` starts the default listener, as in Mosquitto: else
    /// who asks for TLS would be served without it.
    pub(super) fn start_default(&mut self) {
        if self.open.listener.is_none() {
            self.default_given = Some(self.place.clone());
        }
    }

    /// The rules that a line belongs to: those of its listener with `per_listener_settings`.
    pub(super) fn security(&mut self) -> &mut Security {
        self.security_given = true;
        if self.general.per_listener_settings {
            &mut self.listener().security
        } else {
            &mut self.general.security
        }
    }

    /// `connection NAME`.
    pub(super) fn open_bridge(&mut self, name: &str) -> Result<(), Kind> {
        if self.bridges.iter().any(|b| b.bridge.name == name) {
            return Err(Kind::DuplicateConnection);
        }
        self.open.bridge = Some(self.bridges.len());
        self.bridges.push(BridgeDraft {
            place: self.place.clone(),
            bridge: Bridge::named(name, self.env),
            remote_clientid: None,
            local_clientid: None,
            local_clean_session: None,
            mistaken: Vec::new(),
        });
        Ok(())
    }

    /// `listener PORT [ADDRESS]`.
    pub(super) fn open_listener(&mut self, listener: Listener) {
        self.open.listener = Some(self.listeners.len());
        self.listeners.push(listener);
        self.listener_places.push(self.place.clone());
    }

    /// A line for the log: what happens instead of what `directive` asks.
    pub(super) fn note(&mut self, directive: &str, instead: &str) {
        let place = &self.place;
        self.notes.push(format!("{place}: {directive}: {instead}"));
    }

    /// Writes down what is wrong with the line being read.
    pub(super) fn fail(&mut self, directive: &str, kind: Kind) {
        let place = self.place.clone();
        let open = self.open.bridge.and_then(|open| self.bridges.get_mut(open));
        if let Some(bridge) = open {
            let meant = match kind {
                Kind::Unknown(Some(near)) => near,
                _ => directive,
            };
            bridge.mistaken.push(meant.to_owned());
        }
        if directive.starts_with("plugin_opt_") {
            let open = self.open.plugin.and_then(|open| self.plugins.get_mut(open));
            if let Some(plugin) = open {
                plugin.is_mistaken = true;
            }
        }
        self.fail_at(place, directive, kind);
    }

    fn fail_at(&mut self, place: Position, directive: &str, kind: Kind) {
        self.errors.push(Error {
            file: place.file,
            line: (place.line > 0).then_some(place.line),
            directive: shortened(directive),
            kind,
        });
    }

    /// The finished configuration; what is wrong with it as a whole joins `errors`, except where a
    /// line that is wrong may be all there is to it.
    pub(super) fn finish(&mut self) -> Config {
        self.finish_listeners();
        if self.store_dir.is_some() || self.store_file.is_some() {
            let file = self.store_file.take().unwrap_or_else(|| STORE_FILE.into());
            self.general.store = self.store_dir.take().unwrap_or_default().join(file);
        }
        let mut bridges: Vec<Bridge> = Vec::with_capacity(self.bridges.len());
        for draft in std::mem::take(&mut self.bridges) {
            let (place, mistaken) = (draft.place.clone(), draft.mistaken.clone());
            let bridge = draft.finish();
            for kind in whole::wrong_bridge(&bridge, &bridges, &mistaken) {
                self.fail_at(place.clone(), &format!("connection {}", bridge.name), kind);
            }
            self.notes
                .extend(whole::odd_bridge(&bridge, &self.env.hostname));
            bridges.push(bridge);
        }
        Config {
            general: self.general.clone(),
            listeners: std::mem::take(&mut self.listeners),
            local: self.default_listener.clone(),
            bridges,
        }
    }

    /// `port`, `bind_address` and a certificate start the default listener; the rest alone doesn't.
    fn finish_listeners(&mut self) {
        let silent = self.default_listener == Listener::on(PORT);
        if let Some(place) = self.default_given.take() {
            self.listeners.insert(0, self.default_listener.clone());
            self.listener_places.insert(0, place);
            self.places.begin_with_default();
        } else if !silent && !self.listeners.is_empty() {
            self.notes.push(
                "what stands above the first `listener` and belongs to one is for the default \
                 listener, which only `port`, `bind_address` or `certfile` starts: it has no effect"
                    .to_owned(),
            );
        }
        let placed = self.listeners.iter().zip(&self.listener_places);
        let placed: Vec<(&Listener, &Position)> = placed.collect();
        let mut twice = Vec::new();
        for (n, (listener, place)) in placed.iter().enumerate() {
            let mut earlier = placed.iter().take(n);
            if let Some((_, first)) = earlier.find(|(other, _)| whole::collide(listener, other)) {
                let kind = Kind::DuplicateListener(first.to_string());
                twice.push(((*place).clone(), listener.name(), kind));
            }
            self.notes.extend(whole::odd_listener(listener));
        }
        if self.listeners.is_empty() {
            let odd = whole::odd_listener(&self.default_listener);
            self.notes.extend(odd);
        }
        for (place, name, kind) in twice {
            self.fail_at(place, &format!("listener {name}"), kind);
        }
    }
}

impl Draft<'_> {
    /// The line that is read has this directive, of a `connection` section or not, and was understood.
    pub(super) fn note_place(&mut self, directive: &str, is_of_bridge: bool) {
        let owner = if is_of_bridge {
            self.open.bridge.map(Owner::Bridge)
        } else {
            self.open.listener.map(Owner::Listener)
        };
        let owner = owner.unwrap_or(Owner::Broker);
        self.places.add(directive, owner, self.place.clone());
    }
}

impl BridgeDraft {
    fn finish(self) -> Bridge {
        let mut bridge = self.bridge;
        if let Some(id) = self.remote_clientid {
            bridge.local_clientid = format!("local.{id}");
            bridge.remote_clientid = id;
            bridge.has_default_clientid = false;
        }
        if let Some(id) = self.local_clientid {
            bridge.local_clientid = id;
        }
        bridge.local_clean_session = self.local_clean_session.unwrap_or(bridge.clean_session);
        bridge
    }
}
