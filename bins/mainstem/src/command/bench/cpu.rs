//! Processor time, by the name of the thread: of this process or another one. Where the system does not tell it, all of it
//! reads zero.

use std::collections::BTreeMap;

use crate::proc;

/// Processor time since each thread started, in nanoseconds.
#[derive(Clone, Default, Debug)]
pub(super) struct Cpu(BTreeMap<String, u64>);

impl Cpu {
    /// Of the threads of this process.
    pub(super) fn of_self() -> Self {
        Self::of(None)
    }

    /// Of the threads of another process.
    pub(super) fn of_process(id: u32) -> Self {
        Self::of(Some(id))
    }

    fn of(process: Option<u32>) -> Self {
        let mut threads = BTreeMap::new();
        for (name, spent) in proc::threads(process) {
            *threads.entry(name).or_insert(0) += spent.unwrap_or(0);
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
    proc::spent_by_this_thread().unwrap_or(0)
}

/// Which group of the result a thread of the node belongs to.
pub(super) fn group(thread: &str) -> &'static str {
    let group = proc::group(thread);
    ["ingest", "seal", "hash", "persist"].into_iter().find(|name| *name == group).unwrap_or("other")
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
