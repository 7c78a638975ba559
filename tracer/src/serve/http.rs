//! HTTP for scrapers, and nothing that scrapers do not need: GET of three short paths, one request
//! a connection.
//!
//! Whoever connects may be slow, broken or hostile, so everything a client could use up has a bound:
//! connections at a time ([`Bounds`]), bytes of a request's head (`HEAD_BYTES`), time to send it
//! (`HEAD_TIME`) and a connection's whole life (`LIFE`).
//!
//! A connection is accepted as soon as the kernel has it, so that the listen queue never fills: an
//! exporter that reports `ListenOverflows` must not cause them. It waits until its request begins to
//! arrive, and then for its turn to be read and answered. Whoever finds no room even to wait gets a 503
//! at once, unless a connection that has said nothing for some time ([`Bounds::fair`]) can make room.
//! While somebody waits for a turn, the oldest served connection has to go as soon as it had that time,
//! which is more than any honest scrape needs. So a client that sits on its connection cannot keep the
//! others out. The text that is sent is shared, not copied.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::TcpListener as StdListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::{SendFlags, send};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::hosts::{Hosts, Refused};
use super::page::{Format, Page};

/// How many connections there may be at a time.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections that are read and answered.
    pub serving: usize,
    /// Connections that wait for that, unread.
    pub waiting: usize,
    /// Connections that are being told 503.
    pub refusing: usize,
    /// While others wait, a connection that is served, or silent, for longer than this makes room.
    pub fair: Duration,
}

impl Bounds {
    /// What a host's descriptors usually allow.
    pub const USUAL: Self =
        Self { serving: 64, waiting: 1_984, refusing: 512, fair: Duration::from_millis(250) };

    /// As [`Self::USUAL`], within so many file descriptors: fewer wait, and fewer are told 503 at a
    /// time.
    #[must_use]
    pub fn within(descriptors: usize) -> Self {
        let usual = Self::USUAL;
        let serving = usual.serving.min(descriptors / 2).max(1);
        let refusing = usual.refusing.min((descriptors - serving.min(descriptors)) / 4).max(1);
        let waiting = usual.waiting.min(descriptors.saturating_sub(serving + refusing));
        Self { serving, waiting, refusing, ..usual }
    }

    /// File descriptors that all those connections take.
    #[must_use]
    pub const fn descriptors(&self) -> usize {
        self.serving + self.waiting + self.refusing
    }
}

/// A request line and its headers.
const HEAD_BYTES: usize = 16 * 1024;
/// Headers of a request.
const HEADERS: usize = 64;
/// A path and query; those we have are short.
const PATH_BYTES: usize = 1024;
/// From the beginning of its turn to the end of the request's head.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// From the beginning of its turn to the end.
const LIFE: Duration = Duration::from_secs(15);
/// How long, and how much, is read and thrown away after the answer: closing before would reset
/// the connection, and the answer be lost on the way.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 8 << 20;
/// For one round of all connections, before the oldest has to go.
const GRACE: Duration = Duration::from_millis(2);
/// Pause after an `accept` that failed: no descriptors left, most likely.
const RECOVER: Duration = Duration::from_millis(100);

const PLAIN: &str = "text/plain; charset=utf-8";

/// The answer to whoever finds no room even to wait.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 41\r\n\r\n\
    too many connections at once: try again\r\n";

