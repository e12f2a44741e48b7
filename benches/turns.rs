//! Measuring things against each other: by turns in one run, so that whatever else the machine does falls on all of them
//! alike, and what is asked for, the ratio, is more trustworthy than the figures it is made of.

use std::fmt;
use std::sync::LazyLock;
use std::time::Instant;

use engine::chain::Hash;
use engine::merkle::node;
use engine::sha256::{Kernel, Pair};
use rayon::{ThreadPool, ThreadPoolBuilder};
use rustix::time::{ClockId, clock_gettime};

/// Something that runs once when it is called, and says how long that took for each of its units, in nanoseconds.
pub(crate) type Case<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// What the turns of a case took for a unit.
pub(crate) struct Figure(Vec<f64>);

impl Figure {
    /// In nanoseconds; of an even number of turns the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        f64::midpoint(self.0[(self.0.len() - 1) / 2], self.0[self.0.len() / 2])
    }
}

impl fmt::Display for Figure {
    /// Median, least and most.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [least, most] = [self.0[0], self.0[self.0.len() - 1]];
        write!(f, "{:8.1} ns {:>17}", self.median(), format!("({least:.1}-{most:.1})"))
    }
}

/// Whether this is `cargo bench`. Else it is only to be seen that it runs: `cargo test --bench '*'`.
pub(crate) fn measures() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Runs each case once to warm up, then all of them by turns. Once in all, if nothing is measured.
pub(crate) fn by_turns<const N: usize>(turns: usize, mut cases: [Case<'_>; N]) -> [Figure; N] {
    let turns = if measures() {
        for case in &mut cases {
            case();
        }
        turns
    } else {
        1
    };
    let mut figures = [const { Vec::new() }; N];
    for _ in 0..turns {
        for (case, figure) in cases.iter_mut().zip(&mut figures) {
            figure.push(case());
        }
    }
    figures.map(|mut figure| {
        figure.sort_unstable_by(f64::total_cmp);
        Figure(figure)
    })
}

/// Whether `--processor-time` was asked for: on a machine that has other work, too, it says more than the clock. Threads
/// that wait for each other it does not see, so it is not for the figures that count.
static PROCESSOR_TIME: LazyLock<bool> =
    LazyLock::new(|| std::env::args().any(|argument| argument == "--processor-time"));

/// How long `run`, which keeps `threads` busy, takes for each of `units`, in nanoseconds.
pub(crate) fn timed(threads: usize, units: usize, run: impl FnOnce()) -> f64 {
    let nanos = if *PROCESSOR_TIME {
        let now = || {
            let time = clock_gettime(ClockId::ProcessCPUTime);
            time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
        };
        let begin = now();
        run();
        (now() - begin) / threads as f64
    } else {
        let begin = Instant::now();
        run();
        begin.elapsed().as_nanos() as f64
    };
    nanos / units as f64
}

/// A pool of so many threads.
pub(crate) fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().expect("the machine can start a few threads")
}

/// What no tree can beat: nodes and leaves that have nothing to do with each other, hashed from rows that stay in the
/// cache, on all threads of a pool.
pub(crate) struct Limit {
    /// A row, and half as much room behind it.
    row: Vec<Hash>,
}

/// Hashes of a row of the limit: 32 KiB are read, as of a subtree.
const ROW: usize = 1024;

/// Rows that each thread hashes in one turn.
const ROWS: usize = 100;

impl Limit {
    pub(crate) fn new() -> Self {
        let mut row = leaves(ROW);
        row.resize(ROW + ROW / 2, Hash::ZERO);
        Self { row }
    }

    /// Nodes, with the best kernel.
    pub(crate) fn nodes(&self, pool: &ThreadPool) -> f64 {
        self.run(pool, |row| {
            let pairs = (0..ROW / 2).map(|index| Pair { left: 2 * index, to: ROW + index });
            Kernel::best().nodes(row, pairs);
        })
    }

    /// Whatever `hash` makes of a row, half as many of them as the row has hashes.
    pub(crate) fn of(&self, pool: &ThreadPool, hash: impl Fn(&[Hash], &mut [Hash]) + Sync) -> f64 {
        self.run(pool, |row| {
            let (row, out) = row.split_at_mut(ROW);
            hash(row, out);
        })
    }

    fn run(&self, pool: &ThreadPool, hash: impl Fn(&mut [Hash]) + Sync) -> f64 {
        let threads = pool.current_num_threads();
        timed(threads, ROW / 2 * ROWS * threads, || {
            pool.broadcast(|_| {
                // Nothing, beside all that is hashed.
                let mut row = self.row.clone();
                for _ in 0..ROWS {
                    hash(std::hint::black_box(&mut row));
                }
                std::hint::black_box(&mut row);
            });
        })
    }
}

/// Leaves that are all different.
pub(crate) fn leaves(count: usize) -> Vec<Hash> {
    (0..count as u64).map(|index| node(Hash([index as u8; 32]), hash(index))).collect()
}

/// A hash with a number in it.
pub(crate) fn hash(number: u64) -> Hash {
    let mut hash = Hash::ZERO;
    hash.0[..8].copy_from_slice(&number.to_le_bytes());
    hash
}
