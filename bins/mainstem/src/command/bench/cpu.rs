//! Processor time, by the name of the thread: of this process or another one, from Linux's `/proc`. Elsewhere none is
//! known, and all of it reads zero.

use std::collections::BTreeMap;
use std::fs;

/// Processor time since each thread started, in nanoseconds.
#[derive(Clone, Default, Debug)]
pub(super) struct Cpu(BTreeMap<String, u64>);

impl Cpu {
    /// Of the threads of this process.
    pub(super) fn of_self() -> Self {
        Self::read("/proc/self/task")
    }

    /// Of the threads of another process.
    pub(super) fn of_process(id: u32) -> Self {
        Self::read(&format!("/proc/{id}/task"))
    }

    fn read(tasks: &str) -> Self {
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
            // A thread that has ended meanwhile is left out.
            let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
            let times = fs::read_to_string(task.path().join("schedstat")).ok();
            *threads.entry(name.trim_end().to_owned()).or_insert(0) += times.as_deref().map_or(0, on_cpu);
        }
        Self(threads)
    }

    /// What the threads whose name `is_one` accepts have spent since `earlier`.
    pub(super) fn since(&self, earlier: &Self, is_one: impl Fn(&str) -> bool) -> u64 {
        let threads = self.0.iter().filter(|(name, _)| is_one(name));
        threads.map(|(name, now)| now.saturating_sub(earlier.0.get(name).copied().unwrap_or(0))).sum()
    }

    /// What all threads have spent since `earlier`.
    pub(super) fn all_since(&self, earlier: &Self) -> u64 {
        self.since(earlier, |_| true)
    }
}

/// What the calling thread has spent since it started, in nanoseconds.
pub(super) fn of_this_thread() -> u64 {
    fs::read_to_string("/proc/thread-self/schedstat").as_deref().map_or(0, on_cpu)
}

/// The first number of a `schedstat`: nanoseconds on a processor.
fn on_cpu(text: &str) -> u64 {
    text.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0)
}

/// Which group of the result a thread of the node belongs to.
pub(super) fn group(thread: &str) -> &'static str {
    let is =
        |name: &str| thread.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    ["ingest", "seal", "hash", "persist"].into_iter().find(|name| is(name)).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_told_apart_by_their_stage() {
        let names = ["ingest-0", "ingest", "seal", "hash-11", "persist", "api-0", "sealing", "mainstem"];
        let groups = ["ingest", "ingest", "seal", "hash", "persist", "other", "other", "other"];
        assert_eq!(names.map(group), groups);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_a_thread_spends_is_counted_under_its_name() {
        let spin = || {
            let before = of_this_thread();
            while of_this_thread() < before + 2_000_000 {}
        };
        let (told, wait) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let before = Cpu::of_self();
        let work = move || {
            spin();
            told.send(()).unwrap();
            ended.recv().unwrap_err();
        };
        let thread = std::thread::Builder::new().name("hash-77".into()).spawn(work).unwrap();
        wait.recv().unwrap();
        let after = Cpu::of_self();
        assert!(after.since(&before, |name| name == "hash-77") >= 1_000_000);
        assert!(after.all_since(&before) >= after.since(&before, |name| group(name) == "hash"));
        drop(end);
        thread.join().unwrap();
    }
}
