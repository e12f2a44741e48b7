//! `mainstem profile`: the load of `mainstem bench`, and where the node's processor time and memory go meanwhile.
//!
//! ```text
//!   every 1/frequency s of processor time: SIGPROF -> the running thread's stack        sampler
//!   addresses -> names by the program's symbol table                                    names
//!   stacks -> counts by stage (thread name)                                             stage, folded
//!   -> flame graphs, folded stacks, index.html, tables on the terminal                  flame, page
//! ```
//! It needs neither root nor perf events: the kernel's interval timer of processor time is free for all. What the
//! kernel does for a thread is shown at the system call that asked for it. A function that was inlined is shown as
//! the one that it went into: addresses within a function are counted together.

mod flame;
mod folded;
mod names;
mod page;
mod sampler;
mod stage;

use std::fmt;
use std::fs;
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::command::bench::format::{count, plural};
use crate::command::bench::{Bed, Shape};
use crate::node::Node;
use crate::signals::Signals;

use folded::Folded;
use sampler::Sampler;
use stage::{ByStage, Stage, Usage};

const EXAMPLES: &str = "\
Examples:
  mainstem profile                                      100 chains over one connection, 10 seconds
  mainstem profile --chains 10000 --connections 1000    many of both
  mainstem profile --rate 500k --out half-load          at a rate of its own, into another directory

The directory of the result holds index.html, which shows all of it; all.svg and a flame graph for each stage (ingest.svg, \
seal.svg, hash.svg, persist.svg, api.svg, other.svg); and the stacks as text beside each (*.folded), which other programs \
read. A build with `cargo build --profile profiling` has the whole debug information that perf and valgrind want \
besides; this command needs no more than a program that is not stripped.";

/// Show where the node's processor time and memory go under the load of `bench`
///
/// A sampling profiler inside this process: no root, no perf events.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Profile {
    #[command(flatten)]
    shape: Shape,
    /// How long to sample
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// How long to run before that, in seconds
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up: u64,
    /// Samples for each second of processor time. Kernels give no more than their tick allows: 100, 250 or 1000 for
    /// each processor
    #[arg(long, value_name = "HZ", default_value_t = 199, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    frequency: u32,
    /// Directory of the result; an earlier result in it is replaced
    #[arg(long, value_name = "DIR", default_value = "mainstem-profile")]
    out: PathBuf,
}

/// How often the progress is shown. Not oftener, because counting the blocks of ten thousand lanes shows in the profile.
const TICK: Duration = Duration::from_millis(500);

impl Profile {
    pub(crate) fn run(self) -> Result<()> {
        self.check_out()?;
        let signals = Signals::listen()?;
        let bed = Bed::start(&self.shape)?;
        let run = self.measure(&bed, &signals);
        let stopped = bed.stop();
        let run = run?;
        stopped?;

        fs::create_dir_all(&self.out).with_context(|| format!("{} cannot be made", self.out.display()))?;
        for (name, graph) in run.graphs() {
            let folded = graph.folded;
            self.write(&format!("{name}.folded"), &folded.to_string())?;
            self.write(&format!("{name}.svg"), &flame::svg(&graph.title, folded))?;
        }
        self.write("index.html", &page::html(&run))?;
        println!("{run}");
        println!("flame graphs: {}", self.out.join("index.html").display());
        Ok(())
    }

    /// Refuses a directory of others' files before the minutes are spent.
    fn check_out(&self) -> Result<()> {
        let out = &self.out;
        let mut entries = match fs::read_dir(out) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", out.display())),
        };
        if entries.next().is_some() && !out.join("all.folded").exists() {
            bail!("{} holds something else than a profile: name another directory with --out", out.display());
        }
        Ok(())
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        let path: &Path = &self.out.join(name);
        fs::write(path, content).with_context(|| format!("{} cannot be written", path.display()))
    }

    fn measure(&self, bed: &Bed, signals: &Signals) -> Result<Run> {
        let bar = if stderr().is_terminal() {
            ProgressBar::new((self.warm_up + self.seconds) * 2)
        } else {
            ProgressBar::hidden()
        };
        let style = "{prefix:9} [{bar:40}] {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed"));
        bar.set_prefix("connect");
        bed.wait_connected(signals)?;

        let run = |seconds: u64| -> Result<()> {
            let start = Instant::now();
            let mut last = (start, bed.node().durable().side_blocks);
            while start.elapsed() < Duration::from_secs(seconds) {
                bed.wait(signals, TICK)?;
                let now = (Instant::now(), bed.node().durable().side_blocks);
                let rate = (now.1 - last.1) as f64 / (now.0 - last.0).as_secs_f64();
                bar.set_message(format!("{} side blocks a second", count(rate)));
                bar.inc(1);
                last = now;
            }
            Ok(())
        };
        bar.set_prefix("warm-up");
        run(self.warm_up)?;
        bar.set_prefix("sampling");
        let sampler = Sampler::start(self.frequency)?;
        let before = Counted::now(bed.node());
        run(self.seconds)?;
        let after = Counted::now(bed.node());
        bar.set_prefix("names");
        let sampled = sampler.finish()?;
        bar.finish_and_clear();

        let (stacks, all) = folded::by_stage(&sampled.stacks);
        Ok(Run {
            shape: format!(
                "{} over {}",
                plural(self.shape.chains.into(), "chain"),
                plural(self.shape.connections.into(), "connection")
            ),
            frequency: self.frequency,
            time: after.at - before.at,
            side_blocks: after.side_blocks - before.side_blocks,
            main_blocks: after.main_blocks - before.main_blocks,
            usage: after.usage.since(&before.usage),
            stacks,
            all,
            named: sampled.named,
        })
    }
}

