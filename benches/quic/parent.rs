//! Starts the two processes of a measurement and asks them what they have done.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

use crate::args::Args;
use crate::engine::Engine;
use crate::spec::{Listening, Load, QuicSample, Role, Sample, Spec};

/// What one run gave.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) receiver: Share,
    pub(crate) sender: Share,
}

/// One side's part in it.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    pub(crate) seconds: f64,
    pub(crate) cpu_nanos: f64,
    /// Resident, before its connections were made and in the end.
    pub(crate) rss_before: f64,
    pub(crate) rss_bytes: f64,
    pub(crate) bytes: f64,
    pub(crate) operations: f64,
    pub(crate) p50_nanos: f64,
    pub(crate) p99_nanos: f64,
    pub(crate) drops: f64,
    /// What was added.
    pub(crate) quic: QuicSample,
}

/// Both sides of a load, once.
pub(crate) fn run(
    args: &Args,
    engine: Engine,
    load: Load,
    warm_up: Duration,
    measured: Duration,
) -> Result<Outcome> {
    let mut receiver = Process::start(args, engine, Role::Receiver)?;
    let to: Listening = receiver.read()?;
    let empty = receiver.sample()?;
    let mut sender = Process::start(args, engine, Role::Sender { to, load })?;
    sender.read::<()>()?;
    measure(&mut receiver, &mut sender, empty, warm_up, measured)
}

/// The same bytes without QUIC.
pub(crate) fn run_udp(args: &Args, warm_up: Duration, measured: Duration) -> Result<Outcome> {
    let mut receiver = Process::start(args, Engine::Reactor, Role::UdpReceiver)?;
    let Listening { address, .. } = receiver.read()?;
    let empty = receiver.sample()?;
    let mut sender = Process::start(args, Engine::Reactor, Role::UdpSender { to: address })?;
    sender.read::<()>()?;
    measure(&mut receiver, &mut sender, empty, warm_up, measured)
}

fn measure(
    receiver: &mut Process,
    sender: &mut Process,
    empty: Sample,
    warm_up: Duration,
    measured: Duration,
) -> Result<Outcome> {
    std::thread::sleep(warm_up);
    let begin = (receiver.sample()?, sender.sample()?);
    std::thread::sleep(measured);
    let end = (receiver.sample()?, sender.sample()?);
    Ok(Outcome {
        receiver: Share::between(empty, begin.0, end.0),
        sender: Share::between(begin.1, begin.1, end.1),
    })
}

impl Share {
    fn between(empty: Sample, begin: Sample, end: Sample) -> Self {
        let grown = |from: u64, to: u64| to.saturating_sub(from) as f64;
        Self {
            seconds: grown(begin.nanos, end.nanos) / 1e9,
            cpu_nanos: grown(begin.cpu_nanos, end.cpu_nanos),
            rss_before: empty.rss_bytes as f64,
            rss_bytes: end.rss_bytes as f64,
            bytes: grown(begin.bytes, end.bytes),
            operations: grown(begin.operations, end.operations),
            p50_nanos: end.p50_nanos,
            p99_nanos: end.p99_nanos,
            drops: grown(begin.drops, end.drops),
            quic: end.quic.since(&begin.quic),
        }
    }
}

impl QuicSample {
    /// What counts has grown; what is a state is that of now.
    fn since(&self, before: &Self) -> Self {
        Self {
            lost_packets: self.lost_packets.saturating_sub(before.lost_packets),
            congestion_events: self.congestion_events.saturating_sub(before.congestion_events),
            sent_packets: self.sent_packets.saturating_sub(before.sent_packets),
            sends: self.sends.saturating_sub(before.sends),
            datagrams_sent: self.datagrams_sent.saturating_sub(before.datagrams_sent),
            datagrams_received: self.datagrams_received.saturating_sub(before.datagrams_received),
            acks_sent: self.acks_sent.saturating_sub(before.acks_sent),
            ..*self
        }
    }
}

/// One side. Ended when dropped.
struct Process {
    child: Child,
    /// Taken to end it.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(args: &Args, engine: Engine, role: Role) -> Result<Self> {
        let receives = matches!(role, Role::Receiver | Role::UdpReceiver);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let may_pin = !args.unpinned && cores >= 2 && engine.is_single() && args.tuning.receivers == 1;
        let spec = Spec {
            core: may_pin.then_some(usize::from(receives)),
            role,
            engine,
            tuning: args.tuning.clone(),
        };
        let this = std::env::current_exe()?;
        let under = if receives { &args.receiver_under } else { &args.sender_under };
        let mut command = if let Some(under) = under {
            let mut words = under.split_whitespace();
            let mut command = Command::new(words.next().context("an empty command")?);
            command.args(words).arg(this);
            command
        } else {
            Command::new(this)
        };
        let mut child = command
            .arg("--child")
            .arg(serde_json::to_string(&spec)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the bench cannot start itself")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Ok(Self { child, input, output })
    }

    fn read<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "a process of the bench ended early");
        Ok(serde_json::from_str(&line)?)
    }

    fn sample(&mut self) -> Result<Sample> {
        self.input.as_mut().expect("only dropping takes it").write_all(b"\n")?;
        self.read()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends with its input. A profiler above it then writes its results, so nothing is killed.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
