//! What the system says: processor time, memory, datagrams that it dropped.

use std::fs;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

/// The middle of several runs, the lowest and the highest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values[0], values[values.len() - 1]);
        let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
        Self { median, low, high }
    }

    /// `median (low - high)`; of a single value, that.
    pub(crate) fn show(self, digits: usize) -> String {
        let Self { median, low, high } = self;
        if low.to_bits() == high.to_bits() {
            return format!("{median:.digits$}");
        }
        format!("{median:.digits$} ({low:.digits$} - {high:.digits$})")
    }
}

/// Durations from a nanosecond to a minute, to three digits.
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds and digits are in range"))
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.0.saturating_record(time.as_nanos() as u64);
    }

    /// Nanoseconds below which this share of all lies.
    pub(crate) fn at(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64
    }
}

/// Processor time of all threads of this process so far.
pub(crate) fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// A value of /proc/self/status, in bytes.
pub(crate) fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = value.and_then(|value| value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Datagrams that found the buffers of the sockets of this port full. /proc/net/udp: the local address is `IP:PORT`
/// in hexadecimal digits, the last column counts drops.
pub(crate) fn udp_drops(port: u16) -> u64 {
    let table = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    let port = format!(":{port:04X}");
    let of_port = table.lines().filter(|line| {
        line.split_whitespace().nth(1).is_some_and(|address| address.ends_with(port.as_str()))
    });
    of_port.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum()
}
