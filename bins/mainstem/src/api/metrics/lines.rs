//! Writes metrics as OpenMetrics has them.

use std::fmt;

use hdrhistogram::Histogram;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelValue, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::super::requests::Requests;
use super::BUCKETS;

/// Writes metrics. Names come without `mainstem_`, and those of counters without `_total`.
pub(super) struct Lines<'a>(pub(super) DescriptorEncoder<'a>);

impl Lines<'_> {
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: &impl EncodeGaugeValue) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(value)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// One counter for each value of a label.
    pub(super) fn counters<L: EncodeLabelValue>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, impl EncodeCounterValue)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in values {
            metric.encode_family(&[(label, value)])?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }

    /// One gauge for each value of a label.
    pub(super) fn gauges<L: EncodeLabelValue>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, impl EncodeGaugeValue)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (value, now) in values {
            metric.encode_family(&[(label, value)])?.encode_gauge(&now)?;
        }
        Ok(())
    }

    /// One gauge for each pair of values of two labels.
    pub(super) fn gauges_by_two(
        &mut self,
        name: &str,
        help: &str,
        labels: [&'static str; 2],
        values: impl IntoIterator<Item = ([&'static str; 2], u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let [first, second] = labels;
        for (values, now) in values {
            metric.encode_family(&[(first, values[0]), (second, values[1])])?.encode_gauge(&now)?;
        }
        Ok(())
    }

    /// Values are in microseconds.
    pub(super) fn histogram(&mut self, name: &str, help: &str, values: &Histogram<u64>) -> fmt::Result {
        let mut counts = [0; BUCKETS.len() + 1];
        for step in values.iter_recorded() {
            let seconds = step.value_iterated_to() as f64 / 1e6;
            counts[BUCKETS.partition_point(|bound| *bound < seconds)] += step.count_at_value();
        }
        // The encoder sums them up.
        let buckets: Vec<_> = BUCKETS.into_iter().chain([f64::INFINITY]).zip(counts).collect();
        let sum = values.mean() * values.len() as f64 / 1e6;
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(sum, values.len(), &buckets, None)
    }

    /// A counter with a fraction, in seconds.
    pub(super) fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// Gauges that are always 1: what they tell is in their labels.
    pub(super) fn info<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        all: impl IntoIterator<Item = [(&'static str, String); N]>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for labels in all {
            metric.encode_family(&labels)?.encode_gauge(&1_u64)?;
        }
        Ok(())
    }

    /// What was asked, and how long the answers took.
    pub(super) fn requests(&mut self, requests: &Requests) -> fmt::Result {
        let (name, help) = ("api_requests", "Requests that were answered, by route and status");
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for ((route, status), count) in requests.counts() {
            let labels = [("route", route), ("status", status.to_string())];
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let (name, help) = ("api_request_seconds", "From a request's head to the head of its answer");
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (route, took) in requests.took() {
            let buckets: Vec<_> = BUCKETS.into_iter().chain([f64::INFINITY]).zip(took.buckets).collect();
            let count = took.buckets.iter().sum();
            let labels = [("route", route)];
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(took.seconds, count, &buckets, None)?;
        }
        Ok(())
    }
}
