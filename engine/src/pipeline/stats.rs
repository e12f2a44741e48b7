//! What the stages did, how long it took, and what they do now.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::utils::CachePadded;
use hdrhistogram::Histogram;

use super::meter::Meter;
use super::recorder::Recorder;
use super::trace::{PersistTrace, SealTrace};

/// Figures since the start. Durations are in microseconds, up to an hour, to three digits.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Main blocks made durable.
    pub main_blocks: u64,
    /// Side blocks made durable.
    pub side_blocks: u64,
    /// From received to durable, one value a side block.
    pub durable: Histogram<u64>,
    /// Gathering and hashing, one value a main block.
    pub seal: Histogram<u64>,
    /// Appending to the store, one value a main block.
    pub append: Histogram<u64>,
    /// Making durable, one value a sync (of one or more main blocks).
    pub sync: Histogram<u64>,
}

/// What was made durable since the start. The two are not read at once: one may be a sync ahead of the other.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Durable {
    /// Main blocks.
    pub main_blocks: u64,
    /// Side blocks.
    pub side_blocks: u64,
}

/// A stage as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageNow {
    /// `ingest`, `seal`, `append` or `sync`. The last two share a thread.
    pub name: &'static str,
    /// How many threads have turns of their own. Those that help in a turn, as in hashing, do not count.
    pub threads: usize,
    /// For how long these threads have worked since the start, in all: not waited for work, nor for room in
    /// the next stage's queue. Waiting for the disk counts.
    pub busy: Duration,
    /// What waits for the stage.
    pub queue: u64,
    /// How much may wait.
    pub capacity: u64,
    /// What the queue is counted in.
    pub unit: &'static str,
}

/// What the stages write down as they go, for whoever looks. Nobody waits: everything is written by one
/// thread, with relaxed stores that guard nothing, and seen late by an instant at most. Each stage has cache
/// lines of its own.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) seal: CachePadded<SealFigures>,
    pub(crate) persist: CachePadded<PersistFigures>,
    /// Blocks that all lanes together hold at most. Written by the persisting stage, when the registry changes.
    pub(crate) places: Count,
    /// Main blocks that may wait to be stored.
    sealed_most: u64,
    /// Main blocks that may wait for one sync.
    appended_most: u64,
}

/// Written by the sealing stage.
#[derive(Debug)]
pub(crate) struct SealFigures {
    pub(crate) meter: Meter,
    pub(crate) took: Recorder,
    /// Final side blocks that waited when it looked last, without those that it took since.
    pub(crate) waiting: Count,
    pub(crate) trace: SealTrace,
}

/// Written by the persisting stage.
#[derive(Debug)]
pub(crate) struct PersistFigures {
    pub(crate) appending: Meter,
    pub(crate) syncing: Meter,
    pub(crate) append: Recorder,
    pub(crate) sync: Recorder,
    pub(crate) durable: Recorder,
    /// Main blocks that are appended, and that are durable.
    pub(crate) appended: Count,
    pub(crate) main_blocks: Count,
    pub(crate) side_blocks: Count,
    pub(crate) trace: PersistTrace,
}

/// A number that one thread writes and any reads.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    fn of(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, more: u64) {
        self.set(self.get() + more);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Figures {
    pub(crate) fn new(places: u64, sealed_most: u64, appended_most: u64) -> Self {
        Self {
            seal: CachePadded::new(SealFigures {
                meter: Meter::default(),
                took: Recorder::new(),
                waiting: Count::default(),
                trace: SealTrace::new(),
            }),
            persist: CachePadded::new(PersistFigures {
                appending: Meter::default(),
                syncing: Meter::default(),
                append: Recorder::new(),
                sync: Recorder::new(),
                durable: Recorder::new(),
                appended: Count::default(),
                main_blocks: Count::default(),
                side_blocks: Count::default(),
                trace: PersistTrace::new(),
            }),
            places: Count::of(places),
            sealed_most,
            appended_most,
        }
    }

    /// Reads all counters of all histograms, some 93,000; on the caller's thread only.
    pub(crate) fn stats(&self) -> Stats {
        let Self { seal, persist, .. } = self;
        let Durable { main_blocks, side_blocks } = self.durable();
        Stats {
            main_blocks,
            side_blocks,
            durable: persist.durable.histogram(),
            seal: seal.took.histogram(),
            append: persist.append.histogram(),
            sync: persist.sync.histogram(),
        }
    }

    pub(crate) fn durable(&self) -> Durable {
        let Self { persist, .. } = self;
        Durable { main_blocks: persist.main_blocks.get(), side_blocks: persist.side_blocks.get() }
    }

    /// `sealed`: how many main blocks wait to be stored.
    pub(crate) fn stages(&self, now: Duration, sealed: u64) -> [StageNow; 3] {
        let Self { seal, persist, .. } = self;
        // They are not read at once.
        let durable = persist.main_blocks.get();
        let unsynced = persist.appended.get().saturating_sub(durable);
        let stage = |name, meter: &Meter, queue, capacity, unit| StageNow {
            name,
            threads: 1,
            busy: meter.busy(now),
            queue,
            capacity,
            unit,
        };
        [
            stage("seal", &seal.meter, seal.waiting.get(), self.places.get(), "side blocks"),
            stage("append", &persist.appending, sealed, self.sealed_most, "main blocks"),
            stage("sync", &persist.syncing, unsynced, self.appended_most, "main blocks"),
        ]
    }
}
