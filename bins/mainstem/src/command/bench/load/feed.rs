//! Where the blocks of a load come from: when which chain has how many.
//!
//! Blocks are made of cheap pseudo-random bytes and linked as every chain's are, so that making them costs little.
//! Whatever holds a chain up, it owes what is due: late blocks are sent when they can be, and count as late.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use engine::chain::{ChainId, Columns, Hash, Height, Timestamp};
use engine::source::{Source, SourceError};
use hdrhistogram::Histogram;

use super::super::shape::{Shape, Skew, whole};
use super::Lateness;

/// When blocks are due.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// Always: each chain gives what it is asked for.
    FlatOut,
    /// As many as the chain's share of what all chains of the connection have given so far and a step.
    Shares,
    /// By the clock, so many blocks a second of all chains.
    Rate(f64),
}

/// What all connections of a load have in common.
#[derive(Debug)]
pub(super) struct Plan {
    pace: Pace,
    batch: usize,
    chains: u32,
    connections: u32,
    /// Of each chain, 1 in sum.
    shares: Vec<f64>,
    /// Blocks that each chain has in all.
    ends: Vec<u64>,
}

/// Closed until the load is to begin.
#[derive(Default, Debug)]
pub(super) struct Gate(OnceLock<Instant>);

/// How late the blocks of a connection were, in microseconds.
pub(super) type Late = Arc<Mutex<Histogram<u64>>>;

/// What all chains of a connection may be ahead of each other, when their shares differ: some milliseconds flat out, and
/// several blocks of each chain.
const STEP: u64 = 1 << 16;

impl Gate {
    /// Lets the load begin; blocks are due from now on.
    pub(super) fn open(&self) {
        // Opened twice: it began with the first.
        let _ = self.0.set(Instant::now());
    }

    fn opened(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}

impl Plan {
    /// A load of this shape, with so many blocks in all if a number is given.
    pub(super) fn new(shape: &Shape, blocks: Option<u64>) -> Self {
        let shares = shape.skew.shares(shape.chains);
        let pace = match (shape.rate, shape.skew) {
            (Some(rate), _) => Pace::Rate(rate as f64),
            (None, Skew::Uniform) => Pace::FlatOut,
            (None, _) => Pace::Shares,
        };
        Self {
            pace,
            batch: shape.batch.map_or(usize::MAX, |blocks| blocks as usize),
            chains: shape.chains,
            connections: shape.connections,
            ends: blocks
                .map_or_else(|| vec![Height::MAX.0; shares.len()], |blocks| portions(&shares, blocks)),
            shares,
        }
    }

    /// How often a chain that has given all that is due is asked again, at least and at most. Asking takes some
    /// ten nanoseconds, and a connection that wakes to ask some microseconds: this keeps it to some percent of a
    /// processor however many there are, also while they wait for the load to begin.
    pub(super) fn polls(&self) -> (Duration, Duration) {
        let pause = Duration::from_micros(u64::from((2 * self.chains).max(20 * self.connections)))
            .clamp(Duration::from_millis(1), Duration::from_millis(20));
        match self.pace {
            Pace::Rate(_) => (pause, 4 * pause),
            // Only a batch or a share makes them wait, and the beginning.
            Pace::FlatOut | Pace::Shares => (Duration::from_micros(100), 5 * pause),
        }
    }
}

/// Splits `blocks` by shares, to the last of them.
fn portions(shares: &[f64], blocks: u64) -> Vec<u64> {
    let (mut sum, mut given) = (0.0, 0);
    let mut portions: Vec<u64> = shares
        .iter()
        .map(|share| {
            sum += share;
            let upto = whole(sum * blocks as f64).clamp(given, blocks);
            let portion = upto - given;
            given = upto;
            portion
        })
        .collect();
    if let Some(last) = portions.last_mut() {
        *last += blocks - given;
    }
    portions
}

/// The source of one connection.
#[derive(Debug)]
pub(super) struct Feed {
    /// By ascending chain id.
    chains: Vec<Counter>,
    pace: Pace,
    batch: usize,
    gate: Arc<Gate>,
    /// Blocks given, and how many may be by now: of [`Pace::Shares`].
    given: u64,
    allowed: u64,
    late: Late,
}

#[derive(Debug)]
struct Counter {
    chain: ChainId,
    height: u64,
    /// Of the blocks of all chains ([`Pace::Rate`]) or of this connection's ([`Pace::Shares`]).
    share: f64,
    /// How much of its first block is due at the beginning: so that not all chains have one at the same time.
    phase: f64,
    end: u64,
}

impl Feed {
    /// The source of a connection, and where it writes down how late its blocks are.
    pub(super) fn new(plan: &Plan, connection: u32, gate: Arc<Gate>) -> (Self, Late) {
        let places = (connection..plan.chains).step_by(plan.connections as usize).map(|place| place as usize);
        let whole = match plan.pace {
            Pace::Shares => places.clone().map(|place| plan.shares[place]).sum(),
            Pace::FlatOut | Pace::Rate(_) => 1.0,
        };
        let counter = |place: usize| Counter {
            chain: ChainId(place as u32 + 1),
            height: 0,
            share: plan.shares[place] / whole,
            // The golden ratio spreads any number of chains evenly.
            phase: (place as f64 * 0.618_033_988_749_895).fract(),
            end: plan.ends[place],
        };
        let histogram = Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("the bounds are in order");
        let late: Late = Arc::new(Mutex::new(histogram));
        let feed = Self {
            chains: places.map(counter).collect(),
            pace: plan.pace,
            batch: plan.batch,
            gate,
            given: 0,
            allowed: 0,
            late: Arc::clone(&late),
        };
        (feed, late)
    }