/// What was counted up to a moment.
struct Counted {
    at: Instant,
    side_blocks: u64,
    main_blocks: u64,
    usage: ByStage<Usage>,
}

impl Counted {
    fn now(node: &Node) -> Self {
        Self {
            at: Instant::now(),
            side_blocks: node.durable().side_blocks,
            main_blocks: node.head().0,
            usage: Usage::now(),
        }
    }
}

/// All that was found.
struct Run {
    shape: String,
    frequency: u32,
    time: Duration,
    side_blocks: u64,
    main_blocks: u64,
    usage: ByStage<Usage>,
    stacks: ByStage<Folded>,
    all: Folded,
    /// Whether the program has a symbol table.
    named: bool,
}

/// A flame graph to be drawn.
struct Graph<'a> {
    title: String,
    folded: &'a Folded,
}

impl Run {
    /// The graphs, by the names of their files.
    fn graphs(&self) -> impl Iterator<Item = (&'static str, Graph<'_>)> {
        let all = ("all", Graph { title: format!("all stages: {}", self.shape), folded: &self.all });
        let of = |stage: Stage| {
            let title = format!("{}: {}", stage.name(), self.shape);
            (stage.name(), Graph { title, folded: &self.stacks[stage] })
        };
        std::iter::once(all).chain(Stage::ALL.into_iter().map(of))
    }

    fn rate(&self) -> f64 {
        self.side_blocks as f64 / self.time.as_secs_f64()
    }

    /// One line for each stage.
    fn stages(&self) -> impl Iterator<Item = StageRow> {
        let per_side = |value: f64| value / self.side_blocks.max(1) as f64;
        let processor = |stage| self.usage[stage].processor;
        let all: Option<Duration> = Stage::ALL.into_iter().map(processor).sum();
        Stage::ALL.into_iter().map(move |stage| {
            let usage = self.usage[stage];
            let share = |time: Duration, all: Duration| time.as_secs_f64() / all.as_secs_f64().max(1e-9);
            StageRow {
                stage,
                nanos: usage.processor.map(|time| per_side(time.as_nanos() as f64)),
                share: usage.processor.zip(all).map(|(time, all)| share(time, all)),
                sampled: self.stacks[stage].samples() as f64 / self.all.samples().max(1) as f64,
                allocations_side: per_side(usage.allocations as f64),
                allocations_main: usage.allocations as f64 / self.main_blocks.max(1) as f64,
                bytes_main: usage.bytes as f64 / self.main_blocks.max(1) as f64,
            }
        })
    }

    fn headline(&self) -> String {
        format!(
            "{}: {} durable side blocks a second, {} main blocks a second, for {:.1} s",
            self.shape,
            count(self.rate()),
            count(self.main_blocks as f64 / self.time.as_secs_f64()),
            self.time.as_secs_f64()
        )
    }

    /// What the reader has to know to believe the figures no more than they deserve.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let samples = self.all.samples();
        let processor: Option<Duration> =
            Stage::ALL.into_iter().map(|stage| self.usage[stage].processor).sum();
        let had = processor.map(|time| samples as f64 / time.as_secs_f64().max(1e-9));
        match had {
            Some(had) if had < 0.8 * f64::from(self.frequency) => notes.push(format!(
                "{samples} samples: {had:.0} for each second of processor time, of the {} asked for. The kernel looks at \
                 its timers once a tick and processor, and two threads that are due at the same moment are sampled once",
                self.frequency
            )),
            Some(had) => {
                notes.push(format!("{samples} samples, {had:.0} for each second of processor time"));
            }
            None => notes.push(format!("{samples} samples; this system tells no processor time of threads")),
        }
        if samples < 500 {
            notes.push(
                "fewer than 500 samples: shares may be wrong by several points; sample for longer".into(),
            );
        }
        if !self.named {
            notes.push(
                "this program has no symbol table, so most functions have no name: build it with `cargo build --profile \
                 profiling`"
                    .into(),
            );
        }
        notes
    }
}

/// What a stage took.
struct StageRow {
    stage: Stage,
    /// Processor nanoseconds for each side block, if this system tells.
    nanos: Option<f64>,
    /// Of all processor time.
    share: Option<f64>,
    /// Of all samples.
    sampled: f64,
    allocations_side: f64,
    allocations_main: f64,
    bytes_main: f64,
}

/// Functions that are listed for each stage.
const TOP: usize = 8;

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        for note in self.notes() {
            writeln!(f, "{note}")?;
        }
        writeln!(f)?;
        writeln!(f, "           processor time         of all    allocations  allocations        bytes")?;
        writeln!(f, "  stage    ns/side block   time   samples   /side block  /main block  /main block")?;
        for row in self.stages() {
            let nanos = row.nanos.map_or("-".into(), |nanos| format!("{nanos:.1}"));
            let share = row.share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share));
            writeln!(
                f,
                "  {:8} {nanos:>13} {share:>6} {:>7.1} % {:>13.5} {:>12.2} {:>12.0}",
                row.stage.name(),
                100.0 * row.sampled,
                row.allocations_side,
                row.allocations_main,
                row.bytes_main
            )?;
        }
        for stage in Stage::ALL {
            let folded = &self.stacks[stage];
            if folded.samples() == 0 {
                continue;
            }
            writeln!(f, "\n  {:8}    self   with callees", stage.name())?;
            for top in folded.top(TOP) {
                let of = |count: u64| 100.0 * count as f64 / folded.samples() as f64;
                let (own, total) = (of(top.own), of(top.total));
                writeln!(
                    f,
                    "           {own:>5.1} %  {total:>5.1} %   {}",
                    folded::shortened(&top.name, 80)
                )?;
            }
        }
        Ok(())
    }
}
