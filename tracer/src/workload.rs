//! Workloads: which container, pod or systemd unit a process belongs to, from its cgroup's path.
//!
//! Every runtime puts its processes into cgroups whose names it makes by a rule of its own; here are
//! those rules, and nothing is looked up. The names are other people's choice: whoever may make cgroups
//! can make one that looks like somebody else's. Which pod a uid stands for is not in the path; the
//! kubelet's log folders say it ([`PodNames`]).

use std::collections::HashMap;
use std::fmt;

/// How a workload is known, the least telling first: of the names along a path the most telling one
/// counts, and of several alike the innermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A slice of systemd: processes that are in no unit below it.
    Slice,
    /// A service or scope of systemd.
    Unit,
    /// A container, or a machine of systemd-nspawn.
    Container,
    /// A pod of Kubernetes.
    Pod,
}

/// A container, pod or systemd unit. Its text is `nginx.service`, `docker:3f4c1a9b0d2e`,
/// `pod:NAMESPACE/NAME`, or `pod:UID` where the pod's name is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    kind: Kind,
    name: String,
    /// The pod's uid.
    uid: Option<String>,
    /// The container's id, whole.
    container: Option<String>,
}

/// What stands before the name of a container or pod.
const PREFIXES: [&str; 8] =
    ["container", "containerd", "cri-o", "docker", "lxc", "nspawn", "pod", "podman"];

/// Digits of a container's id, of which it has [`WHOLE_ID`]: as `docker ps` shows it.
const SHORT_ID: usize = 12;
const WHOLE_ID: usize = 64;
/// Digits of the id of a static pod: a hash of its file.
const STATIC_UID: usize = 32;

/// What the kernel adds to the path of a cgroup that is gone and still has a process.
const DELETED: &str = " (deleted)";

impl Workload {
    /// The workload of a cgroup: a path from the root of a hierarchy, cgroup2's or one of cgroup1's.
    /// `None` where the path names none.
    #[must_use]
    pub fn of_cgroup(path: &str) -> Option<Self> {
        let path = path.strip_suffix(DELETED).unwrap_or(path);
        let mut best = None;
        let mut parent = "";
        let mut is_kubelets = false;
        let names = path.split('/').filter(|name| !matches!(*name, "" | "." | ".."));
        for (depth, name) in names.enumerate() {
            is_kubelets |= name.contains("kubepods");
            let place = Place { parent, depth, is_kubelets };
            // A runtime that is told systemd's way of naming, and does not use it, makes
            // SLICE:PREFIX:ID one folder.
            if let Some((slice, (prefix, id))) = leaked(name) {
                better(&mut best, place.names(slice));
                better(&mut best, place.names(&format!("{prefix}-{id}.scope")));
            } else {
                better(&mut best, place.names(name));
            }
            parent = name;
        }
        best
    }

    /// The workload of a process, from its `/proc/PID/cgroup`: a line a hierarchy. Where a runtime
    /// uses cgroup1, cgroup2 has its containers in the runtime's own service, so the most telling
    /// line counts.
    #[must_use]
    pub fn of_process(text: &str) -> Option<Self> {
        let mut best: Option<Self> = None;
        for line in text.lines() {
            let Some(found) = line.splitn(3, ':').nth(2).and_then(Self::of_cgroup) else {
                continue;
            };
            let is_cgroup2 = line.starts_with("0::");
            let is_better =
                |best: &Self| found.kind > best.kind || found.kind == best.kind && is_cgroup2;
            if best.as_ref().is_none_or(is_better) {
                best = Some(found);
            }
        }
        best
    }

    fn pod(uid: String) -> Self {
        Self { kind: Kind::Pod, name: format!("pod:{uid}"), uid: Some(uid), container: None }
    }

