//! FILTER: the options that choose sockets, alike in every command.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use ipnet::IpNet;

use super::units::{parse_pid, parse_port};
use crate::error::Failure;
use crate::filter::{Filter, MAX_COMM, MAX_PORTS};
use crate::source::{cgroups::Cgroups, namespaces, processes};

/// What is known of a socket wherever it is told of: live, and by the events of a trace.
#[derive(clap::Args, Debug, Default)]
#[command(next_help_heading = "Filter (all given must match)")]
pub struct SocketArgs {
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
}

impl SocketArgs {
    /// The filter. Nothing is looked up: the host that was traced need not be this one.
    ///
    /// # Errors
    ///
    /// It can never match.
    pub fn resolve(&self) -> Result<Filter> {
        self.comm.as_deref().map_or(Ok(()), check_comm)?;
        Ok(Filter {
            ports: self.port.clone(),
            peer_ports: self.peer_port.clone(),
            addr: self.addr,
            pid: self.pid,
            comm: self.comm.clone(),
            family: family(self.ipv4, self.ipv6),
            ..Filter::default()
        })
    }
}

/// Which sockets of this host
#[derive(clap::Args, Debug, Default)]
#[command(next_help_heading = "Filter (all given must match)")]
pub struct FilterArgs {
    #[command(flatten)]
    pub(super) sockets: SocketArgs,
    /// Network namespace: name in /run/netns, path, or process id
    #[arg(long, value_name = "NETNS")]
    pub netns: Option<String>,
    /// cgroup2 of the owner: path from the root of the hierarchy
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map(|net| net.trunc())
        .map_err(|_| "expected an address or a network such as 10.4.0.0/16 or 2001:db8::/32".into())
}

impl FilterArgs {
    /// Looks everything up that has a name.
    ///
    /// # Errors
    ///
    /// What is named does not exist, or can never match.
    pub fn resolve(&self) -> Result<Filter> {
        for (what, ports) in
            [("--port", &self.sockets.port), ("--peer-port", &self.sockets.peer_port)]
        {
            if ports.len() > MAX_PORTS {
                return Err(Failure::usage(format!(
                    "{what} takes at most {MAX_PORTS} ports, not {}",
                    ports.len()
                ))
                .hint("leave it out to see every port, and filter the rows with `/`")
                .into());
            }
        }
        if let Some(pid) = self.sockets.pid {
            processes::process(pid).map_err(|_| {
                Failure::usage(format!("no process has the id {pid}"))
                    .hint("find it by name: `pgrep -a NAME`, or use `--comm NAME`")
            })?;
        }
        Ok(Filter {
            cgroup: self.cgroup.as_deref().map(resolve_cgroup).transpose()?,
            netns: self.netns.as_deref().map(resolve_netns).transpose()?,
            ..self.sockets.resolve()?
        })
    }
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

const fn family(ipv4: bool, ipv6: bool) -> Option<u8> {
    match (ipv4, ipv6) {
        (true, _) => Some(4),
        (_, true) => Some(6),
        _ => None,
    }
}

fn resolve_netns(named: &str) -> Result<(String, u32)> {
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
        Failure::usage(format!("there is no cgroup {}: {error}", mount.join(inside).display()))
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
        let nobody = SocketArgs { pid: Some(4_000_000), ..SocketArgs::default() };
        let nobody = FilterArgs { sockets: nobody, ..FilterArgs::default() };
        assert_eq!(resolve(nobody), "no process has the id 4000000");
        let long = SocketArgs { comm: Some("sixteen-bytes-xx".into()), ..SocketArgs::default() };
        let long = FilterArgs { sockets: long, ..FilterArgs::default() };
        assert!(resolve(long).contains("can match nothing"));
        let netns = FilterArgs { netns: Some("no-such".into()), ..FilterArgs::default() };
        assert!(resolve(netns).contains("no network namespace no-such"));
    }
}
