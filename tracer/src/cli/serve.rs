//! `sockflow serve`: the snapshots as OpenMetrics, for Prometheus and its like.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::watch;

use super::engine::{Detail, Engine, TracingArgs};
use super::filter::{FilterArgs, Unmatched};
use super::signals::stop_on_signals;
use super::units::{parse_interval, whole};
use crate::error::Failure;
use crate::serve::http;
use crate::serve::ledger::Ledger;
use crate::serve::page::Page;
use crate::stdio;

const EXAMPLES: &str = "\
Examples:
  The whole host, for a Prometheus on this host:
      sudo sockflow serve
  See what it says, in the older text format:
      curl -H 'Accept: text/plain' http://127.0.0.1:9982/metrics
  One server's sockets, for a Prometheus elsewhere:
      sudo sockflow serve --port 443 --listen 10.4.0.17:9982";

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
    /// Time between snapshots, 100ms to 60s; a scrape gets the latest
    #[arg(long, value_name = "D", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,
    /// Services with rows of their own; the others are summed in port="other"
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = whole(1..=2000_u16), hide_short_help = true)]
    max_services: u16,
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
        let (listener, address) = self.bind()?;
        let mut engine =
            Engine::start(&self.filter, &self.tracing, Detail::Ends, self.interval, None)?;
        for note in engine.notes() {
            stdio::note(note);
        }
        let stop = stop_on_signals()?;
        let mut ledger = Ledger::new(self.max_services.into());
        let stale_after = STALE.max(self.interval * STALE_INTERVALS);
        let Some(first) = engine.next(&stop)? else { return Ok(()) };
        if let Some(note) = Unmatched::default().note(&first) {
            stdio::note(note);
        }
        let (sender, pages) =
            watch::channel(Arc::new(Page::new(ledger.expose(first), stale_after)));
        let server = std::thread::Builder::new().name("sockflow-http".into()).spawn({
            let stop = Arc::clone(&stop);
            move || serve(listener, pages, &stop)
        })?;
        stdio::note(format_args!("metrics are at http://{address}/metrics"));
        if !address.ip().is_loopback() {
            stdio::note(format_args!(
                "whoever can reach {address} can read them: there is no TLS and no password"
            ));
        }
        let mut pump = || -> Result<()> {
            while let Some(snapshot) = engine.next(&stop)? {
                let _ = sender.send(Arc::new(Page::new(ledger.expose(snapshot), stale_after)));
            }
            Ok(())
        };
        let pumped = pump();
        drop(sender);
        let served = server.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the server panicked")));
        pumped.and(served)
    }

    fn bind(&self) -> Result<(TcpListener, SocketAddr)> {
        let wanted = self.listen;
        let failed = || {
            Failure::failed(format!("cannot listen on {wanted}")).hint(format!(
                "see who does: `ss -ltnp sport = :{}`, or take another: `--listen ADDR:PORT`",
                wanted.port()
            ))
        };
        let listener = TcpListener::bind(wanted).with_context(failed)?;
        let address = listener.local_addr().with_context(failed)?;
        Ok((listener, address))
    }
}

/// The server's thread: one is enough, for all it does is hand out texts. When it ends, so does
/// the program.
fn serve(
    listener: TcpListener,
    pages: watch::Receiver<Arc<Page>>,
    stop: &AtomicBool,
) -> Result<()> {
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(http::serve(listener, pages)))
        .context("cannot serve metrics");
    stop.store(true, Ordering::Relaxed);
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_a_port() {
        assert!(parse_listen("127.0.0.1:9982").is_ok());
        assert!(parse_listen("[::1]:0").is_ok());
        for wrong in ["127.0.0.1", "9982", ":9982", "localhost:9982", "127.0.0.1:70000"] {
            assert!(parse_listen(wrong).is_err(), "{wrong}");
        }
    }
}
