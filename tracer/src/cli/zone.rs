//! The reader's time zone: what `TZ` says, or else the host's own.
//!
//! A name is looked up in the host's time zone database (`TZDIR`, `/usr/share/zoneinfo`), and where
//! that lacks it, as in a container without `tzdata`, in the copy that is part of this program.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::Path;
use std::sync::OnceLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::sanitize::sanitize;
use crate::stdio;

const LOCALTIME: &str = "/etc/localtime";
/// Where a POSIX `TZ` names summer time and no rule for it: the rule that the C library takes.
const DEFAULT_RULE: &str = ",M3.2.0,M11.1.0";
/// The largest file of the database has some kilobytes.
const MOST_BYTES: u64 = 1 << 20;

/// The zone of every time that a command shows or reads. What is wrong with `TZ` is said once.
pub(super) fn reader() -> TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    let zone = ZONE.get_or_init(|| {
        let (zone, note) = choose(std::env::var_os("TZ").as_deref());
        if let Some(note) = note {
            stdio::note(note);
        }
        zone
    });
    zone.clone()
}

/// The zone, and what is wrong with the setting.
fn choose(variable: Option<&OsStr>) -> (TimeZone, Option<String>) {
    let Some(variable) = variable else {
        return match of_host() {
            Ok(zone) => (zone, None),
            Err(why) => (TimeZone::UTC, Some(format!("{why}; times are in UTC"))),
        };
    };
    of_variable(variable).map_or_else(
        |why| {
            let shown = sanitize(&variable.to_string_lossy()).into_owned();
            (TimeZone::UTC, Some(format!("TZ={shown} {why}; times are in UTC")))
        },
        |zone| (zone, None),
    )
}

/// What `TZ` means: nothing is UTC; a rule (`CET-1CEST,M3.5.0,M10.5.0/3`), the name of a zone
/// (`Asia/Shanghai`), or the path of a file; after a colon no rule.
fn of_variable(variable: &OsStr) -> Result<TimeZone, String> {
    let text = variable.to_str().ok_or("is not UTF-8")?;
    let (name, may_be_rule) = match text.strip_prefix(':') {
        Some(name) => (name, false),
        None => (text, true),
    };
    if name.is_empty() {
        return Ok(TimeZone::UTC);
    }
    if may_be_rule && let Ok(zone) = TimeZone::posix(name) {
        return Ok(zone);
    }
    let in_database = name.rsplit_once("zoneinfo/").map_or(name, |(_, name)| name);
    if let Some(zone) = named(in_database) {
        return Ok(zone);
    }
    if name.starts_with('/') {
        return of_file(Path::new(name)).map_err(|why| format!("is no time zone file: {why}"));
    }
    if may_be_rule && let Ok(zone) = TimeZone::posix(&format!("{name}{DEFAULT_RULE}")) {
        return Ok(zone);
    }
    Err("is no time zone that is known here".to_owned())
}

fn named(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).or_else(|_| TimeZoneDatabase::bundled().get(name)).ok()
}

/// A host without the setting has UTC.
fn of_host() -> Result<TimeZone, String> {
    let path = Path::new(LOCALTIME);
    let link = std::fs::read_link(path).ok();
    let name = link.as_deref().and_then(Path::to_str).and_then(|it| it.rsplit_once("zoneinfo/"));
    if let Some(zone) = name.and_then(|(_, name)| named(name)) {
        return Ok(zone);
    }
    if !path.exists() {
        return Ok(TimeZone::UTC);
    }
    of_file(path).map_err(|why| format!("{LOCALTIME} is no time zone file: {why}"))
}

/// Only an ordinary file, and only a small one: `TZ` can name any path, and a pipe or a device would
/// be read for ever.
fn of_file(path: &Path) -> Result<TimeZone, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a file".to_owned());
    }
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut data = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut data).map_err(|error| error.to_string())?;
    TimeZone::tzif("Local", &data).map_err(|_| "not in the TZif format".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    /// 2026-07-01 and 2026-12-01, noon UTC.
    const SUMMER: Wall = Wall(1_782_907_200_000_000_000);
    const WINTER: Wall = Wall(1_796_126_400_000_000_000);

    #[test]
    fn every_form_of_the_variable_is_understood() {
        for (variable, summer, winter) in [
            ("", "+00:00", "+00:00"),
            (":", "+00:00", "+00:00"),
            ("UTC", "+00:00", "+00:00"),
            ("Asia/Shanghai", "+08:00", "+08:00"),
            (":Asia/Shanghai", "+08:00", "+08:00"),
            ("/usr/share/zoneinfo/Asia/Shanghai", "+08:00", "+08:00"),
            (":/usr/share/zoneinfo/Europe/Berlin", "+02:00", "+01:00"),
            ("../zoneinfo/Europe/Berlin", "+02:00", "+01:00"),
            ("America/New_York", "-04:00", "-05:00"),
            ("Australia/Lord_Howe", "+10:30", "+11:00"),
            ("Asia/Kathmandu", "+05:45", "+05:45"),
            // Links that some distributions ship apart.
            ("US/Eastern", "-04:00", "-05:00"),
            ("EST5EDT", "-04:00", "-05:00"),
            ("CST-8", "+08:00", "+08:00"),
            ("<+0330>-3:30", "+03:30", "+03:30"),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "+02:00", "+01:00"),
            ("CET-1CEST", "+02:00", "+01:00"),
            ("EST5EDT,M3.2.0,M11.1.0", "-04:00", "-05:00"),
        ] {
            let (zone, note) = choose(Some(OsStr::new(variable)));
            assert_eq!(note, None, "TZ={variable}");
            assert_eq!(SUMMER.offset(&zone), summer, "TZ={variable}");
            assert_eq!(WINTER.offset(&zone), winter, "TZ={variable}");
        }
    }

    #[test]
    fn what_is_no_zone_is_said_and_is_utc() {
        use std::os::unix::ffi::OsStrExt as _;
        for (variable, why) in [
            ("Mars/Base", "is no time zone that is known here"),
            ("Foo", "is no time zone that is known here"),
            ("Asia", "is no time zone that is known here"),
            ("../../etc/passwd", "is no time zone that is known here"),
            ("/nowhere", "is no time zone file: No such file or directory (os error 2)"),
            ("/etc", "is no time zone file: not a file"),
            ("/dev/zero", "is no time zone file: not a file"),
            ("/etc/passwd", "is no time zone file: not in the TZif format"),
        ] {
            let (zone, note) = choose(Some(OsStr::new(variable)));
            assert_eq!(zone, TimeZone::UTC, "TZ={variable}");
            assert_eq!(note, Some(format!("TZ={variable} {why}; times are in UTC")));
        }
        let (_, note) = choose(Some(OsStr::new("\x1b[31mred")));
        assert!(note.is_some_and(|note| !note.contains('\x1b')));
        let (zone, note) = choose(Some(OsStr::from_bytes(b"\xff\xfe")));
        assert!(zone == TimeZone::UTC && note.is_some());
    }

    #[test]
    fn the_copy_in_this_program_knows_every_zone_of_this_host() {
        let bundled = TimeZoneDatabase::bundled();
        for name in ["Asia/Shanghai", "Europe/Berlin", "US/Eastern", "America/Sao_Paulo"] {
            assert!(bundled.get(name).is_ok(), "{name}");
        }
    }
}
