//! `mainstem run --explain`: what a node would run with on this machine or another one, and why.

use std::fmt::{self, Write};
use std::num::NonZeroUsize;

use engine::pipeline::PipelineConfig;

use crate::node::pipeline;
use crate::settings::{Loaded, Place, settings};
use crate::threads::{Count, PERSIST, Plan, pin};

/// Processor time that a side block costs, in nanoseconds: on one processor of 3.1 GHz with SHA extensions, a hundred
/// connections, frames of many blocks (`perf/RESULTS.md`). Elsewhere it is more or less; what matters is the ratio.
struct Costs {
    ingest: f64,
    /// Of the sealing stage: what one thread does, and what all that hash share.
    alone: f64,
    hash: f64,
    persist: f64,
}

const COSTS: Costs = Costs { ingest: 57.0, alone: 5.0, hash: 80.0, persist: 25.0 };

/// The text. `chains`: how many there are, if a genesis document says so.
pub(super) fn explain(loaded: &Loaded, cores: NonZeroUsize, chains: Option<usize>) -> String {
    let plan = Plan::of(cores, &loaded.settings);
    let mut out = String::new();
    let written = threads(&mut out, loaded, &plan)
        .and_then(|()| time(&mut out, &plan))
        .and_then(|()| memory(&mut out, loaded, &plan, chains));
    written.expect("a text takes what is written to it");
    out
}

fn threads(out: &mut String, loaded: &Loaded, plan: &Plan) -> fmt::Result {
    writeln!(out, "Threads for {}:", counted(plan.cores.get(), "processor"))?;
    let mut row = |names: String, count: usize, why: String| writeln!(out, "  {names:<26}{count:>4}  {why}");
    let origin = |count: &Count| match count.rule {
        Some(rule) => format!("rule: {rule}; {} sets another number", count.setting),
        None => format!("{} = {} ({})", count.setting, count.threads, place(loaded, count.setting)),
    };
    row(names("ingest", 0, plan.ingest.threads.get()), plan.ingest.threads.get(), origin(&plan.ingest))?;
    let hashing = plan.hashing.threads.get();
    let mut hash = "seal".to_owned();
    if hashing > 1 {
        write!(hash, ", {}", names("hash", 1, hashing))?;
    }
    row(hash, hashing, origin(&plan.hashing))?;
    row("persist".into(), PERSIST, "fixed: the log has one end".into())?;
    row(names("api", 0, plan.api.threads.get()), plan.api.threads.get(), origin(&plan.api))?;
    row("all".into(), plan.threads(), "and a few that sleep: main, signals, keys".into())?;
    let pin = loaded.settings.threads.pin;
    let where_they_run = match pin.then(|| pin::check(plan, plan.cores.get())) {
        None => "the system moves threads as it likes".to_owned(),
        Some(Ok(())) => {
            let (ingest, all) = (plan.ingest.threads.get(), plan.ingest.threads.get() + hashing);
            format!(
                "ingest stays on {}, hashing on {} of those that this process may use, the others go where there is room",
                range("processor", 0, ingest),
                range("processor", ingest, all)
            )
        }
        Some(Err(error)) => format!("refused: {error}"),
    };
    writeln!(out, "  {where_they_run}: threads.pin = {pin} ({})", place(loaded, "threads.pin"))?;
    if plan.ingest.threads.get() + hashing > plan.cores.get().max(2) {
        writeln!(out, "  more threads work than there are processors: they take turns, at some cost")?;
    }
    Ok(())
}

fn time(out: &mut String, plan: &Plan) -> fmt::Result {
    writeln!(out, "\nProcessor time of a side block, and what the threads of a stage could carry alone:")?;
    let Costs { ingest, alone, hash, persist } = COSTS;
    let all = ingest + alone + hash + persist;
    let (receiving, hashing) = (plan.ingest.threads.get() as f64, plan.hashing.threads.get() as f64);
    let stages = [
        ("ingest", ingest, ingest / receiving),
        ("seal", alone + hash, alone + hash / hashing),
        ("persist", persist, persist),
    ];
    let carries = |time: f64| 1e3 / time;
    for (name, cost, time) in stages {
        let share = 100.0 * cost / all;
        writeln!(out, "  {name:<10}{cost:>4.0} ns {share:>4.0} %  {:>6.1} million/s", carries(time))?;
    }
    let processors = carries(all / plan.cores.get() as f64);
    writeln!(
        out,
        "  {:<10}{all:>4.0} ns        {processors:>6.1} million/s by {}",
        "all",
        counted(plan.cores.get(), "processor")
    )?;
    let narrowest = stages.iter().map(|(name, _, time)| (*name, carries(*time)));
    let narrowest =
        narrowest.chain([("all processors together", processors)]).min_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((name, most)) = narrowest {
        writeln!(out, "  narrowest: {name}, {most:.1} million/s")?;
    }
    writeln!(
        out,
        "  of a machine with SHA extensions at 3.1 GHz, without network and disk; `mainstem bench` measures this one"
    )
}

