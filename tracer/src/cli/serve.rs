//! `sockflow serve`: the snapshots as OpenMetrics, for Prometheus and its like.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use super::engine::{Detail, Engine, TracingArgs};
use super::filter::{FilterArgs, Unmatched};
use super::signals::stop_on_signals;
use super::units::{parse_interval, whole};
use crate::error::Failure;
use crate::serve::hosts::{Allowed, Hosts};
use crate::serve::http::{self, Bounds};
use crate::serve::ledger::Ledger;
use crate::serve::page::Page;
use crate::source::own_process::OwnProcessReader;
use crate::stdio;

const EXAMPLES: &str = "\
Examples:
  The whole host, for a Prometheus on this host:
      sudo sockflow serve
  See what it says, in the older text format:
      curl -H 'Accept: text/plain' http://127.0.0.1:9982/metrics
  One server's sockets, for a Prometheus elsewhere:
      sudo sockflow serve --port 443 --listen 10.4.0.17:9982
  The same where the scraper asks by name, as through a Kubernetes Service:
      sudo sockflow serve --listen 0.0.0.0:9982 --allow-host .svc.cluster.local";

/// Connections that the kernel may keep for us before they are accepted; net.core.somaxconn may
/// allow fewer.
const BACKLOG: i32 = 4096;
/// With fewer a crowd of scrapers can find the listen queue full.
const BACKLOG_AT_LEAST: i32 = 1024;
/// What a connection may send before it is read, bytes: a request's head. The kernel's usual 128 KiB
/// for each of those that wait would be memory that strangers fill.
const RECEIVE_BUFFER: usize = 16 * 1024;
/// What may be on its way to a client, bytes.
const SEND_BUFFER: usize = 256 * 1024;
/// File descriptors kept for everything else: programs, maps, links and files of tracing, some 150 of
/// them, most of which are opened after the bounds are known.
const OTHER_DESCRIPTORS: usize = 320;

/// Without a snapshot for so long, or so many intervals, tracing is taken for stuck.
const STALE: Duration = Duration::from_secs(30);
const STALE_INTERVALS: u32 = 5;

/// Expose metrics to Prometheus and its like: OpenMetrics at /metrics
///
/// Alerts and a dashboard are in dist/prometheus and dist/grafana, the metrics explained in
/// docs/METRICS.md.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ServeArgs {
    /// Address and port to listen on; there is neither TLS nor a password
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9982", value_parser = parse_listen)]
    listen: SocketAddr,
    /// A host name that clients may ask for, .DOMAIN for all below it, or '*' for any; addresses,
    /// localhost and this host's own name always work
    ///
    /// Requests whose Host header has another name get a 421. It keeps web pages from reading the
    /// metrics through a visitor's browser (DNS rebinding).
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = Allowed::parse)]
    allow_host: Vec<Allowed>,
    /// Time between snapshots, 100ms to 60s; a scrape gets the latest
    #[arg(long, value_name = "D", default_value = "1s", value_parser = parse_interval, hide_short_help = true)]
    interval: Duration,
    /// Services with rows of their own; the others are summed in port="other"
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = whole(1..=2000_u16), hide_short_help = true)]
    max_services: u16,
    /// Also say which container, pod or systemd unit each service is (sockflow_service_workload_info)
    ///
    /// One series more for each service with rows of its own, and a new one when its containers are
    /// replaced.
    #[arg(long, hide_short_help = true)]
    workload_label: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    tracing: TracingArgs,
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an address and a port such as 127.0.0.1:9982 or [::1]:9982".to_owned()
    })
}

