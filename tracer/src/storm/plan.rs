//! What a run shall do, and the bounds it must keep.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

pub use super::route::any_first;
use super::route::ephemeral_ports;
use super::sysctl::Setting;
use super::units::Rate;

/// Most connections of one run.
pub const MAX_CONNECTIONS: u64 = 10_000_000;
/// Longest run.
pub const MAX_DURATION: Duration = Duration::from_secs(600);
/// Most sockets kept open at one time.
pub const MAX_HELD_SOCKETS: u64 = 200_000;
/// Most threads.
pub const MAX_WORKERS: u32 = 64;
/// Most listeners.
pub const MAX_PORTS: usize = 64;
/// Closes against a zero window a second, unless told: the kernel compares its limit with a count
/// of orphans that is up to 100 ms old, so a burst would run far past it.
const ORPHANS_PER_SECOND: u32 = 1000;
/// How long what was built up stands, unless told.
const STANDS: Duration = Duration::from_secs(10);
/// Descriptors for everything that is not a connection.
const SPARE_DESCRIPTORS: u64 = 64 + MAX_PORTS as u64;

/// The request was wrong, not the host: exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Who ends a connection, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The server closes first: TIME_WAIT stays on the server's port
    ServerCloses,
    /// The client closes first: TIME_WAIT stays on the client's ephemeral port
    ClientCloses,
    /// The server aborts with a RST (SO_LINGER 0): nothing stays
    Reset,
    /// The client aborts with a RST
    ClientReset,
    /// The server closes with unsent data against a zero window: each leaves an orphan
    ZeroWindow,
    /// Both ends stay open until SIGTERM, the end of stdin, --hold or --duration
    Hold,
    /// The client says something and closes; the server reads all of it and never closes: CLOSE_WAIT
    CloseWait,
    /// The same, and the server never reads: CLOSE_WAIT with data in its receive queue
    UnreadData,
    /// The same, and the server reads the data but not the end: CLOSE_WAIT, only the FIN unread
    EofUnread,
    /// Nobody accepts: clients say something and close, and wait in the accept queue in CLOSE_WAIT
    NeverAccept,
    /// The client shuts down its sending side and keeps the socket: FIN_WAIT2
    FinWait2,
    /// The client aborts and the server keeps the descriptor: CLOSE, in no table of the kernel
    ClosedFds,
    /// Clients bind() before they connect(): each takes a port of its address for all destinations
    EarlyBind,
    /// The server never reads and clients fill the buffers: TCP memory without an orphan
    HoldMemory,
    /// Datagrams to a UDP socket that nobody reads: it drops what its buffer has no room for
    UdpUnread,
}

impl Mode {
    /// Whether sockets are kept in a state that is a fault.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        matches!(
            self,
            Self::CloseWait
                | Self::UnreadData
                | Self::EofUnread
                | Self::NeverAccept
                | Self::FinWait2
                | Self::ClosedFds
                | Self::EarlyBind
                | Self::HoldMemory
                | Self::UdpUnread
        )
    }
}

/// How clients let go of the orphans they held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Release {
    /// Read to the end: the orphans are acknowledged and go to TIME_WAIT
    Read,
    /// Close with data unread, which sends a RST: the orphans are reset by their peer
    Reset,
}

/// The part a process plays in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// All of it.
    Whole,
    /// The server side of zero-window connections; the starter holds the clients.
    Server,
    /// Holding some of the connections, with both ends.
    Share,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who ends a connection, and how.
    pub mode: Mode,
    /// Where the listeners are; a loopback address.
    pub address: IpAddr,
    /// One listener each; connections go round them.
    pub ports: Vec<u16>,
    /// How many connections to make.
    pub connections: u64,
    /// Connections a second (zero-window: closes a second); `None` is what suits the mode.
    pub rate: Option<Rate>,
    /// The end, whatever has been done by then.
    pub duration: Duration,
    /// Threads for the modes whose connections end at once.
    pub workers: u32,
    /// How long what was built up stands; `None` is what suits the mode.
    pub hold: Option<Duration>,
    /// How zero-window clients let go.
    pub release: Release,
    /// The server's SO_SNDBUF for zero-window: bounds the bytes an orphan keeps.
    pub send_buffer: u32,
    /// The client's SO_RCVBUF for zero-window.
    pub recv_buffer: u32,
    /// Run in a new network namespace.
    pub netns: bool,
    /// Zero-window: the server is a process of its own, which exits while its orphans stand.
    pub exit_server: bool,
    /// Kernel settings for the length of the run.
    pub sysctls: Vec<Setting>,
    /// Show progress on stderr.
    pub progress: bool,
    /// The part of this process.
    pub role: Role,
    /// Where the walk through connection names begins; see [`any_first`].
    pub first: u64,
}

