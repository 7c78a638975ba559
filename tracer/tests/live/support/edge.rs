//! One connection at a time, in a namespace of its own with `top` beside it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::books::Books;
use super::{
    Namespace, PATIENCE, Top, Watched, assert_complete, ended, ends, eventually, find_row,
    host_orphans, number, row,
};

const OFTEN: [&str; 2] = ["--interval", "100ms"];

/// A namespace of its own and `top` beside it.
pub(crate) struct Edge {
    pub(crate) namespace: Namespace,
    pub(crate) top: Top,
    /// Of the service.
    pub(crate) port: u16,
    /// Of the host.
    pub(crate) orphans_before: u64,
}

impl Edge {
    /// In a guest the `top` is the one that such tests share.
    pub(crate) fn new() -> Self {
        Self::of(Watched::new(1, &OFTEN))
    }

    /// With a `top` of its own, for the namespace and nothing else.
    pub(crate) fn alone() -> Self {
        Self::of(Watched::alone(1, &OFTEN))
    }

    fn of(watched: Watched) -> Self {
        let Watched { namespace, top, ports, .. } = watched;
        let port = ports[0];
        let exact = &top.snapshots[0]["fidelity"]["orphan_begin"];
        assert_eq!(exact, "exact", "no hook on close(): shutdown() cannot be told from it");
        Self { namespace, top, port, orphans_before: host_orphans() }
    }

    pub(crate) fn listen(&self) -> TcpListener {
        let at = (Ipv4Addr::LOCALHOST, self.port);
        self.namespace.inside(|| TcpListener::bind(at).expect("listen"))
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let to = (Ipv4Addr::LOCALHOST, self.port);
        self.namespace.inside(|| TcpStream::connect(to).expect("connect"))
    }

    /// A listener, and both ends of a connection to it: server, client.
    pub(crate) fn pair(&self) -> (TcpListener, TcpStream, TcpStream) {
        let listener = self.listen();
        let client = self.connect();
        let (server, _) = listener.accept().expect("accept");
        (listener, server, client)
    }

    /// Waits until the row of a direction is so, and we have as many orphans as the kernel (between the
    /// two readings one may begin or end), and returns it.
    pub(crate) fn until(
        &mut self,
        what: &str,
        direction: &str,
        like: impl Fn(&Value) -> bool,
    ) -> Value {
        let port = self.port;
        let snapshot = self.top.until(what, |snapshot| {
            snapshot["orphans"]["drift"] == 0
                && find_row(snapshot, port, direction).is_some_and(&like)
        });
        row(&snapshot, port, direction).clone()
    }

    /// The row of a direction now.
    pub(crate) fn now(&mut self, direction: &str) -> Value {
        row(self.top.now(), self.port, direction).clone()
    }

    /// The server has let go of its end of the one connection; now its client does, and the listener.
    ///
    /// The kernel may hold the server's end as an orphan in FIN_WAIT2 until its client's FIN:
    /// `tcp_rcv_state_process` makes it a minisocket only where nobody has locked the socket.
    pub(crate) fn closes_for_good(
        mut self,
        client_and_listener: (TcpStream, TcpListener),
    ) -> Value {
        drop(client_and_listener);
        let row = self.until("closed", "in", |row| row["totals"]["closed"] == 1);
        assert_totals(&row, &[("opened", 1), ("closed", 1), ("orphaned", 1), ("time_wait", 1)]);
        assert_eq!(ends(&row), ended("time_wait", 1), "{row}");
        self.finish()
    }

    /// The end: nothing is left of full sockets, and of orphans what there was before. Of services it
    /// has only the one.
    pub(crate) fn finish(self) -> Value {
        let before = self.orphans_before;
        eventually("no orphans", || host_orphans() == before);
        let books = Books::of(&self.namespace).only(&[self.port]);
        let mut last = self.top.last();
        books.assert_agree(&last);
        let rows = last["ports"].as_array_mut().expect("ports");
        rows.retain(|row| row["port"] == self.port);
        assert_complete(&last);
        assert_eq!(number(&last, "/orphans/tracked"), 0, "{last}");
        for state in ["listen", "syn_sent", "syn_recv", "established", "close_wait", "last_ack"] {
            assert_eq!(last["states"][state], 0, "{state} of {last}");
        }
        for row in last["ports"].as_array().expect("ports") {
            assert_balanced_with_minisockets(row);
        }
        last
    }
}

/// One of a row's totals.
pub(crate) fn total(row: &Value, name: &str) -> u64 {
    number(row, &format!("/totals/{name}"))
}

/// Exactly these totals, the others 0.
#[track_caller]
pub(crate) fn assert_totals(row: &Value, expected: &[(&str, u64)]) {
    for name in ["opened", "closed", "standing", "orphaned", "time_wait", "resets_in", "resets_out"]
    {
        let expected = expected.iter().find(|(known, _)| *known == name).map_or(0, |(_, n)| *n);
        assert_eq!(total(row, name), expected, "{name} of {row}");
    }
}

/// Reads to the peer's FIN; how much.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> usize {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("read");
    bytes.len()
}

/// Writes until nothing more fits, also after the peer has had time to say so.
pub(crate) fn fill(stream: &mut TcpStream) {
    stream.set_nonblocking(true).expect("nonblocking");
    let payload = [b'.'; 4096];
    for _ in 0..5 {
        loop {
            match stream.write(&payload) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        std::thread::sleep(Duration::from_millis(60));
    }
    stream.set_nonblocking(false).expect("blocking");
}

/// Sockets in a state at the end, of the one service.
pub(crate) fn left_in(snapshot: &Value, state: &str) -> u64 {
    let rows = snapshot["ports"].as_array().expect("ports");
    rows.iter().map(|row| number(&row["states"], &format!("/{state}"))).sum()
}

/// The row of a direction at the end: no orphans.
pub(crate) fn row_of(snapshot: &Value, direction: &str) -> Value {
    let rows = snapshot["ports"].as_array().expect("ports");
    let row = rows.iter().find(|row| row["direction"] == direction);
    let row = row.unwrap_or_else(|| panic!("no row {direction} in {snapshot}")).clone();
    assert_eq!(number(&row, "/orphans"), 0, "{row}");
    row
}

/// `opened + standing = closed`, once nothing but minisockets is left.
#[track_caller]
fn assert_balanced_with_minisockets(row: &Value) {
    assert_eq!(total(row, "opened") + total(row, "standing"), total(row, "closed"), "{row}");
}

/// Fills many at once: until all that still takes something is none.
pub(crate) fn fill_all(streams: &mut [TcpStream]) {
    const QUIET: Duration = Duration::from_millis(100);
    let payload = [b'.'; 16384];
    for stream in streams.iter() {
        stream.set_nonblocking(true).expect("nonblocking");
    }
    let mut quiet = 0;
    while quiet < 3 {
        let mut wrote = false;
        for stream in streams.iter_mut() {
            loop {
                match stream.write(&payload) {
                    Ok(_) => wrote = true,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        quiet = if wrote { 0 } else { quiet + 1 };
        // The peers say how much more they take.
        std::thread::sleep(QUIET);
    }
}