/// Serves the latest page until `pages` is closed.
///
/// # Errors
///
/// The listener cannot be used.
pub async fn serve(
    listener: StdListener,
    pages: watch::Receiver<Arc<Page>>,
    hosts: Arc<Hosts>,
    bounds: Bounds,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut ended = pages.clone();
    let mut ended = pin!(async move { while ended.changed().await.is_ok() {} });
    let mut crowd = Crowd::new(bounds);
    loop {
        while let Some(stream) = crowd.next() {
            let (pages, hosts) = (pages.clone(), Arc::clone(&hosts));
            crowd.serving.spawn(LIFE, async move {
                // A scraper that went away or broke the rules is its own business.
                let _ = connection(stream, pages, hosts).await;
                None
            });
        }
        let due = crowd.due();
        tokio::select! {
            () = &mut ended => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => crowd.come(stream),
                Err(_) => tokio::time::sleep(RECOVER).await,
            },
            stream = crowd.silent.leave() => crowd.ready.extend(stream),
            _ = crowd.serving.leave() => {}
            _ = crowd.refusing.leave() => {}
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                // Time that the host did not give this thread is not theirs to answer for: whoever
                // has only to be looked at gets that first.
                tokio::time::sleep(GRACE).await;
                crowd.serving.reap();
                if crowd.serving.len() >= bounds.serving {
                    crowd.serving.abort_oldest();
                }
            }
        }
    }
}

/// All connections now.
struct Crowd {
    bounds: Bounds,
    /// Nothing of their request has come yet.
    silent: Group,
    /// Something has, and it is not their turn.
    ready: VecDeque<TcpStream>,
    serving: Group,
    refusing: Group,
}

impl Crowd {
    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            silent: Group::default(),
            ready: VecDeque::new(),
            serving: Group::default(),
            refusing: Group::default(),
        }
    }

    /// Takes a new connection.
    fn come(&mut self, stream: TcpStream) {
        let waiting = self.silent.len() + self.ready.len();
        if self.serving.len() + waiting >= self.bounds.serving + self.bounds.waiting {
            let fair = self.bounds.fair;
            if self.silent.oldest().is_none_or(|since| since.elapsed() < fair) {
                self.refuse(stream);
                return;
            }
            self.silent.abort_oldest();
        }
        self.silent.spawn(HEAD_TIME, async move {
            // `readable` alone is also true of sockets that were not looked at yet.
            stream.peek(&mut [0]).await.ok()?;
            Some(stream)
        });
    }

    fn refuse(&mut self, stream: TcpStream) {
        if self.refusing.len() >= self.bounds.refusing {
            // Said before it asks, and closed: that can reset the connection, but Linux hands out
            // first what came before.
            let _ = send(&stream, BUSY, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            return;
        }
        self.refusing.spawn(LINGER, async move {
            let _ = turn_away(stream).await;
            None
        });
    }

    /// Whose turn it is, if there is room.
    fn next(&mut self) -> Option<TcpStream> {
        if self.serving.len() < self.bounds.serving { self.ready.pop_front() } else { None }
    }

    /// When the oldest served connection has to make room, if somebody waits for that.
    fn due(&self) -> Option<Instant> {
        let oldest = self.serving.oldest().filter(|_| !self.ready.is_empty())?;
        Some(oldest + self.bounds.fair)
    }
}

/// Connections in the hands of a task, oldest first. A task may give its connection back.
#[derive(Default)]
struct Group {
    tasks: JoinSet<(u64, Option<TcpStream>)>,
    since: BTreeMap<u64, (Instant, AbortHandle)>,
    count: u64,
}

impl Group {
    fn len(&self) -> usize {
        self.since.len()
    }

    fn oldest(&self) -> Option<Instant> {
        self.since.first_key_value().map(|(_, (since, _))| *since)
    }

    fn spawn(
        &mut self,
        life: Duration,
        task: impl Future<Output = Option<TcpStream>> + Send + 'static,
    ) {
        let number = self.count;
        self.count += 1;
        let handle =
            self.tasks.spawn(async move { (number, timeout(life, task).await.ok().flatten()) });
        self.since.insert(number, (Instant::now(), handle));
    }

    /// Waits until one is done; for ever if there is none.
    async fn leave(&mut self) -> Option<TcpStream> {
        match self.tasks.join_next().await {
            // Who was sent away after it was done is not there any more.
            Some(Ok((number, stream))) => self.since.remove(&number).and(stream),
            // Sent away, and forgotten then.
            Some(Err(_)) => None,
            None => std::future::pending().await,
        }
    }

