//! What holds for a whole recording: the payload of a host frame, as JSON.
//!
//! It stands at the beginning of every piece, so that each can be read alone.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use super::bounds::is_name;
use super::names::{self, SIGNALS};
use super::sample::{GaugesRecord, SettingsRecord};
use super::walk::LATEST_NS;
use crate::event::{Fidelity, FidelityTable};
use crate::facts::observer::Observer;
use crate::facts::{Facts, Known, Settings, Unknown};
use crate::gauges::{Bytes, Gauges};
use crate::time::{ClockAnchor, Monotonic, Wall};

/// The longest interval between two samples that there can be, seconds; another is not known.
const MOST_INTERVAL_S: f64 = 86_400.0;

/// What holds for a whole recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The version of sockflow that wrote it.
    pub sockflow: String,
    /// The machine.
    pub host: Machine,
    /// Both clocks at one moment.
    pub anchor: ClockAnchor,
    /// When tracing began.
    pub began: Monotonic,
    /// How far each signal can be trusted.
    pub fidelity: FidelityTable,
    /// Which hook each signal got.
    pub probes: Vec<Probe>,
    /// The filter, for people; empty without one.
    pub filter: String,
    /// Whether there is a filter that sockets must pass.
    pub filtered: bool,
    /// Seconds between two samples.
    pub interval_s: f64,
    /// Which single events were asked for: `ends`, `orphans` or `all`.
    pub detail: String,
    /// Settings of the kernel by name: `net.ipv4.tcp_max_orphans`.
    pub sysctls: BTreeMap<String, String>,
    /// What the host sets at boot, and why that is not known.
    pub settings: Known<Settings>,
    /// Whether the network namespace that gauges are of is the host's first.
    pub first_netns: Option<bool>,
    /// Main memory of the host; 0 where not told.
    pub memory_bytes: u64,
    /// Bytes a page.
    pub page_bytes: u64,
    /// CPUs.
    pub cpus: u32,
    /// What was worth saying, about the start and since.
    pub notes: Vec<String>,
    /// The command line.
    pub command: Vec<String>,
    /// The first gauges of the recording: the kernel's counters are told since then. The writer
    /// fills it in from the first sample.
    pub baseline: Option<Gauges>,
    /// Which piece of the trace it is; the writer's.
    pub piece: u32,
    /// Why the piece began; the writer's.
    pub began_for: Why,
}

/// The machine that was traced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its kernel's release.
    pub kernel: String,
    /// What the kernel calls this boot.
    pub boot_id: String,
}

/// Which hook a signal got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The signal.
    pub signal: String,
    /// The hook in use; empty where none could be had.
    pub hook: String,
    /// How far it can be trusted.
    pub fidelity: Fidelity,
}

/// Why a piece began, or why one ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The recording began.
    #[default]
    Start,
    /// The piece before was as long as a piece may be.
    Size,
    /// Somebody asked for a new one (SIGHUP).
    Asked,
    /// The file of the piece before was deleted.
    Deleted,
    /// The disk had no more room.
    DiskFull,
    /// Recording was over: stopped by the user, the duration or the end of the command.
    Finished,
    /// Recording broke off with an error.
    Failed,
    /// A reason that a later version has.
    #[serde(other)]
    Other,
}

impl Why {
    /// Whether recording was over, rather than going on in another piece.
    pub(super) const fn is_final(self) -> bool {
        !matches!(self, Self::Size | Self::Asked | Self::Deleted)
    }
}

