//! A namespace and `top` beside it, with ports that are nobody else's there.

use serde_json::Value;

use super::books::Books;
use super::{Namespace, PORT, Top, emulated, shared};

/// A namespace of its own and `top` beside it.
pub(crate) struct Watched {
    pub(crate) namespace: Namespace,
    pub(crate) top: Top,
    /// Of services.
    pub(crate) ports: Vec<u16>,
    /// Whether `top` watches the namespace and nothing else.
    pub(crate) is_alone: bool,
}

impl Watched {
    /// In a guest the `top` is the one that such tests share.
    pub(crate) fn new(ports: u16, tracing: &[&str]) -> Self {
        if emulated().is_none() {
            return Self::alone(ports, tracing);
        }
        let namespace = Namespace::new();
        let top = Top::shared();
        let ports = (0..ports).map(|_| shared::port()).collect();
        Self { namespace, top, ports, is_alone: false }
    }

    /// With a `top` of its own, for the namespace and nothing else.
    pub(crate) fn alone(ports: u16, tracing: &[&str]) -> Self {
        let namespace = Namespace::new();
        let top = Top::start(&[&["--netns", &namespace.name()], tracing].concat());
        Self { namespace, top, ports: (PORT..PORT + ports).collect(), is_alone: true }
    }

    /// The last snapshot, at rest: it agrees with the kernel's books. Of services it has only these.
    #[track_caller]
    pub(crate) fn last(self) -> Value {
        if self.is_alone {
            return self.top.last_at_rest(&self.namespace);
        }
        let books = Books::of(&self.namespace).only(&self.ports);
        let mut last = self.top.last();
        books.assert_agree(&last);
        let rows = last["ports"].as_array_mut().expect("ports");
        rows.retain(|row| self.ports.iter().any(|port| row["port"] == *port));
        last
    }
}
