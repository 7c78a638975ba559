//! From the moments and events of a trace to the report, in one pass and bounded memory.
//!
//! * [`Collector`] is told each moment once, in order;
//! * `series`, `times`: what the charts show; `episodes`: when something was wrong;
//! * `marks`: the timeline; `impact`: what it did; `phased`, `peers`: the tables;
//! * `bounds`: the moments between which the phases lie, and what grew from one to the other.
//!
//! Moments, events and times are those that the filter lets through already.

mod bounds;
mod episodes;
mod impact;
mod marks;
mod peers;
mod phased;
pub(super) mod series;
mod times;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::model::{Doctor, Environment, Phases, Range, Report, SCHEMA, Signal, TraceFile, Trust};
use super::{verdict, words};
use crate::aggregate::snapshot::{MemState, Snapshot};
use crate::event::{Event, Service};
use crate::facts::Facts;
use crate::filter::Filter;
use crate::time::Wall;
use bounds::Bounds;
use episodes::Episodes;
use marks::Marks;
use peers::BadEnds;
use series::Points;
use times::Times;

/// Gaps told one by one.
const MOST_GAPS: usize = 20;

/// What is known before the first moment.
#[derive(Clone, Debug)]
pub struct Begin {
    /// What the report is limited to, beside what the recording was.
    pub filter: Filter,
    /// How many moments will come.
    pub moments: usize,
    /// The last moment before the range; `None`: the range begins where tracing did.
    pub before: Option<Arc<Snapshot>>,
    /// Whether the trace itself lacks its beginning: what the first moment counts is no increase.
    pub beheaded: bool,
    /// `sockflow replay FILE`: begins the commands of the timeline.
    pub replay: String,
    /// The zone of times in sentences.
    pub zone: TimeZone,
}

/// What is known of the trace beside its moments.
#[derive(Clone, Debug, Default)]
pub struct Rest {
    /// The files.
    pub trace: TraceFile,
    /// The host, and how it was traced.
    pub environment: Environment,
    /// What of the trace is not whole: when, and in words.
    pub gaps: Vec<(Option<Wall>, String)>,
    /// Events that those swallowed, as far as known.
    pub missing_events: u64,
    /// Which hook each signal had.
    pub signals: Vec<Signal>,
    /// What the recording had to say.
    pub notes: Vec<String>,
    /// Moments in the whole trace.
    pub all_moments: usize,
}

/// Seconds from one moment to another; 0 if it is earlier.
pub(super) fn seconds(from: Wall, to: Wall) -> f64 {
    to.0.saturating_sub(from.0).max(0) as f64 / 1e9
}

/// Takes the moments in.
#[derive(Debug)]
pub struct Collector {
    begin: Begin,
    points: Points,
    times: Times,
    ends: BadEnds,
    episodes: Episodes,
    marks: Marks,
    first: Option<Arc<Snapshot>>,
    last: Option<Arc<Snapshot>>,
    pressure_s: f64,
    drift: (i64, Wall),
    own_cost: (f64, u64),
    /// Moments taken in: fewer than were promised, where some are damaged.
    taken: usize,
}

impl Collector {
    /// Nothing yet.
    #[must_use]
    pub fn new(begin: Begin) -> Self {
        let from_zero = begin.before.is_none() && !begin.beheaded;
        Self {
            points: Points::new(begin.moments),
            times: Times::new(begin.moments, from_zero),
            ends: BadEnds::default(),
            episodes: Episodes::default(),
            marks: Marks::default(),
            first: None,
            last: begin.before.clone(),
            pressure_s: 0.0,
            drift: (0, Wall::default()),
            own_cost: (0.0, 0),
            taken: 0,
            begin,
        }
    }

    /// A single event of the range.
    pub fn event(&mut self, event: &Event) {
        self.ends.event(event);
    }

    /// Times in FIN_WAIT1, counted since tracing began, up to the coming moment.
    pub fn fin_wait1(&mut self, times: &BTreeMap<Service, Vec<(u32, u64)>>) {
        self.times.count(times);
    }

    /// A look at listeners, before the coming moment.
    pub fn facts(&mut self, facts: &Facts) {
        self.points.facts(&self.begin.filter, facts);
    }

    /// What [`Self::fin_wait1`] said so far was before the range.
    pub fn begins_here(&mut self) {
        self.times.begin();
    }