/// The JSON of a [`Run`].
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct RunRecord {
    sockflow: String,
    piece: u32,
    why: Why,
    host: Machine,
    clock: ClockRecord,
    began_ns: u64,
    interval_s: f64,
    detail: String,
    filter: String,
    filtered: bool,
    fidelity: BTreeMap<String, String>,
    probes: Vec<ProbeRecord>,
    sysctls: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<SettingsRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_netns: Option<bool>,
    memory_bytes: u64,
    page_bytes: u64,
    cpus: u32,
    command: Vec<String>,
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<GaugesRecord>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ClockRecord {
    monotonic_ns: u64,
    wall_ns: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ProbeRecord {
    signal: String,
    hook: String,
    fidelity: String,
}

/// Whether clocks can have said so: a wall clock from its epoch up to the year 2116, so that no
/// moment of a trace is outside of what a [`Wall`] can say.
pub(super) const fn is_credible(anchor: &ClockAnchor) -> bool {
    anchor.monotonic.0 <= LATEST_NS && anchor.wall.0 >= 0 && anchor.wall.0 <= LATEST_NS as i64
}

/// Why something is not known of a trace that does not tell it.
pub(super) fn not_recorded() -> Unknown {
    Unknown::because("not in this trace")
}

impl Default for Run {
    fn default() -> Self {
        Self {
            sockflow: String::new(),
            host: Machine::default(),
            anchor: ClockAnchor::default(),
            began: Monotonic::default(),
            fidelity: FidelityTable::default(),
            probes: Vec::new(),
            filter: String::new(),
            filtered: false,
            interval_s: 0.0,
            detail: String::new(),
            sysctls: BTreeMap::new(),
            settings: Err(not_recorded()),
            first_netns: None,
            memory_bytes: 0,
            page_bytes: 0,
            cpus: 0,
            notes: Vec::new(),
            command: Vec::new(),
            baseline: None,
            piece: 0,
            began_for: Why::default(),
        }
    }
}

impl Run {
    /// What a doctor needs to know of the whole of it: a look that saw nothing else.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let mut facts = Facts::unseen(self.began, &not_recorded());
        facts.kernel.clone_from(&self.host.kernel);
        facts.sysctls.clone_from(&self.sysctls);
        facts.settings.clone_from(&self.settings);
        facts.first_netns = self.first_netns;
        if self.memory_bytes > 0 {
            facts.memory = Ok(Bytes(self.memory_bytes));
        }
        facts
    }

    /// What takes the inputs of its samples in, for whoever wants the facts of each moment.
    #[must_use]
    pub fn observer(&self) -> Observer {
        let observer = Observer::new(self.facts(), not_recorded());
        // A recorder that tells settings tells facts.
        if self.settings.is_err() { observer.making_do(!self.filtered) } else { observer }
    }

    /// The payload of its host frame.
    ///
    /// # Errors
    ///
    /// None that can be: the type has nothing that JSON lacks.
    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&RunRecord {
            sockflow: self.sockflow.clone(),
            piece: self.piece,
            why: self.began_for,
            host: self.host.clone(),
            clock: ClockRecord {
                monotonic_ns: self.anchor.monotonic.0,
                wall_ns: self.anchor.wall.0,
            },
            began_ns: self.began.0,
            interval_s: self.interval_s,
            detail: self.detail.clone(),
            filter: self.filter.clone(),
            filtered: self.filtered,
            fidelity: self
                .fidelity
                .iter()
                .map(|(signal, fidelity)| ((*signal).to_owned(), fidelity.name().to_owned()))
                .collect(),
            probes: self
                .probes
                .iter()
                .map(|probe| ProbeRecord {
                    signal: probe.signal.clone(),
                    hook: probe.hook.clone(),
                    fidelity: probe.fidelity.name().to_owned(),
                })
                .collect(),
            sysctls: self.sysctls.clone(),
            settings: self.settings.as_ref().ok().map(SettingsRecord::of),
            first_netns: self.first_netns,
            memory_bytes: self.memory_bytes,
            page_bytes: self.page_bytes,
            cpus: self.cpus,
            command: self.command.clone(),
            notes: self.notes.clone(),
            baseline: self.baseline.as_ref().map(GaugesRecord::of),
        })
    }

    /// The run of a host frame's payload; names that are not known are ignored.
    ///
    /// # Errors
    ///
    /// It is no such payload.
    pub fn decode(payload: &[u8]) -> serde_json::Result<Self> {
        let record: RunRecord = serde_json::from_slice(payload)?;
        let anchor = ClockAnchor {
            monotonic: Monotonic(record.clock.monotonic_ns),
            wall: Wall(record.clock.wall_ns),
        };
        if !is_credible(&anchor) || record.began_ns > LATEST_NS {
            return Err(serde_json::Error::custom("its clocks are beyond reason"));
        }
        let Machine { name, kernel, boot_id } = &record.host;
        let names = [name, kernel, boot_id, &record.sockflow, &record.detail, &record.filter];
        if !names.into_iter().all(|name| is_name(name)) {
            return Err(serde_json::Error::custom("a name in it is too long"));
        }
        let is_interval = (0.0..=MOST_INTERVAL_S).contains(&record.interval_s);
        let fidelity: BTreeMap<String, Fidelity> = record
            .fidelity
            .into_iter()
            .map(|(signal, name)| (signal, names::fidelity_named(&name)))
            .collect();
        Ok(Self {
            sockflow: record.sockflow,
            host: record.host,
            anchor,
            began: Monotonic(record.began_ns),
            fidelity: names::known(&SIGNALS, &fidelity),
            probes: record
                .probes
                .into_iter()
                .map(|probe| Probe {
                    fidelity: names::fidelity_named(&probe.fidelity),
                    signal: probe.signal,
                    hook: probe.hook,
                })
                .collect(),
            filter: record.filter,
            filtered: record.filtered,
            interval_s: if is_interval { record.interval_s } else { 0.0 },
            detail: record.detail,
            sysctls: record.sysctls,
            settings: record.settings.map(SettingsRecord::into_settings).ok_or_else(not_recorded),
            first_netns: record.first_netns,
            memory_bytes: record.memory_bytes,
            page_bytes: record.page_bytes,
            cpus: record.cpus,
            notes: record.notes,
            command: record.command,
            baseline: record.baseline.map(GaugesRecord::into_gauges),
            piece: record.piece,
            began_for: record.why,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_comes_back_as_it_was() {
        let run = super::super::testing::run();
        assert_eq!(Run::decode(&run.encode().unwrap()).unwrap(), run);
    }

    #[test]
    fn what_a_later_version_adds_is_ignored_and_what_it_drops_is_empty() {
        let text = br#"{"host":{"name":"web-17","rack":4},"why":"moon","fidelity":{"state":"exact",
            "taste":"exact","owner":"guessed"},"colour":[1]}"#;
        let run = Run::decode(text).unwrap();
        assert_eq!(run.host.name, "web-17");
        assert_eq!(run.began_for, Why::Other);
        assert_eq!(run.fidelity["state"], Fidelity::Exact);
        assert_eq!(run.fidelity["owner"], Fidelity::Absent);
        assert_eq!(run.fidelity.len(), 2);
    }
}
