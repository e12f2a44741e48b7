//! Where a bench runs, and when.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::threads::cores;

use super::outcome::Machine;

/// This machine, with the disk that `dir` is on. What the system does not say is left empty.
pub(super) fn describe(dir: &Path) -> Machine {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let values = |name: &'static str| {
        let lines = cpu.lines().filter_map(|line| line.split_once(':'));
        lines.filter(move |(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = memory.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Machine {
        cpu: values("model name").next().unwrap_or_default(),
        processors: values("processor").count().max(cores().get()),
        memory_bytes: kib.unwrap_or(0) << 10,
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        disk: disk(dir).unwrap_or_default(),
    }
}

/// File system and device: `ext4 on /dev/vda1`.
fn disk(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, point, kind) = (words.next()?, words.next()?, words.next()?);
        // Of several at one place the last is what is seen.
        dir.starts_with(point).then(|| (point.len(), format!("{kind} on {device}")))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, disk)| disk)
}

/// The time of day in UTC, as RFC 3339 has it.
pub(super) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    rfc3339(since)
}

fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date so many days after 1970-01-01. Years begin in March here, so that the leap day is their last.
fn date(days: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01; 400 years are 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (400 * era + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_234_567_890, "2009-02-13T23:31:30Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_machine_says_what_it_is() {
        let machine = describe(Path::new("."));
        assert!(machine.processors > 0 && machine.memory_bytes > 1 << 20, "{machine:?}");
        assert!(!machine.kernel.is_empty() && machine.disk.contains(" on "), "{machine:?}");
    }
}
