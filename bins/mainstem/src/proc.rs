//! What Linux tells in `/proc` of threads and memory. Elsewhere nothing is known.

use std::fs;

/// Name and processor time in nanoseconds of each thread, so far as they are told: of process `id`, or of this one.
pub(crate) fn threads(id: Option<u32>) -> impl Iterator<Item = (String, Option<u64>)> {
    let process = id.map_or("self".to_owned(), |id| id.to_string());
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| {
        // A thread may end at any moment.
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let times = fs::read_to_string(task.path().join("schedstat")).ok();
        Some((name.trim_end().to_owned(), times.as_deref().and_then(on_cpu)))
    })
}

/// What the calling thread has spent on a processor since it started, in nanoseconds.
pub(crate) fn spent_by_this_thread() -> Option<u64> {
    on_cpu(&fs::read_to_string("/proc/thread-self/schedstat").ok()?)
}

/// The first number of a `schedstat`: nanoseconds on a processor.
fn on_cpu(text: &str) -> Option<u64> {
    text.split(' ').next()?.parse().ok()
}

/// Resident memory of this process.
pub(crate) fn resident_bytes() -> Option<u64> {
    resident(&fs::read_to_string("/proc/self/status").ok()?)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?;
    Some(kib << 10)
}

/// What threads that do the same work have in common: a name such as `ingest-0` without its number.
pub(crate) fn group(thread: &str) -> &str {
    thread.split_once('-').map_or(thread, |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_the_kernel_writes_them() {
        assert_eq!(on_cpu("1234567 89 10\n"), Some(1_234_567));
        assert_eq!(on_cpu(""), None);
        assert_eq!(resident("VmHWM:\t   9000 kB\nVmRSS:\t    8 kB\n"), Some(8_192));
        assert_eq!(resident("VmRSS:\t    8 MB\n"), None);
        assert_eq!((group("ingest-0"), group("seal"), group("")), ("ingest", "seal", ""));
    }
}