    /// A moment.
    pub fn moment(&mut self, now: &Arc<Snapshot>) {
        self.taken += 1;
        let before = match &self.last {
            // A trace without its beginning: nothing is known to have happened before it.
            None if self.begin.beheaded => Some(now),
            last => last.as_ref(),
        }
        .cloned();
        if self.first.is_none() {
            self.first = Some(Arc::clone(now));
            if self.begin.beheaded {
                self.begin.before.get_or_insert_with(|| Arc::clone(now));
            }
        }
        self.points.add(now, before.as_ref());
        self.times.moment(now.time);
        self.marks.moment(now, before.as_deref());
        self.episodes.moment(now, before.as_ref());
        if let Some(before) = &before
            && now.tcp_mem.state >= MemState::Pressure
        {
            self.pressure_s += seconds(before.time, now.time);
        }
        if now.orphans.drift.unsigned_abs() > self.drift.0.unsigned_abs() {
            self.drift = (now.orphans.drift, now.time);
        }
        let (cpu, rss) = self.own_cost;
        self.own_cost = (cpu.max(now.own_cost.cpu_percent), rss.max(now.own_cost.rss_bytes));
        self.last = Some(Arc::clone(now));
    }

    /// The report, without its doctor; `None` without any moment.
    #[must_use]
    pub fn finish(self, rest: Rest) -> Option<Report> {
        let (first, last) = (self.first?, self.last?);
        let main = self.episodes.finish(&first, &last);
        let worst = &main.worst;
        let bounds = Bounds {
            begin: self.begin.before.as_deref(),
            from: first.time,
            before: &main.before,
            worst,
            over: &main.over,
            after: &last,
        };
        let replay = |at: Wall| format!("{} --at {}", self.begin.replay, at.rfc3339());
        let (ports, processes, more_rows) = phased::tables(&bounds);
        let impact = impact::impact(&bounds, &main, self.pressure_s, replay);
        let range = Range {
            from: first.time,
            to: last.time,
            seconds: seconds(first.time, last.time),
            moments: self.taken,
            whole: self.begin.moments == rest.all_moments,
        };
        let verdict = verdict::verdict(&verdict::Facts {
            impact: &impact,
            worst,
            incident: main.index.is_some(),
            range,
            zone: &self.begin.zone,
        });
        let timeline = self.marks.finish(&marks::Around {
            range,
            first: &first,
            last: &last,
            worst,
            incident: main.index.is_some(),
            calm: main.calm,
            gaps: &rest.gaps,
            ended: &rest.trace.ended,
            ended_cleanly: rest.trace.ended_cleanly,
            replay: &replay,
        });
        let lost = bounds.lost();
        let series = self.points.finish();
        let has_queues = series.points.iter().any(|point| point.accept_queue.is_some());
        let trust = Trust {
            sentence: verdict::trust(&lost, &rest, self.drift.0),
            lost,
            more_gaps: rest.gaps.len().saturating_sub(MOST_GAPS) as u64,
            gaps: rest.gaps.iter().take(MOST_GAPS).map(|(_, words)| words.clone()).collect(),
            largest_drift: self.drift.0,
            largest_drift_time: self.drift.1.max(first.time),
            last_drift: last.orphans.drift,
            signals: rest.signals,
            own_cpu_percent: self.own_cost.0,
            own_rss_bytes: self.own_cost.1,
            notes: rest.notes,
            limits: {
                let before = self.begin.before.as_ref().and_then(|it| it.resets_out_unseen);
                let unseen =
                    last.resets_out_unseen.map(|it| it.saturating_sub(before.unwrap_or(0)));
                let mut limits = verdict::limits(&rest.environment, &self.begin.filter, has_queues);
                limits.extend(unseen.filter(|it| *it > 0).map(words::resets_unseen));
                limits
            },
        };
        Some(Report {
            schema: SCHEMA,
            redacted: false,
            range,
            port: match self.begin.filter.ports[..] {
                [port] => Some(port),
                _ => None,
            },
            filter: self.begin.filter.describe(),
            verdict,
            findings: worst.findings.clone(),
            timeline,
            series,
            fin_wait1: self.times.finish(),
            phases: Phases {
                incident: main.index.is_some(),
                before: main.before.time,
                worst: worst.time,
                over: main.over.time,
                after: last.time,
            },
            peers: self.ends.finish(bounds.moments()),
            ports,
            processes,
            more: more_rows,
            orphan_ends: bounds.ends(),
            orphans_left: last.orphans.tracked,
            impact,
            doctor: Doctor::default(),
            trust,
            environment: rest.environment,
            trace: rest.trace,
        })
    }
}
