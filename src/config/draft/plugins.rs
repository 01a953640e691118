//! Mosquitto's plugins for password and ACL files, which stand for `password_file` and `acl_file`.
//!
//! Options may stand below any line that names the plugin, so what a plugin comes to is known at the
//! end only. As in Mosquitto, a plugin without a name is for the clients that a `password_file` in its
//! place would be for, `global_plugin` for all, and one with a name for the listeners that use it.

use std::path::{Path, PathBuf};

use super::Draft;
use super::plugin::{Plugin, Purpose, Use, Whom};
use crate::config::{Kind, Listener, Security};

impl Draft<'_> {
    /// Takes in a plugin that the line names, for `whom` if it says so. Lines of options belong to it
    /// from here on; where it is not supported, nothing more is said of them.
    ///
    /// # Errors
    /// If it is not supported.
    pub(in crate::config) fn add_plugin(
        &mut self,
        directive: &'static str,
        name: Option<String>,
        purpose: Result<Purpose, Kind>,
        whom: Option<Whom>,
    ) -> Result<(), Kind> {
        let place = self.place.clone();
        let uses = whom.map(|whom| Use {
            place: place.clone(),
            directive,
            whom,
        });
        self.open.plugin = Some(self.plugins.len());
        self.plugins.push(Plugin {
            place,
            directive,
            name,
            purpose: purpose.as_ref().ok().copied(),
            file: None,
            is_mistaken: false,
            uses: uses.into_iter().collect(),
        });
        purpose.map(drop)
    }

    /// Whom a `plugin` line at this place is for: as [`Draft::security`].
    pub(in crate::config) fn whom(&mut self) -> Whom {
        self.security_given = true;
        if !self.general.per_listener_settings {
            return Whom::All;
        }
        self.open.listener.map_or(Whom::Default, Whom::Listener)
    }

    /// `plugin_use NAME`.
    ///
    /// # Errors
    /// If it stands below no listener, or no plugin has the name.
    pub(in crate::config) fn use_plugin(&mut self, name: &str) -> Result<(), Kind> {
        let listener = self.open.listener.ok_or(Kind::NoListener)?;
        let mut plugins = self.plugins.iter_mut().enumerate();
        let named = plugins.find(|(_, plugin)| plugin.name.as_deref() == Some(name));
        let Some((at, plugin)) = named else {
            return Err(Kind::bad(name, "the NAME of a plugin_load line above"));
        };
        plugin.uses.push(Use {
            place: self.place.clone(),
            directive: "plugin_use",
            whom: Whom::Listener(listener),
        });
        self.open.plugin = Some(at);
        Ok(())
    }

    /// Whether a plugin has this name.
    pub(in crate::config) fn has_plugin(&self, name: &str) -> bool {
        let mut plugins = self.plugins.iter();
        plugins.any(|plugin| plugin.name.as_deref() == Some(name))
    }

    /// `plugin_opt_password_file FILE` and `plugin_opt_acl_file FILE`, by the `purpose` of plugins that
    /// have the option.
    ///
    /// # Errors
    /// If it stands below no plugin, or below one that has another option.
    pub(in crate::config) fn set_plugin_file(
        &mut self,
        purpose: Purpose,
        file: PathBuf,
    ) -> Result<(), Kind> {
        let plugin = self.plugin().ok_or(Kind::NoPlugin)?;
        match plugin.purpose {
            Some(its) if its != purpose => Err(Kind::PluginOption(its.option())),
            _ => {
                plugin.file = Some(file);
                Ok(())
            }
        }
    }

    fn plugin(&mut self) -> Option<&mut Plugin> {
        let open = self.open.plugin?;
        self.plugins.get_mut(open)
    }

    /// Gives the listeners the files of their plugins, those of all first: Mosquitto asks a plugin
    /// for all before the listener's own, and never a second one of the same purpose.
    pub(in crate::config) fn finish_plugins(&mut self) {
        let plugins = std::mem::take(&mut self.plugins);
        let mut lines = Vec::new();
        for plugin in &plugins {
            let Some(purpose) = plugin.purpose else {
                continue;
            };
            match &plugin.file {
                Some(file) => lines.extend(plugin.uses.iter().map(|line| (line, purpose, &**file))),
                None if plugin.is_mistaken => {}
                None => {
                    let kind = Kind::NoPluginFile(purpose.option());
                    self.fail_at(plugin.place.clone(), plugin.directive, kind);
                }
            }
            if let (Some(name), []) = (&plugin.name, &*plugin.uses) {
                self.notes.push(format!(
                    "{}: plugin_load: no listener has `plugin_use {name}`: its file holds for nobody",
                    plugin.place
                ));
            }
        }
        lines.sort_by_key(|(line, ..)| line.whom != Whom::All);
        for (line, purpose, file) in lines {
            if let Err(kind) = self.give(line.whom, purpose, file) {
                self.fail_at(line.place.clone(), line.directive, kind);
            }
        }
    }

    /// Lets a file hold for these clients.
    ///
    /// # Errors
    /// If another one does.
    fn give(&mut self, whom: Whom, purpose: Purpose, file: &Path) -> Result<(), Kind> {
        let own = self.general.per_listener_settings;
        if !own {
            set(&mut self.general.security, purpose, file, whom == Whom::All)?;
        }
        let listens = self.default_given.is_some() || self.listeners.is_empty();
        let default = &mut self.default_listener;
        let listeners: Vec<&mut Listener> = match whom {
            Whom::All if !own => Vec::new(),
            Whom::All => {
                let default = listens.then_some(default);
                self.listeners.iter_mut().chain(default).collect()
            }
            Whom::Default => vec![default],
            Whom::Listener(at) => self.listeners.get_mut(at).into_iter().collect(),
        };
        for listener in listeners {
            set(&mut listener.security, purpose, file, true)?;
        }
        Ok(())
    }
}

