//! The table filled in, as text.
//!
//! OpenMetrics is the official client's doing. Prometheus text 0.0.4 says the same in almost the
//! same words, so it is made from it line by line.

use std::borrow::Cow;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::ledger::Exposed;
use super::table::{Family, Kind, Sample, Value, families};
use super::times;
use crate::sanitize::sanitize;

/// As OpenMetrics 1.0.
///
/// # Errors
///
/// The encoder refuses.
pub fn openmetrics(exposed: &Exposed) -> Result<String, std::fmt::Error> {
    let text = encoded(exposed)?;
    // A sum nobody kept is left out, and then the count too: the format has both or neither. It is
    // that of the last bucket anyway.
    let sums = suffixed(&["_sum{", "_count{"]);
    Ok(without(&text, &sums))
}

/// As the encoder gives it: histograms have a sum, of 0.
fn encoded(exposed: &Exposed) -> Result<String, std::fmt::Error> {
    let families = families()
        .map(|family| (family, family.values(exposed)))
        .filter(|(_, samples)| !samples.is_empty())
        .collect();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Arc::new(Filled(families))));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// As Prometheus text 0.0.4.
///
/// # Errors
///
/// See [`openmetrics`].
pub fn prometheus(exposed: &Exposed) -> Result<String, std::fmt::Error> {
    // Here a count alone is in order.
    let openmetrics = without(&encoded(exposed)?, &suffixed(&["_sum{"]));
    let mut text = String::with_capacity(openmetrics.len());
    // HELP stands before the TYPE that tells the name's ending.
    let mut help = "";
    for line in openmetrics.lines() {
        if line.starts_with("# HELP ") {
            help = line;
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (ending, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let words = help.splitn(4, ' ').nth(3).unwrap_or_default();
            text.push_str(&format!(
                "# HELP {name}{ending} {words}\n# TYPE {name}{ending} {kind}\n"
            ));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// How lines of histograms begin that end in one of these.
fn suffixed(suffixes: &[&str]) -> Vec<String> {
    let histograms = families().filter(|family| family.kind == Kind::Histogram);
    histograms
        .flat_map(|family| suffixes.iter().map(|suffix| format!("{}{suffix}", family.name)))
        .collect()
}

/// Without the lines that begin so. Labels have no line ends in them: the encoder escapes those.
fn without(text: &str, beginnings: &[String]) -> String {
    text.split_inclusive('\n')
        .filter(|line| !beginnings.iter().any(|beginning| line.starts_with(beginning)))
        .collect()
}

/// The families that have values.
#[derive(Debug)]
struct Filled(Vec<(&'static Family, Vec<Sample>)>);

impl Collector for Filled {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (family, samples) in &self.0 {
            let unit = family.unit().map(|(_, unit)| Unit::Other(unit.to_owned()));
            let name = family.unit().map_or(family.name, |(name, _)| name);
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Info => MetricType::Info,
                Kind::Histogram => MetricType::Histogram,
            };
            let help = help(family);
            let mut metric = encoder.encode_descriptor(name, &help, unit.as_ref(), kind)?;
            for Sample(values, value) in samples {
                // Names of hosts and processes are other people's: what a terminal would obey is
                // spelt out. The encoder escapes what the format minds.
                let labels: Vec<(&str, Cow<'_, str>)> = family
                    .labels
                    .iter()
                    .copied()
                    .zip(values.iter().map(|value| sanitize(value)))
                    .collect();
                if family.kind == Kind::Info {
                    metric.encode_info(&labels)?;
                } else if labels.is_empty() {
                    put(&mut metric, family.kind, *value)?;
                } else {
                    put(&mut metric.encode_family(&labels)?, family.kind, *value)?;
                }
            }
        }
        Ok(())
    }
}

fn put(metric: &mut MetricEncoder<'_>, kind: Kind, value: Value) -> Result<(), std::fmt::Error> {
    match (kind, value) {
        (Kind::Counter, Value::Whole(value)) => {
            metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
        }
        (Kind::Counter, Value::Real(value)) => {
            metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
        }
        (_, Value::Times(times)) => {
            let buckets: Vec<(f64, u64)> = times::with_ends(&times).collect();
            let count = times.iter().sum();
            metric.encode_histogram::<NoLabelSet>(0.0, count, &buckets, None)
        }
        (_, Value::Whole(value)) => metric.encode_gauge(&value),
        (_, Value::Real(value)) => metric.encode_gauge(&value),
    }
}

/// Meaning and source in one line. The encoder takes it as it is; a test sees to it that there is
/// nothing in it to escape.
fn help(family: &Family) -> String {
    format!("{}. Source: {}", family.help, family.source)
}