    fn container(runtime: &str, id: &str) -> Self {
        let is_id = is_id(id);
        let shown = if is_id { &id[..SHORT_ID] } else { id };
        Self {
            kind: Kind::Container,
            name: format!("{runtime}:{shown}"),
            uid: None,
            container: is_id.then(|| id.to_owned()),
        }
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// With the pod's name in place of its uid, where `names` has it.
    #[must_use]
    pub fn named(mut self, names: &PodNames) -> Self {
        let by_uid = self.uid.as_ref().and_then(|uid| names.by_uid.get(uid));
        let by_container = self.container.as_ref().and_then(|id| names.by_container.get(id));
        if let Some(name) = by_uid.or(by_container) {
            self.kind = Kind::Pod;
            self.name = format!("pod:{name}");
        }
        self
    }

    /// Whether a pod's name would say more than is known.
    #[must_use]
    pub fn wants_name(&self) -> bool {
        self.uid.is_some() && !self.name.contains('/')
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Whether the workload with this text is meant by `wanted`: the whole text, or without what tells a
/// unit from a container (`nginx`, `3f4c1a9b0d2e`), a pod without its namespace, or a container's id in
/// full length.
#[must_use]
pub fn is_meant(text: &str, wanted: &str) -> bool {
    if text == wanted {
        return true;
    }
    let prefixed = text.split_once(':').filter(|(prefix, _)| PREFIXES.contains(prefix));
    let Some((prefix, name)) = prefixed else {
        return text.strip_suffix(".service") == Some(wanted);
    };
    let bare = match wanted.split_once(':') {
        Some((other, _)) if PREFIXES.contains(&other) && other != prefix => return false,
        Some((other, bare)) if other == prefix => bare,
        _ => wanted,
    };
    let is_pods = prefix == "pod" && name.split_once('/').is_some_and(|(_, name)| name == bare);
    let is_whole_id =
        is_id(bare) && name.len() == SHORT_ID && prefix != "pod" && bare.starts_with(name);
    bare == name || is_pods || is_whole_id
}

/// Names of pods, from the names of the kubelet's log folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodNames {
    /// `NAMESPACE/NAME`.
    by_uid: HashMap<String, String>,
    by_container: HashMap<String, String>,
}

impl PodNames {
    /// Pods remembered; a node has some hundred, and those that are gone stay known.
    pub const MOST: usize = 1 << 16;

    /// Takes in a folder of `/var/log/pods`: `NAMESPACE_NAME_UID`.
    pub fn add_folder(&mut self, folder: &str) {
        let mut parts = folder.splitn(3, '_');
        if let (Some(namespace), Some(name), Some(uid)) = (parts.next(), parts.next(), parts.next())
            && let (true, Some(uid)) = (are_names(namespace, name), uid_of(uid))
            && self.by_uid.len() < Self::MOST
        {
            self.by_uid.insert(uid, format!("{namespace}/{name}"));
        }
    }

    /// Takes in a link of `/var/log/containers`: `NAME_NAMESPACE_CONTAINER-ID.log`.
    pub fn add_link(&mut self, link: &str) {
        let mut parts = link.strip_suffix(".log").unwrap_or_default().splitn(3, '_');
        if let (Some(name), Some(namespace), Some(rest)) =
            (parts.next(), parts.next(), parts.next())
            && let Some((_, id)) = rest.rsplit_once('-')
            && are_names(namespace, name)
            && is_id(id)
            && self.by_container.len() < Self::MOST
        {
            self.by_container.insert(id.to_owned(), format!("{namespace}/{name}"));
        }
    }

    /// Whether there are no more places.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.by_uid.len() >= Self::MOST || self.by_container.len() >= Self::MOST
    }
}

/// Names in Kubernetes are of lower-case letters, digits, `-` and `.`.
fn are_names(namespace: &str, name: &str) -> bool {
    let is_name = |text: &str| {
        let is_of_names = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
        (1..=253).contains(&text.len()) && text.bytes().all(is_of_names)
    };
    is_name(namespace) && is_name(name)
}

/// Where in a path a name stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    parent: &'a str,
    /// Names before it.
    depth: usize,
    /// Whether it is the kubelet's, or below.
    is_kubelets: bool,
}

impl Place<'_> {
    /// What a name says here.
    fn names(self, name: &str) -> Option<Workload> {
        if let Some(uid) = pod_uid(name).filter(|_| self.is_kubelets) {
            return Some(Workload::pod(uid));
        }
        let container = container(self.parent, name, self.depth);
        container.map(|(runtime, id)| Workload::container(runtime, id)).or_else(|| unit(name))
    }
}

/// Keeps what says more: `found` stands further in.
fn better(best: &mut Option<Workload>, found: Option<Workload>) {
    let Some(found) = found else { return };
    match best {
        Some(pod) if pod.kind == Kind::Pod && found.kind != Kind::Pod => {
            pod.container = pod.container.take().or(found.container);
        }
        Some(kept) if found.kind < kept.kind => {}
        _ => *best = Some(found),
    }
}