    fn place(&self, chain: ChainId) -> Result<usize, SourceError> {
        self.chains
            .binary_search_by_key(&chain, |counter| counter.chain)
            .map_err(|_| SourceError::Fatal(format!("chain {chain} is not sent here")))
    }

    /// How many blocks of a chain are due by now, since the first.
    fn due(&mut self, place: usize, since: Duration) -> u64 {
        let counter = &self.chains[place];
        let due = match self.pace {
            Pace::FlatOut => return counter.end,
            Pace::Rate(rate) => rate * since.as_secs_f64() * counter.share,
            Pace::Shares => {
                let step = STEP.max(4 * self.chains.len() as u64);
                if self.given + step / 2 >= self.allowed {
                    self.allowed = self.given + step;
                }
                self.allowed as f64 * counter.share
            }
        };
        whole(due + counter.phase).min(counter.end)
    }

    /// Writes down how late the blocks from `first` on are.
    fn note(&self, place: usize, first: u64, count: u64, since: Duration) {
        let (Pace::Rate(rate), counter) = (self.pace, &self.chains[place]) else { return };
        let rate = rate * counter.share;
        let mut late = lock(&self.late);
        // Of many blocks some stand for all.
        let parts = count.min(8);
        for part in 0..parts {
            let (from, upto) = (count * part / parts, count * (part + 1) / parts);
            let due = ((first + from.midpoint(upto - 1)) as f64 - counter.phase) / rate;
            let micros = ((since.as_secs_f64() - due) * 1e6).max(1.0);
            late.saturating_record_n(whole(micros), upto - from);
        }
    }
}

impl Source for Feed {
    fn chains(&self) -> Vec<ChainId> {
        self.chains.iter().map(|counter| counter.chain).collect()
    }

    fn resume(&mut self, chain: ChainId, next: Height, _: Option<Hash>) -> Result<(), SourceError> {
        let place = self.place(chain)?;
        self.chains[place].height = next.previous().0;
        Ok(())
    }

    fn read(&mut self, chain: ChainId, max: usize, out: &mut Columns) -> Result<Hash, SourceError> {
        let place = self.place(chain)?;
        let parent = block_hash(chain, self.chains[place].height);
        let Some(begun) = self.gate.opened() else { return Ok(parent) };
        let since = match self.pace {
            Pace::Rate(_) => begun.elapsed(),
            Pace::FlatOut | Pace::Shares => Duration::ZERO,
        };
        let due = self.due(place, since);
        let counter = &mut self.chains[place];
        let first = counter.height + 1;
        let count = (max.min(self.batch) as u64).min(due.saturating_sub(counter.height));
        for height in first..first + count {
            let hash = block_hash(chain, height);
            let mut tx_root = hash;
            tx_root.0[0] ^= 0xff;
            out.push(hash, tx_root, Timestamp::from_millis(height));
        }
        counter.height += count;
        self.given += count;
        if count > 0 {
            self.note(place, first, count, since);
        }
        Ok(parent)
    }
}

/// What was late on all connections since this was asked last.
pub(super) fn collect(connections: &[Late]) -> Lateness {
    let mut all = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 2).expect("the bounds are in order");
    for late in connections {
        let mut late = lock(late);
        all.add(&*late).expect("both have the same bounds");
        late.reset();
    }
    if all.is_empty() {
        return Lateness::default();
    }
    let millis = |micros: u64| micros as f64 / 1e3;
    Lateness {
        blocks: all.len(),
        p50_ms: millis(all.value_at_quantile(0.5)),
        p99_ms: millis(all.value_at_quantile(0.99)),
        max_ms: millis(all.max()),
    }
}

fn lock(late: &Mutex<Histogram<u64>>) -> std::sync::MutexGuard<'_, Histogram<u64>> {
    late.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 32 bytes that differ for each block: not a hash of anything, which the main chain neither knows nor minds.
