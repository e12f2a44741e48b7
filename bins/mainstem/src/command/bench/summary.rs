//! The result of a bench as a table of the terminal, and its bottleneck in words.

use std::fmt::{self, Write as _};

use super::format::{amount, count, percent, plural, time};
use super::outcome::{Limit, Outcome, over};

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.shape())?;
        writeln!(f)?;
        writeln!(
            f,
            "  durable side blocks      {:>12.0} a second{}",
            self.blocks_per_second,
            if self.has_limits() {
                format!(", {} of the roofline", percent(self.ratio))
            } else {
                String::new()
            }
        )?;
        writeln!(f, "  main blocks              {:>12.1} a second", self.main_blocks as f64 / self.seconds)?;
        writeln!(f, "  side blocks in one       {:>12.0}", self.side_blocks_in_main_block())?;
        self.latency_table(f)?;
        self.stage_table(f)?;
        self.roofline(f)?;
        self.processor_time(f)?;
        if let Some(counted) = &self.allocations {
            writeln!(f)?;
            writeln!(f, "  heap allocations         {:>12} a side block", count(counted.per_side_block))?;
        }
        writeln!(f)?;
        write!(f, "{}", self.verdict())
    }
}

impl Outcome {
    /// What was run, in a line.
    pub(super) fn shape(&self) -> String {
        format!(
            "{} over {}, {:.1} s, {}",
            plural(self.chains.into(), "chain"),
            plural(self.connections.into(), "connection"),
            self.seconds,
            plural(self.processors as u64, "processor")
        )
    }

    /// Side blocks in a main block, on average; 0 if there was none.
    pub(super) fn side_blocks_in_main_block(&self) -> f64 {
        over(self.side_blocks as f64, self.main_blocks as f64)
    }

    /// What held the run back.
    pub(super) fn verdict(&self) -> String {
        let mut words = match self.bottleneck {
            _ if !self.has_limits() => {
                "The machine's limits were not measured, so nothing tells how near to them the run came."
                    .to_owned()
            }
            Limit::Quic => format!(
                "Bottleneck: QUIC. A bulk transfer of the same bytes carries {} side blocks a second, and the run {}.",
                count(self.limits.quic),
                count(self.blocks_per_second)
            ),
            Limit::Hash => format!(
                "Bottleneck: hashing. Alone it carries {} side blocks a second, and the run {}.",
                count(self.limits.hash),
                count(self.blocks_per_second)
            ),
            Limit::WriteAndSync => format!(
                "Bottleneck: the disk. Writing and syncing alone carries {} side blocks a second, and the run {}.",
                count(self.limits.write_and_sync),
                count(self.blocks_per_second)
            ),
            Limit::Processors => format!(
                "Bottleneck: the processors. The parts of the work need {:.0} ns of them for a side block where each \
                 runs alone, and the run took {:.0} ns.",
                self.costs_ns.total(),
                self.spent_ns.total
            ),
        };
        if let Some(stage) = &self.bottleneck_stage {
            let parts = self.spent_ns.shown();
            let ns = parts.iter().find(|(name, _)| name == stage).map(|(_, ns)| format!(": {ns:.0} ns"));
            let _ = write!(words, " Most of it is {}{}.", printable(stage), ns.unwrap_or_default());
        }
        if self.has_limits() && self.bottleneck == Limit::Quic && self.processors > 2 {
            let _ = write!(
                words,
                " The load and the sender of this limit have one sending thread each, so with {} a node may take more.",
                plural(self.processors as u64, "processor")
            );
        }
        if let Some(held) = self.held_back() {
            words += &held;
        }
        if self.paced() {
            words +=
                " The load was paced (rate), so the run shows what was sent and not what could be taken in.";
        }
        words
    }

