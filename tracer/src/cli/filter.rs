//! FILTER: the options that choose sockets, alike in every command.
//!
//! A live command looks names up on this host ([`FilterArgs::resolve`]). One that reads a trace looks
//! nothing up, for the host that was traced need not be this one ([`FilterArgs::of_trace`]), and where
//! it shows totals it refuses what those cannot answer ([`FilterArgs::of_totals`]).

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use ipnet::IpNet;

use super::units::{parse_pid, parse_port};
use crate::aggregate::snapshot::Snapshot;
use crate::error::Failure;
use crate::filter::{Filter, MAX_COMM, MAX_PORTS};
use crate::format::nothing_matches;
use crate::recording::Trace;
use crate::recording::narrow::Narrowing;
use crate::source::{cgroups::Cgroups, namespaces, processes};

/// Which sockets
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filter (all given must match)")]
pub struct FilterArgs {
    /// Local port: a server's port
    #[arg(long, value_name = "P,P…", value_delimiter = ',', num_args = 1, value_parser = parse_port)]
    pub port: Vec<u16>,
    /// The peer's port: what we connect to
    #[arg(long, value_name = "P,P…", value_delimiter = ',', num_args = 1, value_parser = parse_port)]
    pub peer_port: Vec<u16>,
    /// Process id of the owner
    #[arg(long, value_name = "PID", value_parser = parse_pid)]
    pub pid: Option<u32>,
    /// Name of the owner, as in /proc/PID/comm
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// The peer's address or network
    #[arg(long, value_name = "CIDR", value_parser = parse_network)]
    pub addr: Option<IpNet>,
    /// IPv4 sockets only
    #[arg(short = '4', long = "ipv4", conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 sockets only
    #[arg(short = '6', long = "ipv6")]
    pub ipv6: bool,
    /// Network namespace: name in /run/netns, path, process id, or inode number
    ///
    /// A trace records inode numbers alone, as `lsns -t net` shows them.
    #[arg(long, value_name = "NETNS")]
    pub netns: Option<String>,
    /// cgroup2 of the owner: path from the root of the hierarchy
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Container, pod or systemd unit of the owner
    ///
    /// As the column WORKLOAD and `workload` in JSON have it: nginx.service, docker:3f4c1a9b0d2e,
    /// pod:shop/web-0; or without what stands before the colon (3f4c1a9b0d2e, shop/web-0, web-0) or
    /// behind the dot of a service (nginx).
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
}

/// Leaves to `--help` what is rarely asked of a trace or of the doctor, so that `-h` fits on a screen.
pub(super) fn briefly(argument: clap::Arg) -> clap::Arg {
    let is_rare = ["peer_port", "addr", "ipv4", "ipv6", "netns", "cgroup", "workload"]
        .contains(&argument.get_id().as_str());
    if is_rare { argument.hide_short_help(true) } else { argument }
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map(|net| net.trunc())
        .map_err(|_| "expected an address or a network such as 10.4.0.0/16 or 2001:db8::/32".into())
}

/// The largest process id that a kernel can be told to give (`PID_MAX_LIMIT`). Numbers of namespaces
/// lie far above it.
const MAX_PID: u32 = 1 << 22;

impl FilterArgs {
    /// The filter on this host: looks everything up that has a name.
    ///
    /// # Errors
    ///
    /// What is named does not exist, or can never match.
    pub fn resolve(&self) -> Result<Filter> {
        // The kernel side has room for so many; a trace can be asked for any number.
        for (what, ports) in [("--port", &self.port), ("--peer-port", &self.peer_port)] {
            if ports.len() > MAX_PORTS {
                return Err(Failure::usage(format!(
                    "{what} takes at most {MAX_PORTS} ports, not {}",
                    ports.len()
                ))
                .hint("leave it out to see every port, and filter the rows with `/`")
                .into());
            }
        }
        if let Some(pid) = self.pid {
            processes::process(pid).map_err(|_| {
                Failure::usage(format!("no process has the id {pid}"))
                    .hint("find it by name: `pgrep -a NAME`, or use `--comm NAME`")
            })?;
        }
        Ok(Filter {
            cgroup: self.cgroup.as_deref().map(resolve_cgroup).transpose()?,
            netns: self.netns.as_deref().map(resolve_netns).transpose()?,
            ..self.nameless()?
        })
    }

    /// The filter for events of a trace.
    ///
    /// # Errors
    ///
    /// It can never match, or asks what a trace does not record.
    pub fn of_trace(&self, trace: &Trace) -> Result<Filter> {
        let recorded = recorded_conditions(trace);
        let mut filter = self.nameless()?;
        filter.cgroup = self.cgroup.as_deref().map(|path| (recorded_cgroup(path), 0));
        if let Some(named) = &self.netns {
            let number = number_of_netns(named).or_else(|| named.parse().ok());
            match number {
                Some(number) => filter.netns = Some((number.to_string(), number)),
                // The recording let nothing else through.
                None if is_recorded_netns(&recorded, named) => {}
                None => {
                    return Err(Failure::usage(format!(
                        "--netns {named}: a trace records network namespaces by inode number, not \
                         by name"
                    ))
                    .hint("take the number that the traced host shows: `lsns -t net`, `ls -i /run/netns`")
                    .into());
                }
            }
        }
        Ok(filter)
    }

