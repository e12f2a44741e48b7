//! Records workloads, makes crash states of the recordings and judges them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Outcome;
use crate::crash_state::{CrashState, Image};
use crate::history::{Event, History, Models, Note};
use crate::program::{FileSystem, Mount};
use crate::recorder::Recorder;
use crate::support::Rng;
use crate::verify::verify;
use crate::workload::{self, Planted};
use crate::write_log::{Kind, WriteLog};

/// Mounting waits more than it works: more states at once than there are cores.
const WORKERS: usize = 8;
/// Crash states of one recording, at most: another recording says more than more of the same.
const STATES_OF_A_RECORDING: usize = 150;
/// Crash states of a recording with a planted fault.
const STATES_OF_A_FAULT: usize = 60;

/// `cargo xtask disk`: judges `states` crash states in all, and that each planted fault is found.
pub(crate) fn crash(kind: &str, states: &str, seed: &str, keep: &Path) -> Outcome {
    let (kind, states, seed) = (FileSystem::of(kind)?, states.parse::<usize>()?, seed.parse::<u64>()?);
    let mut rng = Rng(seed);
    for planted in Planted::FAULTS {
        let seed = rng.next() >> 16;
        let recording = Recording::make(kind, seed, 2, planted)?;
        let judged = recording.judge_all(STATES_OF_A_FAULT)?;
        judged.print(&recording);
        if judged.lost() == 0 {
            let name = planted.name();
            return Err(format!(
                "the planted fault {name} was not found: this run proves nothing (seed {seed})"
            )
            .into());
        }
    }
    let rounds = states.div_ceil(STATES_OF_A_RECORDING);
    for round in 0..rounds {
        // By turns a log whose blocks can be taken back, and one whose blocks cannot.
        let seed = (rng.next() >> 16 << 1) + round as u64 % 2;
        let recording = Recording::make(kind, seed, 3, Planted::Nothing)?;
        let judged = recording.judge_all(states * (round + 1) / rounds - states * round / rounds)?;
        judged.print(&recording);
        if let Some((state, what)) = judged.failures.first() {
            recording.keep(keep)?;
            return Err(format!(
                "{} of {} crash states broke a promise of the log; the first, {state}: {what}\n\
                 the recording is kept; to judge this state again: cargo xtask disk --replay {state}",
                judged.failures.len(),
                judged.states,
            )
            .into());
        }
    }
    Ok(())
}

/// Judges one state of the recording in `keep` again, and leaves its image there.
pub(crate) fn replay(keep: &Path, state: &str) -> Outcome {
    let recording = Recording::open(keep)?;
    let state: CrashState = state.parse()?;
    let log = &recording.log;
    if state.cut > log.entries.len() {
        return Err(format!("state {state}: the recording has {} entries", log.entries.len()).into());
    }
    let mut image = Image::read(&Recorder::base(keep))?;
    log.entries[..state.first_pending(log)].iter().for_each(|entry| image.apply(entry, log.data(entry)));
    state.apply(log, &mut image);
    image.write(&keep.join("crashed.img"))?;
    println!("kept {}", keep.join("crashed.img").display());
    judge(&recording, state, &image, Path::new("state.img"), Path::new("state"))??;
    println!("state {state}: the log is as it must be");
    Ok(())
}

/// A recorded workload.
struct Recording {
    dir: PathBuf,
    kind: FileSystem,
    seed: u64,
    planted: Planted,
    log: WriteLog,
    notes: Vec<Note>,
    models: Models,
}

impl Recording {
    fn make(kind: FileSystem, seed: u64, sessions: u64, planted: Planted) -> Outcome<Self> {
        let dir = Path::new("recording");
        if dir.exists() {
            std::fs::remove_dir_all(dir)?;
        }
        let recorder = Recorder::start(kind, dir)?;
        let (notes, writes) = (dir.join("notes"), Recorder::writes(dir));
        let notes_text = format!("{} {seed}", kind.name());
        std::fs::write(dir.join("recording"), notes_text)?;
        workload::run(recorder.at(), &notes, &writes, seed, sessions, planted)?;
        recorder.end()?;
        Self { planted, ..Self::open(dir)? }.checked()
    }

    fn open(dir: &Path) -> Outcome<Self> {
        let what = std::fs::read_to_string(dir.join("recording"))?;
        let (kind, seed) = what.split_once(' ').ok_or("not a recording")?;
        let (kind, seed) = (FileSystem::of(kind)?, seed.parse()?);
        let log = WriteLog::read(&Recorder::writes(dir))?;
        let notes = History::read(&dir.join("notes"))?;
        let models = Models::new(seed, &notes)?;
        Ok(Self { dir: dir.to_owned(), kind, seed, planted: Planted::Nothing, log, notes, models })
    }

    fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.notes.iter().filter(|note| which(&note.event)).count()
    }

    /// That what was recorded, all of it done, is what was on the disk: the recorder lost nothing.
    fn checked(self) -> Outcome<Self> {
        let mut image = Image::read(&Recorder::base(&self.dir))?;
        self.log.entries.iter().for_each(|entry| image.apply(entry, self.log.data(entry)));
        let recorded = Image::read(&self.dir.join("recorded.img"))?;
        if image.same(&recorded) { Ok(self) } else { Err("the recorder lost a write".into()) }
    }

    /// Judges `states` crash states, in several processes: one that opens logs must not start others meanwhile, since
    /// those hold its locks and files until they are programs of their own.
    fn judge_all(&self, states: usize) -> Outcome<Judged> {
        let start = Instant::now();
        let choose = |index| CrashState::choose(self.seed, index, states, &self.log);
        let mut chosen: Vec<CrashState> = (0..states).map(choose).collect();
        chosen.sort_by_key(|state| state.cut);
        let mut workers = Vec::new();
        for worker in 0..WORKERS.min(states) {
            let mine: Vec<CrashState> = chosen.iter().skip(worker).step_by(WORKERS).copied().collect();
            let child = Command::new(std::env::current_exe()?)
                .args(["judge", &self.dir.display().to_string(), &worker.to_string()])
                .args(mine.iter().map(ToString::to_string))
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            workers.push((mine, child));
        }
        let mut failures = Vec::new();
        for (mine, child) in workers {
            let output = child.wait_with_output()?;
            let said = String::from_utf8(output.stdout)?;
            let mut verdicts = said.lines();
            for state in mine {
                match verdicts.next() {
                    Some("sound") => {}
                    Some(verdict) => failures.push((state, verdict.to_owned())),
                    None => {
                        let why = String::from_utf8_lossy(&output.stderr);
                        let what = format!("{}: {}", output.status, why.trim());
                        return Err(format!("seed {}, state {state}: {what}", self.seed).into());
                    }
                }
            }
        }
        failures.sort_by_key(|(state, _): &(CrashState, String)| state.cut);
        Ok(Judged { states, failures, seconds: start.elapsed().as_secs_f64() })
    }

    /// Copies the recording to where it outlives this run.
    fn keep(&self, keep: &Path) -> Outcome {
        std::fs::create_dir_all(keep)?;
        for name in ["recording", "notes", "base.img", "writes"] {
            std::fs::copy(self.dir.join(name), keep.join(name))?;
        }
        Ok(())
    }
}

/// A worker: judges states of the recording in `dir`, in the order of their cuts, and says a line for each.
pub(crate) fn judge_states(dir: &Path, worker: &str, states: &[&str]) -> Outcome {
    quiet_panics();
    let recording = Recording::open(dir)?;
    let log = &recording.log;
    let mut image = Image::read(&Recorder::base(dir))?;
    let mut done = 0;
    for (turn, state) in states.iter().enumerate() {
        let state: CrashState = state.parse()?;
        let durable = state.first_pending(log);
        log.entries[done..durable].iter().for_each(|entry| image.apply(entry, log.data(entry)));
        done = durable;
        let mut content = image.clone();
        state.apply(log, &mut content);
        // The loop device of the last state may live on for a moment: another name is another file.
        let file = PathBuf::from(format!("state-{worker}-{turn}.img"));
        let at = PathBuf::from(format!("state-{worker}"));
        match judge(&recording, state, &content, &file, &at)? {
            Ok(()) => println!("sound"),
            Err(what) => println!("{}", what.replace('\n', " ")),
        }
    }
    Ok(())
}

/// Mounts the state and judges the log on it. The outer error is that it cannot be looked at.
fn judge(
    recording: &Recording,
    state: CrashState,
    content: &Image,
    file: &Path,
    at: &Path,
) -> Outcome<Result<(), String>> {
    content.write(file)?;
    let mount = Mount::image(recording.kind, file, at)?;
    let model = recording.models.at(state.position(&recording.log));
    let dir = at.join("some/where/log");
    // Before the log was made there may be nothing at all.
    if let Some(parent) = dir.parent().filter(|_| !model.exists()) {
        std::fs::create_dir_all(parent)?;
    }
    let verdict = verify(&dir, recording.seed, model).map_err(|error| error.to_string());
    mount.end()?;
    std::fs::remove_file(file)?;
    Ok(verdict)
}

struct Judged {
    states: usize,
    /// By place in the list of writes.
    failures: Vec<(CrashState, String)>,
    seconds: f64,
}

impl Judged {
    fn lost(&self) -> usize {
        self.failures.iter().filter(|(_, what)| what.starts_with("LOST")).count()
    }

    fn print(&self, recording: &Recording) {
        let flushes = recording.log.entries.iter().filter(|entry| entry.kind == Kind::Flush).count();
        println!(
            "{:<5} fault {:<10} seed {:<15}: {} blocks, {} taken back, {} prunings, {} writes, {} flushes",
            recording.kind.name(),
            recording.planted.name(),
            recording.seed,
            recording.count(|event| matches!(event, Event::Append(..))),
            recording.count(|event| matches!(event, Event::TakenBack)),
            recording.count(|event| matches!(event, Event::Pruned(_))),
            recording.log.entries.len() - flushes,
            flushes,
        );
        println!(
            "      {} crash states, {:.0}/s: {} lost acknowledged blocks, {} failed otherwise",
            self.states,
            self.states as f64 / self.seconds,
            self.lost(),
            self.failures.len() - self.lost(),
        );
    }
}

/// A panic is a verdict, and is told as one.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|_| ()));
}