    /// What held back a run that stayed far below the limits: threads that had no time left.
    fn held_back(&self) -> Option<String> {
        if !self.has_limits() || self.ratio >= FAR_BELOW || self.paced() {
            return None;
        }
        let stage = |name: &str| self.stages.iter().find(|stage| stage.name == name);
        let busy = |name: &str| stage(name).map_or(0.0, |stage| stage.utilisation);
        let several = stage("ingest").map(|stage| stage.threads).filter(|threads| *threads > 1);
        let receiving = several.map_or("its thread ingest-0 was".to_owned(), |threads| {
            format!("its {threads} threads, ingest-0 and on, were")
        });
        let parts = [
            // It is one process with one thread that sends.
            (
                "the load",
                "its one sending thread was".into(),
                self.spent_ns.load * self.blocks_per_second / 1e9,
            ),
            ("ingest", receiving, busy("ingest")),
            ("sealing", "its thread seal was".into(), busy("seal")),
            // These two take turns on one thread.
            ("storing", "its thread persist was".into(), busy("append") + busy("sync")),
        ];
        let busiest = parts.into_iter().max_by(|a, b| a.2.total_cmp(&b.2));
        let (what, thread, share) = busiest.filter(|(_, _, share)| *share > FULL)?;
        Some(format!(" What holds the run back is {what}: {thread} {} busy.", percent(share.min(1.0))))
    }

    /// Latencies that are known: name, p50 and p99 in milliseconds.
    pub(super) fn latencies(&self) -> Vec<(&'static str, f64, f64)> {
        let mut rows = vec![
            ("received to durable", self.durable_p50_ms, self.durable_p99_ms),
            ("sealing a main block", self.seal_p50_ms, self.seal_p99_ms),
            ("syncing", self.sync_p50_ms, self.sync_p99_ms),
        ];
        if self.has_limits() {
            rows.push(("syncing, disk alone", self.disk_sync_p50_ms, self.disk_sync_p99_ms));
        }
        if let Some((p50, p99)) = self.late_p50_ms.zip(self.late_p99_ms) {
            rows.push(("sent after it was due", p50, p99));
        }
        rows
    }

    fn latency_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        writeln!(f, "  ms                             p50        p99")?;
        self.latencies()
            .iter()
            .try_for_each(|(name, p50, p99)| writeln!(f, "  {name:24} {p50:>10.2} {p99:>10.2}"))
    }

    fn stage_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stages.is_empty() {
            return Ok(());
        }
        writeln!(f)?;
        writeln!(f, "  stages            threads       busy   queue, mean     most   of")?;
        self.stages.iter().try_for_each(|stage| {
            writeln!(
                f,
                "  {:20} {:>4} {:>10}    {:>10} {:>8}   {}",
                printable(&stage.name),
                stage.threads,
                percent(stage.utilisation),
                percent(over(stage.queue_mean, stage.capacity)),
                percent(over(stage.queue_max, stage.capacity)),
                amount(stage.capacity, &printable(&stage.unit))
            )
        })
    }

    fn roofline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.has_limits() {
            return Ok(());
        }
        writeln!(f)?;
        writeln!(f, "  roofline                 blocks/s   achieved")?;
        self.limits.known().try_for_each(|limit| {
            let most = self.limits.of(limit);
            let lowest = if limit == self.bottleneck { "   lowest" } else { "" };
            let achieved = percent(over(self.blocks_per_second, most));
            writeln!(f, "  {:22} {:>10} {achieved:>10}{lowest}", limit.title(), count(most))
        })
    }

    fn processor_time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.spent_ns.total <= 0.0 {
            return Ok(());
        }
        writeln!(f)?;
        let known = self.costs_ns.total() > 0.0;
        let heading = if known { "     limits" } else { "" };
        writeln!(f, "  processor time, ns a side block  run{heading}")?;
        for (name, ns) in self.spent_ns.shown() {
            let alone = self.costs_ns.of_group(name).filter(|_| known);
            let alone = alone.map(|ns| format!(" {:>10}", time(ns))).unwrap_or_default();
            writeln!(f, "  {name:24} {:>10}{alone}", time(ns))?;
        }
        let limits = if known { format!(" {:>10}", time(self.costs_ns.total())) } else { String::new() };
        writeln!(f, "  {:24} {:>10}{limits}", "total", time(self.spent_ns.total))
    }
}

