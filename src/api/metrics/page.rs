//! The page of metrics while it is being written: one call for each family.

use std::fmt::Error;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::observe::histogram::Histogram;

/// What is being written. Each of its calls writes one family, whole.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

impl Page<'_> {
    pub(super) fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in series {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        self.counters(name, help, [(NO_LABELS, value)])
    }

    /// Counters of time, given in microseconds.
    pub(super) fn seconds<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        for (labels, micros) in series {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&seconds(micros), None)?;
        }
        Ok(())
    }

    pub(super) fn histograms<'a, L: EncodeLabelSet, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, &'a Histogram<N>)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, times) in series {
            let bounds = times.bounds.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(times.counts.into_iter().chain([times.beyond])).collect();
            let mut series = family.encode_family(&labels)?;
            series.encode_histogram::<NoLabelSet>(seconds(times.sum_micros), times.count(), &buckets, None)?;
        }
        Ok(())
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl TryInto<i64>) -> Result<(), Error> {
        self.gauges(name, help, [(NO_LABELS, value)])
    }

    pub(super) fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, impl TryInto<i64>)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            let value = value.try_into().unwrap_or(i64::MAX);
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A size; the family alone, without a series, if there is none at present.
    pub(super) fn bytes(&mut self, name: &str, help: &str, value: Option<u64>) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?;
        value.map_or(Ok(()), |value| family.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX)))
    }

    /// A number that is known, or no series.
    pub(super) fn known(&mut self, name: &str, help: &str, value: Option<u64>) -> Result<(), Error> {
        self.gauges(name, help, value.map(|value| (NO_LABELS, value)))
    }

    /// A time, or no series.
    pub(super) fn span(&mut self, name: &str, help: &str, span: Option<Duration>) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        span.map_or(Ok(()), |span| family.encode_gauge(&span.as_secs_f64()))
    }

    /// Times by label.
    pub(super) fn spans<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, Duration)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (labels, span) in series {
            family.encode_family(&labels)?.encode_gauge(&span.as_secs_f64())?;
        }
        Ok(())
    }

    /// A moment, given in Unix epoch milliseconds.
    pub(super) fn timestamp(&mut self, name: &str, help: &str, millis: u64) -> Result<(), Error> {
        self.span(name, help, Some(Duration::from_millis(millis)))
    }
}

/// For families of one series.
pub(super) const NO_LABELS: [(&str, &str); 0] = [];

/// A double holds two hundred years of microseconds exactly.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
