//! This process as process metrics are: what it holds and has used, from `/proc/self`.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::event::OwnProcess;

/// Reads [`OwnProcess`] again and again.
#[derive(Debug)]
pub struct OwnProcessReader {
    began_s: Option<f64>,
}

impl OwnProcessReader {
    /// Finds out when this process began.
    #[must_use]
    pub fn new() -> Self {
        Self { began_s: began_s() }
    }

    /// What it holds now.
    #[must_use]
    pub fn read(&self) -> OwnProcess {
        let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text));
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        OwnProcess {
            cpu_s: Some(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9),
            began_s: self.began_s,
            resident_bytes: stat.map(|stat| stat.resident_pages * page_size() as u64),
            virtual_bytes: stat.map(|stat| stat.virtual_bytes),
            threads: stat.map(|stat| stat.threads),
            // One of them is what lists the others.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|all| all.count() as u64 - 1),
            max_fds: getrlimit(Resource::Nofile).current,
        }
    }
}

impl Default for OwnProcessReader {
    fn default() -> Self {
        Self::new()
    }
}

/// The kernel's boot in seconds since 1970, and how many ticks later this process began.
fn began_s() -> Option<f64> {
    let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let host = fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 =
        host.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot as f64 + stat.began_ticks as f64 / clock_ticks_per_second() as f64)
}

/// Of `/proc/self/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    threads: u64,
    began_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name, in parentheses, can hold anything. The first field after it is the third.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            threads: field(20)?,
            began_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let text = "7 (a) 1 (b) ) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 44 18 900 8192 5 21\n";
        let expected =
            Stat { threads: 44, began_ticks: 900, virtual_bytes: 8_192, resident_pages: 5 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1 2"), None);
    }

    #[test]
    fn this_process_began_lately_and_holds_what_it_opened() {
        let reader = OwnProcessReader::new();
        let before = reader.read();
        let files: Vec<_> = (0..9).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let now = reader.read();
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = clock - now.began_s.unwrap();
        assert!((-2.0..7_200.0).contains(&age), "{age}");
        assert!(now.cpu_s >= before.cpu_s && now.cpu_s > Some(0.0));
        assert!(now.resident_bytes > Some(1 << 20) && now.virtual_bytes >= now.resident_bytes);
        // Other tests of this process open and close files meanwhile.
        assert!(now.open_fds >= Some(files.len() as u64) && now.open_fds <= now.max_fds);
        assert!(now.threads >= Some(1));
    }
}
