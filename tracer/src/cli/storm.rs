//! `sockflow storm`: the options, and the result on stdout.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::bail;

use super::units::{parse_port, parse_size, whole};
use crate::stdio;
use crate::storm::plan::{
    MAX_CONNECTIONS, MAX_WORKERS, Mode, Plan, Release, Role, Usage, any_first,
};
use crate::storm::sysctl::Setting;
use crate::storm::units::{Rate, parse_duration};

const EXAMPLES: &str = "\
Examples:
  Ten thousand short connections, 2,000 a second:
      sockflow storm --rate 2000/s
  900 orphans that grow by 45 a second towards a limit of 1,500, to watch with `top`:
      sudo sockflow storm --mode zero-window --connections 900 --rate 45/s \\
          --sysctl net.ipv4.tcp_max_orphans=1500
  A server that reads the end of its connections and never closes them:
      sockflow storm --mode close-wait --connections 200 --rate 20/s --hold 30s
  In a network namespace of its own, with the result as JSON:
      sudo sockflow storm --netns --connections 1000 --json";

/// Generate test connections on loopback, and count them
///
/// Reports exactly what it did, to be compared with what was seen. It is bounded in time and
/// number, and never leaves loopback.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct StormArgs {
    /// Port to listen on and to connect to
    #[arg(long, value_name = "P", default_value_t = 9981, value_parser = parse_port)]
    port: u16,
    /// Several such ports; connections go round them
    #[arg(long, hide_short_help = true, value_name = "P,P…", value_delimiter = ',', conflicts_with = "port", value_parser = parse_port)]
    ports: Vec<u16>,
    /// How many connections to make
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = whole(1..=MAX_CONNECTIONS))]
    connections: u64,
    /// At most so many a second [default: none; zero-window: 1000]
    #[arg(long, value_name = "N/s")]
    rate: Option<Rate>,
    /// Stop after this time, done or not; at most 10m
    #[arg(long, value_name = "D", default_value = "60s", value_parser = parse_duration)]
    duration: Duration,
    /// Who ends the connections, and how
    #[arg(long, value_enum, default_value_t = Mode::ServerCloses)]
    mode: Mode,
    /// Use 127.0.0.1 (the default)
    #[arg(short = '4', long = "ipv4", conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use ::1
    #[arg(short = '6', long = "ipv6")]
    ipv6: bool,
    /// Loopback address to listen on; any other is refused
    #[arg(long, hide_short_help = true, value_name = "ADDRESS")]
    addr: Option<IpAddr>,
    /// Threads, each with its own share of the connections
    #[arg(long, hide_short_help = true, value_name = "N", default_value_t = 1, value_parser = whole(1..=MAX_WORKERS))]
    workers: u32,
    /// How long what was built up stands [default: 10s; hold mode: to the end]
    #[arg(long, value_name = "D", value_parser = parse_duration)]
    hold: Option<Duration>,
    /// How zero-window clients let go of the orphans
    #[arg(long, hide_short_help = true, value_enum, default_value_t = Release::Reset)]
    release: Release,
    /// Zero-window: the server's SO_SNDBUF, which bounds the bytes an orphan keeps
    #[arg(long, hide_short_help = true, value_name = "BYTES", default_value = "4096", value_parser = parse_size)]
    sndbuf: u32,
    /// Zero-window: the client's SO_RCVBUF
    #[arg(long, hide_short_help = true, value_name = "BYTES", default_value = "4096", value_parser = parse_size)]
    rcvbuf: u32,
    /// Zero-window: let the server be a process of its own, which exits while its orphans stand
    #[arg(long, hide_short_help = true)]
    exit_server: bool,
    /// Run in a new network namespace (as root)
    #[arg(long)]
    netns: bool,
    /// Set net.ipv4.tcp_* or net.core.somaxconn for this run
    #[arg(long = "sysctl", value_name = "KEY=VALUE")]
    sysctls: Vec<Setting>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    /// The part of a larger run that this process plays
    #[arg(long, value_enum, default_value_t = Role::Whole, hide = true)]
    role: Role,
    /// Number of the first of the client's names
    #[arg(long, hide = true)]
    first: Option<u64>,
}

impl StormArgs {
    /// Runs the storm and prints what it did. A request that cannot be met as put is a [`Usage`]
    /// inside the error; connections that failed, or settings
    /// that could not be put back, are an error too, after the result.
    pub fn run(self) -> anyhow::Result<()> {
        let (json, role) = (self.json, self.role);
        let Some(report) = crate::storm::run(&self.plan()?)? else {
            return Ok(());
        };
        let text = if json { serde_json::to_string(&report)? + "\n" } else { report.to_string() };
        let mut stdout = stdio::out();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            result => result?,
        }
        // A share's failures are its starter's to judge.
        match report.trouble() {
            Some(trouble) if role == Role::Whole => bail!(trouble),
            _ => Ok(()),
        }
    }

    /// The plan these options make.
    pub fn plan(self) -> Result<Plan, Usage> {
        let address = match (self.addr, self.ipv4, self.ipv6) {
            (Some(address), true, _) if address.is_ipv6() => {
                return Err(Usage(format!("-4 and --addr {address} contradict each other")));
            }
            (Some(address), _, true) if address.is_ipv4() => {
                return Err(Usage(format!("-6 and --addr {address} contradict each other")));
            }
            (Some(address), ..) => address,
            (None, _, true) => Ipv6Addr::LOCALHOST.into(),
            (None, ..) => Ipv4Addr::LOCALHOST.into(),
        };
        let ports = if self.ports.is_empty() { vec![self.port] } else { self.ports };
        let plan = Plan {
            mode: self.mode,
            address,
            first: self.first.unwrap_or_else(|| any_first(ports.len())),
            ports,
            connections: self.connections,
            rate: self.rate,
            duration: self.duration,
            workers: self.workers,
            hold: self.hold,
            release: self.release,
            send_buffer: self.sndbuf,
            recv_buffer: self.rcvbuf,
            netns: self.netns,
            exit_server: self.exit_server,
            sysctls: self.sysctls,
            progress: self.role == Role::Whole && stdio::is_terminal(),
            role: self.role,
        };
        plan.check()?;
        Ok(plan)
    }
}
