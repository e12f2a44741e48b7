//! How many threads do what, by the number of processors: the rules, their reasons, and where each number comes from.
//!
//! | kind | rule | why |
//! |---|---|---|
//! | `ingest-N` | half of the processors, 1 to 32 | QUIC is a third (one connection) to half (a thousand) of what a block costs, and a connection belongs to one thread: with more threads fewer of them idle beside a busy one |
//! | `seal`, `hash-N` | the processors left, 1 to 16 | reading lanes and hashing are most of the rest; from some four threads on the one that stores is narrower, and more only shorten the time that a large main block takes |
//! | `persist` | 1 | the log has one end; a block costs it a copy, and while it waits for the disk its processor is free |
//! | `api-N` | `api.threads` | it answers people, and must not grow with the machine |
//!
//! On one processor everything takes turns: there are as many threads as with two.

pub(crate) mod pin;

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use crate::settings::{Ingest, Settings};

/// The processors that this process may use: those of its control group and its affinity mask.
pub(crate) fn cores() -> NonZeroUsize {
    available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// How many threads do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The processors that it is made for.
    pub cores: NonZeroUsize,
    /// `ingest-0` and so on.
    pub ingest: Count,
    /// `seal`, `hash-1` and so on.
    pub hashing: Count,
    /// `api-0` and so on.
    pub api: Count,
}

/// A number of threads and why it is that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// How many.
    pub threads: NonZeroUsize,
    /// The setting that changes it.
    pub setting: &'static str,
    /// The rule that gave it; `None` when the setting did.
    pub rule: Option<&'static str>,
}

impl Plan {
    /// The plan for so many processors.
    pub(crate) fn of(cores: NonZeroUsize, settings: &Settings) -> Self {
        let all = cores.get();
        let ingest = ingest(cores, &settings.ingest);
        let hashing = Count::new(
            "threads.hashing",
            settings.threads.hashing,
            all.saturating_sub(ingest.threads.get()).clamp(1, 16),
            "the processors that ingest leaves, 1 to 16",
        );
        let api = Count::new("api.threads", settings.api.threads, 1, "one");
        Self { cores, ingest, hashing, api }
    }

    /// All threads that the plan names, `persist` included.
    pub(crate) fn threads(&self) -> usize {
        self.ingest.threads.get() + self.hashing.threads.get() + PERSIST + self.api.threads.get()
    }
}

/// The threads that receive.
pub(crate) fn ingest(cores: NonZeroUsize, settings: &Ingest) -> Count {
    let automatic = (cores.get() / 2).clamp(1, 32);
    Count::new("ingest.reactors", settings.reactors, automatic, "half of the processors, 1 to 32")
}

/// Threads of the persisting stage.
pub(crate) const PERSIST: usize = 1;

impl Count {
    /// `set`, or if that is 0 what the rule says.
    fn new(setting: &'static str, set: usize, automatic: usize, rule: &'static str) -> Self {
        let automatic = NonZeroUsize::new(automatic).unwrap_or(NonZeroUsize::MIN);
        let set = NonZeroUsize::new(set);
        Self { threads: set.unwrap_or(automatic), setting, rule: set.is_none().then_some(rule) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(cores: usize) -> Plan {
        Plan::of(NonZeroUsize::new(cores).unwrap(), &Settings::default())
    }

    #[test]
    fn each_kind_of_machine_has_its_threads() {
        for (cores, ingest, hashing) in
            [(1, 1, 1), (2, 1, 1), (3, 1, 2), (4, 2, 2), (8, 4, 4), (16, 8, 8), (64, 32, 16), (256, 32, 16)]
        {
            let Plan { ingest: i, hashing: h, .. } = plan(cores);
            assert_eq!((i.threads.get(), h.threads.get()), (ingest, hashing), "{cores} processors");
        }
    }

    #[test]
    fn working_threads_never_outnumber_the_processors_by_more_than_the_one_that_waits_for_the_disk() {
        for cores in 2..=256 {
            let plan = plan(cores);
            let working = plan.ingest.threads.get() + plan.hashing.threads.get();
            assert!(working <= cores, "{cores} processors: {plan:?}");
            assert_eq!(plan.threads(), working + PERSIST + 2);
        }
    }

    #[test]
    fn what_is_set_holds_and_the_rest_adapts() {
        let mut settings = Settings::default();
        settings.ingest.reactors = 3;
        let plan = Plan::of(NonZeroUsize::new(16).unwrap(), &settings);
        assert_eq!((plan.ingest.threads.get(), plan.ingest.rule), (3, None));
        assert_eq!(plan.hashing.threads.get(), 13);
        assert!(plan.hashing.rule.is_some());
        settings.threads.hashing = 40;
        settings.ingest.reactors = 64;
        let plan = Plan::of(NonZeroUsize::new(2).unwrap(), &settings);
        assert_eq!((plan.ingest.threads.get(), plan.hashing.threads.get()), (64, 40));
    }
}
