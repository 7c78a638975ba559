//! The doctor beside a live screen: what it says of each interval, from what the engine is told.

use std::sync::Arc;

use anyhow::Result;

use super::engine::{Engine, Tap};
use crate::aggregate::Aggregator;
use crate::diagnose::{About, Report, Watch, examine};
use crate::event::{Event, Input};
use crate::facts::Unknown;
use crate::facts::keeper::Keeper;
use crate::filter::Filter;
use crate::source::Source;
use crate::time::ClockAnchor;

/// Takes what flows to the fold, and draws conclusions once an interval.
pub(super) struct Attending {
    keeper: Keeper,
    watch: Option<Watch>,
    filter: Filter,
    anchor: ClockAnchor,
    host: String,
    /// What the last interval came to.
    pub(super) report: Option<Arc<Report>>,
}

impl Attending {
    /// A doctor for an engine that watches facts; `None` for another. `filter`: see
    /// [`Watch::about`].
    pub(super) fn new<S: Source>(engine: &Engine<S>, filter: Filter) -> Option<Self> {
        let never = Unknown::because("not looked at yet");
        Some(Self {
            keeper: Keeper::new(engine.facts()?.clone(), never),
            watch: None,
            filter,
            anchor: engine.settings().anchor,
            host: engine.settings().host.name.clone(),
            report: None,
        })
    }
}

impl Tap for Option<Attending> {
    fn event(&mut self, _: &Event) -> Result<()> {
        Ok(())
    }

    fn sample(&mut self, inputs: &[Input]) -> Result<()> {
        let Some(this) = self else { return Ok(()) };
        for input in inputs {
            match input {
                Input::Gauges(gauges) => this.keeper.gauges(gauges.clone()),
                Input::Facts(facts) => this.keeper.look(Clone::clone(facts)),
                Input::Tick(at) => {
                    let facts = this.keeper.tick(*at);
                    let watch = match &mut this.watch {
                        Some(watch) => {
                            watch.push(facts);
                            watch
                        }
                        None => {
                            let watch = Watch::new(Vec::new(), facts);
                            this.watch.insert(watch.about(this.filter.clone()))
                        }
                    };
                    let about = About { time: this.anchor.wall(*at), host: this.host.clone() };
                    this.report = Some(Arc::new(examine(watch, about)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn ticked(&mut self, _: &Aggregator) -> Result<()> {
        Ok(())
    }

    fn drained(&mut self, _: &Aggregator) -> Result<()> {
        Ok(())
    }
}
