//! `GET /metrics`: what is measured, in Prometheus' plain text, or in that of `OpenMetrics` 1.0 for whoever asks for it. What that is,
//! is said by whoever is asked for it.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// What the plain answer is called.
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the other one is called.
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

/// The same in Prometheus' plain text, where a counter is named as its sample.
fn plain(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        write_family(&mut text, family).expect("a text takes everything");
    }
    text
}

fn write_family(text: &mut String, family: &MetricFamily) -> fmt::Result {
    let (suffix, kind) = match family.samples.first() {
        Some((_, MetricValue::Counter(_))) => ("_total", "counter"),
        Some((_, MetricValue::Histogram(..))) => ("", "histogram"),
        Some((_, MetricValue::Gauge(_))) => ("", "gauge"),
        None => return Ok(()),
    };
    let name = format!("{}{suffix}", family.name);
    let help = family.help.replace('\\', r"\\").replace('\n', r"\n");
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
    for (labels, value) in &family.samples {
        let labels = labels.as_slice();
        match value {
            MetricValue::Counter(count) => {
                write_sample(text, &name, (labels, None), *count as f64)?;
            }
            MetricValue::Gauge(number) => write_sample(text, &name, (labels, None), *number)?,
            MetricValue::Histogram(bounds, count, sum) => {
                let (bucket, mut within) = (format!("{name}_bucket"), 0);
                for (bound, own) in bounds {
                    within += own;
                    let bound = Some(bound.to_string());
                    write_sample(text, &bucket, (labels, bound), within as f64)?;
                }
                let all = Some("+Inf".to_owned());
                write_sample(text, &bucket, (labels, all), *count as f64)?;
                write_sample(text, &format!("{name}_sum"), (labels, None), *sum)?;
                write_sample(
                    text,
                    &format!("{name}_count"),
                    (labels, None),
                    *count as f64,
                )?;
            }
        }
    }
    Ok(())
}

fn write_sample(
    text: &mut String,
    name: &str,
    (labels, bound): (&[(&'static str, String)], Option<String>),
    number: f64,
) -> fmt::Result {
    let own = labels.iter().map(|(key, label)| (*key, label.clone()));
    let shown: Vec<String> = own
        .chain(bound.map(|bound| ("le", bound)))
        .map(|(key, label)| {
            let label = label.replace('\\', r"\\").replace('"', "\\\"");
            format!("{key}=\"{}\"", label.replace('\n', r"\n"))
        })
        .collect();
    match shown.is_empty() {
        true => writeln!(text, "{name} {number}"),
        false => writeln!(text, "{name}{{{}}} {number}", shown.join(",")),
    }
}

/// Gives what is measured at the moment.
pub(crate) type Scrape = Arc<dyn Fn() -> BoxFuture<'static, Vec<MetricFamily>> + Send + Sync>;

/// The path.
pub(super) fn router(scrape: Scrape) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(scrape)
}

async fn metrics(
    State(scrape): State<Scrape>,
    asked: HeaderMap,
) -> ([(header::HeaderName, HeaderValue); 2], String) {
    let families = scrape().await;
    let (content_type, text) = match asks_for_openmetrics(&asked) {
        true => (OPENMETRICS, exposition(families)),
        false => (PLAIN, plain(&families)),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, text)
}

fn asks_for_openmetrics(asked: &HeaderMap) -> bool {
    let values = asked.get_all(header::ACCEPT).iter();
    let mut kinds = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    kinds.any(|kind| {
        kind.trim_start()
            .starts_with("application/openmetrics-text")
    })
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
        let families = vec![count, gauge, times, none];
        insta::assert_snapshot!("plain", plain(&families));
        insta::assert_snapshot!(exposition(families));
    }
}
