//! Keeps threads of ingest and hashing on processors of their own, once all of them run: the first permitted processor
//! for `ingest-0`, and so on, then `seal` and those that hash. All others go where there is room.

use std::fs;

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use super::Plan;

/// Gives each thread its processor.
///
/// # Errors
/// There are more threads than processors, or the system does not let us.
pub(crate) fn pin(plan: &Plan) -> Result<()> {
    let permitted = sched_getaffinity(None).context("threads.pin = true: cannot ask for the processors")?;
    let processors: Vec<_> = (0..CpuSet::MAX_CPU).filter(|processor| permitted.is_set(*processor)).collect();
    check(plan, processors.len())?;
    for (name, place) in places(plan) {
        let thread = find(&name).with_context(|| format!("threads.pin = true: there is no thread {name}"))?;
        let mut only = CpuSet::new();
        only.set(processors[place]);
        sched_setaffinity(Some(thread), &only).with_context(|| {
            format!("threads.pin = true: cannot keep {name} on processor {}", processors[place])
        })?;
    }
    Ok(())
}

/// Whether so many processors are enough.
///
/// # Errors
/// They are not.
pub(crate) fn check(plan: &Plan, processors: usize) -> Result<()> {
    let (ingest, hashing) = (plan.ingest.threads, plan.hashing.threads);
    if ingest.get() + hashing.get() > processors {
        bail!(
            "threads.pin = true: {ingest} threads of ingest and {hashing} that hash need a processor each, and there are \
             {processors}; lower ingest.reactors or threads.hashing, or do without"
        );
    }
    Ok(())
}

/// Which thread is on which of the permitted processors, counted from 0.
fn places(plan: &Plan) -> impl Iterator<Item = (String, usize)> {
    let ingest = (0..plan.ingest.threads.get()).map(|index| format!("ingest-{index}"));
    let hashing = (0..plan.hashing.threads.get()).map(|index| match index {
        0 => "seal".to_owned(),
        index => format!("hash-{index}"),
    });
    ingest.chain(hashing).zip(0..)
}

/// The thread of this process that has this name.
fn find(name: &str) -> Option<Pid> {
    let tasks = fs::read_dir("/proc/self/task").ok()?;
    tasks.flatten().find_map(|task| {
        let found = fs::read_to_string(task.path().join("comm")).ok()?;
        let number = task.file_name().to_str()?.parse().ok()?;
        (found.trim_end() == name).then(|| Pid::from_raw(number)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::settings::Settings;

    #[test]
    fn every_thread_has_a_place_of_its_own() {
        for cores in 2..=128 {
            let plan = Plan::of(NonZeroUsize::new(cores).unwrap(), &Settings::default());
            check(&plan, cores).unwrap();
            let places: Vec<_> = places(&plan).collect();
            assert_eq!(places.len(), plan.ingest.threads.get() + plan.hashing.threads.get());
            assert!(places.iter().map(|(_, place)| *place).eq(0..places.len()) && places.len() <= cores);
        }
    }

    #[test]
    fn more_threads_than_processors_are_refused() {
        let plan = Plan::of(NonZeroUsize::new(1).unwrap(), &Settings::default());
        let error = check(&plan, 1).unwrap_err().to_string();
        assert!(error.contains("lower ingest.reactors or threads.hashing"), "{error}");
    }

    #[test]
    fn a_thread_is_found_by_its_name() {
        let (end, ended) = mpsc::channel::<()>();
        let named = thread::Builder::new().name("pin-test-7".into());
        let (started, running) = mpsc::channel();
        let thread = named.spawn(move || {
            started.send(rustix::thread::gettid()).unwrap();
            ended.recv().unwrap_err();
        });
        let pid = running.recv().unwrap();
        assert_eq!(find("pin-test-7"), Some(pid));
        assert_eq!(find("pin-test-8"), None);
        drop(end);
        thread.unwrap().join().unwrap();
    }
}