    /// The filter for a trace's totals, and for what is computed from them.
    ///
    /// # Errors
    ///
    /// As [`Self::of_trace`]; or it asks what totals do not know. `file` is for the hint.
    pub fn of_totals(&self, trace: &Trace, file: &Path) -> Result<Filter> {
        let mut filter = self.of_trace(trace)?;
        let recorded = recorded_conditions(trace);
        for (option, condition) in filter.beyond_totals() {
            if !recorded.contains(&condition) {
                return Err(Failure::usage(format!(
                    "{option} cannot be applied here: a trace's totals are kept by port, direction \
                     and process"
                ))
                .hint(format!(
                    "its events can be filtered so: `sockflow export {} --format csv {}`",
                    file.display(),
                    self.typed()
                ))
                .into());
            }
        }
        // What is left of these the recording has applied already.
        (filter.addr, filter.netns, filter.family) = (None, None, None);
        if !filter.ports.is_empty() {
            filter.peer_ports.clear();
        }
        Ok(filter)
    }

    /// What needs no looking up.
    fn nameless(&self) -> Result<Filter> {
        self.comm.as_deref().map_or(Ok(()), check_comm)?;
        self.workload.as_deref().map_or(Ok(()), check_workload)?;
        Ok(Filter {
            ports: self.port.clone(),
            peer_ports: self.peer_port.clone(),
            addr: self.addr,
            pid: self.pid,
            comm: self.comm.clone(),
            workload: self.workload.clone(),
            family: family(self.ipv4, self.ipv6),
            ..Filter::default()
        })
    }

    /// As it was typed, for a command in a hint.
    fn typed(&self) -> String {
        let list = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let mut words = Vec::new();
        let mut option = |name: &str, value: String| words.push(format!("{name} {value}"));
        if !self.port.is_empty() {
            option("--port", list(&self.port));
        }
        if !self.peer_port.is_empty() {
            option("--peer-port", list(&self.peer_port));
        }
        self.pid.iter().for_each(|pid| option("--pid", pid.to_string()));
        self.comm.iter().for_each(|comm| option("--comm", format!("{comm:?}")));
        self.addr.iter().for_each(|net| option("--addr", net.to_string()));
        self.netns.iter().for_each(|netns| option("--netns", netns.clone()));
        self.cgroup.iter().for_each(|path| option("--cgroup", path.display().to_string()));
        self.workload.iter().for_each(|name| option("--workload", format!("{name:?}")));
        words.extend(self.ipv4.then(|| "-4".to_owned()));
        words.extend(self.ipv6.then(|| "-6".to_owned()));
        words.join(" ")
    }
}

/// Whether anything of a snapshot is let through by the filter it was made with.
#[must_use]
pub fn has_rows(snapshot: &Snapshot) -> bool {
    !snapshot.ports.is_empty() || snapshot.processes.iter().any(|row| row.pid.is_some())
}

/// Says once of a live run that nothing matches its filter: when it begins, and not again.
#[derive(Debug, Default)]
pub struct Unmatched {
    is_said: bool,
}

impl Unmatched {
    /// What is to be said after this snapshot.
    pub fn note(&mut self, snapshot: &Snapshot) -> Option<String> {
        let is_first = !std::mem::replace(&mut self.is_said, true);
        (is_first && !snapshot.filter.is_empty() && !has_rows(snapshot))
            .then(|| nothing_matches(&snapshot.filter))
    }
}

/// What is to be said of a filter on a trace: what the recording lacks by a filter of its own, and
/// what the trace cannot tell apart.
#[must_use]
pub fn notes(narrowing: &Narrowing, trace: &Trace) -> Vec<String> {
    if narrowing.is_empty() {
        return Vec::new();
    }
    let recorded = &trace.run().filter;
    let lacks = (!recorded.is_empty())
        .then(|| format!("recorded with the filter {recorded}: no other socket is in the trace"));
    lacks.into_iter().chain(narrowing.doubts()).collect()
}

/// The conditions of the filter that a trace was recorded with.
fn recorded_conditions(trace: &Trace) -> Vec<String> {
    let filter = &trace.run().filter;
    if filter.is_empty() { Vec::new() } else { filter.split(" and ").map(str::to_owned).collect() }
}

/// Whether a namespace was named so, or by its path, when the trace was recorded.
fn is_recorded_netns(recorded: &[String], named: &str) -> bool {
    [named.to_owned(), format!("/run/netns/{named}")]
        .iter()
        .any(|it| recorded.contains(&format!("netns = {it}")))
}

/// A cgroup's path as it is recorded: from the root of the hierarchy.
fn recorded_cgroup(named: &Path) -> String {
    let inside = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup", "/"]
        .iter()
        .find_map(|root| named.strip_prefix(root).ok())
        .unwrap_or(named);
    let inside: PathBuf = inside.components().collect();
    format!("/{}", inside.display())
}