fn memory(out: &mut String, loaded: &Loaded, plan: &Plan, chains: Option<usize>) -> fmt::Result {
    let set = &loaded.settings;
    let config: PipelineConfig = pipeline(set, plan);
    writeln!(out, "\nMemory at most:")?;
    let lane = config.lane_bytes();
    let fits = set.cache.bytes.0 / lane;
    let (lanes, of) = match chains {
        Some(chains) => (lane.saturating_mul(chains as u64), counted(chains, "chain")),
        None => (set.cache.bytes.0, format!("{fits} chains, as many as fit")),
    };
    let says = |path: &str| format!("{path} = {} ({})", value(loaded, path), place(loaded, path));
    let bodies = set.api.max_body.0.saturating_mul(set.api.max_connections as u64);
    let rows = [
        (
            "lanes",
            lanes,
            format!("{of} of {} each: {}; {}", size(lane), says("cache.lane_blocks"), says("cache.bytes")),
        ),
        ("windows", set.ingest.window_memory.0, says("ingest.window_memory")),
        ("frames", set.ingest.frame_memory.0, says("ingest.frame_memory")),
        ("main blocks on their way", config.blocks_bytes(), says("seal.max_leaves")),
        ("requests", bodies, format!("{}; {}", says("api.max_connections"), says("api.max_body"))),
    ];
    for (name, bytes, why) in &rows {
        writeln!(out, "  {name:<26}{:>12}  {why}", size(*bytes))?;
    }
    let sum = rows.iter().fold(0_u64, |sum, (_, bytes, _)| sum.saturating_add(*bytes));
    writeln!(
        out,
        "  {:<26}{:>12}  beside some MiB of the program, and tens of KiB a connection",
        "all",
        size(sum)
    )
}

fn names(kind: &str, first: usize, end: usize) -> String {
    if end - first == 1 { format!("{kind}-{first}") } else { format!("{kind}-{first} to {kind}-{}", end - 1) }
}

fn range(what: &str, first: usize, end: usize) -> String {
    if end - first == 1 { format!("{what} {first}") } else { format!("{what}s {first} to {}", end - 1) }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// To a tenth of its unit.
fn size(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => {
            let text = format!("{:.1}", bytes as f64 / unit as f64);
            format!("{} {name}", text.strip_suffix(".0").unwrap_or(&text))
        }
        None => format!("{bytes} B"),
    }
}

fn position(path: &str) -> usize {
    let position = settings().iter().position(|setting| setting.path == path);
    position.expect("our own code names settings that exist")
}

fn place<'a>(loaded: &'a Loaded, path: &str) -> &'a Place {
    &loaded.origins[position(path)]
}

fn value(loaded: &Loaded, path: &str) -> String {
    (settings()[position(path)].show)(&loaded.settings).trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ByteSize, Settings};

    fn loaded(change: impl FnOnce(&mut Settings)) -> Loaded {
        let mut settings = Settings::default();
        change(&mut settings);
        let mut origins = vec![Place::Default; super::settings().len()];
        origins[position("threads.hashing")] = Place::Env("MAINSTEM_THREADS_HASHING".into());
        Loaded { settings, file: None, origins }
    }

    fn text(cores: usize, chains: Option<usize>, change: impl FnOnce(&mut Settings)) -> String {
        explain(&loaded(change), NonZeroUsize::new(cores).unwrap(), chains)
    }

    #[test]
    fn each_number_of_threads_says_where_it_comes_from() {
        let text = text(64, None, |settings| settings.threads.hashing = 5);
        for line in [
            "Threads for 64 processors:",
            "  ingest-0 to ingest-31       32  rule: half of the processors, 1 to 32; ingest.reactors sets another number",
            "  seal, hash-1 to hash-4       5  threads.hashing = 5 (environment MAINSTEM_THREADS_HASHING)",
            "  persist                      1  fixed: the log has one end",
            "  api-0 to api-1               2  api.threads = 2 (default)",
            "  all                         40  and a few that sleep: main, signals, keys",
        ] {
            assert!(text.lines().any(|it| it == line), "{line:?} in {text}");
        }
    }

    #[test]
    fn memory_is_that_of_the_chains_that_there_are_or_of_as_many_as_fit() {
        let lanes = |text: String| text.lines().find(|line| line.starts_with("  lanes")).unwrap().to_owned();
        let lane = PipelineConfig::default().lane_bytes();
        let with = lanes(text(2, Some(10), |settings| settings.cache.lane_blocks = 1 << 10));
        let expected = format!("  lanes{:>33}  10 chains of {} each: ", size(10 * lane), size(lane));
        assert!(with.starts_with(&expected), "{with}");
        let without = lanes(text(2, None, |settings| settings.cache.bytes = ByteSize::mib(72)));
        let fits = (72 << 20) / lane;
        let expected = format!("  lanes                           72 MiB  {fits} chains, as many as fit of");
        assert!(without.starts_with(&expected), "{without}");
    }

    #[test]
    fn what_limits_a_machine_and_where_threads_run_is_told() {
        let pinned = text(4, None, |settings| settings.threads.pin = true);
        assert!(
            pinned.contains("ingest stays on processors 0 to 1, hashing on processors 2 to 3 of"),
            "{pinned}"
        );
        assert!(
            text(1, None, |settings| settings.threads.pin = true).contains("refused: threads.pin = true: ")
        );
        assert!(text(1, None, |_| ()).contains("narrowest: all processors together"));
        assert!(text(64, None, |_| ()).contains("narrowest: persist"));
        assert!(text(2, None, |settings| settings.threads.hashing = 9).contains("more threads work than"));
    }
}
