//! The sealing stage: decides when a main block is sealed, and of what.
//!
//! A block is sealed when the interval has passed and something waits; earlier when much waits, or a chain is
//! behind. As long as there is little, it is not sealed ahead of the store: what comes while block N is
//! synced goes into block N + 1, which is sealed when the store is free again. Sealed sooner it would wait
//! there for the same sync, and all that comes after it for one more. When there is much, sealing and storing
//! overlap.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::Cache;
use crate::chain::MainBlock;
use crate::clock::Clock;
use crate::lane::{Lane, Outlet};
use crate::state::Operation;
use crate::sync::{Doorbell, Receiver, Sender, Waiter};

use super::config::{PipelineConfig, SealRules};
use super::operate::{Change, Pending};
use super::persist::Handed;
use super::seal::Sealer;
use super::select::fair_shares;
use super::trace::Sealed;
use super::{Alive, Shared, empty_block};

/// How long the stage looks away at least while blocks wait but are not sealed yet.
const GLANCE: Duration = Duration::from_millis(1);

/// How much longer than a look takes it looks away after it: with ten thousand lanes, a look takes hundreds
/// of microseconds.
const LOOK_SHARE: u32 = 20;

/// How long it looks away at most, however long the look took (its thread may have lost the processor
/// meanwhile), and how long it waits at most before it looks at the clock again.
const LONGEST: Duration = Duration::from_millis(10);

pub(super) struct SealStage {
    pub(super) config: PipelineConfig,
    /// What lanes ring.
    pub(super) doorbell: Doorbell,
    /// Rung when a lane has something new, when there is an operation, and to stop.
    pub(super) waiter: Waiter,
    /// Rung by the persisting stage after each sync and when it ends, and to stop: what wakes this stage when
    /// it looks away from the lanes.
    pub(super) stored: Waiter,
    /// Lanes that are to be closed are found there.
    pub(super) cache: Cache,
    /// Of each chain of the state, in its order.
    pub(super) outlets: Vec<Outlet>,
    pub(super) sealer: Sealer,
    pub(super) to_persist: Sender<Handed>,
    pub(super) spare: Receiver<Box<MainBlock>>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What waits in the lanes.
struct Look {
    /// In all of them, as far as the rules let it be sealed now.
    waiting: u64,
    /// In the fullest one.
    most: u64,
    /// Whether something is held back until earlier blocks are durable.
    held: bool,
    /// When it was looked, and how long to look away if nothing is done about it.
    at: Duration,
    pause: Duration,
}

impl SealStage {
    /// Runs until a stop was requested and nothing is left, or until the persisting stage has given up.
    pub(super) fn run(mut self) {
        let _alive = Alive::new("seal", &self.shared);
        self.seal_all();
        self.shared.figures.seal.meter.end(self.clock.monotonic());
    }

    fn seal_all(&mut self) {
        let shared = Arc::clone(&self.shared);
        let figures = &shared.figures.seal;
        let (mut counts, mut sorted, mut turn) = (Vec::new(), Vec::new(), 0_u64);
        let (mut last, mut rung) = (self.clock.monotonic(), false);
        loop {
            // Before the look, and before the question whether to stop: what was rung for is seen now, and
            // whoever rings later rings anew.
            self.waiter.hear();
            // Before the look: what came before the request is seen.
            let stopping = shared.stop.is_requested();
            let change = self.next_change();
            let Look { waiting, most, held, at, pause } = self.look(&mut counts);
            if waiting == 0 && change.is_none() {
                figures.meter.end(at);
                if self.to_persist.is_closed() {
                    // Whoever waits for what was handed on is told so when this end of the hand-over is gone, too.
                    return;
                }
                if held {
                    self.stored.wait(pause);
                    continue;
                }
                if stopping {
                    return;
                }
                if rung {
                    // Who rang had nothing that is final yet, as may those who ring next.
                    self.stored.wait(pause);
                }
                rung = self.waiter.wait(Duration::from_secs(1));
                continue;
            }
            rung = false;
            let left = (last + self.config.seal_interval).saturating_sub(at);
            let backlog = self.config.catch_up && self.is_backlog(most);
            if !(stopping || backlog || waiting >= self.config.seal_leaves || change.is_some()) {
                if !left.is_zero() {
                    figures.meter.end(self.clock.monotonic());
                    self.stored.wait(left.min(pause));
                    self.wait_for_more(last + self.config.seal_interval);
                    continue;
                }
                // A chain with more than one main block takes needs several of them for each sync.
                if most <= self.config.max_per_chain && self.store_is_busy(turn) {
                    figures.meter.end(self.clock.monotonic());
                    self.stored.wait(pause);
                    if self.to_persist.is_closed() {
                        return;
                    }
                    continue;
                }
            }
            figures.meter.begin(at);
            if !backlog && most > self.config.max_per_chain {
                counts.iter_mut().for_each(|count| *count = self.config.max_per_chain.min(*count));
            }
            fair_shares(&mut counts, self.config.max_leaves, turn, &mut sorted);
            turn += 1;
            last = at;
            let mut block = self.spare.try_recv().unwrap_or_else(|| Box::new(empty_block()));
            block.operations.clear();
            block.operations.extend(change.as_ref().map(|change| change.operation.clone()));
            self.sealer.seal_with_operations(&mut self.outlets, &counts, self.clock.wall(), &mut block);
            figures.waiting.set(waiting.saturating_sub(block.header.leaf_count));
            let hashed = self.clock.monotonic();
            figures.took.record(hashed.saturating_sub(at), 1);
            figures.trace.record(block.header.height, Sealed { gathered: at, hashed });
            if !self.hand_on(Handed { block, change }, &mut counts) {
                return;
            }
        }
    }