impl ServeArgs {
    /// Runs until a signal.
    ///
    /// # Errors
    ///
    /// It cannot listen; see also [`Engine::start`].
    pub fn run(self) -> Result<()> {
        // Before tracing, which takes a moment and privilege.
        let (listener, address) = bind(self.listen)?;
        let bounds = Bounds::within(descriptors(Bounds::USUAL.descriptors()));
        let mut engine =
            Engine::start(&self.filter, &self.tracing, Detail::Ends, self.interval, None)?;
        engine.watch_facts();
        for note in engine.notes() {
            stdio::note(note);
        }
        let stop = stop_on_signals()?;
        let mut ledger = Ledger::new(self.max_services.into()).with_workloads(self.workload_label);
        let stale_after = STALE.max(self.interval * STALE_INTERVALS);
        let Some(first) = engine.next(&stop)? else { return Ok(()) };
        if let Some(note) = Unmatched::default().note(&first) {
            stdio::note(note);
        }
        let process = OwnProcessReader::new();
        let mut page = |snapshot| {
            let mut exposed = ledger.expose(snapshot);
            exposed.process = process.read();
            Arc::new(Page::new(exposed, stale_after))
        };
        let (sender, pages) = watch::channel(page(first));
        let server = std::thread::Builder::new().name("sockflow-http".into()).spawn({
            let stop = Arc::clone(&stop);
            let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
            let hosts = Arc::new(Hosts::new(&name, &self.allow_host));
            move || serve(listener, pages, hosts, bounds, &stop)
        })?;
        stdio::note(format_args!("metrics are at http://{address}/metrics"));
        if !address.ip().is_loopback() {
            stdio::note(format_args!(
                "whoever can reach {address} can read them: there is no TLS and no password"
            ));
        }
        if let Some(most) = somaxconn().filter(|most| *most < BACKLOG_AT_LEAST) {
            stdio::note(format_args!(
                "the kernel keeps at most {most} connections that are not accepted yet \
                 (net.core.somaxconn): more scrapes than that at one moment can be dropped"
            ));
        }
        let mut pump = || -> Result<()> {
            while let Some(snapshot) = engine.next(&stop)? {
                let _ = sender.send(page(snapshot));
            }
            Ok(())
        };
        let pumped = pump();
        drop(sender);
        let served = server.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the server panicked")));
        pumped.and(served)
    }
}

/// Listens with room for a crowd: what `std` gives, 128, is less than one scrape of each Prometheus of
/// a large site, and what finds no room there is a `ListenOverflows` of our own.
fn bind(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listen = || -> std::io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(wanted), Type::STREAM, Some(Protocol::TCP))?;
        // As std does: a restart need not wait for the TIME_WAIT of the last scrapes.
        socket.set_reuse_address(true)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(&wanted.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let failed = |error: &std::io::Error| {
        let failure = Failure::failed(format!("cannot listen on {wanted}"));
        match error.kind() {
            ErrorKind::AddrInUse => failure.hint(format!(
                "see who does: `ss -ltnp sport = :{}`, or take another: `--listen ADDR:PORT`",
                wanted.port()
            )),
            ErrorKind::AddrNotAvailable => {
                failure.hint("see which addresses this host has: `ip -br addr`")
            }
            ErrorKind::PermissionDenied => {
                failure.hint("take a port from 1024 on, or run it as root: `--listen ADDR:PORT`")
            }
            _ => failure.hint("take another: `--listen ADDR:PORT`"),
        }
    };
    let bound = listen().and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|error| {
        let failure = failed(&error);
        anyhow::Error::from(error).context(failure)
    })?;
    Ok((listener, address))
}

/// The most that `listen` gives, in the network namespace we listen in.
fn somaxconn() -> Option<i32> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

/// File descriptors that connections may take, after the limit was raised towards what they would
/// need. Shells and systemd set 1,024 for programs that use select(); this is none.
fn descriptors(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let needed = (wanted + OTHER_DESCRIPTORS) as u64;
    let allowed = limit.current.unwrap_or(u64::MAX);
    if allowed < needed {
        let raised = limit.maximum.map_or(needed, |most| most.min(needed));
        let raised = Rlimit { current: Some(raised.max(allowed)), maximum: limit.maximum };
        // Where that is refused, fewer connections are taken.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    let allowed = getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |now| usize::try_from(now).unwrap_or(usize::MAX));
    allowed.saturating_sub(OTHER_DESCRIPTORS)
}

/// The server's thread: one is enough, for all it does is hand out texts. When it ends, so does
/// the program.
fn serve(
    listener: TcpListener,
    pages: watch::Receiver<Arc<Page>>,
    hosts: Arc<Hosts>,
    bounds: Bounds,
    stop: &AtomicBool,
) -> Result<()> {
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(http::serve(listener, pages, hosts, bounds)))
        .context("cannot serve metrics");
    stop.store(true, Ordering::Relaxed);
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hint is for what went wrong.
    #[test]
    fn what_cannot_be_listened_on_has_a_hint_that_fits() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let in_use = held.local_addr().unwrap();
        // Of the addresses for documentation, which no host has.
        let elsewhere = "192.0.2.1:9982".parse().unwrap();
        for (wanted, hint) in [(in_use, "ss -ltnp"), (elsewhere, "ip -br addr")] {
            let text = crate::error::report(&bind(wanted).unwrap_err()).0;
            assert!(text.contains(hint), "{text}");
        }
    }

    #[test]
    fn addresses_need_a_port() {
        assert!(parse_listen("127.0.0.1:9982").is_ok());
        assert!(parse_listen("[::1]:0").is_ok());
        for wrong in ["127.0.0.1", "9982", ":9982", "localhost:9982", "127.0.0.1:70000"] {
            assert!(parse_listen(wrong).is_err(), "{wrong}");
        }
    }
}