/// `SLICE`, and `PREFIX` and `ID`, of a folder named by all three.
fn leaked(name: &str) -> Option<(&str, (&str, &str))> {
    let (slice, rest) = name.split_once(':')?;
    let (prefix, id) = rest.split_once(':')?;
    (slice.ends_with(".slice") && !id.contains(':')).then_some((slice, (prefix, id)))
}

/// The kubelet's cgroup of a pod: `podUID`, or with systemd `…kubepods-burstable-podUID.slice`, where
/// the uid's `-` are `_`.
fn pod_uid(name: &str) -> Option<String> {
    if let Some(bare) = name.strip_suffix(".slice") {
        let (before, uid) = bare.rsplit_once("-pod")?;
        return uid_of(uid).filter(|_| before.contains("kubepods"));
    }
    uid_of(name.strip_prefix("pod")?)
}

/// A pod's uid: a UUID, or of a static pod a hash.
fn uid_of(text: &str) -> Option<String> {
    let is_hash = text.len() == STATIC_UID && text.bytes().all(is_hex);
    let is_uuid = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => matches!(byte, b'-' | b'_'),
            _ => is_hex(byte),
        });
    (is_hash || is_uuid).then(|| text.replace('_', "-"))
}

const fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Whether it is a container's id, whole.
fn is_id(text: &str) -> bool {
    text.len() == WHOLE_ID && text.bytes().all(is_hex)
}

/// The runtime and the id or name of the container that a cgroup is, if it is one.
fn container<'a>(parent: &str, name: &'a str, depth: usize) -> Option<(&'static str, &'a str)> {
    if let Some(machine) = machine(name) {
        return Some(("nspawn", machine));
    }
    let of_lxc = ["lxc.payload.", "lxc.monitor."].iter().find_map(|it| name.strip_prefix(it));
    let of_lxc = of_lxc.or_else(|| matches!(parent, "lxc" | "lxc.payload").then_some(name));
    if let Some(name) = of_lxc.filter(|name| !name.is_empty()) {
        return Some(("lxc", name));
    }
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    if is_id(stem) {
        return Some((of_parent(parent), stem));
    }
    if let Some((prefix, id)) = stem.rsplit_once('-').filter(|(_, id)| is_id(id)) {
        // Conmon watches a container and is not in it.
        return (!prefix.ends_with("conmon")).then(|| (of_prefix(prefix), id));
    }
    // `ctr run` names a container as its user does; `default` is the namespace without --namespace.
    let is_ctrs = depth == 1 && parent == "default" && unit(name).is_none();
    is_ctrs.then_some(("containerd", name))
}

/// The runtime that puts its containers into this cgroup by their ids alone.
fn of_parent(parent: &str) -> &'static str {
    match parent {
        "docker" => "docker",
        "default" | "k8s.io" => "containerd",
        "libpod_parent" => "podman",
        _ => "container",
    }
}

/// The runtime that puts this before the ids of its containers.
fn of_prefix(prefix: &str) -> &'static str {
    match prefix {
        "docker" => "docker",
        "cri-containerd" | "containerd" | "nerdctl" => "containerd",
        "crio" => "cri-o",
        "libpod" | "libpod-payload" => "podman",
        _ => "container",
    }
}

/// The machine of systemd-nspawn: a service where a unit starts it, else a scope that
/// systemd-machined makes. libvirt's machines have scopes alike and are none.
fn machine(name: &str) -> Option<&str> {
    let of_unit = || name.strip_prefix("systemd-nspawn@")?.strip_suffix(".service");
    let of_scope = || name.strip_prefix("machine-")?.strip_suffix(".scope");
    let machine = of_unit().or_else(of_scope)?;
    let is_libvirts = ["qemu\\x2d", "lxc\\x2d"].iter().any(|it| machine.starts_with(it));
    (!machine.is_empty() && !is_libvirts).then_some(machine)
}

/// What systemd makes cgroups for, slices aside.
const UNITS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

/// A unit of systemd, if the name is one's.
fn unit(name: &str) -> Option<Workload> {
    let is_of_units = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let of = |suffix: &str| name.strip_suffix(suffix).is_some_and(|stem| !stem.is_empty());
    let kind = if UNITS.iter().any(|suffix| of(suffix)) {
        Kind::Unit
    } else if of(".slice") && name != "-.slice" {
        Kind::Slice
    } else {
        return None;
    };
    let is_unit = name.len() <= 255 && name.bytes().all(is_of_units);
    is_unit.then(|| Workload { kind, name: name.to_owned(), uid: None, container: None })
}

#[cfg(test)]
mod tests;
