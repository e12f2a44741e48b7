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
            match stack.iter().rposition(|name| name.contains(THREAD_START)) {
                // The thread's own function was inlined into it.
                Some(0) => stack = vec!["[the thread's own function]".into()],
                Some(start) => stack.truncate(start),
                None => {}
            }
            if sample.frames.len() == MOST_FRAMES {
                stack.push(format!("[more than {MOST_FRAMES} deep]"));
            }
            stack.reverse();
            stacks.push((thread, readable(stack), count.unsigned_abs() as u64));
        }
        Ok(Sampled { stacks, named: names.has_symbols() })
    }
}

/// A stack without what only hands calls on, and with recursion as one call: a tree of rayon's jobs would otherwise look
/// different in every sample.
fn readable(stack: Vec<String>) -> Vec<String> {
    let mut short = Vec::<String>::new();
    let mut rest = stack.into_iter().peekable();
    while let Some(name) = rest.next() {
        let is_leaf = rest.peek().is_none();
        if !is_leaf && PLUMBING.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        // Back to the same function, by way of its own closures at most.
        let before = short.iter().rposition(|before| !before.starts_with(name.as_str()) || *before == name);
        match before {
            Some(index) if short[index] == name => short.truncate(index + 1),
            _ => short.push(name),
        }
    }
    if short.is_empty() {
        short.push("[no stack]".into());
    }
    short
}

/// How the names of functions begin that run others and do nothing themselves. Where one of them is the innermost, it
/// stays.
const PLUMBING: [&str; 12] = [
    "rayon_core::",
    "<rayon_core::",
    "rayon::iter::plumbing::",
    "std::panic",
    "<core::panic::",
    "core::ops::function::",
    "<F as core::ops::function::",
    "<alloc::boxed::Box<F,A> as core::ops::function::",
    "<core::pin::Pin<P> as core::future::",
    "<core::pin::Pin<",
    "std::thread::local::LocalKey",
    "__rust_try",
];

/// Frames that pprof keeps of a stack, innermost first.
const MOST_FRAMES: usize = 128;

/// Name of pprof's signal handler.
const HANDLER: &str = "perf_signal_handler";

/// What the standard library calls a thread's function by.
const THREAD_START: &str = "__rust_begin_short_backtrace";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is_read_as(stack: &str, expected: &str) {
        assert_eq!(
            readable(stack.split(' ').filter(|name| !name.is_empty()).map(Into::into).collect()).join(" "),
            expected
        );
    }

    #[test]
    fn plumbing_is_left_out_unless_it_is_where_time_is_spent() {
        is_read_as("run rayon_core::join __rust_try hash", "run hash");
        is_read_as("run rayon_core::join rayon_core::wait", "run rayon_core::wait");
        is_read_as("", "[no stack]");
    }

    #[test]
    fn recursion_is_one_call() {
        is_read_as("split split::{c} rayon_core::join split split::{c} split hash", "split hash");
        is_read_as("next next", "next");
        is_read_as("next other next", "next other next");
    }
}