    /// Forgets those that are done.
    fn reap(&mut self) {
        while let Some(done) = self.tasks.try_join_next() {
            if let Ok((number, _)) = done {
                self.since.remove(&number);
            }
        }
    }

    fn abort_oldest(&mut self) {
        if let Some((_, (_, oldest))) = self.since.pop_first() {
            oldest.abort();
        }
    }
}

/// Says 503, to the request and not before it: an answer that comes first is one to nothing.
async fn turn_away(mut stream: TcpStream) -> io::Result<()> {
    let mut unread = [0; 1024];
    if stream.read(&mut unread).await? == 0 {
        return Ok(());
    }
    stream.write_all(BUSY).await?;
    stream.shutdown().await?;
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

/// One request and its answer.
async fn connection(
    stream: TcpStream,
    pages: watch::Receiver<Arc<Page>>,
    hosts: Arc<Hosts>,
) -> io::Result<()> {
    let service = service_fn(|request: Request<Incoming>| {
        let page = Arc::clone(&pages.borrow());
        let answer = respond(&request, &page, &hosts);
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        // Scrapes are seconds apart: nothing is won by waiting for the next one here.
        .keep_alive(false)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let result = std::future::poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let mut stream = connection.into_parts().io.into_inner();
    if result.is_err_and(|error| error.is_timeout()) {
        let late = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(late.as_bytes()).await?;
    }
    stream.shutdown().await?;
    let mut rest = stream.take(LINGER_BYTES);
    let mut unread = [0; 4096];
    let drained = async { while rest.read(&mut unread).await.is_ok_and(|read| read > 0) {} };
    let _ = timeout(LINGER, drained).await;
    Ok(())
}

/// What a request gets.
fn respond<B>(request: &Request<B>, page: &Page, hosts: &Hosts) -> Response<Full<Bytes>> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    if uri.path_and_query().map_or(0, |path| path.as_str().len()) > PATH_BYTES {
        return say(StatusCode::URI_TOO_LONG, "too long; metrics are at /metrics\n");
    }
    match hosts.check(request) {
        Ok(()) => {}
        Err(Refused::Unclear) => {
            return say(StatusCode::BAD_REQUEST, "a request names one host, in its Host header\n");
        }
        Err(Refused::Other(name)) => {
            let text = format!(
                "this sockflow does not answer to the host name {name}\n\
                 hint: ask by address, or start it with `sockflow serve --allow-host {name}`\n"
            );
            return say(StatusCode::MISDIRECTED_REQUEST, text);
        }
    }
    let known = matches!(uri.path(), "/" | "/metrics" | "/-/healthy");
    if known && !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = say(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match uri.path() {
        "/metrics" => metrics(headers, page),
        "/-/healthy" => match page.stale() {
            None => say(StatusCode::OK, "sockflow is tracing\n"),
            Some(age) => {
                let text = format!("no snapshot for {} s\n", age.as_secs());
                say(StatusCode::SERVICE_UNAVAILABLE, text)
            }
        },
        "/" => say(
            StatusCode::OK,
            "sockflow follows TCP sockets into FIN_WAIT, TIME_WAIT and orphanhood.\n\
             Metrics, for Prometheus and its like: /metrics\n\
             Whether it still traces: /-/healthy\n",
        ),
        _ => say(StatusCode::NOT_FOUND, "nothing here; metrics are at /metrics\n"),
    }
}

fn metrics(headers: &hyper::HeaderMap, page: &Page) -> Response<Full<Bytes>> {
    // Several headers of a name are one list.
    let accept: Vec<&str> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::wanted(&accept.join(","));
    match page.text(format) {
        Ok(text) => {
            let mut response = Response::new(Full::new(text));
            let kind = HeaderValue::from_static(format.content_type());
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(_) => say(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be encoded\n"),
    }
}

fn say(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PLAIN));
    response
}
