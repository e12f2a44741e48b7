//! Processes that run beside this one: started in their place, asked, and measured from outside.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
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

impl Child {
    /// This program again, in the part `role` with a `setup`.
    pub(crate) fn role(role: &'static str, setup: &impl Serialize, place: &Place) -> Result<Self> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let setup = serde_json::to_string(setup)?;
        let arguments = [role.to_owned(), "--setup".into(), setup];
        Self::start(role, &program.to_string_lossy(), &arguments, place)
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
        self.lines.recv_timeout(PATIENCE).map_err(|_| match self.process.try_wait() {
            Ok(Some(status)) => anyhow!("the {} ended ({status}): see above", self.name),
            _ => anyhow!("the {} did not answer within {} s", self.name, PATIENCE.as_secs()),
        })
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
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(path).with_context(|| format!("the {} is gone", self.name))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.context("the system tells the resident memory of a process")? << 10)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

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
