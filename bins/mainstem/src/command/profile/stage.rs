//! Stages by the names of their threads, and what their threads take.

use std::ops::{Index, IndexMut};
use std::time::Duration;

use crate::{alloc, proc};

/// A group of threads that do the same work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Ingest,
    Seal,
    /// The pool that `seal` shares hashing with.
    Hash,
    Persist,
    Api,
    Other,
}

impl Stage {
    /// In the order of a block's way.
    pub(super) const ALL: [Self; 6] =
        [Self::Ingest, Self::Seal, Self::Hash, Self::Persist, Self::Api, Self::Other];

    /// The stage of a thread of this name, such as `ingest-0`.
    pub(super) fn of_thread(thread: &str) -> Self {
        let name = proc::group(thread);
        Self::ALL.into_iter().find(|stage| stage.name() == name).unwrap_or(Self::Other)
    }

    /// As it is printed, and as its files are named.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Seal => "seal",
            Self::Hash => "hash",
            Self::Persist => "persist",
            Self::Api => "api",
            Self::Other => "other",
        }
    }
}

/// One value for each stage.
#[derive(Default)]
pub(super) struct ByStage<T>([T; Stage::ALL.len()]);

impl<T> Index<Stage> for ByStage<T> {
    type Output = T;

    fn index(&self, stage: Stage) -> &T {
        &self.0[stage as usize]
    }
}

impl<T> IndexMut<Stage> for ByStage<T> {
    fn index_mut(&mut self, stage: Stage) -> &mut T {
        &mut self.0[stage as usize]
    }
}

/// What a stage's threads took since they started.
#[derive(Clone, Copy, Default)]
pub(super) struct Usage {
    /// Of a processor, if this system tells.
    pub(super) processor: Option<Duration>,
    pub(super) allocations: u64,
    pub(super) bytes: u64,
}

impl Usage {
    /// Of all threads that live; what ended ones allocated is with `other`.
    pub(super) fn now() -> ByStage<Self> {
        let mut usage = ByStage::<Self>::default();
        for thread in alloc::counts() {
            let stage = &mut usage[Stage::of_thread(&thread.name)];
            stage.allocations += thread.allocations;
            stage.bytes += thread.bytes;
        }
        for (thread, nanos) in proc::threads(None) {
            let Some(nanos) = nanos else { continue };
            *usage[Stage::of_thread(&thread)].processor.get_or_insert_default() +=
                Duration::from_nanos(nanos);
        }
        // A stage without threads took nothing; where nobody tells, that is not known.
        if usage.0.iter().any(|usage| usage.processor.is_some()) {
            usage.0.iter_mut().for_each(|usage| _ = usage.processor.get_or_insert_default());
        }
        usage
    }
}

impl ByStage<Usage> {
    /// What came since.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self(Stage::ALL.map(|stage| {
            let (now, before) = (self[stage], before[stage]);
            Usage {
                processor: now
                    .processor
                    .zip(before.processor)
                    .map(|(now, before)| now.saturating_sub(before)),
                // Less, if a thread has ended meanwhile.
                allocations: now.allocations.saturating_sub(before.allocations),
                bytes: now.bytes.saturating_sub(before.bytes),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_belongs_to_the_stage_that_it_is_named_after() {
        assert_eq!(Stage::of_thread("ingest-12"), Stage::Ingest);
        assert_eq!(Stage::of_thread("seal"), Stage::Seal);
        assert_eq!(Stage::of_thread("hash-0"), Stage::Hash);
        assert_eq!(Stage::of_thread("persist"), Stage::Persist);
        assert_eq!(Stage::of_thread("api-3"), Stage::Api);
        assert_eq!(Stage::of_thread("sealing"), Stage::Other);
        assert_eq!(Stage::of_thread(""), Stage::Other);
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index);
        }
    }

    #[test]
    fn what_a_thread_takes_is_counted_with_its_stage() {
        let before = Usage::now();
        let (sender, receiver) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("persist".into()).spawn(move || {
            drop(std::hint::black_box(vec![1_u8; 100_000]));
            sender.send(()).unwrap();
            ended.recv().unwrap_err();
        });
        receiver.recv().unwrap();
        let usage = Usage::now().since(&before)[Stage::Persist];
        assert!(usage.bytes >= 100_000 && usage.allocations >= 1, "{} {}", usage.bytes, usage.allocations);
        if cfg!(target_os = "linux") {
            assert!(usage.processor.is_some_and(|time| !time.is_zero()));
        }
        drop(end);
        thread.unwrap().join().unwrap();
    }
}
