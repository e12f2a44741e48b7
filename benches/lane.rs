//! Lanes: what a block costs from a frame's columns through its lane, against the limit, copying as many bytes; and
//! what a section costs whose connection lives on another core than the one before it.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use engine::chain::{ChainId, Columns, Hash, Height, NodeKey, Timestamp};
use engine::lane::{Lane, LaneEnds, SessionId};
use engine::quorum::FinalityRule;
use engine::state::SideChain;
use engine::sync::Doorbell;
use rustix::time::{ClockId, clock_gettime};

const KEY: NodeKey = NodeKey([1; 32]);
const SESSION: SessionId = SessionId(1);

fn side() -> SideChain {
    SideChain {
        id: ChainId(1),
        name: "side".into(),
        first_height: Height(1),
        nodes: vec![KEY],
        finality: FinalityRule::Single,
    }
}

fn through(c: &mut Criterion) {
    for section in [1_usize, 16, 512] {
        let mut blocks = Columns::default();
        for _ in 0..section {
            blocks.push(Hash([7; 32]), Hash([8; 32]), Timestamp::from_millis(9));
        }
        let mut group = c.benchmark_group(format!("lane::through/section={section}"));
        group.throughput(Throughput::Elements(section as u64));
        let (lane, mut ends) = Lane::new(&side(), Height(0), None, 1024, Doorbell::new().0);
        lane.claim(KEY, SESSION).expect("the key is registered");
        let (mut height, mut parent) = (0, Hash::ZERO);
        let mut taken = Columns::default();
        group.bench_function("push, take, release", |b| {
            b.iter(|| {
                let pushed = lane.push(SESSION, Height(height + 1), parent, blocks.as_ref(), Duration::ZERO);
                height = pushed.expect("the next blocks, with room for them").0;
                parent = Hash([7; 32]);
                taken.clear();
                ends.outlet.take(section as u64, |slot| taken.push(slot.hash, slot.tx_root, slot.time));
                ends.drain.release(Height(height), Duration::ZERO, |_, _| ());
            });
        });
        group.bench_function("limit: one copy", |b| {
            b.iter_batched_ref(
                Columns::default,
                |copy| copy.clone_from(black_box(&blocks)),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

/// What feeds and drains a lane.
struct Chain {
    ends: LaneEnds,
    height: u64,
    parent: Hash,
    taken: Columns,
}

impl Chain {
    fn new() -> (Arc<Lane>, Mutex<Self>) {
        let (lane, ends) = Lane::new(&side(), Height(0), None, 1024, Doorbell::new().0);
        lane.claim(KEY, SESSION).expect("the key is registered");
        (lane, Mutex::new(Self { ends, height: 0, parent: Hash::ZERO, taken: Columns::default() }))
    }

    fn through(&mut self, lane: &Lane, blocks: &Columns) {
        let from = Height(self.height + 1);
        let pushed = lane.push(SESSION, from, self.parent, blocks.as_ref(), Duration::ZERO);
        self.height = pushed.expect("the next blocks, with room for them").0;
        self.parent = Hash([7; 32]);
        self.taken.clear();
        let taken = &mut self.taken;
        self.ends.outlet.take(blocks.len() as u64, |slot| taken.push(slot.hash, slot.tx_root, slot.time));
        self.ends.drain.release(Height(self.height), Duration::ZERO, |_, _| ());
    }
}

/// Reactors share no lane's work by design: a connection stays on its core, a chain is spoken for on one connection. But
/// another connection may take its place on another core, sessions that stand by ask where the lane stands, and two
/// reactors at work must not slow each other down. Processor time of one thread for each section of 64 blocks.
fn between_cores(c: &mut Criterion) {
    let mut blocks = Columns::default();
    for _ in 0..64 {
        blocks.push(Hash([7; 32]), Hash([8; 32]), Timestamp::from_millis(9));
    }
    let blocks = &blocks;
    let mut group = c.benchmark_group("lane::between_cores/section=64");
    group.bench_function("one core", |b| {
        let (lane, chain) = Chain::new();
        b.iter_custom(|sections| timed(sections, || lock(&chain).through(&lane, blocks)));
    });
    group.bench_function("two cores, a chain each", |b| {
        let chains = [Chain::new(), Chain::new()];
        b.iter_custom(|sections| {
            on_two_cores(sections, |core| lock(&chains[core].1).through(&chains[core].0, blocks))
        });
    });
    group.bench_function("two cores, sections of the same chain by turns", |b| {
        let (lane, chain) = Chain::new();
        b.iter_custom(|sections| {
            let turn = AtomicUsize::new(0);
            let nanos = AtomicU64::new(0);
            on_two_cores(sections, |core| {
                while turn.load(Ordering::Acquire) % 2 != core {
                    std::hint::spin_loop();
                }
                let begin = Instant::now();
                lock(&chain).through(&lane, blocks);
                nanos.fetch_add(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
                turn.fetch_add(1, Ordering::Release);
            });
            // Without the wait for the other's turn.
            Duration::from_nanos(nanos.into_inner() / 2)
        });
    });
    group.bench_function("one core, another asks for the position all the time", |b| {
        let (lane, chain) = Chain::new();
        b.iter_custom(|sections| {
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        black_box(lane.position());
                    }
                });
                let time = timed(sections, || lock(&chain).through(&lane, blocks));
                done.store(true, Ordering::Relaxed);
                time
            })
        });
    });
    group.finish();
}

fn lock(chain: &Mutex<Chain>) -> MutexGuard<'_, Chain> {
    chain.lock().expect("nobody panics with it")
}

/// Processor time of this thread: the machine may have other work.
fn timed(times: u64, mut what: impl FnMut()) -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned() as u32)
    };
    let begin = now();
    for _ in 0..times {
        what();
    }
    now().saturating_sub(begin)
}

/// The mean of two threads that begin together.
fn on_two_cores(times: u64, what: impl Fn(usize) + Sync) -> Duration {
    let begin = Barrier::new(2);
    let (begin, what) = (&begin, &what);
    std::thread::scope(|scope| {
        let [first, second] = [0, 1].map(|core| {
            scope.spawn(move || {
                begin.wait();
                timed(times, || what(core))
            })
        });
        let join = |thread: std::thread::ScopedJoinHandle<'_, Duration>| thread.join().expect("no panics");
        (join(first) + join(second)) / 2
    })
}

criterion_group!(benches, through, between_cores);
criterion_main!(benches);