impl Plan {
    /// The rate in force.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate.unwrap_or(match self.mode {
            Mode::ZeroWindow => Rate(Some(ORPHANS_PER_SECOND)),
            _ => Rate(None),
        })
    }

    /// How long what was built up stands.
    #[must_use]
    pub fn hold(&self) -> Duration {
        self.hold.unwrap_or(match self.mode {
            Mode::Hold => MAX_DURATION,
            _ => STANDS,
        })
    }

    /// Refuses what storm must not do.
    pub fn check(&self) -> Result<(), Usage> {
        let refuse = |why: String| Err(Usage(why));
        if !self.address.is_loopback() {
            return refuse(format!(
                "storm works on loopback only; {} is not a loopback address",
                self.address
            ));
        }
        if !(1..=MAX_CONNECTIONS).contains(&self.connections) {
            return refuse(format!("--connections is between 1 and {MAX_CONNECTIONS}"));
        }
        if self.duration.is_zero() || self.duration > MAX_DURATION {
            return refuse("--duration is above 0 and at most 10m".into());
        }
        if !(1..=MAX_WORKERS).contains(&self.workers) {
            return refuse(format!("--workers is between 1 and {MAX_WORKERS}"));
        }
        if self.ports.is_empty() || self.ports.len() > MAX_PORTS || self.ports.contains(&0) {
            return refuse(format!("name 1 to {MAX_PORTS} ports, none of them 0"));
        }
        let mut ports = self.ports.clone();
        ports.sort_unstable();
        if let Some(twice) = ports.windows(2).find(|two| two[0] == two[1]) {
            return refuse(format!("port {} is named twice", twice[0]));
        }
        if self.exit_server && self.mode != Mode::ZeroWindow {
            return refuse("--exit-server goes with --mode zero-window".into());
        }
        let ends_at_once =
            !self.mode.is_fault() && !matches!(self.mode, Mode::ZeroWindow | Mode::Hold);
        if self.workers > 1 && !ends_at_once {
            return refuse("--workers goes with the modes whose connections end at once".into());
        }
        if self.mode == Mode::EarlyBind && self.address != IpAddr::V4(Ipv4Addr::LOCALHOST) {
            return refuse(
                "--mode early-bind connects from 127.0.0.1 to 127.0.0.2 and following".into(),
            );
        }
        let buffers = 1024..=1 << 20;
        if !buffers.contains(&self.send_buffer) || !buffers.contains(&self.recv_buffer) {
            return refuse("--sndbuf and --rcvbuf are between 1024 and 1048576 bytes".into());
        }
        self.check_held()
    }

    fn check_held(&self) -> Result<(), Usage> {
        let held = self.held_sockets();
        if held > MAX_HELD_SOCKETS {
            return Err(Usage(format!(
                "{} connections in this mode keep {held} sockets open at a time; \
                 the most is {MAX_HELD_SOCKETS}",
                self.connections
            )));
        }
        // In a namespace of its own the range may differ; then connecting says so.
        let names = ephemeral_ports(&self.ports).len() * self.ports.len();
        if held > 0 && self.address.is_ipv6() && self.connections > names as u64 {
            return Err(Usage(format!(
                "IPv6 has one loopback address, so {names} source ports are the most that can be \
                 held at a time; add listeners with --ports"
            )));
        }
        Ok(())
    }

    /// Sockets open at one time, beyond a handful.
    fn held_sockets(&self) -> u64 {
        match self.mode {
            Mode::Hold | Mode::FinWait2 | Mode::EarlyBind | Mode::HoldMemory => {
                2 * self.connections
            }
            Mode::ZeroWindow
            | Mode::CloseWait
            | Mode::UnreadData
            | Mode::EofUnread
            | Mode::NeverAccept
            | Mode::ClosedFds => self.connections,
            _ => 0,
        }
    }
}

/// Raises the soft limit of descriptors to what `sockets` need and says how many sockets that
/// makes room for, which is fewer where the hard limit is lower.
pub(super) fn room_for_sockets(sockets: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let soft = limit.current.unwrap_or(u64::MAX);
    let target = (sockets + SPARE_DESCRIPTORS).min(hard);
    let now = if soft >= target {
        soft
    } else {
        let raised = Rlimit { current: Some(target), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).map_or(soft, |()| target)
    };
    now.saturating_sub(SPARE_DESCRIPTORS).min(sockets)
}
