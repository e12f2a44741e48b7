//! What is recorded: a program that appends to a log in several sessions, some of which it ends by killing itself.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::chain::Height;
use engine::store::BlockReader as _;
use mainstem_storage::{FileMedium, Log, LogReader, LogWriter, Medium, MediumFile, Options, Prepare};

use crate::Outcome;
use crate::history::{Event, History, Model};
use crate::support::{self, Rng};
use crate::verify::holds;

/// How a workload breaks its promises, so that the harness shows that it sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Planted {
    /// It keeps them.
    Nothing,
    /// A sync does nothing.
    NoSync,
    /// Every third sync does nothing, but for the first ones.
    SomeSyncs,
    /// A block is acknowledged before it is synced.
    EarlyAck,
}

impl Planted {
    pub(crate) const FAULTS: [Self; 3] = [Self::NoSync, Self::SomeSyncs, Self::EarlyAck];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::NoSync => "no-sync",
            Self::SomeSyncs => "some-syncs",
            Self::EarlyAck => "early-ack",
        }
    }

    fn of(name: &str) -> Outcome<Self> {
        let all = [Self::Nothing, Self::NoSync, Self::SomeSyncs, Self::EarlyAck];
        let found = all.into_iter().find(|planted| planted.name() == name);
        found.ok_or_else(|| format!("planted fault {name}: not known").into())
    }
}

/// Runs `sessions` of the workload on the disk at `disk`, noting them in `notes`.
pub(crate) fn run(
    disk: &Path,
    notes: &Path,
    writes: &Path,
    seed: u64,
    sessions: u64,
    planted: Planted,
) -> Outcome {
    for session in 1..=sessions {
        let status = Command::new(std::env::current_exe()?)
            .arg("write")
            .args([&disk.join("some/where/log"), notes, writes])
            .args([seed.to_string(), session.to_string(), planted.name().to_owned()])
            .stdin(Stdio::null())
            .status()?;
        let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
        let sound = status.success() || killed && is_killed(seed, session);
        if !sound {
            return Err(format!("session {session} of the workload (seed {seed}): {status}").into());
        }
    }
    Ok(())
}

/// One session: `LOG NOTES WRITES SEED SESSION PLANTED`.
pub(crate) fn write(args: &[&str]) -> Outcome {
    let [log, notes, writes, seed, session, planted] = args[..] else { return Err(crate::USAGE.into()) };
    let (dir, notes, writes) = (Path::new(log), Path::new(notes), Path::new(writes));
    let (seed, session, planted) = (seed.parse()?, session.parse()?, Planted::of(planted)?);
    let mut rng = Rng(seed ^ session);
    let mut model = Model::new(seed);
    for note in History::read(notes)? {
        model.take(note.event)?;
    }
    let mut history = History::open(notes, writes)?;
    let mut note = |model: &mut Model, event| -> Outcome {
        history.note(event)?;
        model.take(event)
    };

    note(&mut model, Event::Open(session))?;
    let options = Options { reversible: is_reversible(seed), ..options(session) };
    let (mut log, reader, _) = Log::open_on(medium(planted), dir, options)?;
    note(&mut model, Event::Opened(reader.head().0, reader.base().first.0))?;
    holds(&reader, model.now())?;

    let acknowledged = Arc::new(AtomicU64::new(0));
    let appends = 25 + rng.below(25);
    if is_killed(seed, session) {
        kill_after(acknowledged.clone(), rng.below(appends), rng.below(4000));
    }
    if planted == Planted::Nothing {
        disturb(dir.join("../neighbour"), rng.next());
    }
    let group = 1 + rng.below(3);
    for append in 1..=appends {
        let block = model.next(session);
        let height = block.header.height.0;
        note(&mut model, Event::Append(height, session))?;
        log.append(&block)?;
        if planted == Planted::Nothing {
            change_ends(&mut log, &reader, &mut model, &mut rng, &mut note)?;
        }
        if append % group != 0 || model.now().len() as u64 != height {
            continue;
        }
        if planted == Planted::EarlyAck {
            note(&mut model, Event::Acknowledged(height))?;
        }
        log.sync()?;
        if reader.head() != Height(height) {
            return Err(format!("block {height} is synced and not shown").into());
        }
        if planted != Planted::EarlyAck {
            note(&mut model, Event::Acknowledged(height))?;
        }
        acknowledged.fetch_add(group, Ordering::Relaxed);
    }
    if is_killed(seed, session) {
        // Whoever was to kill us is late.
        std::thread::sleep(Duration::from_secs(60));
    }
    Ok(())
}

