//! What `mainstem dev` shows while it runs.

use std::io::{self, IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriter};

use super::Goal;
use crate::node::Node;

pub(super) use crate::command::words::grouped;

/// A line that follows the run: with a bar if it has an end, redrawn on a terminal, now and then elsewhere.
pub(super) struct Progress {
    bar: ProgressBar,
    goal: Goal,
    plain: bool,
    start: Instant,
    first: u64,
    last: (Instant, u64),
    rate: u64,
    printed: Instant,
}

impl Progress {
    /// Starts with `side_blocks` indexed already.
    pub(super) fn new(goal: Goal, side_blocks: u64) -> Self {
        let now = Instant::now();
        let bar = match goal {
            Goal::None => ProgressBar::new_spinner().with_style(style("{spinner} {elapsed_precise}  {msg}")),
            Goal::For(time) => ProgressBar::new(time.as_millis() as u64)
                .with_style(style("{bar:20} {elapsed_precise}  {msg}")),
            Goal::Blocks(blocks) => {
                ProgressBar::new(blocks).with_style(style("{bar:20} {percent:>3} %  {msg}"))
            }
        };
        let plain = !stderr().is_terminal();
        Self {
            bar,
            goal,
            plain,
            start: now,
            first: side_blocks,
            last: (now, side_blocks),
            rate: 0,
            printed: now,
        }
    }

    /// The bar, for log lines that must not run into it.
    pub(super) fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Shows where the node is. True when the goal is reached.
    pub(super) fn update(&mut self, node: &Node) -> bool {
        let (now, blocks) = (Instant::now(), node.side_blocks());
        let elapsed = now.duration_since(self.last.0);
        if elapsed >= Duration::from_secs(1) {
            self.rate = per_second(blocks - self.last.1, elapsed);
            self.last = (now, blocks);
        }
        let stats = node.stats();
        let lanes = node.cache().lanes();
        let cursors = lanes.iter().map(|lane| lane.cursors());
        let behind: u64 = cursors.map(|cursors| cursors.received - cursors.indexed).sum();
        let line = format!(
            "{} chains  {} blocks  {}/s  lag {behind} blocks, {} ms  main height {}",
            node.genesis().chains.len(),
            grouped(blocks),
            grouped(self.rate),
            stats.durable.value_at_quantile(0.5) / 1000,
            grouped(node.head().0),
        );
        let (new, running) = (blocks - self.first, now.duration_since(self.start));
        let reached = match self.goal {
            Goal::None => false,
            Goal::For(time) => {
                self.bar.set_position(running.as_millis() as u64);
                running >= time
            }
            Goal::Blocks(goal) => {
                self.bar.set_position(new.min(goal));
                new >= goal
            }
        };
        if self.plain {
            if now.duration_since(self.printed) >= Duration::from_secs(5) {
                self.printed = now;
                eprintln!("{line}");
            }
        } else {
            self.bar.set_message(line);
            self.bar.tick();
        }
        reached
    }

    /// Removes the line.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Log lines that go above the bar.
pub(in crate::command) fn above(bar: ProgressBar) -> BoxMakeWriter {
    struct Above(ProgressBar);
    struct Line(ProgressBar);
    impl<'a> MakeWriter<'a> for Above {
        type Writer = Line;
        fn make_writer(&'a self) -> Line {
            Line(self.0.clone())
        }
    }
    impl Write for Line {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.suspend(|| stderr().write_all(bytes))?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            stderr().flush()
        }
    }
    BoxMakeWriter::new(Above(bar))
}

/// So many in such a time, in a second.
pub(super) fn per_second(count: u64, time: Duration) -> u64 {
    count * 1000 / (time.as_millis() as u64).max(1)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("our own templates are well-formed")
}