/// Makes `file` that of `purpose` here, or only looks whether it could be, where it is not to be set.
///
/// # Errors
/// If there is another one.
fn set(security: &mut Security, purpose: Purpose, file: &Path, is_set: bool) -> Result<(), Kind> {
    let there = purpose.file(security);
    match there {
        Some(other) if other != file => Err(Kind::TwoFiles(
            purpose.directive(),
            other.display().to_string(),
        )),
        _ => {
            if is_set {
                *there = Some(file.to_owned());
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Env};

    const PASSWORDS: &str = "/usr/lib/mosquitto_password_file.so\nplugin_opt_password_file";
    const RULES: &str = "/usr/lib/mosquitto_acl_file.so\nplugin_opt_acl_file";

    fn config(text: &str) -> Config {
        let loaded = Config::parse(text, "x", &Env::default());
        let loaded = loaded.unwrap_or_else(|e| panic!("{text}\n{e}"));
        assert!(loaded.notes.is_empty(), "{text}\n{:?}", loaded.notes);
        loaded.config
    }

    fn errors(text: &str) -> Vec<String> {
        let errors = Config::parse(text, "x", &Env::default()).unwrap_err();
        errors.0.iter().map(ToString::to_string).collect()
    }

    /// A plugin makes the very configuration that its directive does.
    #[test]
    fn a_plugin_is_the_directive_that_it_stands_for() {
        for word in ["plugin", "global_plugin"] {
            for above in ["", "listener 1\n", "listener 1\nlistener 2\n"] {
                let plugins = format!("{above}{word} {PASSWORDS} /p q\n{word} {RULES} a # b");
                let directives = format!("{above}password_file /p q\nacl_file a # b");
                assert_eq!(config(&plugins), config(&directives), "{plugins}");
            }
        }
        let own = "per_listener_settings true\nport 3\nlistener 1\nlistener 2\n";
        let plugins = format!("{own}plugin {PASSWORDS} p\nplugin {RULES} a");
        let directives = format!("{own}password_file p\nacl_file a");
        assert_eq!(config(&plugins), config(&directives));
        let above = format!("per_listener_settings true\nplugin {PASSWORDS} p\nport 3\nlistener 1");
        let directive = "per_listener_settings true\npassword_file p\nport 3\nlistener 1";
        assert_eq!(config(&above), config(directive));
    }

    #[test]
    fn a_global_plugin_is_for_each_listener_also_with_settings_of_its_own() {
        let text = format!(
            "per_listener_settings true\nport 3\nlistener 1\nglobal_plugin {RULES} a\nlistener 2"
        );
        let config = config(&text);
        assert_eq!(config.listeners.len(), 3);
        for listener in &config.listeners {
            assert_eq!(listener.security.acl_file, Some("a".into()));
        }
    }

    /// Whatever `per_listener_settings`; options may stand below `plugin_use`, too, and the last counts.
    #[test]
    fn a_plugin_with_a_name_is_for_the_listeners_that_use_it() {
        for own in ["", "per_listener_settings true\n"] {
            let text = format!(
                "plugin_load p {PASSWORDS} x\nplugin_load a /b c/mosquitto_acl_file.so\n{own}\
                 listener 1\nplugin_use a\nplugin_opt_acl_file a\nplugin_use p\n\
                 plugin_opt_password_file y\nlistener 2\nlistener 3\nplugin_use a # rules"
            );
            let config = config(&text);
            assert_eq!(config.general.security, Security::default());
            let [one, two, three] = &config.listeners[..] else {
                panic!("{:?}", config.listeners);
            };
            let files = |l: &Listener| {
                (
                    l.security.password_file.clone(),
                    l.security.acl_file.clone(),
                )
            };
            assert_eq!(files(one), (Some("y".into()), Some("a".into())));
            assert_eq!(files(two), (None, None));
            assert_eq!(files(three), (None, Some("a".into())));
        }
    }

    #[test]
    fn what_is_wrong_with_a_plugin_is_told_with_its_line() {
        let taken = format!("acl_file b\nplugin {RULES} a");
        let used = format!("plugin_load a {RULES} a\nacl_file b\nlistener 1\nplugin_use a");
        let twice = format!("plugin {PASSWORDS} p\nglobal_plugin {PASSWORDS} q");
        let other = format!("plugin {PASSWORDS} p\nplugin_opt_acl_file a");
        let named = format!("plugin_load a {RULES} a\nplugin_load a {RULES} b");
        let late = format!("plugin {RULES} a\nper_listener_settings true");
        for (text, told) in [
            (
                "plugin mosquitto_acl_file.so",
                "x:1: plugin: the plugin has no file; add a line `plugin_opt_acl_file FILE`",
            ),
            (
                "plugin_load p mosquitto_password_file.so\nlistener 1\nplugin_use p",
                "x:1: plugin_load: the plugin has no file; add",
            ),
            (
                "plugin_opt_acl_file a",
                "x:1: plugin_opt_acl_file: belongs to a plugin; ",
            ),
            (
                &other,
                "x:3: plugin_opt_acl_file: the plugin above has the option plugin_opt_password_file only",
            ),
            (
                "plugin mosquitto_acl_file.so\nplugin_opt_aclfile a",
                "x:2: plugin_opt_aclfile: not supported: ",
            ),
            ("plugin a b", "x:1: plugin: `a b` is not valid; "),
            (
                "plugin_load a",
                "x:1: plugin_load: no value; give NAME FILE",
            ),
            ("plugin_use a", "x:1: plugin_use: belongs to a listener; "),
            (
                "listener 1\nplugin_use a",
                "x:2: plugin_use: `a` is not valid; give the NAME of a plugin_load line above",
            ),
            (
                &taken,
                "x:2: plugin: `b` is the acl_file of the same clients; ",
            ),
            (
                &used,
                "x:5: plugin_use: `b` is the acl_file of the same clients; ",
            ),
            (
                &twice,
                "x:3: global_plugin: `p` is the password_file of the same clients; ",
            ),
            (&named, "x:3: plugin_load: a second plugin of this name; "),
            (&late, "x:3: per_listener_settings: must stand above"),
        ] {
            let errors = errors(text);
            assert!(
                errors.len() == 1 && errors[0].starts_with(told),
                "{text}\n{errors:?}"
            );
        }
    }

    #[test]
    fn other_plugins_are_refused_with_what_takes_their_place() {
        for (file, cure) in [
            (
                "mosquitto_dynamic_security.so",
                "use password_file and acl_file, or auth_socket",
            ),
            ("/x/mosquitto_persist_sqlite.so", "use `persistence true`"),
            ("mosquitto_sparkplug_aware.so", "remove the line"),
            ("/usr/lib/go-auth.so", "auth_socket"),
            ("mosquitto_acl_file.so.old", "auth_socket"),
        ] {
            for line in ["plugin", "global_plugin", "plugin_load n"] {
                let text = format!("{line} {file}\nplugin_opt_acl_file a\nlistener 1");
                let errors = errors(&text);
                assert_eq!(errors.len(), 1, "{errors:?}");
                assert!(
                    errors[0].contains("not supported: ") && errors[0].contains(cure),
                    "{errors:?}"
                );
            }
        }
    }

    /// As in Mosquitto, a plugin's lines end with their file, and its name does not.
    #[test]
    fn a_plugin_that_nobody_uses_is_told_of() {
        let text = format!("plugin_load a {RULES} a\nlistener 1");
        let loaded = Config::parse(&text, "x", &Env::default()).unwrap();
        assert_eq!(loaded.notes.len(), 1);
        assert!(loaded.notes[0].starts_with("x:1: plugin_load: no listener has `plugin_use a`"));
    }
}
