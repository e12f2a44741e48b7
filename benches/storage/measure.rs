//! What the system says: time, processor time, memory, and what is on the disk or in the page cache.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rustix::fs::Advice;

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

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// Nanoseconds below which this share of all lies.
    pub(crate) fn at(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64
    }

    pub(crate) fn mean(&self) -> f64 {
        self.0.mean()
    }
}

/// Processor time of all threads of this process so far, in seconds, to a hundredth.
pub(crate) fn cpu_seconds() -> f64 {
    // proc_pid_stat(5): after the name, which may hold anything, `utime` and `stime` are fields 14 and 15.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// Bytes that this process has had fetched from the disk.
pub(crate) fn bytes_from_disk() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("read_bytes: ")?.parse().ok()).unwrap_or(0)
}

/// A value of /proc/self/status, in bytes.
pub(crate) fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = value.and_then(|value| value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Bytes that the files of a directory take on disk, reserved ones included, and not their length.
pub(crate) fn allocated_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    each_file(dir, &mut |file| {
        // st_blocks is in units of 512 bytes, whatever the file system's own are (stat(3type)).
        bytes += file.metadata()?.blocks() * 512;
        Ok(())
    })?;
    Ok(bytes)
}

/// Takes the files of a directory out of the page cache. They must not be mapped, nor be in use by anyone else.
pub(crate) fn forget(dir: &Path) -> Result<()> {
    each_file(dir, &mut |file| {
        // Only what is on disk may be forgotten.
        file.sync_all()?;
        Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
    })
}

/// Waits until the file system has nothing left to write, so that no run pays for the one before.
pub(crate) fn settle(dir: &Path) -> Result<()> {
    Ok(rustix::fs::syncfs(File::open(dir)?)?)
}

/// Whether files there are only in memory, where `fdatasync` does nothing.
pub(crate) fn is_in_memory(dir: &Path) -> Result<bool> {
    // linux/magic.h: TMPFS_MAGIC.
    Ok(rustix::fs::statfs(dir)?.f_type == 0x0102_1994)
}

fn each_file(dir: &Path, job: &mut dyn FnMut(&File) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            each_file(&entry.path(), job)?;
        } else {
            job(&File::open(entry.path())?)?;
        }
    }
    Ok(())
}