    /// Takes the next operation, if there is one and it can be: the state and the outlets are changed then, and the next
    /// block has to carry it.
    fn next_change(&mut self) -> Option<Box<Change>> {
        let Pending { operation, reply } = self.shared.desk.take()?;
        let (applied, chain) = match self.sealer.apply(&operation) {
            Ok(applied) => applied,
            Err(error) => {
                // Who asked may be gone.
                let _ = reply.send(Err(error.into()));
                return None;
            }
        };
        let (lane, ends) = match &operation {
            Operation::Register(side) => {
                let (start, newest, doorbell) = (chain.indexed, chain.newest(), self.doorbell.clone());
                let (lane, ends) = Lane::new(side, start, newest, self.config.lane_blocks, doorbell);
                (Some(lane), ends)
            }
            Operation::Remove(chain) => {
                // One operation is on its way at a time, so the lane that is shown is the one.
                if let Some(lane) = self.cache.lane(*chain) {
                    lane.close();
                }
                (None, Lane::nobodys(*chain, self.doorbell.clone()))
            }
        };
        if applied.inserted {
            self.outlets.insert(applied.position, ends.outlet);
        } else {
            self.outlets[applied.position] = ends.outlet;
        }
        Some(Box::new(Change { operation, applied, drain: ends.drain, lane, reply }))
    }

    /// Whether a main block of the `sealed` ones is not durable yet, so that one more would wait for its sync
    /// to end. Not asked of a store that lets syncs wait: it takes blocks in at any time.
    fn store_is_busy(&self, sealed: u64) -> bool {
        // Seen at the latest when `stored` was rung, which comes after it.
        self.config.sync_interval.is_zero() && self.shared.figures.persist.main_blocks.get() < sealed
    }

    /// Waits until someone rings, or has rung since the last look, but no longer than to the time `until`.
    fn wait_for_more(&self, until: Duration) {
        loop {
            let left = until.saturating_sub(self.clock.monotonic());
            if left.is_zero() || self.waiter.wait(left.min(LONGEST)) {
                return;
            }
        }
    }

    /// Waits while the store is behind. False when the persisting stage has given up.
    fn hand_on(&mut self, sealed: Handed, counts: &mut Vec<u64>) -> bool {
        let Err(sealed) = self.to_persist.try_send(sealed) else { return true };
        // For whoever looks: meanwhile lanes fill.
        self.look(counts);
        let meter = &self.shared.figures.seal.meter;
        meter.end(self.clock.monotonic());
        let sent = self.to_persist.send(sealed).is_ok();
        meter.begin(self.clock.monotonic());
        sent
    }

    /// Counts the final blocks that wait in each lane.
    fn look(&self, counts: &mut Vec<u64>) -> Look {
        let at = self.clock.monotonic();
        counts.clear();
        let rules = self.config.rules;
        counts.extend(self.outlets.iter().map(|outlet| rules.places(outlet)));
        let (waiting, most) = counts.iter().fold((0, 0), |(sum, most), &n| (sum + n, n.max(most)));
        self.shared.figures.seal.waiting.set(waiting);
        let held = waiting == 0
            && rules != SealRules::Mainstem
            && self.outlets.iter().any(|outlet| rules.holds(outlet));
        let took = self.clock.monotonic().saturating_sub(at);
        Look { waiting, most, held, at, pause: took.saturating_mul(LOOK_SHARE).clamp(GLANCE, LONGEST) }
    }

    /// Whether a chain with `most` blocks waiting is behind: more than a main block takes of it, or a lane so
    /// full that its sender may soon have to stop.
    fn is_backlog(&self, most: u64) -> bool {
        most > self.config.max_per_chain || 2 * most >= self.config.lane_blocks as u64
    }
}
