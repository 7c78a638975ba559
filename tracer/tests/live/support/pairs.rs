//! Connections that are brought into a state of which the kernel leaves no doubt.

use std::io::Read as _;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};

use socket2::{Domain, Socket, Type};

use super::{Namespace, PATIENCE, eventually};

/// Connections that the server closed and the client did not: each a minisocket in FIN_WAIT2.
///
/// `close()` comes when the FIN is acknowledged. An acknowledgement that came while `close()` had the
/// socket would leave a full one for its time in FIN_WAIT2 (`tcp_rcv_state_process`).
pub(crate) fn half_closed(
    namespace: &Namespace,
    listener: &TcpListener,
    count: u64,
) -> Vec<TcpStream> {
    let to = listener.local_addr().expect("an address");
    let (clients, servers): (Vec<_>, Vec<_>) = namespace.inside(|| {
        let pair = |_| (connect(to), listener.accept().expect("accept").0);
        (0..count).map(pair).unzip()
    });
    for server in &servers {
        server.shutdown(Shutdown::Write).expect("shutdown");
    }
    let unacknowledged = ["-tan", "state", "fin-wait-1", "sport", "=", &format!(":{}", to.port())];
    eventually("the FINs are acknowledged", || namespace.ss(&unacknowledged).is_empty());
    clients
}

/// The server closes, and its client when the FIN has come: closed before, both ends would be left in
/// TIME_WAIT.
pub(crate) fn close_in_turn(server: TcpStream, client: impl Into<TcpStream>) {
    drop(server);
    let mut client: TcpStream = client.into();
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert_eq!(client.read(&mut [0]).expect("the end"), 0);
}

/// A connection from a port that no other has: ports that are picked at random, as before 5.12, are
/// now and then those of a minisocket, which makes way.
fn connect(to: SocketAddr) -> TcpStream {
    /// Below the ports that the kernel picks.
    static PORT: AtomicU16 = AtomicU16::new(20_000);
    let port = PORT.fetch_add(1, Ordering::Relaxed);
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    client.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()).expect("bind");
    client.connect(&to.into()).expect("connect");
    client.into()
}