fn block_hash(chain: ChainId, height: u64) -> Hash {
    let mut word = (u64::from(chain.0) << 40) ^ height;
    let mut bytes = [0; 32];
    for part in bytes.chunks_exact_mut(8) {
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ height;
        part.copy_from_slice(&word.to_le_bytes());
    }
    Hash(bytes)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        shape: Shape,
    }

    fn plan(line: &str, blocks: Option<u64>) -> Plan {
        Plan::new(&Line::parse_from(format!("bench {line}").split_whitespace()).shape, blocks)
    }

    fn feed(plan: &Plan, connection: u32) -> Feed {
        let gate = Arc::new(Gate::default());
        gate.open();
        Feed::new(plan, connection, gate).0
    }

    fn read(feed: &mut Feed, chain: u32, max: usize) -> usize {
        let mut out = Columns::default();
        feed.read(ChainId(chain), max, &mut out).unwrap();
        out.len()
    }

    #[test]
    fn nothing_is_due_before_the_gate_opens() {
        let plan = plan("--chains 2", None);
        let gate = Arc::new(Gate::default());
        let (mut feed, _) = Feed::new(&plan, 0, Arc::clone(&gate));
        assert_eq!(read(&mut feed, 1, 10), 0);
        gate.open();
        assert_eq!(read(&mut feed, 1, 10), 10);
    }

    #[test]
    fn a_number_of_blocks_is_split_by_shares_to_the_last() {
        for skew in ["uniform", "zipf", "giant"] {
            for (chains, blocks) in [(1, 1), (3, 100), (7, 5), (1000, 1_234_567)] {
                let plan = plan(&format!("--chains {chains} --skew {skew}"), Some(blocks));
                assert_eq!(plan.ends.iter().sum::<u64>(), blocks, "{skew} {chains}");
                for (end, share) in plan.ends.iter().zip(&plan.shares) {
                    assert!((*end as f64 - share * blocks as f64).abs() <= 1.5, "{skew} {chains}: {end}");
                }
                let mut feed = feed(&plan, 0);
                let mut sent = 0;
                for _ in 0..blocks * 64 {
                    sent += (1..=chains).map(|chain| read(&mut feed, chain, 10_000)).sum::<usize>();
                    if sent as u64 >= blocks {
                        break;
                    }
                }
                assert_eq!(sent as u64, blocks, "{skew} {chains}");
                assert_eq!(read(&mut feed, 1, 10), 0);
            }
        }
    }

    #[test]
    fn flat_out_chains_keep_their_shares_and_a_chain_that_stands_stops_the_others() {
        let plan = plan("--chains 3 --skew giant", None);
        let mut feed = feed(&plan, 0);
        let mut sent = [0; 4];
        for _ in 0..10_000 {
            for chain in 1..=3 {
                sent[chain as usize] += read(&mut feed, chain, 100);
            }
        }
        let all: usize = sent.iter().sum();
        assert!(all > 1_000_000, "{sent:?}");
        assert!((sent[1] as f64 / all as f64 - 0.5).abs() < 0.1, "{sent:?}");
        let stopped: usize = (0..10_000).map(|_| read(&mut feed, 2, 100) + read(&mut feed, 3, 100)).sum();
        assert!(stopped < 2 * STEP as usize, "{stopped}");
        assert_eq!(read(&mut feed, 2, 100), 0);
    }

    #[test]
    fn a_paced_load_owes_what_is_due_by_the_clock_and_spreads_its_chains() {
        let plan = plan("--chains 100 --connections 2 --rate 1000", None);
        let mut feed = feed(&plan, 0);
        assert_eq!(feed.chains.len(), 50);
        let mut due_at = |seconds: f64| -> Vec<u64> {
            (0..50).map(|place| feed.due(place, Duration::from_secs_f64(seconds))).collect()
        };
        assert!(due_at(0.0).iter().all(|due| *due == 0));
        let early = due_at(0.05).iter().sum::<u64>();
        assert!((20..=30).contains(&early), "{early} of 50 chains have a block after half of an interval");
        assert!(due_at(10.0).iter().all(|due| (100..=101).contains(due)));
    }

    #[test]
    fn a_batch_is_the_most_that_a_turn_gives() {
        let plan = plan("--chains 1 --batch 7", None);
        assert_eq!(read(&mut feed(&plan, 0), 1, 100), 7);
    }

    #[test]
    fn lateness_is_what_lies_between_due_and_given() {
        let plan = plan("--chains 1 --rate 1000", None);
        let (feed, late) = Feed::new(&plan, 0, Arc::new(Gate::default()));
        // The blocks 1 to 100 are due within the first 100 ms.
        feed.note(0, 1, 100, Duration::from_millis(200));
        let lateness = collect(&[Arc::clone(&late)]);
        assert_eq!(lateness.blocks, 100);
        assert!((140.0..160.0).contains(&lateness.p50_ms), "{lateness:?}");
        assert!((190.0..202.0).contains(&lateness.max_ms), "{lateness:?}");
        assert_eq!(collect(&[late]), Lateness::default(), "a mark begins anew");
    }
}