/// Below this part of the roofline it is not the limit that holds a run back.
const FAR_BELOW: f64 = 0.6;

/// From this busy share on a thread has no time left.
const FULL: f64 = 0.95;

/// A text of a file without the characters by which it could steer a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_every_part_and_says_what_held_the_run_back() {
        let mut outcome = Outcome::sample();
        let table = outcome.to_string();
        for part in [
            "100 chains over 1 connection, 10.0 s, 2 processors\n",
            "durable side blocks           6330000 a second, 71 % of the roofline\n",
            "received to durable          102.10     141.80\n",
            "syncing, disk alone            5.20      11.70\n",
            "ingest                  1       91 %         5.0 %    8.0 %   256 MiB\n",
            "processors, all shared     8.90 M       71 %   lowest\n",
            "ingest                         94.0       66.0\n",
            "seal and hash                  83.0       61.0\n",
            "Bottleneck: the processors.",
            "Most of it is ingest: 94 ns.",
        ] {
            assert!(table.contains(part), "{part:?} is missing:\n{table}");
        }
        assert!(!table.contains("paced"));
        outcome.options.insert("rate".into(), 1_000_000.into());
        assert!(outcome.to_string().contains("The load was paced"));
    }

    #[test]
    fn a_run_far_below_its_limits_names_the_thread_that_holds_it_back() {
        let mut outcome = Outcome::sample();
        outcome.blocks_per_second = 4e6;
        (outcome.stages[2].utilisation, outcome.stages[3].utilisation) = (0.5, 0.47);
        let outcome = outcome.judged();
        assert!(
            outcome
                .verdict()
                .ends_with("What holds the run back is storing: its thread persist was 97 % busy."),
            "{}",
            outcome.verdict()
        );
        let mut load = outcome.clone();
        load.spent_ns.load = 245.0;
        assert!(load.verdict().contains("is the load: its one sending thread was 98 % busy"));
        let mut near = outcome.clone();
        near.blocks_per_second = 6e6;
        let mut idle = outcome;
        idle.stages[3].utilisation = 0.3;
        for other in [near.judged(), idle] {
            assert!(!other.verdict().contains("holds the run back"), "{}", other.verdict());
        }
    }

    #[test]
    fn where_quic_is_the_limit_of_many_processors_its_one_sender_is_told() {
        let mut outcome = Outcome::sample();
        outcome.limits.quic = 7e6;
        let told = |outcome: &Outcome| outcome.clone().judged().verdict().contains("one sending thread each");
        assert!(!told(&outcome));
        outcome.processors = 8;
        assert!(told(&outcome));
    }

    #[test]
    fn lateness_is_shown_of_a_paced_load_and_a_limit_that_is_not_known_is_not() {
        let mut outcome = Outcome::sample();
        assert!(!outcome.to_string().contains("after it was due"));
        (outcome.late_p50_ms, outcome.late_p99_ms) = (Some(0.5), Some(1.25));
        outcome.limits.processors = 0.0;
        let table = outcome.judged().to_string();
        assert!(table.contains("  sent after it was due          0.50       1.25\n"), "{table}");
        assert!(table.contains("QUIC") && !table.contains("processors, all shared"), "{table}");
    }

    #[test]
    fn without_limits_the_table_shows_nothing_that_follows_from_them() {
        let table = Outcome::sample_without_limits().to_string();
        assert!(
            table.contains("6330000 a second\n") && table.contains("  total                         301.0\n"),
            "{table}"
        );
        assert!(
            !table.contains("roofline") && !table.contains("alone") && !table.contains("Bottleneck"),
            "{table}"
        );
        assert!(table.ends_with("how near to them the run came."), "{table}");
    }

    #[test]
    fn a_name_in_a_file_cannot_steer_the_terminal() {
        let mut outcome = Outcome::sample();
        outcome.stages[0].name = "\u{1b}[2Jingest\n".into();
        let table = outcome.to_string();
        assert!(!table.contains('\u{1b}') && table.contains("\u{fffd}[2Jingest\u{fffd}"), "{table}");
    }
}
