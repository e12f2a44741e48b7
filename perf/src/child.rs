//! Processes that run beside this one: started in their place, asked, and measured from outside.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Which processors a process may use, and whether it stands back for others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) cpus: Option<String>,
    pub(crate) stands_back: bool,
}

/// Where the two sides of a measurement run.
#[derive(Args, Clone, Debug)]
pub(crate) struct Places {
    /// Processors of the receiving side, as taskset takes them; "any" pins nothing
    #[arg(long, value_name = "CPUS", default_value = "1")]
    receiver_cpus: String,
    /// Processors of the sending side; "any" pins nothing
    #[arg(long, value_name = "CPUS", default_value = "0")]
    sender_cpus: String,
}

impl Places {
    pub(crate) fn receiver(&self) -> Place {
        Self::place(&self.receiver_cpus)
    }

    pub(crate) fn sender(&self) -> Place {
        Self::place(&self.sender_cpus)
    }

    fn place(cpus: &str) -> Place {
        let several = std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1);
        Place { cpus: (several && cpus != "any").then(|| cpus.to_owned()), stands_back: false }
    }
}

/// A running process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    name: &'static str,
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// How long a child may take to answer.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often who waits for an answer looks whether it is to stop.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Becomes another program, which the system ends when the parent of this one dies.
#[derive(Args)]
pub(crate) struct Leash {
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Name of the command.
const LEASH: &str = "leash";

impl Leash {
    pub(crate) fn run(&self) -> Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))
            .context("the system ties no process to its parent")?;
        let error = Command::new(&self.program).args(&self.arguments).exec();
        Err(error).with_context(|| format!("{} cannot be started", self.program.display()))
    }
}

/// SeqCst: there is no hurry.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// From now on a signal to end makes [`stopped`] an error, so that children and files are cleared away.
pub(crate) fn stop_on_signals() -> Result<()> {
    ctrlc::set_handler(|| STOPPED.store(true, Ordering::SeqCst)).context("cannot handle signals")
}

/// An error once a signal to end has come.
pub(crate) fn stopped() -> Result<()> {
    if STOPPED.load(Ordering::SeqCst) {
        bail!("stopped by a signal");
    }
    Ok(())
}

/// The most resident memory of a process that is seen while this watches.
#[derive(Debug)]
pub(crate) struct Watch {
    most: Arc<AtomicU64>,
    /// Dropped: the watch is over.
    _over: Sender<()>,
}

impl Watch {
    pub(crate) fn most(&self) -> u64 {
        self.most.load(Ordering::SeqCst)
    }
}

