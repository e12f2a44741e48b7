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

/// Files and sockets that this process has open, and how many it may have.
pub(crate) fn open_files() -> Option<(u64, Option<u64>)> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    // One of them reads the folder.
    Some((open.saturating_sub(1), most_files(&limits)))
}

/// The soft limit of open files in `/proc/self/limits`; nothing where there is none.
fn most_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processor time of this process, in seconds.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let ticks = cpu_ticks(&fs::read_to_string("/proc/self/stat").ok()?)?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Ticks in user and kernel mode of a `stat`. The second field is a name in parentheses, in which anything may be.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
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
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 900 0 3 0 120 34 0 0 20 0 9 0 100";
        assert_eq!((cpu_ticks(stat), cpu_ticks("7 (a"), cpu_ticks("")), (Some(154), None, None));
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024      524288      files\n";
        assert_eq!((most_files(limits), most_files("Max open files unlimited")), (Some(1_024), None));
        assert_eq!(resident("VmHWM:\t   9000 kB\nVmRSS:\t    8 kB\n"), Some(8_192));
        assert_eq!(resident("VmRSS:\t    8 MB\n"), None);
        assert_eq!((group("ingest-0"), group("seal"), group("")), ("ingest", "seal", ""));
    }
}