/// Now and then takes blocks back, says that some are irreversible, or prunes.
fn change_ends(
    log: &mut LogWriter,
    reader: &LogReader,
    model: &mut Model,
    rng: &mut Rng,
    note: &mut impl FnMut(&mut Model, Event) -> Outcome,
) -> Outcome {
    let newest = model.now().len() as u64;
    match rng.below(24) {
        0 | 1 if is_reversible(model.seed()) => {
            let least = model.irreversible().max(model.first() - 1);
            let to = newest - rng.below((newest - least).min(12) + 1);
            note(model, Event::TakeBack(to))?;
            log.rollback(Height(to))?;
            note(model, Event::TakenBack)?;
        }
        2 | 3 if is_reversible(model.seed()) => {
            // Only what is durable can be.
            let durable = reader.head().0;
            let height = durable - rng.below(durable.saturating_sub(model.irreversible()).min(20) + 1);
            note(model, Event::Irreversible(height))?;
            log.set_irreversible(Height(height))?;
        }
        4 | 5 => {
            let before = newest.saturating_sub(rng.below(20));
            note(model, Event::Prune(before))?;
            let pruned = log.prune(Height(before))?;
            note(model, Event::Pruned(pruned.first.0))?;
        }
        _ => {}
    }
    Ok(())
}

fn is_reversible(seed: u64) -> bool {
    seed.is_multiple_of(2)
}

pub(crate) fn options(session: u64) -> Options {
    let prepare = if session.is_multiple_of(2) { Prepare::AtRoll } else { Prepare::Ahead };
    Options { segment_bytes: 1 << 20, prepare, ..support::options() }
}

fn is_killed(seed: u64, session: u64) -> bool {
    Rng(seed.rotate_left(17) ^ session).below(2) == 0
}

/// Kills this process some time after so many blocks were acknowledged.
fn kill_after(acknowledged: Arc<AtomicU64>, blocks: u64, micros: u64) {
    std::thread::spawn(move || {
        while acknowledged.load(Ordering::Relaxed) < blocks {
            std::thread::sleep(Duration::from_micros(100));
        }
        std::thread::sleep(Duration::from_micros(micros));
        let kill = rustix::process::Signal::KILL;
        rustix::process::kill_process(rustix::process::getpid(), kill).expect("a process may kill itself");
    });
}

/// Makes the file system busy with other files: it commits, and pushes pages of the log to the disk, at times that
/// the log does not choose.
fn disturb(path: std::path::PathBuf, seed: u64) {
    std::thread::spawn(move || -> io::Result<()> {
        let mut rng = Rng(seed);
        loop {
            std::thread::sleep(Duration::from_micros(rng.below(8000)));
            let noise = vec![rng.next() as u8; 1 + rng.below(40_000) as usize];
            std::fs::write(&path, noise)?;
            let file = std::fs::File::open(&path)?;
            match rng.below(4) {
                0 => file.sync_all()?,
                1 => rustix::fs::syncfs(&file)?,
                2 => std::fs::rename(&path, path.with_extension("old"))?,
                _ => std::fs::remove_file(&path)?,
            }
        }
    });
}

fn medium(planted: Planted) -> Arc<dyn Medium> {
    match planted {
        Planted::Nothing | Planted::EarlyAck => Arc::new(FileMedium),
        Planted::NoSync => Arc::new(Forgetful(Arc::new(|| false))),
        Planted::SomeSyncs => {
            let syncs = AtomicU64::new(0);
            // The log is made in order, so that what gets lost is a block.
            let done = move |sync| sync < 12 || sync % 3 != 2;
            Arc::new(Forgetful(Arc::new(move || done(syncs.fetch_add(1, Ordering::Relaxed)))))
        }
    }
}

/// Whether to do this sync.
type Choose = Arc<dyn Fn() -> bool + Send + Sync>;

/// The file system, less some syncs.
struct Forgetful(Choose);

impl Medium for Forgetful {
    fn create(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        Ok(Box::new(ForgetfulFile(FileMedium.create(path)?, self.0.clone())))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn MediumFile>> {
        Ok(Box::new(ForgetfulFile(FileMedium.open(path)?, self.0.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileMedium.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        FileMedium.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if (self.0)() { FileMedium.sync_dir(dir) } else { Ok(()) }
    }
}

struct ForgetfulFile(Box<dyn MediumFile>, Choose);

impl MediumFile for ForgetfulFile {
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.0.allocate(bytes)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        if (self.1)() { self.0.sync() } else { Ok(()) }
    }
}
