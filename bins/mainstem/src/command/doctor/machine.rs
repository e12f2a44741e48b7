//! What the system says of itself: clock, file system, limits, memory. Reading is apart from judging, so that every
//! judgement can be tried on machines that are not at hand.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Resource, getrlimit};

use crate::clock::unix_millis;

/// What is known. `None`: the system does not tell.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Machine {
    /// Unix time, in milliseconds.
    pub wall: u64,
    /// How far the time of day moved away from the monotonic clock while it was looked at, in milliseconds.
    pub clock_jump: i64,
    /// Whether the time of day is kept by another clock.
    pub synchronized: Option<bool>,
    /// Type of the file system that the data directory is on.
    pub filesystem: Option<String>,
    /// Of the data directory's file system, in bytes.
    pub disk_free: Option<u64>,
    pub disk_size: Option<u64>,
    /// How many files may be open.
    pub open_files: Option<u64>,
    /// `net.core.rmem_max` and `net.core.wmem_max`, in bytes.
    pub receive_buffer: Option<u64>,
    pub send_buffer: Option<u64>,
    /// Memory that this process may use: of the machine, or of its control group.
    pub memory: Option<u64>,
    /// `vm.max_map_count`
    pub maps: Option<u64>,
    /// Mode of transparent huge pages.
    pub huge_pages: Option<String>,
    pub processors: usize,
    /// Name of the way SHA-256 is computed.
    pub sha256: &'static str,
    /// Whether the processor is one that could have SHA extensions and has none.
    pub slow_hashing: bool,
}

impl Machine {
    /// Looks at this machine. `dir`: where the data is, or will be.
    pub(super) fn look(dir: &Path) -> Self {
        let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
        let disk = rustix::fs::statvfs(there).ok();
        let kernel = engine::sha256::Kernel::best();
        Self {
            wall: unix_millis(),
            clock_jump: clock_jump(Duration::from_millis(60)),
            synchronized: synchronized(),
            filesystem: there
                .canonicalize()
                .ok()
                .and_then(|there| filesystem_of(&there, &fs::read_to_string("/proc/self/mountinfo").ok()?)),
            disk_free: disk.as_ref().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
            disk_size: disk.map(|disk| disk.f_blocks.saturating_mul(disk.f_frsize)),
            // Without a limit none is named.
            open_files: Some(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)),
            receive_buffer: number("/proc/sys/net/core/rmem_max"),
            send_buffer: number("/proc/sys/net/core/wmem_max"),
            memory: memory(),
            maps: number("/proc/sys/vm/max_map_count"),
            huge_pages: fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
                .ok()
                .and_then(|text| chosen(&text)),
            processors: crate::threads::cores().get(),
            sha256: kernel.name(),
            slow_hashing: cfg!(target_arch = "x86_64") && kernel == engine::sha256::Kernel::PORTABLE,
        }
    }
}

/// By how much the time of day was set while nothing was done.
fn clock_jump(look: Duration) -> i64 {
    let (wall_before, before) = (SystemTime::now(), Instant::now());
    thread::sleep(look);
    let passed = before.elapsed();
    let (forward, back) = match SystemTime::now().duration_since(wall_before) {
        Ok(wall) => (wall, Duration::ZERO),
        Err(error) => (Duration::ZERO, error.duration()),
    };
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    millis(forward) - millis(back) - millis(passed)
}

/// What systemd says; nothing where it does not run.
fn synchronized() -> Option<bool> {
    let output = Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).output();
    match output.ok().filter(|output| output.status.success())?.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

/// The type of the file system that holds `path`, by the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
fn filesystem_of(path: &Path, mounts: &str) -> Option<String> {
    let mount = |line: &str| {
        let (place, rest) = line.split_once(" - ")?;
        // Spaces stand there as \040.
        let point = place.split(' ').nth(4)?.replace("\\040", " ");
        Some((point, rest.split(' ').next()?.to_owned()))
    };
    // Of those that hold it the innermost, and of several at one place the last, hides the others.
    let holds = mounts.lines().filter_map(mount).filter(|(point, _)| path.starts_with(point));
    holds.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Of `always [madvise] never` the one in brackets.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let machine = line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()? << 10;
    // Unlimited is "max" there, which is no number.
    let group = number("/sys/fs/cgroup/memory.max").unwrap_or(u64::MAX);
    Some(machine.min(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_of_a_path_is_found() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      30 22 0:25 / /srv/my\\040data rw,relatime shared:5 - nfs4 host:/x rw\n\
                      31 22 0:26 / /srv rw - xfs /dev/sdb rw\nnonsense\n";
        let of = |path: &str| filesystem_of(Path::new(path), mounts);
        assert_eq!(of("/srv/my data/log").as_deref(), Some("nfs4"));
        assert_eq!(of("/srv/mine").as_deref(), Some("xfs"));
        assert_eq!(of("/srvother").as_deref(), Some("ext4"));
        assert_eq!(filesystem_of(Path::new("/"), ""), None);
    }

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(chosen("always [madvise] never\n").as_deref(), Some("madvise"));
        assert_eq!(chosen("never"), None);
        let machine = Machine::look(Path::new("/no/such/place"));
        assert!(machine.processors > 0 && machine.disk_size.is_some(), "{machine:?}");
    }
}
