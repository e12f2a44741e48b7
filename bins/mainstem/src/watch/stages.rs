//! Whether each stage of the engine makes progress.

use std::time::Duration;

use super::board::STAGES;

/// A stage at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Whether something waits for it.
    pub(super) waits: bool,
    /// Grows with what it does.
    pub(super) done: u64,
}

/// What the watch remembers of the stages.
#[derive(Debug, Default)]
pub(super) struct Stages([Stage; STAGES.len()]);

#[derive(Debug, Default)]
struct Stage {
    done: u64,
    /// Since when something has waited and nothing was done.
    since: Option<Duration>,
    stalled: bool,
}

/// What became of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has made no progress for so long.
    Stalls(usize, Duration),
    /// It moves again.
    Moves(usize),
}

impl Stages {
    /// Looks at all stages. Of several that stand still in a row, the last one is to blame: the others wait for it.
    pub(super) fn look(&mut self, seen: [Seen; STAGES.len()], now: Duration, late: Duration) -> Vec<Turn> {
        let mut turns = Vec::new();
        let mut blamed = false;
        for (place, (stage, seen)) in self.0.iter_mut().zip(seen).enumerate().rev() {
            let stands = seen.waits && seen.done == stage.done;
            stage.done = seen.done;
            stage.since = stands.then(|| stage.since.unwrap_or(now));
            let stood = stage.since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
            let stalls = stage.since.is_some() && stood >= late && !blamed;
            blamed |= stalls;
            match (stage.stalled, stalls) {
                (false, true) => turns.push(Turn::Stalls(place, stood)),
                (true, false) => turns.push(Turn::Moves(place)),
                _ => {}
            }
            stage.stalled = stalls;
        }
        turns
    }

    /// The stage to blame now, and since when it has stood.
    pub(super) fn blamed(&self) -> Option<(&'static str, Duration)> {
        let (stage, name) = self.0.iter().zip(STAGES).find(|(stage, _)| stage.stalled)?;
        Some((name, stage.since?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_last_stage_that_stands_still_is_blamed_once() {
        let mut stages = Stages::default();
        let stuck = Seen { waits: true, done: 7 };
        let idle = Seen { waits: false, done: 7 };
        let mut look = |seen, at| stages.look(seen, s(at), s(10));
        assert_eq!(look([stuck; 4], 0), [], "it has done something");
        assert_eq!(look([stuck; 4], 1), []);
        assert_eq!(look([stuck; 4], 10), []);
        assert_eq!(look([stuck, stuck, stuck, idle], 11), [Turn::Stalls(2, s(10))]);
        assert_eq!(look([stuck, stuck, stuck, idle], 60), [], "said once");
        let moved = Seen { waits: true, done: 8 };
        assert_eq!(look([stuck, moved, moved, moved], 61), [Turn::Moves(2), Turn::Stalls(0, s(60))]);
        assert_eq!(stages.blamed(), Some(("ingest", s(1))));
        assert_eq!(stages.look([idle; 4], s(62), s(10)), [Turn::Moves(0)]);
        assert_eq!(stages.blamed(), None);
    }
}
