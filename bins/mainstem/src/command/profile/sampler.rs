//! The sampler: pprof's signal handler, and names for what it brings.
//!
//! *Safety of the process*: the handler unwinds by the unwind tables, which needs no frame pointers but may crash in a
//! thread that is panicking at that moment. The node's threads do not panic; one that did would end the run anyway.
//!
//! *Bias*: the signal goes to the thread that uses up the interval, so busy threads are sampled by their share. Of two
//! that are due at once one is lost, whichever comes second.

use anyhow::{Result, anyhow};
use pprof::{Frames, ProfilerGuard, ProfilerGuardBuilder};

use super::names::Names;

/// Samples while it lives.
pub(super) struct Sampler(ProfilerGuard<'static>);

/// What was sampled.
pub(super) struct Sampled {
    /// Name of the thread, functions from the outermost to the innermost, and how often.
    pub(super) stacks: Vec<(String, Vec<String>, u64)>,
    /// Whether the program's own functions have names.
    pub(super) named: bool,
}

impl Sampler {
    /// Starts to sample all threads, so often for each second of processor time.
    ///
    /// # Errors
    /// The system refuses the timer or the signal.
    pub(super) fn start(frequency: u32) -> Result<Self> {
        let builder = ProfilerGuardBuilder::default().frequency(frequency.cast_signed());
        builder.build().map(Self).map_err(|error| anyhow!("this system lets no profiler be started: {error}"))
    }

    /// Stops, and finds the names.
    ///
    /// # Errors
    /// What was sampled cannot be read back from its temporary file.
    pub(super) fn finish(self) -> Result<Sampled> {
        let report = self.0.report().build_unresolved();
        drop(self);
        let report = report.map_err(|error| anyhow!("the samples cannot be read back: {error}"))?;

        let mut names = Names::of_this_program();
        let mut stacks = Vec::with_capacity(report.data.len());
        for (sample, count) in report.data {
            let thread =
                String::from_utf8_lossy(&sample.thread_name[..sample.thread_name_length]).into_owned();
            let name = |names: &mut Names, index: usize, is_leaf: bool| {
                let address = sample.frames[index].ip().addr();
                // A return address may be that of the next function already, if the call was this one's last.
                let address = if is_leaf { address } else { address.saturating_sub(1) };
                names.of(address, || {
                    // Its own way knows the libraries; the function that others are inlined into comes last.
                    let mut one = sample.clone();
                    one.frames.truncate(0);
                    one.frames.push(sample.frames[index].clone());
                    let found = Frames::from(one).frames.pop().and_then(|mut symbols| symbols.pop());
                    found.filter(|symbol| symbol.name.is_some()).map(|symbol| symbol.name())
                })
            };
            // From the inside: the handler's own frames, the kernel's trampoline, what was interrupted.
            let handler = (0..sample.frames.len()).find(|&index| name(&mut names, index, false) == HANDLER);
            let leaf = handler.map_or(0, |handler| handler + 2);
            let mut stack: Vec<_> =
                (leaf..sample.frames.len()).map(|index| name(&mut names, index, index == leaf)).collect();
            // What every thread has below its own first function tells nothing.
            if let Some(start) = stack.iter().rposition(|name| name.contains(THREAD_START)) {
                stack.truncate(start);
            }
            if sample.frames.len() == MOST_FRAMES {
                stack.push(format!("[more than {MOST_FRAMES} deep]"));
            }
            stack.reverse();
            if stack.is_empty() {
                stack.push("[no stack]".into());
            }
            stacks.push((thread, stack, count.unsigned_abs() as u64));
        }
        Ok(Sampled { stacks, named: names.has_symbols() })
    }
}

/// Frames that pprof keeps of a stack, innermost first.
const MOST_FRAMES: usize = 128;

/// Name of pprof's signal handler.
const HANDLER: &str = "perf_signal_handler";

/// What the standard library calls a thread's function by.
const THREAD_START: &str = "__rust_begin_short_backtrace";
