//! HTTP for scrapers, and nothing that scrapers do not need: GET of three short paths, one request
//! a connection.
//!
//! Whoever connects may be slow, broken or hostile, so everything they could use up has a bound:
//! connections at a time (`MOST`), bytes of a request's head (`HEAD_BYTES`), time to send it
//! (`HEAD_TIME`) and a connection's whole life (`LIFE`). When all connections are taken, the
//! oldest has to go as soon as it had the time (`FAIR`) that any honest scrape needs, so those
//! who sit on theirs cannot keep the others out. The text that is sent is shared, not copied.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener as StdListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::page::{Format, Page};

/// Connections served at a time.
const MOST: usize = 64;
/// When all are taken, a connection older than this makes room.
const FAIR: Duration = Duration::from_millis(250);
/// A request line and its headers.
const HEAD_BYTES: usize = 16 * 1024;
/// Headers of a request.
const HEADERS: usize = 64;
/// A path and query; those we have are short.
const PATH_BYTES: usize = 1024;
/// From connecting to the end of the request's head.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// From connecting to the end.
const LIFE: Duration = Duration::from_secs(15);
/// How long, and how much, is read and thrown away after the answer: closing before would reset
/// the connection, and the answer be lost on the way.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 8 << 20;
/// Pause after an `accept` that failed: no descriptors left, most likely.
const RECOVER: Duration = Duration::from_millis(100);

const PLAIN: &str = "text/plain; charset=utf-8";

/// Serves the latest page until `pages` is closed.
///
/// # Errors
///
/// The listener cannot be used.
pub async fn serve(listener: StdListener, pages: watch::Receiver<Arc<Page>>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut ended = pages.clone();
    let mut ended = pin!(async move { while ended.changed().await.is_ok() {} });
    let mut crowd = Crowd::default();
    loop {
        tokio::select! {
            () = &mut ended => return Ok(()),
            stream = accept(&listener, &mut crowd) => crowd.admit(stream, pages.clone()),
        }
    }
}

/// Waits for room, then for a connection.
async fn accept(listener: &TcpListener, crowd: &mut Crowd) -> TcpStream {
    loop {
        crowd.make_room().await;
        tokio::select! {
            // Those who are done leave also while nobody comes.
            () = crowd.leave() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => return stream,
                Err(_) => tokio::time::sleep(RECOVER).await,
            },
        }
    }
}

/// The connections now, oldest first.
#[derive(Default)]
struct Crowd {
    tasks: JoinSet<u64>,
    since: BTreeMap<u64, (Instant, AbortHandle)>,
    count: u64,
}

impl Crowd {
    fn admit(&mut self, stream: TcpStream, pages: watch::Receiver<Arc<Page>>) {
        let number = self.count;
        self.count += 1;
        let handle = self.tasks.spawn(async move {
            // A scraper that went away or broke the rules is its own business.
            let _ = timeout(LIFE, connection(stream, pages)).await;
            number
        });
        self.since.insert(number, (Instant::now(), handle));
    }

    /// Waits until one is done; for ever if there is none.
    async fn leave(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok(number)) => {
                self.since.remove(&number);
            }
            // Sent away, and forgotten then.
            Some(Err(_)) => {}
            None => std::future::pending().await,
        }
    }

    /// Waits until there is room; the oldest leaves after [`FAIR`], if not by itself.
    async fn make_room(&mut self) {
        while self.since.len() >= MOST {
            let Some((&number, (since, _))) = self.since.first_key_value() else { return };
            let left = FAIR.saturating_sub(since.elapsed());
            if timeout(left, self.leave()).await.is_err()
                && let Some((_, oldest)) = self.since.remove(&number)
            {
                oldest.abort();
            }
        }
    }
}

/// One request and its answer.
async fn connection(stream: TcpStream, pages: watch::Receiver<Arc<Page>>) -> io::Result<()> {
    let service = service_fn(|request: Request<Incoming>| {
        let page = Arc::clone(&pages.borrow());
        let answer = respond(request.method(), request.uri(), request.headers(), &page);
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
fn respond(
    method: &Method,
    uri: &hyper::Uri,
    headers: &hyper::HeaderMap,
    page: &Page,
) -> Response<Full<Bytes>> {
    if uri.path_and_query().map_or(0, |path| path.as_str().len()) > PATH_BYTES {
        return say(StatusCode::URI_TOO_LONG, "too long; metrics are at /metrics\n");
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
