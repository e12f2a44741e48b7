//! What a bench shows while it runs.

use std::collections::VecDeque;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::format::count;

/// A line that follows the run: redrawn on a terminal; elsewhere nothing, but of a run without a fixed end a line now
/// and then.
pub(super) struct Progress {
    bar: ProgressBar,
    plain: bool,
    printed: Instant,
    pace: Pace,
}

/// How often a line is printed where there is no terminal.
const PRINT: Duration = Duration::from_secs(10);

impl Progress {
    pub(super) fn new() -> Self {
        let plain = !stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new(1) };
        let style = ProgressStyle::with_template("{prefix:10} [{bar:40}] {msg}");
        bar.set_style(style.expect("the template is well-formed"));
        Self { bar, plain, printed: Instant::now(), pace: Pace::default() }
    }

    /// Begins a part that has a name and nothing to count.
    pub(super) fn step(&self, name: &'static str) {
        self.bar.set_prefix(name);
        self.bar.set_message("");
        self.bar.tick();
    }

    /// Shows a part that ends after some time.
    pub(super) fn timed(&mut self, begun: Instant, lasts: Duration, blocks: u64) {
        self.pace.add(Instant::now(), blocks);
        self.bar.set_length(lasts.as_millis() as u64);
        self.bar.set_position(begun.elapsed().as_millis() as u64);
        self.bar.set_message(format!("{} blocks, {}", count(blocks as f64), self.pace));
    }

    /// Shows a part that ends with so many blocks.
    pub(super) fn counted(&mut self, blocks: u64, of: u64) {
        self.pace.add(Instant::now(), blocks);
        self.bar.set_length(of);
        self.bar.set_position(blocks.min(of));
        let left = self.pace.left(of.saturating_sub(blocks));
        let line = format!("{} of {} blocks, {}, {left}", count(blocks as f64), count(of as f64), self.pace);
        if self.plain {
            if self.printed.elapsed() >= PRINT {
                self.printed = Instant::now();
                eprintln!("{line}");
            }
        } else {
            self.bar.set_message(line);
        }
    }

    /// Removes the line.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// How fast it goes, from what was seen lately.
#[derive(Default)]
struct Pace {
    /// Moments a second apart or more, and the blocks by then: the oldest is [`WINDOW`] old.
    seen: VecDeque<(Instant, u64)>,
    newest: Option<(Instant, u64)>,
}

/// What counts as lately.
const WINDOW: Duration = Duration::from_secs(30);

/// The least that an estimate is made from.
const LEAST: Duration = Duration::from_secs(3);

impl Pace {
    fn add(&mut self, now: Instant, blocks: u64) {
        self.newest = Some((now, blocks));
        if self.seen.back().is_none_or(|(at, _)| now.duration_since(*at) >= Duration::from_secs(1)) {
            self.seen.push_back((now, blocks));
        }
        while self.seen.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.seen.pop_front();
        }
    }

    fn rate(from: (Instant, u64), to: (Instant, u64)) -> f64 {
        let time = to.0.duration_since(from.0).as_secs_f64();
        if time > 0.0 { to.1.saturating_sub(from.1) as f64 / time } else { 0.0 }
    }

    /// Blocks a second: lately, and the slowest and fastest of the seconds of it.
    fn rates(&self) -> Option<[f64; 3]> {
        let (first, newest) = (*self.seen.front()?, self.newest?);
        if newest.0.duration_since(first.0) < LEAST {
            return None;
        }
        // The first second of a run is no second like the others.
        let seconds = self.seen.iter().zip(self.seen.iter().skip(1)).map(|(from, to)| Self::rate(*from, *to));
        let (slowest, fastest) =
            seconds.fold((f64::INFINITY, 0.0_f64), |(least, most), rate| (rate.min(least), rate.max(most)));
        Some([Self::rate(first, newest), slowest, fastest])
    }

    /// How long so many more blocks take: at the pace of late, and between its best and its worst second.
    fn left(&self, blocks: u64) -> String {
        let Some(rates) = self.rates() else { return "no estimate yet".into() };
        let [mean, longest, shortest] = rates.map(|rate| (rate > 0.0).then(|| blocks as f64 / rate));
        let text = |seconds: Option<f64>| seconds.map_or("for ever".into(), duration);
        format!("{} left ({} to {})", text(mean), text(shortest), text(longest))
    }
}

impl std::fmt::Display for Pace {
    /// The rate of the last second or two.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let from = self.seen.iter().rev().nth(1).or(self.seen.front());
        let rate = from.zip(self.newest).map_or(0.0, |(from, to)| Self::rate(*from, to));
        write!(f, "{} a second", count(rate))
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6_000.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_comes_from_what_was_seen_lately_and_names_its_bounds() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let mut blocks = 0;
        for second in 0..100_u64 {
            assert_eq!(pace.left(1).starts_with("no estimate"), second <= 3, "{second}");
            pace.add(start + Duration::from_secs(second), blocks);
            // Fast at first, then slow, with one worse and one better second.
            blocks += match second {
                0..60 => 1_000,
                80 => 50,
                90 => 200,
                _ => 100,
            };
        }
        assert_eq!(pace.left(1_000), "10 s left (5 s to 20 s)");
        pace.add(start + Duration::from_secs(200), blocks);
        assert_eq!(pace.left(1_000), "no estimate yet", "what is long past is no ground for one");
    }
}
