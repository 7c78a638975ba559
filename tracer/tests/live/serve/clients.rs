//! Clients of `serve`: crowds, and those that do not behave.

use super::*;

/// What clients saw of a crowd, and what the kernel counted meanwhile.
#[derive(Debug, PartialEq)]
pub(in super::super) struct Crowd {
    pub(in super::super) answered: usize,
    pub(in super::super) overflows: u64,
    pub(in super::super) drops: u64,
}

/// Scrapes at one moment, in this thread's network namespace. The server is stopped while they come, as one that is not scheduled for some
/// milliseconds under load: all of them are in its listen queue at once.
pub(in super::super) fn crowd(serve: &Serve, count: usize) -> Crowd {
    let counted = || {
        let ours = |name| tcp_ext_in("/proc/thread-self/net", name);
        (ours("ListenOverflows"), ours("ListenDrops"))
    };
    let before = counted();
    serve.process.signal(Signal::STOP);
    let scrapers: Vec<Socket> = (0..count)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("a flag");
            let _ = socket.connect(&serve.address.into());
            socket
        })
        .collect();
    serve.process.signal(Signal::CONT);
    let answered = scrapers.into_iter().filter(|socket| {
        socket.set_nonblocking(false).expect("a flag");
        socket.set_write_timeout(Some(SCRAPE)).expect("a timeout");
        socket.set_read_timeout(Some(SCRAPE)).expect("a timeout");
        let mut socket: &Socket = socket;
        let mut answer = Vec::new();
        let asked = socket.write_all(request("/metrics", "*/*").as_bytes());
        let read = asked.and_then(|()| socket.read_to_end(&mut answer));
        read.is_ok() && answer.get(9..12) == Some(b"200") && answer.ends_with(b"# EOF\n")
    });
    let answered = answered.count();
    let after = counted();
    Crowd { answered, overflows: after.0 - before.0, drops: after.1 - before.1 }
}

/// What a web page gets that has its own name mean 127.0.0.1.
pub(in super::super) fn rebound(address: SocketAddr) -> u16 {
    let mut stream = connect(address);
    let ask = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).expect("ask");
    read(&mut stream).expect("an answer").0
}

/// A thousand scrapes at one moment, and a web page that asks. `SOCKFLOW_BEFORE` may name an older build
/// to put beside.
#[test]
fn a_thousand_scrapes_at_once_overflow_nothing() {
    const SCRAPES: usize = 1_000;
    let _turn = turn();
    let namespace = Namespace::new();
    namespace.inside(|| {
        println!("build   1,000 scrapes: answered  overflows  drops  Host: evil.example");
        let row = |build: &str, crowd: &Crowd, host: u16| {
            let Crowd { answered, overflows, drops } = crowd;
            println!("{build:<6} {answered:>25} {overflows:>10} {drops:>6}  {host}");
        };
        if let Some(older) = std::env::var_os("SOCKFLOW_BEFORE") {
            let with = |command: Command| {
                let mut older = Command::new(&older);
                older.args(command.get_args()).stdin(Stdio::null());
                older
            };
            let serve = Serve::run(with, &[]);
            row("before", &crowd(&serve, SCRAPES), rebound(serve.address));
        }
        let serve = Serve::start(&[]);
        let (now, host) = (crowd(&serve, SCRAPES), rebound(serve.address));
        row("now", &now, host);
        assert_eq!(now, Crowd { answered: SCRAPES, overflows: 0, drops: 0 });
        assert_eq!(host, 421);
        serve.stop();
        let serve = Serve::start(&["--allow-host", "evil.example"]);
        assert_eq!(rebound(serve.address), 200);
        serve.stop();
    });
}

/// Connections that have asked for the metrics.
fn asking(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let ask = request("/metrics", "*/*");
    (0..count)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(ask.as_bytes()).expect("ask");
            stream
        })
        .collect()
}

#[test]
fn no_client_harms_the_others_or_memory() {
    let _turn = turn();
    let serve = Serve::start(&[]);
    serve.scrape();
    let before = serve.memory("VmRSS");

    // 1,000 scrapes at once: all are served, whole.
    let mut crowd = asking(serve.address, 1_000);
    std::thread::scope(|scope| {
        for part in crowd.chunks_mut(63) {
            scope.spawn(move || {
                for stream in part {
                    let (status, text) = read(stream).expect("an answer");
                    assert_eq!(status, 200);
                    assert!(text.ends_with("# EOF\n"), "cut off");
                }
            });
        }
    });
    drop(crowd);

    // Scrapers that ask and never read, and never go.
    let never = asking(serve.address, 300);
    serve.scrape();

    // A request line without an end: a megabyte of it, and it is told so.
    let mut endless = connect(serve.address);
    endless.write_all(format!("GET /{}", "a".repeat(1 << 20)).as_bytes()).expect("a megabyte");
    assert_eq!(read(&mut endless).expect("an answer").0, 431);

    // A byte now and then, on more connections than there are.
    let mut slow: Vec<TcpStream> = (0..300).map(|_| connect(serve.address)).collect();
    let began = Instant::now();
    let head = request("/metrics", "*/*");
    for byte in head.bytes().cycle() {
        for stream in &mut slow {
            let _ = stream.write_all(&[byte]);
        }
        serve.scrape();
        if began.elapsed() > Duration::from_secs(6) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }

    let most = serve.memory("VmHWM");
    println!("resident: {} KiB, for the clients at most {}", before >> 10, (most - before) >> 10);
    assert!(most < before + FOR_CLIENTS, "from {before} to {most} bytes");
    assert_eq!(get(serve.address, "/-/healthy").0, 200);
    drop((never, slow));
    serve.stop();
}
