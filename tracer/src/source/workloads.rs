//! What a cgroup2's path does not say of a workload: where cgroup1 has the containers, and the names
//! that the kubelet gives its pods' log folders. Read once a process, folders at most every 3 s.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::processes;
use crate::workload::{PodNames, Workload};

/// How long an unknown pod stays unknown before the folders are listed again.
const REFRESH: Duration = Duration::from_secs(3);
/// Processes remembered.
const REMEMBERED: usize = 1 << 14;
/// Entries of a folder that are looked at: a node has some hundred pods.
const MOST_ENTRIES: usize = 1 << 16;

/// A process: id, and when it started, clock ticks since boot (0: whichever has the id).
pub type Process = (u32, u32);

/// The workloads of all processes there are now, by id.
///
/// # Errors
///
/// /proc cannot be read.
pub fn all() -> Result<BTreeMap<u32, String>> {
    let mut workloads = Workloads::default();
    let pids = processes::pids().context("cannot list the processes in /proc")?;
    Ok(pids.into_iter().filter_map(|pid| Some((pid, workloads.of_pid(pid)?))).collect())
}

/// Reads and remembers.
#[derive(Debug)]
pub struct Workloads {
    /// Below it are `proc` and `var/log`.
    root: PathBuf,
    names: PodNames,
    listed: Option<Instant>,
    /// By process, what its `/proc/PID/cgroup` says.
    processes: HashMap<Process, Option<Workload>>,
}

impl Default for Workloads {
    fn default() -> Self {
        Self::at("/".into())
    }
}

impl Workloads {
    fn at(root: PathBuf) -> Self {
        Self { root, names: PodNames::default(), listed: None, processes: HashMap::new() }
    }

    /// The workload of a process whose cgroup2 has this path, if `cgroup` does not say the same.
    pub fn beyond(
        &mut self,
        process: Process,
        alive: bool,
        cgroup: Option<&str>,
    ) -> Option<String> {
        let by_path = cgroup.and_then(Workload::of_cgroup);
        let best = self.best(process, alive, by_path.clone(), Instant::now())?;
        (Some(&best) != by_path.as_ref()).then(|| best.to_string())
    }

    /// The workload of a process whose cgroup2 has this path. `alive`: it ran a moment ago.
    pub fn of(&mut self, process: Process, alive: bool, cgroup: Option<&str>) -> Option<String> {
        let by_path = cgroup.and_then(Workload::of_cgroup);
        Some(self.best(process, alive, by_path, Instant::now())?.to_string())
    }

    /// The workload of whoever has this id now.
    pub fn of_pid(&mut self, pid: u32) -> Option<String> {
        self.of((pid, 0), true, None)
    }

    fn best(
        &mut self,
        process: Process,
        alive: bool,
        by_path: Option<Workload>,
        now: Instant,
    ) -> Option<Workload> {
        let by_process = self.by_process(process, alive);
        let kind = |workload: &Workload| workload.kind();
        let best = match (by_path, by_process) {
            (Some(path), Some(process)) if kind(&process) > kind(&path) => process,
            (path, process) => path.or(process)?,
        };
        let named = best.clone().named(&self.names);
        if named.wants_name() && self.list(now) {
            return Some(best.named(&self.names));
        }
        Some(named)
    }

    fn by_process(&mut self, process: Process, alive: bool) -> Option<Workload> {
        if let Some(known) = self.processes.get(&process) {
            return known.clone();
        }
        if process.0 == 0 || !alive {
            return None;
        }
        if self.processes.len() >= REMEMBERED {
            self.processes.clear();
        }
        let path = self.root.join(format!("proc/{}/cgroup", process.0));
        let text = fs::read_to_string(path).unwrap_or_default();
        let found = Workload::of_process(&text);
        // Who has the id may be another process by now.
        let is_same = process.1 == 0
            || processes::process(process.0).is_ok_and(|it| it.start_ticks as u32 == process.1);
        let found = found.filter(|_| is_same);
        self.processes.insert(process, found.clone());
        found
    }