fn resident(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("it is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.context("the system tells the resident memory of a process")? << 10)
}

impl Child {
    /// This program again, in the part `role` with a `setup`.
    pub(crate) fn role(role: &'static str, setup: &impl Serialize, place: &Place) -> Result<Self> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let setup = serde_json::to_string(setup)?;
        let arguments = [role.to_owned(), "--setup".into(), setup];
        Self::start(role, &program.to_string_lossy(), &arguments, place)
    }

    /// A program that knows nothing of this one, and yet ends when this one does.
    pub(crate) fn leashed(name: &'static str, program: &Path, arguments: &[String]) -> Result<Self> {
        let own = std::env::current_exe().context("the path of this program is not known")?;
        let mut line = vec![LEASH.to_owned(), "--".into(), program.to_string_lossy().into_owned()];
        line.extend_from_slice(arguments);
        Self::start(name, &own.to_string_lossy(), &line, &Place::default())
    }

    pub(crate) fn start(
        name: &'static str,
        program: &str,
        arguments: &[String],
        place: &Place,
    ) -> Result<Self> {
        let mut line: Vec<String> = Vec::new();
        if place.stands_back {
            line.extend(["nice", "-n", "19"].map(Into::into));
        }
        if let Some(cpus) = &place.cpus {
            line.extend(["taskset", "-c", cpus].map(Into::into));
        }
        line.push(program.into());
        let mut process = Command::new(&line[0])
            .args(&line[1..])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started for the {name}", line[0]))?;
        let out = process.stdout.take().context("its standard output is piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = process.stdin.take();
        Ok(Self { name, process, stdin, lines })
    }

    /// The next line, as JSON.
    pub(crate) fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("the {} said {line:?}", self.name))
    }

    /// The next line.
    pub(crate) fn line(&mut self) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(LOOK_UP) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => stopped()?,
                Err(_) => break,
            }
        }
        Err(match self.process.try_wait() {
            Ok(Some(status)) => anyhow!("the {} ended ({status}): see above", self.name),
            _ => anyhow!(
                "the {} did not answer within {} s, or has closed its output",
                self.name,
                PATIENCE.as_secs()
            ),
        })
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.try_wait().with_context(|| format!("the {} cannot be waited for", self.name))
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, question: &str) -> Result<T> {
        let stdin = self.stdin.as_mut().context("nobody has closed it")?;
        writeln!(stdin, "{question}").with_context(|| format!("the {} is gone", self.name))?;
        self.hear()
    }

    /// Processor time so far, by the name of the thread, in nanoseconds.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let mut threads = BTreeMap::new();
        let tasks = format!("/proc/{}/task", self.process.id());
        for task in fs::read_dir(&tasks).with_context(|| format!("the {} is gone", self.name))?.flatten() {
            let read = |file| fs::read_to_string(task.path().join(file)).ok();
            let (Some(name), Some(times)) = (read("comm"), read("schedstat")) else { continue };
            let time = times.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
            *threads.entry(name.trim().to_owned()).or_insert(0) += time;
        }
        Ok(Cpu(threads))
    }

    /// Resident memory, in bytes.
    pub(crate) fn rss(&self) -> Result<u64> {
        resident(self.process.id()).with_context(|| format!("the memory of the {}", self.name))
    }

    /// Looks at the resident memory from now on, often, whatever else is done meanwhile.
    pub(crate) fn watch(&self) -> Result<Watch> {
        let (process, most) = (self.process.id(), Arc::new(AtomicU64::new(self.rss()?)));
        let (over, wait) = channel();
        let seen = Arc::clone(&most);
        std::thread::spawn(move || {
            while wait.recv_timeout(WATCH_EVERY) == Err(RecvTimeoutError::Timeout) {
                let Ok(now) = resident(process) else { return };
                seen.fetch_max(now, Ordering::SeqCst);
            }
        });
        Ok(Watch { most, _over: over })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const WATCH_EVERY: Duration = Duration::from_millis(20);

/// Processor time by thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cpu(BTreeMap<String, u64>);

impl Cpu {
    /// Of all threads whose name begins so, since `earlier`, in nanoseconds.
    pub(crate) fn since(&self, earlier: &Self, thread: &str) -> u64 {
        let sum = |cpu: &Self| -> u64 {
            cpu.0.iter().filter(|(name, _)| name.starts_with(thread)).map(|(_, time)| time).sum()
        };
        sum(self).saturating_sub(sum(earlier))
    }
}

/// In a child: tells the parent.
pub(crate) fn tell(what: &impl Serialize) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{}", serde_json::to_string(what)?)?;
    Ok(out.flush()?)
}

/// In a child: answers the parent until it is gone.
pub(crate) fn answer(mut each: impl FnMut(&str) -> Result<serde_json::Value>) -> Result<()> {
    for question in stdin().lines() {
        tell(&each(question?.trim())?)?;
    }
    Ok(())
}

/// In a child: what it was set up with.
pub(crate) fn setup<T: DeserializeOwned>(text: &str) -> Result<T> {
    match serde_json::from_str(text) {
        Ok(setup) => Ok(setup),
        Err(error) => bail!("--setup is no setup of this role: {error}"),
    }
}
