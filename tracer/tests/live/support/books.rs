//! The kernel's own books beside ours, once a scenario is at rest.

use std::process::Command;

use serde_json::Value;

use super::{Namespace, Top, ends, eventually, number, output, sockstat};

/// Those of a network namespace, opened before the last snapshot is taken and closed after it.
pub(crate) struct Books {
    /// Such as `/proc/net`.
    folder: String,
    /// Minisockets before the last snapshot.
    tw: u64,
    /// The services that are the namespace's, where `top` watches others too; none: all are.
    ports: Vec<u16>,
}

impl Books {
    pub(crate) fn of(namespace: &Namespace) -> Self {
        at_rest(|closing| namespace.ss(closing).is_empty());
        Self::at(namespace.folder())
    }

    /// Of the namespace that the test itself is in.
    pub(crate) fn of_ours() -> Self {
        at_rest(|closing| {
            let mut ss = Command::new("ss");
            ss.arg("-H").args(closing).args(["src", "127.0.0.0/8"]);
            output(ss).stdout.is_empty()
        });
        Self::at("/proc/self/net".to_owned())
    }

    fn at(folder: String) -> Self {
        let tw = sockstat(&folder, "tw");
        Self { folder, tw, ports: Vec::new() }
    }

    pub(crate) fn only(self, ports: &[u16]) -> Self {
        Self { ports: ports.to_vec(), ..self }
    }

    /// No drift; every orphan that began has ended for one reason or is there; and where minisockets
    /// are seen one by one, those that began and have not ended are sockstat's `tw`.
    #[track_caller]
    pub(crate) fn assert_agree(&self, last: &Value) {
        assert_eq!(last["orphans"]["drift"], 0, "{last}");
        let rows = last["ports"].as_array().expect("ports");
        let is_all = self.ports.is_empty();
        let ours = |row: &&Value| is_all || self.ports.iter().any(|port| row["port"] == *port);
        let rows: Vec<&Value> = rows.iter().filter(ours).collect();
        for row in &rows {
            let ended: u64 = ends(row).iter().map(|(_, count)| count).sum();
            let accounted = ended + number(row, "/orphans");
            let began = number(row, "/totals/orphaned");
            // One that stood before was not seen to begin.
            let standing = number(row, "/totals/standing");
            assert!((began..=began + standing).contains(&accounted), "{row}");
        }
        // Elsewhere they are concluded from the sockets' states; whether that may be so on this kernel
        // is in `kernels.toml`.
        if last["fidelity"]["time_wait"] == "exact" {
            let of_rows: u64 = rows.iter().map(|row| minisockets(row)).sum();
            if is_all {
                assert_eq!(of_rows, minisockets(last), "by service and in all: {last}");
            }
            // Those whose time is up may end meanwhile.
            let at_least = sockstat(&self.folder, "tw");
            // A run that the kernel skipped may have been one's begin or end, and that is told.
            let off = number(last, "/lost/missed");
            assert!(
                (at_least.saturating_sub(off)..=self.tw + off).contains(&of_rows),
                "{of_rows} minisockets, {at_least}..={} by sockstat: {last}",
                self.tw
            );
        }
    }
}

/// Waits until every FIN is acknowledged: before, a minisocket may begin. `is_empty` asks `ss`.
fn at_rest(is_empty: impl Fn(&[&str]) -> bool) {
    let closing = ["state", "fin-wait-1", "state", "closing", "state", "last-ack"];
    let closing = [&["-tan"][..], &closing].concat();
    eventually("at rest", || is_empty(&closing));
}

/// Those of a snapshot or a row that began, or were there before, and have not ended.
fn minisockets(of: &Value) -> u64 {
    let count = |name: &str| number(of, &format!("/minisockets/{name}"));
    (count("standing") + count("begun"))
        .checked_sub(count("expired") + count("reused") + count("killed"))
        .unwrap_or_else(|| panic!("more ended than began: {of}"))
}

/// The `--netns` of the namespace that the test itself is in.
pub(crate) fn our_namespace() -> String {
    std::process::id().to_string()
}

impl Top {
    /// Ends it and returns the last snapshot, which agrees with the kernel's books of the namespace
    /// that it watches.
    #[track_caller]
    pub(crate) fn last_at_rest(self, namespace: &Namespace) -> Value {
        let books = Books::of(namespace);
        let last = self.last();
        books.assert_agree(&last);
        last
    }

    /// [`Top::last_at_rest`], of the namespace that the test itself is in.
    #[track_caller]
    pub(crate) fn last_at_rest_here(self) -> Value {
        let books = Books::of_ours();
        let last = self.last();
        books.assert_agree(&last);
        last
    }
}
