//! The crash harness: does the log keep its promises whatever the disk does when the power goes?
//!
//! A program writes a log by way of [`sim::Sim`], which remembers every call. [`disk::Disk`] says what a crash after
//! any of these calls may leave, [`choose`] which of that is tried, [`sim::Stage`] makes it the contents of a
//! directory, and [`verify`] opens it by the real code. [`short`] tries all states of short histories and fails
//! every call once, in every way; [`random`] does crash after crash in long ones, from seeds.
//!
//! It is a module of the crate, and not a test beside it, so that faults can be planted in the code of the log as unit tests
//! have it ([`planted`]): a harness that does not find those proves nothing.
//!
//! # Deliberately absent
//! - Damage: what is durable stays as it is. The tests in `tests/` flip bits.
//! - The thread that makes the next segment ahead ([`crate::Prepare::Ahead`]): its calls come in no certain order, so
//!   no seed would bring a failure back. It makes the same calls.
//! - The syncs of readers in other processes, which go past the medium.
//! - A fault in binding a checksum to its place: number and generation of a record keep it from passing elsewhere, so
//!   that no crash shows it. It matters for bytes that somebody chose.
//!
//! `cargo xtask crash` runs it; the variables that it reads are those of [`Budget::from_env`], [`part`] and [`planted::is`].

mod choose;
mod disk;
mod history;
pub(crate) mod planted;
mod random;
mod short;
mod sim;
#[path = "../../tests/support/mod.rs"]
mod support;
mod verify;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use verify::Flop;

use crate::{MIN_SEGMENT_BYTES, Options};

/// The smallest segments there are: a state costs what its files cost.
fn options() -> Options {
    Options { segment_bytes: MIN_SEGMENT_BYTES, ..support::options() }
}

/// How long to look.
struct Budget {
    /// How many states the random histories try.
    states: u64,
    /// What all random histories derive from.
    seed: u64,
    /// Whether short histories are tried wholly, or only in part: what fits a test that runs with all others.
    whole: bool,
    /// One history to do again, by its own seed.
    replay: Option<u64>,
}

impl Budget {
    fn from_env() -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            let digits = text.strip_prefix("0x");
            let number = digits.map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16));
            Some(number.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
        };
        Self {
            states: number("MAINSTEM_CRASH_STATES").unwrap_or(3_000),
            seed: number("MAINSTEM_CRASH_SEED").unwrap_or(1),
            whole: std::env::var_os("MAINSTEM_CRASH_WHOLE").is_some(),
            replay: number("MAINSTEM_CRASH_REPLAY"),
        }
    }
}

/// MAINSTEM_CRASH_PART=I/N does only the part `I` of `N`, in one thread: threads that map files get in each other's way, and
/// processes do not.
fn part() -> Option<(usize, usize)> {
    let text = std::env::var("MAINSTEM_CRASH_PART").ok()?;
    let numbers =
        text.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
    Some(numbers.unwrap_or_else(|| panic!("MAINSTEM_CRASH_PART={text}; expected I/N")))
}

/// What was tried, by all threads together.
struct Tally {
    name: &'static str,
    start: Instant,
    states: AtomicU64,
    histories: AtomicU64,
    /// (the call before the crash, what the crash did)
    kinds: Mutex<BTreeSet<(&'static str, &'static str)>>,
    /// Whether a thread has found something.
    over: AtomicBool,
}

impl Tally {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            start: Instant::now(),
            states: AtomicU64::new(0),
            histories: AtomicU64::new(0),
            kinds: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// Does `work` on each core, with a number each; or one part of it alone, see [`part`]. Panics with the first broken
    /// promise.
    fn run(&self, work: impl Fn(usize, usize) -> Result<(), Flop> + Sync) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (mine, threads) = part().map_or((0..threads, threads), |(part, parts)| (part..part + 1, parts));
        std::thread::scope(|scope| {
            for thread in mine {
                let work = &work;
                scope.spawn(move || {
                    if let Err(flop) = work(thread, threads)
                        && !self.over.swap(true, Ordering::Relaxed)
                    {
                        eprintln!("\nBROKEN PROMISE ({}, {}): {flop}", self.name, self.told());
                    }
                });
            }
        });
        let over = self.over.load(Ordering::Relaxed);
        println!("{}: {}", self.name, self.told());
        self.write_json(over);
        assert!(!over, "{}: a promise was broken, see above", self.name);
    }

    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn count(&self, call: &'static str, crash: &'static str) {
        self.states.fetch_add(1, Ordering::Relaxed);
        self.kinds.lock().expect("nobody panics with it").insert((call, crash));
    }

    fn told(&self) -> String {
        let (states, histories, kinds, seconds) = self.figures();
        format!(
            "{states} crash states of {histories} histories, {kinds} kinds, in {seconds:.1} s ({:.0} states/s)",
            states as f64 / seconds
        )
    }

    fn figures(&self) -> (u64, u64, usize, f64) {
        let kinds = self.kinds.lock().expect("nobody panics with it").len();
        let states = self.states.load(Ordering::Relaxed);
        (states, self.histories.load(Ordering::Relaxed), kinds, self.start.elapsed().as_secs_f64())
    }

    /// Adds a line to the file that MAINSTEM_CRASH_JSON names.
    fn write_json(&self, over: bool) {
        let Some(path) = std::env::var_os("MAINSTEM_CRASH_JSON") else { return };
        let (states, histories, kinds, seconds) = self.figures();
        let line = format!(
            r#"{{"test":"{}","broken":{over},"states":{states},"histories":{histories},"kinds":{kinds},"seconds":{seconds:.3},"states_per_second":{:.0}}}"#,
            self.name,
            states as f64 / seconds
        );
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        written.expect("the file that MAINSTEM_CRASH_JSON names can be written");
    }
}