/// A namespace's inode number: `4026531840`, or `net:[4026531840]`.
fn number_of_netns(named: &str) -> Option<u32> {
    let bare = named.strip_prefix("net:[").and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(named).parse().ok().filter(|number| bare.is_some() || *number > MAX_PID)
}

fn check_comm(comm: &str) -> Result<()> {
    if (1..=MAX_COMM).contains(&comm.len()) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "--comm {comm:?} can match nothing: the kernel keeps 1 to {MAX_COMM} bytes of a name"
    ))
    .hint("see the name as the kernel has it: `cat /proc/PID/comm`")
    .into())
}

fn check_workload(name: &str) -> Result<()> {
    if !name.is_empty() && !name.contains(char::is_whitespace) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "--workload {name:?} can match nothing: no container, pod or unit is called so"
    ))
    .hint("see the column WORKLOAD: `sockflow top`, then Tab")
    .into())
}

const fn family(ipv4: bool, ipv6: bool) -> Option<u8> {
    match (ipv4, ipv6) {
        (true, _) => Some(4),
        (_, true) => Some(6),
        _ => None,
    }
}

fn resolve_netns(named: &str) -> Result<(String, u32)> {
    if let Some(number) = number_of_netns(named) {
        let found = namespaces::list()?.found.into_iter().find(|it| it.inum == number);
        return found.map(|it| (it.path.to_string_lossy().into_owned(), number)).ok_or_else(|| {
            Failure::usage(format!("no network namespace has the number {number}"))
                .hint("list them: `lsns -t net` or `ip netns`")
                .into()
        });
    }
    let path = if named.contains('/') {
        named.to_owned()
    } else if named.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("/proc/{named}/ns/net")
    } else {
        format!("/run/netns/{named}")
    };
    let inum = namespaces::inum_of(Path::new(&path)).map_err(|error| {
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            let what = format!("may not look at the network namespace {named} ({path}: {error})");
            return Failure::environment(what).hint("run it as root: `sudo sockflow …`");
        }
        Failure::usage(format!("there is no network namespace {named} ({path}: {error})"))
            .hint("list them: `lsns -t net` or `ip netns`")
    })?;
    Ok((path, inum))
}

/// A cgroup2's id is its directory's inode number.
fn resolve_cgroup(named: &Path) -> Result<(String, u64)> {
    let cgroups = Cgroups::new();
    let mount = cgroups.mount().ok_or_else(|| {
        Failure::usage("--cgroup needs a cgroup2 hierarchy, and none is mounted")
            .hint("mount one: `mount -t cgroup2 none /sys/fs/cgroup`")
    })?;
    let inside = named.strip_prefix(mount).unwrap_or(named);
    let inside = inside.strip_prefix("/").unwrap_or(inside);
    let id = std::fs::metadata(mount.join(inside)).map_err(|error| {
        Failure::usage(format!("there is no cgroup /{}: {error}", inside.display()))
            .hint("list them: `systemd-cgls`")
    })?;
    Ok((format!("/{}", inside.display()), id.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_read() {
        assert_eq!(parse_network("10.4.1.1/16").unwrap().to_string(), "10.4.0.0/16");
        assert_eq!(parse_network("::1").unwrap().to_string(), "::1/128");
        assert!(parse_network("10.4.0.0/40").is_err());
        assert!(parse_network("localhost").is_err());
    }

    #[test]
    fn what_can_match_nothing_is_refused() {
        let resolve = |args: FilterArgs| args.resolve().unwrap_err().to_string();
        let nobody = FilterArgs { pid: Some(4_000_000), ..FilterArgs::default() };
        assert_eq!(resolve(nobody), "no process has the id 4000000");
        let long = FilterArgs { comm: Some("sixteen-bytes-xx".into()), ..FilterArgs::default() };
        assert!(resolve(long).contains("can match nothing"));
        let netns = FilterArgs { netns: Some("no-such".into()), ..FilterArgs::default() };
        assert!(resolve(netns).contains("no network namespace no-such"));
    }

    #[test]
    fn a_namespace_has_a_number_that_no_process_has() {
        assert_eq!(number_of_netns("4026531840"), Some(4_026_531_840));
        assert_eq!(number_of_netns("net:[4026531840]"), Some(4_026_531_840));
        assert_eq!(number_of_netns("4194304"), None, "a process id");
        assert_eq!(number_of_netns("blue"), None);
        let own = namespaces::own_inum().unwrap();
        assert_eq!(resolve_netns(&own.to_string()).unwrap().1, own);
        assert!(resolve_netns("4294967295").unwrap_err().to_string().contains("has the number"));
    }

    #[test]
    fn a_recorded_cgroup_is_named_from_the_root() {
        for named in ["/web", "web", "web/", "/sys/fs/cgroup/web", "/sys/fs/cgroup/unified/web"] {
            assert_eq!(recorded_cgroup(Path::new(named)), "/web", "{named}");
        }
        assert_eq!(recorded_cgroup(Path::new("/")), "/");
    }
}
