//! The settings that the story and its like are about: what they really do, and what is said of
//! them that is not so.
//!
//! Data only, naming nothing of the crate: `cargo xtask docs` reads this file too, and writes the
//! tables of docs/TUNING.md from it. Versions are for readers; whether this kernel has a setting
//! is asked of /proc/sys.

/// Whose setting it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// The host's; most show in its first network namespace only.
    Host,
    /// Each network namespace has its own.
    Netns,
}

/// Where it can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// In every kernel that sockflow runs on.
    Always,
    /// Since that version.
    Since(&'static str),
    /// Taken out in that version.
    Until(&'static str),
    /// Still there since that version, and read by nothing.
    Inert(&'static str),
    /// Only in some vendors' kernels.
    Vendor,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Sysctl {
    /// Its name.
    pub name: &'static str,
    /// Where it is to be found.
    pub life: Life,
    /// What its numbers count.
    pub unit: &'static str,
    /// Whose it is.
    pub scope: Where,
    /// What it really does.
    pub does: &'static str,
    /// What else follows from changing it.
    pub beware: &'static str,
    /// File and function of the kernel tree that make it so.
    pub source: &'static str,
    /// What is said of it and is not so.
    pub myth: Option<&'static str>,
    /// The chapter of docs/TUNING.md it belongs to.
    pub chapter: Chapter,
}

/// The chapters of docs/TUNING.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chapter {
    /// Sockets that are closed and not finished.
    Orphans,
    /// What sockets may take.
    Memory,
    /// After the close.
    TimeWait,
    /// Connections going out.
    Ports,
    /// Before accept() and before the CPU.
    Queues,
    /// Descriptors.
    Files,
    /// What is not TCP's.
    Others,
}

const fn host(name: &'static str, chapter: Chapter) -> Sysctl {
    Sysctl {
        name,
        life: Life::Always,
        unit: "",
        scope: Where::Host,
        does: "",
        beware: "",
        source: "",
        myth: None,
        chapter,
    }
}

const fn netns(name: &'static str, chapter: Chapter) -> Sysctl {
    Sysctl { scope: Where::Netns, ..host(name, chapter) }
}

/// The entry for a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Sysctl> {
    TABLE.iter().find(|sysctl| sysctl.name == name)
}

/// Every entry, by chapter.
pub const TABLE: &[Sysctl] = &[
    Sysctl {
        unit: "sockets",
        does: "how many closed, unfinished sockets the host keeps; beyond it they are reset",
        beware: "compared with a sum up to 100 ms old, and doubled or quadrupled for orphans that \
                 are idle for 240 s or had an ICMP error; each orphan holds unswappable memory",
        source: "net/ipv4/tcp.c tcp_check_oom, net/ipv4/tcp_timer.c tcp_out_of_resources",
        myth: Some("that an orphan takes 64 KiB: it takes what its buffers hold, 4 KiB to MBs"),
        ..host("net.ipv4.tcp_max_orphans", Chapter::Orphans)
    },
    Sysctl {
        unit: "retries",
        does: "how often an orphan whose peer is silent retransmits; 0 means 8, about 102 s, and \
               3 about 3 s",
        beware: "slow clients can lose the unsent end of an answer; an orphan whose peer answers \
                 with a closed window is not ended by it",
        source: "net/ipv4/tcp_timer.c tcp_orphan_retries, tcp_probe_timer",
        myth: Some("that the default is 0 retries, or 7: the file reads 0, the kernel takes 8"),
        ..netns("net.ipv4.tcp_orphan_retries", Chapter::Orphans)
    },
    Sysctl {
        life: Life::Since("6.15"),
        unit: "milliseconds",
        does: "the longest wait between retransmissions (120,000); an orphan with a closed window \
               ends when its wait reaches it",
        beware: "every connection gives up sooner",
        source: "net/ipv4/tcp_timer.c tcp_probe_timer, include/net/tcp.h tcp_rto_max",
        ..netns("net.ipv4.tcp_rto_max_ms", Chapter::Orphans)
    },
    Sysctl {
        unit: "pages",
        does: "low, pressure and high of the memory of all TCP sockets; set at boot to 4.7, 6.2 \
               and 9.4 % of memory",
        beware: "above high memory is refused and orphans with data are killed; what is raised is \
                 taken from everything else",
        source: "net/core/sock.c __sk_mem_raise_allocated, net/ipv4/tcp.c tcp_init_mem",
        myth: Some(
            "that it is in bytes: it is in pages; a list copied from elsewhere may lower it",
        ),
        ..host("net.ipv4.tcp_mem", Chapter::Memory)
    },
    Sysctl {
        unit: "bytes",
        does: "minimum, first and greatest size of a socket's receive buffer",
        beware: "the second is each connection's start: 4096 there makes every connection begin \
                 slowly",
        source: "net/ipv4/tcp_input.c tcp_rcv_space_adjust, net/ipv4/tcp.c tcp_init_sock",
        ..netns("net.ipv4.tcp_rmem", Chapter::Memory)
    },
    Sysctl {
        unit: "bytes",
        does: "minimum, first and greatest size of a socket's send buffer",
        beware: "the third bounds what an orphan can hold",
        source: "net/ipv4/tcp_input.c tcp_sndbuf_expand, net/ipv4/tcp.c tcp_init_sock",
        ..netns("net.ipv4.tcp_wmem", Chapter::Memory)
    },
    Sysctl {
        unit: "pages",
        does: "memory of all UDP sockets: the first number is the limit",
        beware: "beyond it a socket gets no more than udp_rmem_min, and datagrams are dropped",
        source: "net/core/sock.c __sk_mem_raise_allocated, net/ipv4/udp.c udp_init",
        myth: Some(
            "that it is low, pressure and high as for TCP: UDP has no pressure, so the other two \
             numbers do nothing",
        ),
        ..host("net.ipv4.udp_mem", Chapter::Memory)
    },
    Sysctl {
        unit: "bytes",
        does: "how much a program may ask for with SO_RCVBUF",
        beware: "does not bound what tcp_rmem lets TCP take by itself",
        source: "net/core/sock.c sock_setsockopt",
        ..host("net.core.rmem_max", Chapter::Memory)
    },
    Sysctl {
        unit: "bytes",
        does: "how much a program may ask for with SO_SNDBUF",
        beware: "does not bound what tcp_wmem lets TCP take by itself",
        source: "net/core/sock.c sock_setsockopt",
        ..host("net.core.wmem_max", Chapter::Memory)
    },
    Sysctl {
        unit: "bytes",
        does: "how much unsent data a socket takes before it stops being writable",
        beware: "small values mean more system calls",
        source: "include/net/tcp.h tcp_notsent_lowat, tcp_stream_memory_free",
        ..netns("net.ipv4.tcp_notsent_lowat", Chapter::Memory)
    },
    Sysctl {
        unit: "sockets",
        does: "how many TIME_WAIT and FIN_WAIT2 minisockets there may be; beyond it connections \
               end without TIME_WAIT",
        beware: "lowering it takes away the protection against late segments; one takes about 264 \
                 bytes",
        source: "net/ipv4/tcp_minisocks.c tcp_time_wait, net/ipv4/inet_timewait_sock.c \
                 inet_twsk_alloc",
        myth: Some("that a full table exhausts a server: what it accepted holds no port"),
        ..netns("net.ipv4.tcp_max_tw_buckets", Chapter::TimeWait)
    },
    Sysctl {
        unit: "seconds",
        does: "how long a socket that is closed on our side waits for the peer's FIN (FIN_WAIT2)",
        beware: "above 60 the wait beyond 60 s is a real orphan; small values cut slow peers off",
        source: "net/ipv4/tcp_input.c tcp_rcv_state_process, include/net/tcp.h tcp_fin_time",
        myth: Some("that it shortens TIME_WAIT: that is 60 s, fixed (TCP_TIMEWAIT_LEN)"),
        ..netns("net.ipv4.tcp_fin_timeout", Chapter::TimeWait)
    },
    Sysctl {
        unit: "switch",
        does: "lets connect() take a port that TIME_WAIT holds; 1 everywhere, 2 on loopback (the \
               default since 4.19)",
        beware: "needs timestamps on both sides",
        source: "net/ipv4/tcp_ipv4.c tcp_twsk_unique",
        myth: Some("that it helps a server: it acts in connect() only"),
        ..netns("net.ipv4.tcp_tw_reuse", Chapter::TimeWait)
    },
    Sysctl {
        life: Life::Since("6.14"),
        unit: "milliseconds",
        does: "how old a TIME_WAIT must be before tcp_tw_reuse may take its port (1000)",
        beware: "below a second, timestamps may not have moved on",
        source: "net/ipv4/tcp_ipv4.c tcp_twsk_unique",
        ..netns("net.ipv4.tcp_tw_reuse_delay", Chapter::TimeWait)
    },
    Sysctl {
        life: Life::Until("4.12"),
        unit: "switch",
        does: "nothing any more",
        beware: "where it still existed it refused clients behind one NAT",
        source: "removed from net/ipv4/tcp_minisocks.c",
        myth: Some("that it cures TIME_WAIT"),
        ..netns("net.ipv4.tcp_tw_recycle", Chapter::TimeWait)
    },
    Sysctl {
        life: Life::Vendor,
        unit: "seconds",
        does: "nothing: no upstream kernel has or had it",
        beware: "some cloud vendors' kernels shorten TIME_WAIT with it",
        source: "include/net/tcp.h TCP_TIMEWAIT_LEN is a constant",
        myth: Some("that TIME_WAIT can be shortened by a setting"),
        ..netns("net.ipv4.tcp_tw_timeout", Chapter::TimeWait)
    },
    Sysctl {
        unit: "switch",
        does: "timestamps in every segment: round trip times, protection against wrapped numbers, \
               tcp_tw_reuse",
        beware: "off, tcp_tw_reuse does nothing",
        source: "net/ipv4/tcp_output.c tcp_syn_options, net/ipv4/tcp_ipv4.c tcp_twsk_unique",
        ..netns("net.ipv4.tcp_timestamps", Chapter::TimeWait)
    },
    Sysctl {
        unit: "ports",
        does: "first and last port for connections going out; the limit is per destination",
        beware: "a range that covers a server's port can take it while the server restarts: \
                 reserve it",
        source: "net/ipv4/inet_hashtables.c __inet_hash_connect",
        myth: Some("that it limits a server: what it accepts uses its own port"),
        ..netns("net.ipv4.ip_local_port_range", Chapter::Ports)
    },
    Sysctl {
        unit: "ports",
        does: "ports of the range that are not given out by themselves",
        beware: "shrinks the range",
        source: "net/ipv4/inet_hashtables.c __inet_hash_connect, inet_is_local_reserved_port",
        ..netns("net.ipv4.ip_local_reserved_ports", Chapter::Ports)
    },
    Sysctl {
        unit: "sockets",
        does: "the most that listen() gets (4096 since 5.4, 128 before)",
        beware: "read at listen(): restart the server",
        source: "net/socket.c __sys_listen, include/net/sock.h sk_acceptq_is_full",
        ..netns("net.core.somaxconn", Chapter::Queues)
    },
    Sysctl {
        unit: "sockets",
        does: "without SYN cookies: new peers are dropped above three quarters of it",
        beware: "with cookies on, the listener's backlog is the limit",
        source: "net/ipv4/tcp_input.c tcp_conn_request",
        myth: Some("that it is the size of the SYN queue: with cookies on it is not looked at"),
        ..netns("net.ipv4.tcp_max_syn_backlog", Chapter::Queues)
    },
    Sysctl {
        unit: "switch",
        does: "answers without keeping state when the SYN queue is full",
        beware: "off, a full queue drops clients",
        source: "net/ipv4/tcp_input.c tcp_conn_request, tcp_syn_flood_action",
        ..netns("net.ipv4.tcp_syncookies", Chapter::Queues)
    },
    Sysctl {
        unit: "switch",
        does: "answers with a reset where the accept queue is full, instead of letting the client \
               try again",
        beware: "turns a short burst into errors",
        source: "net/ipv4/tcp_minisocks.c tcp_check_req",
        ..netns("net.ipv4.tcp_abort_on_overflow", Chapter::Queues)
    },
    Sysctl {
        unit: "packets",
        does: "how many packets may wait for a CPU (loopback, RPS, drivers without NAPI)",
        beware: "does not help a network card that drops by itself",
        source: "net/core/dev.c enqueue_to_backlog",
        ..host("net.core.netdev_max_backlog", Chapter::Queues)
    },
    Sysctl {
        unit: "files",
        does: "open files of the host; root may go beyond",
        beware: "each takes kernel memory",
        source: "fs/file_table.c alloc_empty_file",
        ..host("fs.file-max", Chapter::Files)
    },
    Sysctl {
        unit: "files",
        does: "how high RLIMIT_NOFILE may be set",
        beware: "raises nobody's limit by itself",
        source: "kernel/sys.c do_prlimit",
        ..host("fs.nr_open", Chapter::Files)
    },
    Sysctl {
        unit: "entries",
        does: "connections that netfilter tracks; beyond it packets of new ones are dropped",
        beware: "about 320 bytes each; raise nf_conntrack_buckets with it",
        source: "net/netfilter/nf_conntrack_core.c __nf_conntrack_alloc",
        ..host("net.netfilter.nf_conntrack_max", Chapter::Others)
    },
    Sysctl {
        unit: "entries",
        does: "the size of the table of tracked connections",
        beware: "resizing stops tracking for a moment",
        source: "net/netfilter/nf_conntrack_core.c nf_conntrack_hash_resize",
        ..host("net.netfilter.nf_conntrack_buckets", Chapter::Others)
    },
    Sysctl {
        life: Life::Inert("4.14"),
        unit: "switch",
        does: "nothing any more: the prequeue it turned off is gone",
        source: "Documentation/networking/ip-sysctl.rst",
        ..host("net.ipv4.tcp_low_latency", Chapter::Others)
    },
    Sysctl {
        life: Life::Inert("4.15"),
        unit: "switch",
        does: "nothing any more: RACK took its place",
        source: "Documentation/networking/ip-sysctl.rst",
        ..netns("net.ipv4.tcp_fack", Chapter::Others)
    },
];
