//! What may be kept, against the memory and the flash that there are.

use super::mounts::folder_in_ram;
use super::report::{Severity, Survey};
use crate::config::{Config, General, Places};
use crate::run::memory;

/// What the box has, in bytes; `None` where it is not known.
#[derive(Clone, Copy, Debug)]
struct Room {
    memory: Option<u64>,
    /// What is free where the store lies, with what the store takes already, in bytes.
    flash: Option<u64>,
}

/// Finds bounds that the box can't hold, and a store that does not last.
pub(super) fn add(report: &mut Survey, config: &Config, places: &Places) {
    let general = &config.general;
    let flash = general.persistence.then(|| free_for(general)).flatten();
    let memory = memory::available();
    bounds(report, config, places, Room { memory, flash });
    lasting(report, config, places, folder_in_ram(&general.store));
}

/// Whether what is kept lasts.
fn lasting(report: &mut Survey, config: &Config, places: &Places, in_ram: Option<String>) {
    let general = &config.general;
    if !general.persistence {
        if !config.bridges.is_empty() {
            report.add(
                Severity::Warning,
                places.any("persistence").or_else(|| places.bridge(0, "connection")),
                "persistence is off: what waits for an upstream is lost when the broker stops or the \
                 power fails",
                "set persistence true, and persistence_location to a folder on flash or disk",
            );
        }
        return;
    }
    if let Some(ram) = in_ram {
        report.add(
            Severity::Serious,
            places
                .any("persistence_location")
                .or_else(|| places.any("persistence")),
            format!(
                "the store {} lies in RAM ({ram}): what was acknowledged is lost with the power",
                general.store.display()
            ),
            "set persistence_location to a folder on flash or disk",
        );
    }
}

/// Whether queues have bounds, and the box room for them.
fn bounds(report: &mut Survey, config: &Config, places: &Places, room: Room) {
    let general = &config.general;
    if let (Some(limit), Some(has)) = (general.memory_limit, room.memory)
        && (limit == 0 || limit > has / 4 * 3)
    {
        let said = match limit {
            0 => "memory_limit 0 is no limit".to_owned(),
            limit => format!("memory_limit is {}", megabytes(limit)),
        };
        report.add(
            Severity::Warning,
            places.any("memory_limit"),
            format!(
                "{said}, and the box has {}: the system may end the broker, or others, when memory is \
                 short",
                megabytes(has)
            ),
            "leave memory_limit out, which makes it a quarter of the memory",
        );
    }
    let place = places
        .any("max_queued_bytes")
        .or_else(|| places.any("max_queued_messages"));
    if general.max_queued_bytes == 0 && general.max_queued_messages == 0 {
        report.add(
            Severity::Warning,
            place,
            "queues have no bound: one receiver that stays away fills the flash or the memory, and then \
             nobody's messages are kept",
            "set max_queued_bytes to what one receiver may take",
        );
        return;
    }
    let bytes = general.max_queued_bytes;
    let (has, where_to) = if general.persistence {
        (room.flash, "the file system of the store has room for")
    } else {
        (
            general.memory_limit.filter(|limit| *limit > 0),
            "memory_limit is",
        )
    };
    let queues = u64::try_from(config.bridges.len())
        .unwrap_or(u64::MAX)
        .max(1);
    if let Some(has) = has
        && bytes.saturating_mul(queues) > has
        && (general.persistence || !config.bridges.is_empty())
    {
        let whose = match config.bridges.len() {
            0 => "a client".to_owned(),
            1 => "the bridge".to_owned(),
            n => format!("each of {n} bridges"),
        };
        report.add(
            Severity::Warning,
            place,
            format!(
                "the queue of {whose} may hold {} (max_queued_bytes), and {where_to} {}: before its bound \
                 is reached there is no room for anybody's messages",
                megabytes(bytes),
                megabytes(has)
            ),
            format!(
                "set max_queued_bytes to {} or less",
                megabytes((has / 2 / queues).max(1 << 20))
            ),
        );
    }
}

/// What the store may take, in bytes: what is free and what it has.
fn free_for(general: &General) -> Option<u64> {
    let folder = super::folders::folder_of(&general.store);
    let found = rustix::fs::statvfs(folder).ok()?;
    let taken = std::fs::metadata(&general.store).map_or(0, |file| file.len());
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    Some(free.saturating_add(taken))
}

/// A size as the configuration takes it.
fn megabytes(bytes: u64) -> String {
    format!("{}M", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Env, Reading};

    fn found(text: &str, room: Room, in_ram: Option<&str>) -> Vec<(Severity, usize, String)> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x");
        std::fs::write(&file, text).unwrap();
        let examined = Config::examine(&file, &Env::default(), Reading::Once);
        assert_eq!(examined.errors, []);
        let (config, places) = (&examined.config, &examined.places);
        let mut report = Survey::default();
        bounds(&mut report, config, places, room);
        lasting(&mut report, config, places, in_ram.map(str::to_owned));
        let findings = report.findings.into_iter();
        findings
            .map(|f| (f.severity, f.place.map_or(0, |place| place.line), f.what))
            .collect()
    }

    #[test]
    fn bounds_that_the_box_cannot_hold_are_found() {
        let big = Room {
            memory: Some(1 << 30),
            flash: Some(1 << 40),
        };
        let small = Room {
            memory: Some(64 << 20),
            flash: Some(100 << 20),
        };
        let bridge = "connection b\naddress u\ntopic # out 1\n";
        let store = "persistence true\npersistence_location /nowhere\n";
        assert_eq!(found(&format!("{store}{bridge}"), big, None), []);
        let tight = found(&format!("{store}{bridge}"), small, None);
        assert!(
            tight.len() == 1 && tight[0].2.contains("may hold 256M") && tight[0].2.contains("100M"),
            "{tight:?}"
        );
        let fits = format!("{store}max_queued_bytes 50M\n{bridge}");
        assert_eq!(found(&fits, small, None), []);
        let endless = found(&format!("{store}max_queued_bytes 0\n{bridge}"), big, None);
        assert!(
            endless[0].1 == 3 && endless[0].2.contains("no bound"),
            "{endless:?}"
        );
        let counted = format!("{store}max_queued_bytes 0\nmax_queued_messages 5\n{bridge}");
        assert_eq!(found(&counted, big, None), []);
        let memory = found(
            &format!("{store}memory_limit 60M"),
            Room {
                flash: None,
                ..small
            },
            None,
        );
        assert!(
            memory[0].1 == 3 && memory[0].2.contains("60M"),
            "{memory:?}"
        );
    }

    #[test]
    fn what_does_not_last_is_found() {
        let room = Room {
            memory: None,
            flash: None,
        };
        let store = "persistence true\npersistence_location /tmp/x\n";
        let lost = found(store, room, Some("tmpfs at /tmp"));
        assert!(
            lost[0].0 == Severity::Serious && lost[0].1 == 2 && lost[0].2.contains("tmpfs at /tmp"),
            "{lost:?}"
        );
        let bridge = "connection b\naddress u\ntopic # out 1\n";
        let off = found(bridge, room, Some("tmpfs at /tmp"));
        assert!(off[0].0 == Severity::Warning && off[0].1 == 1, "{off:?}");
        assert_eq!(found("", room, Some("tmpfs at /tmp")), []);
    }
}
