//! The host names that devices leave the factory with: the same on every box of a kind.

/// Whole names, in lower case.
const NAMES: &[&str] = &[
    // Distributions and build systems.
    "(none)",
    "alarm",
    "alpine",
    "archlinux",
    "buildroot",
    "dd-wrt",
    "debian",
    "dietpi",
    "fedora",
    "freshtomato",
    "friendlywrt",
    "homeassistant",
    "immortalwrt",
    "istoreos",
    "lede",
    "linaro-alip",
    "linux",
    "localhost",
    "localhost-live",
    "none",
    "nvidia-desktop",
    "openmptcprouter",
    "openwrt",
    "pandorabox",
    "rooter",
    "tegra-ubuntu",
    "ubuntu",
    "unknown",
    "vyos",
    "x-wrt",
    // Boards and gateways.
    "arduino",
    "ccgx",
    "edgerouter",
    "einstein",
    "gateway",
    "mtcdt",
    "router",
    "teltonika",
    "turris",
    "ubnt",
];

/// What names begin with that go on with a model, in lower case: `GL-MT300N-V2`, `RUT955`,
/// `raspberrypi4-64`.
const MODELS: &[&str] = &[
    "bananapi",
    "beaglebone",
    "colibri-imx",
    "cubieboard",
    "gl-",
    "jetson",
    "nanopi",
    "odroid",
    "orangepi",
    "qemu",
    "radxa",
    "raspberrypi",
    "rock64",
    "rockpro64",
    "rut",
    "teltonika-",
    "trb",
    "verdin-imx",
];

/// Characters of the longest name that is still a model: one with a hardware address behind it is
/// longer, and tells boxes apart.
const LONGEST_MODEL: usize = 16;

/// True if many boxes have this host name, because nobody has given them another. The domain does not
/// count.
pub(super) fn is_factory_name(hostname: &str) -> bool {
    let name = hostname.split('.').next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    NAMES.contains(&&*name) || name.is_empty() || MODELS.iter().any(|model| is_model(&name, model))
}

/// True for a model of a make: after what all of the make have in common comes something with a
/// digit, or nothing.
fn is_model(name: &str, make: &str) -> bool {
    let Some(model) = name.strip_prefix(make) else {
        return false;
    };
    let has_digit = model.bytes().any(|byte| byte.is_ascii_digit());
    let is_bare = model.is_empty() && !make.ends_with('-');
    name.len() <= LONGEST_MODEL.max(make.len() + 8) && (is_bare || has_digit || is_word(model))
}

/// True for the names that boards have instead of a number.
fn is_word(model: &str) -> bool {
    let word = model.trim_start_matches('-');
    [
        "zero", "neo", "lite", "plus", "pro", "black", "yocto", "nano",
    ]
    .iter()
    .any(|known| word.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_factory_are_known() {
        for name in [
            "OpenWrt",
            "openwrt.lan",
            "LEDE",
            "localhost",
            "localhost.localdomain",
            "debian",
            "raspberrypi",
            "raspberrypi4-64",
            "buildroot",
            "ubuntu",
            "(none)",
            "",
            "GL-MT300N-V2",
            "GL-AR750S",
            "GL-AXT1800",
            "GL-S1300",
            "Teltonika-RUTX50",
            "Teltonika-TRB140",
            "RUT955",
            "RUTX11",
            "TRB245",
            "einstein",
            "nanopi-r4s",
            "NanoPi-NEO",
            "orangepizero",
            "beaglebone",
            "beaglebone-yocto",
            "qemux86-64",
            "DietPi",
        ] {
            assert!(is_factory_name(name), "{name}");
        }
    }

    #[test]
    fn names_that_somebody_chose_are_left_alone() {
        for name in [
            "gw7",
            "box",
            "edge",
            "openwrt-7",
            "router-north",
            "raspberrypi-kitchen",
            "site12",
            "rutland",
            "gl-office",
            "gateway1",
            "debian12",
            "GL-MT300N-V2-e4956e4a1b2c",
            "turris-attic",
        ] {
            assert!(!is_factory_name(name), "{name}");
        }
    }
}
