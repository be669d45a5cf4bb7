//! `GET /metrics`: what is measured, in the text of `OpenMetrics` 1.0. What that is, is said by whoever is asked for it.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use futures_util::future::BoxFuture;
use http::{HeaderValue, header};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// What the answer is called.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A number, or many of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum MetricValue {
    /// It only grows, from the start on.
    Counter(u64),
    /// It is as it is.
    Gauge(f64),
    /// Durations: upper bounds in seconds with how many lie between each and the one before; how many there are in all, and their sum.
    Histogram(Vec<(f64, u64)>, u64, f64),
}

/// A value with its labels.
type LabelledValue = (Vec<(&'static str, String)>, MetricValue);

/// What is measured under one name.
#[derive(Debug, Clone)]
pub(crate) struct MetricFamily {
    /// The name; a counter's without `_total`.
    name: &'static str,
    help: &'static str,
    samples: Vec<LabelledValue>,
}

impl MetricFamily {
    /// One without values yet.
    pub(crate) fn new(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            samples: Vec::new(),
        }
    }

    /// The same with a value more.
    #[must_use]
    pub(crate) fn with<const N: usize>(
        mut self,
        labels: [(&'static str, &str); N],
        value: MetricValue,
    ) -> Self {
        let labels = labels.map(|(name, label)| (name, label.to_owned()));
        self.samples.push((labels.to_vec(), value));
        self
    }

    fn kind(&self) -> Option<MetricType> {
        Some(match self.samples.first()?.1 {
            MetricValue::Counter(_) => MetricType::Counter,
            MetricValue::Gauge(_) => MetricType::Gauge,
            MetricValue::Histogram(..) => MetricType::Histogram,
        })
    }
}

/// Families on their way to the text.
#[derive(Debug)]
struct Collected(Vec<MetricFamily>);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let Some(kind) = family.kind() else { continue };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.samples {
                match labels.is_empty() {
                    true => encode_value(&mut metric, value)?,
                    false => encode_value(&mut metric.encode_family(labels)?, value)?,
                }
            }
        }
        Ok(())
    }
}

fn encode_value(metric: &mut MetricEncoder<'_>, value: &MetricValue) -> fmt::Result {
    match value {
        MetricValue::Counter(count) => metric.encode_counter::<NoLabelSet, u64, f64>(count, None),
        MetricValue::Gauge(number) => metric.encode_gauge(number),
        MetricValue::Histogram(bounds, count, sum) => {
            let within: u64 = bounds.iter().map(|(_, within)| within).sum();
            let mut all = bounds.clone();
            all.push((f64::INFINITY, count.saturating_sub(within)));
            metric.encode_histogram::<NoLabelSet>(*sum, *count, &all, None)
        }
    }
}

/// The text.
pub(crate) fn exposition(families: Vec<MetricFamily>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collected(families)));
    let mut text = String::new();
    encode(&mut text, &registry).expect("a text takes everything");
    text
}

/// Gives what is measured at the moment.
pub(crate) type Scrape = Arc<dyn Fn() -> BoxFuture<'static, Vec<MetricFamily>> + Send + Sync>;

/// The path.
pub(super) fn router(scrape: Scrape) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(scrape)
}

async fn metrics(State(scrape): State<Scrape>) -> ([(header::HeaderName, HeaderValue); 2], String) {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, exposition(scrape().await))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_read_as_openmetrics_has_them() {
        let count = MetricFamily::new("x_requests", "Requests.")
            .with([("class", "list")], MetricValue::Counter(3))
            .with([("class", "a\"b")], MetricValue::Counter(1));
        let gauge = MetricFamily::new("x_bytes", "Bytes.").with([], MetricValue::Gauge(7.5));
        let times = MetricValue::Histogram(vec![(0.1, 1), (1.0, 2)], 4, 32.5);
        let times = MetricFamily::new("x_seconds", "Seconds.").with([], times);
        let none = MetricFamily::new("x_none", "Nothing.");
        let text = exposition(vec![count, gauge, times, none]);
        insta::assert_snapshot!(text);
    }
}
