//! The hold that a bench has of the processes that send.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use engine::chain::NodeKey;
use serde::de::DeserializeOwned;

use super::super::shape::Shape;
use super::{BEGIN, BenchLoad, Lateness, MARK, Said};

/// A process that sends. Killed when dropped: what it sends needs no end.
#[derive(Debug)]
pub(in super::super) struct Helper {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Helper {
    /// Starts this program again in a part of `bench-load`.
    pub(in super::super) fn start(arguments: &[String]) -> Result<Self> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let mut child = Command::new(program)
            .arg(BenchLoad::NAME)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the load cannot be started")?;
        let input = child.stdin.take().context("its input is piped")?;
        let output = child.stdout.take().context("its output is piped")?;
        let (sender, lines) = channel();
        std::thread::Builder::new().name("load-lines".into()).spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { child, input, lines })
    }

    /// Its number in `/proc`.
    pub(in super::super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it something.
    pub(in super::super) fn tell(&self, what: &str) -> Result<()> {
        writeln!(&self.input, "{what}").context("the load has ended: see above")
    }

    /// What it has said, if it has.
    pub(in super::super) fn heard<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        match self.lines.try_recv() {
            Ok(line) => Ok(Some(read(&line)?)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => bail!("the load has ended: see above"),
        }
    }

    /// What it says next, if it does within so much time.
    pub(in super::super) fn hear<T: DeserializeOwned>(&self, patience: Duration) -> Result<T> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => read(&line),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the load did not answer within {} s", patience.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => bail!("the load has ended: see above"),
        }
    }
}

fn read<T: DeserializeOwned>(line: &str) -> Result<T> {
    serde_json::from_str(line).with_context(|| format!("the load said {line:?}"))
}

impl Drop for Helper {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The load of a node.
#[derive(Debug)]
pub(in super::super) struct Load(Helper);

impl Load {
    /// Starts to connect. `blocks`: how many there are, if not as many as can be.
    pub(in super::super) fn start(
        shape: &Shape,
        blocks: Option<u64>,
        node: SocketAddr,
        key: NodeKey,
    ) -> Result<Self> {
        let mut arguments = vec!["blocks".to_owned()];
        let mut flag = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
        flag("main", node.to_string());
        flag("main-key", key.to_string());
        flag("chains", shape.chains.to_string());
        flag("connections", shape.connections.to_string());
        flag("skew", shape.skew.name().into());
        if let Some(rate) = shape.rate {
            flag("rate", rate.to_string());
        }
        if let Some(batch) = shape.batch {
            flag("batch", batch.to_string());
        }
        if let Some(blocks) = blocks {
            flag("blocks", blocks.to_string());
        }
        Ok(Self(Helper::start(&arguments)?))
    }

    /// Its number in `/proc`.
    pub(in super::super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether all connections are welcome: true once.
    pub(in super::super) fn is_connected(&self) -> Result<bool> {
        Ok(matches!(self.0.heard()?, Some(Said::Connected)))
    }

    /// Lets it send.
    pub(in super::super) fn begin(&self) -> Result<()> {
        self.0.tell(BEGIN)
    }

    /// Fails if it has ended.
    pub(in super::super) fn check(&self) -> Result<()> {
        // A write to a process that has ended fails, but only reading says so without a question.
        match self.0.lines.try_recv() {
            Err(TryRecvError::Disconnected) => bail!("the load has ended: see above"),
            Err(TryRecvError::Empty) => Ok(()),
            Ok(line) => bail!("the load said {line:?}, unasked"),
        }
    }

    /// How late its blocks were since this was asked last.
    pub(in super::super) fn mark(&self) -> Result<Lateness> {
        self.0.tell(MARK)?;
        match self.0.hear(PATIENCE)? {
            Said::Lateness(lateness) => Ok(lateness),
            Said::Connected => bail!("the load connected twice"),
        }
    }
}
