//! Plugins: those for password and ACL files are the directives that they stand for.

use super::S;
use crate::config::Kind;
use crate::config::draft::Draft;
use crate::config::draft::plugin::{Purpose, Whom};
use crate::config::keys::key::Unset::Means;
use crate::config::keys::key::{Key, accepted, implemented, refused};
use crate::config::value::Value;

const NO_PLUGINS: &str = "footbridge loads no plugins";
const USE_FILES: &str = "use password_file and acl_file, or auth_socket";

pub(in crate::config::keys) const KEYS: &[Key] = &[
    implemented(
        S,
        "plugin",
        "FILE",
        Means("none"),
        "Mosquitto's plugin for password or ACL files, which is password_file or acl_file.",
        "FILE is, by its name, mosquitto_password_file.so or mosquitto_acl_file.so, and need not exist: \
         footbridge loads nothing. Below it stands plugin_opt_password_file or plugin_opt_acl_file. It is as \
         if password_file or acl_file stood in its place, so that with per_listener_settings it is for \
         the listener above it. For the same clients there may be one file of each kind only. Read again on \
         SIGHUP. Any other plugin is an error, which names what takes its place.",
        |draft, v| {
            let purpose = purpose_of(v.word("the file of a plugin")?);
            let whom = draft.whom();
            draft.add_plugin("plugin", None, purpose, Some(whom))
        },
    ),
    implemented(
        S,
        "global_plugin",
        "FILE",
        Means("none"),
        "A plugin as plugin has it, for all listeners also with per_listener_settings.",
        "",
        |draft, v| {
            let purpose = purpose_of(v.word("the file of a plugin")?);
            draft.security_given = true;
            draft.add_plugin("global_plugin", None, purpose, Some(Whom::All))
        },
    ),
    implemented(
        S,
        "plugin_load",
        "NAME FILE",
        Means("none"),
        "A plugin as plugin has it, for the listeners that name it by plugin_use.",
        "",
        plugin_load,
    ),
    implemented(
        S,
        "plugin_use",
        "NAME",
        Means("none"),
        "Makes the listener above it use the plugin that plugin_load has given this name.",
        "Needs no per_listener_settings. With an ACL file for some listeners only, an absent client has the \
         rules of the listener it used last, as per_listener_settings says.",
        |draft, v| draft.use_plugin(v.word("the NAME of a plugin_load line above")?),
    ),
    implemented(
        S,
        "plugin_opt_password_file",
        "FILE",
        Means("none"),
        "The password_file of the mosquitto_password_file.so above it.",
        "It may also stand below a plugin_use of it.",
        |draft, v| draft.set_plugin_file(Purpose::Passwords, v.path()?),
    ),
    implemented(
        S,
        "plugin_opt_acl_file",
        "FILE",
        Means("none"),
        "The acl_file of the mosquitto_acl_file.so above it.",
        "It may also stand below a plugin_use of it.",
        |draft, v| draft.set_plugin_file(Purpose::Rules, v.path()?),
    ),
    refused(
        S,
        "plugin_opt_*",
        "VALUE",
        &[],
        "no plugin that footbridge knows has this option",
        "mosquitto_password_file.so has plugin_opt_password_file, mosquitto_acl_file.so plugin_opt_acl_file",
    ),
    refused(S, "auth_opt_*", "VALUE", &[], NO_PLUGINS, USE_FILES),
    refused(S, "auth_plugin", "FILE", &[], NO_PLUGINS, USE_FILES),
    accepted(
        S,
        "auth_plugin_deny_special_chars",
        "true|false",
        "there are no plugins to protect; acl_file patterns give nothing to names with /, + or #",
    ),
];

/// `plugin_load NAME FILE`.
fn plugin_load(draft: &mut Draft<'_>, value: Value<'_>) -> Result<(), Kind> {
    let parts = value.0.split_once([' ', '\t']);
    let (name, file) = parts.ok_or_else(|| Kind::NoValue("NAME FILE".to_owned()))?;
    let is_taken = draft.has_plugin(name);
    let free = (!is_taken).then(|| name.to_owned());
    draft.add_plugin("plugin_load", free, purpose_of(file.trim_start()), None)?;
    if is_taken {
        return Err(Kind::DuplicatePlugin);
    }
    Ok(())
}

/// What the plugin of this file is for.
///
/// # Errors
/// If it is none of those that footbridge does the work of.
fn purpose_of(file: &str) -> Result<Purpose, Kind> {
    let name = file.rsplit_once('/').map_or(file, |(_, name)| name);
    match name {
        "mosquitto_password_file.so" => Ok(Purpose::Passwords),
        "mosquitto_acl_file.so" => Ok(Purpose::Rules),
        "mosquitto_dynamic_security.so" => Err(Kind::Refused(
            "footbridge has no clients and roles that are changed over MQTT",
            USE_FILES,
        )),
        "mosquitto_persist_sqlite.so" => Err(Kind::Refused(
            "footbridge has a store of its own",
            "use `persistence true`",
        )),
        "mosquitto_sparkplug_aware.so" => Err(Kind::Refused(
            "footbridge passes Sparkplug on like any topic and keeps no certificates of births",
            "remove the line",
        )),
        _ => Err(Kind::Refused(
            NO_PLUGINS,
            "use password_file and acl_file, or auth_socket for a program of your own",
        )),
    }
}