    /// Lists the folders again; whether that was done.
    fn list(&mut self, now: Instant) -> bool {
        if self.listed.is_some_and(|listed| now - listed < REFRESH) {
            return false;
        }
        self.listed = Some(now);
        if self.names.is_full() {
            self.names = PodNames::default();
        }
        let names = &mut self.names;
        each_name(&self.root.join("var/log/pods"), |name| names.add_folder(name));
        each_name(&self.root.join("var/log/containers"), |name| names.add_link(name));
        true
    }
}

fn each_name(folder: &Path, mut take: impl FnMut(&str)) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(MOST_ENTRIES);
    entries.for_each(|entry| entry.file_name().to_str().into_iter().for_each(&mut take));
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "79fedb3bd23ca77c9d9ccb41909038316f713df22b54b7d942b71d3812e7c74e";
    const UID: &str = "2fc932ce-fdcc-454b-97bd-aadfdeb4c340";

    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("sockflow-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("var/log/containers")).unwrap();
        root
    }

    fn process(root: &Path, pid: u32, text: &str) {
        fs::create_dir_all(root.join(format!("proc/{pid}"))).unwrap();
        fs::write(root.join(format!("proc/{pid}/cgroup")), text).unwrap();
    }

    #[test]
    fn what_the_path_says_is_not_said_again() {
        let root = root("workloads-path");
        process(&root, 7, &format!("4:memory:/docker/{ID}\n0::/system.slice/docker.service\n"));
        process(&root, 8, "0::/system.slice/nginx.service\n");
        let mut workloads = Workloads::at(root.clone());
        let mut beyond = |pid, path| workloads.beyond((pid, 0), true, path);
        let nginx = Some("/system.slice/nginx.service");
        assert_eq!(beyond(8, nginx), None);
        assert_eq!(beyond(8, None).as_deref(), Some("nginx.service"), "no cgroup2 is mounted");
        assert_eq!(beyond(8, Some("/")).as_deref(), Some("nginx.service"));
        let docker = Some("/system.slice/docker.service");
        assert_eq!(beyond(7, docker).as_deref(), Some("docker:79fedb3bd23c"), "cgroup1 knows more");
        assert_eq!(beyond(9, nginx), None, "it is gone already");
        // What was read stays known when the process is gone.
        fs::remove_dir_all(root.join("proc")).unwrap();
        assert_eq!(workloads.beyond((7, 0), false, docker).as_deref(), Some("docker:79fedb3bd23c"));
        assert_eq!(workloads.of_pid(8).as_deref(), Some("nginx.service"));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_pods_name_is_found_when_its_folder_comes_and_kept_when_it_goes() {
        let root = root("workloads-pods");
        let path = format!("/kubepods/burstable/pod{UID}/{ID}");
        let mut workloads = Workloads::at(root.clone());
        let start = Instant::now();
        let mut text = |at| {
            let by_path = Workload::of_cgroup(&path);
            workloads.best((0, 0), false, by_path, at).unwrap().to_string()
        };
        assert_eq!(text(start), format!("pod:{UID}"));
        fs::create_dir_all(root.join(format!("var/log/pods/shop_web-0_{UID}"))).unwrap();
        assert_eq!(text(start + REFRESH / 2), format!("pod:{UID}"), "not listed again so soon");
        assert_eq!(text(start + REFRESH), "pod:shop/web-0");
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(text(start + 10 * REFRESH), "pod:shop/web-0");
    }

    #[test]
    fn a_container_can_name_its_pod() {
        let root = root("workloads-links");
        fs::write(root.join(format!("var/log/containers/web-0_shop_nginx-{ID}.log")), "").unwrap();
        let mut workloads = Workloads::at(root.clone());
        let path = format!("/kubepods/pod{UID}/{ID}");
        let found = workloads.beyond((0, 0), false, Some(&path));
        assert_eq!(found.as_deref(), Some("pod:shop/web-0"));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn an_id_that_another_process_has_by_now_tells_nothing() {
        let pid = std::process::id();
        let start_ticks = processes::process(pid).unwrap().start_ticks as u32;
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let expected = Workload::of_process(&own).map(|it| it.to_string());
        let mut workloads = Workloads::default();
        assert_eq!(workloads.of((pid, start_ticks), true, None), expected);
        assert_eq!(workloads.of((pid, start_ticks + 1), true, None), None);
    }
}
