//! What is served: one snapshot's texts, each made when first asked for and kept.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::ledger::Exposed;
use super::text;

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Prometheus,
}

impl Format {
    /// Its media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What an `Accept` header asks for. OpenMetrics, unless plain text is liked better.
    #[must_use]
    pub fn wanted(accept: &str) -> Self {
        let (mut openmetrics, mut plain) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts
                .filter_map(|part| part.split_once('='))
                .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
                .map_or(1.0, |(_, value)| value.trim().parse().unwrap_or(0.0));
            match media.as_str() {
                "application/openmetrics-text" | "application/*" => {
                    openmetrics = openmetrics.max(quality);
                }
                "text/plain" | "text/*" => plain = plain.max(quality),
                _ => {}
            }
        }
        if plain > openmetrics { Self::Prometheus } else { Self::OpenMetrics }
    }
}

/// The page of one snapshot.
#[derive(Debug)]
pub struct Page {
    exposed: Exposed,
    came: Instant,
    stale_after: Duration,
    openmetrics: OnceLock<Bytes>,
    prometheus: OnceLock<Bytes>,
}

impl Page {
    /// Of a snapshot that came now, and will be followed within `stale_after` if all is well.
    #[must_use]
    pub fn new(exposed: Exposed, stale_after: Duration) -> Self {
        Self {
            exposed,
            came: Instant::now(),
            stale_after,
            openmetrics: OnceLock::new(),
            prometheus: OnceLock::new(),
        }
    }

    /// Its text; shared, not copied.
    ///
    /// # Errors
    ///
    /// The encoder refuses.
    pub fn text(&self, format: Format) -> Result<Bytes, std::fmt::Error> {
        let cell = match format {
            Format::OpenMetrics => &self.openmetrics,
            Format::Prometheus => &self.prometheus,
        };
        if let Some(text) = cell.get() {
            return Ok(text.clone());
        }
        let text = Bytes::from(match format {
            Format::OpenMetrics => text::openmetrics(&self.exposed)?,
            Format::Prometheus => text::prometheus(&self.exposed)?,
        });
        Ok(cell.get_or_init(|| text).clone())
    }

    /// For how long no snapshot has followed, if that is too long.
    #[must_use]
    pub fn stale(&self) -> Option<Duration> {
        Some(self.came.elapsed()).filter(|age| *age > self.stale_after)
    }
}
