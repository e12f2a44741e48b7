//! The first page: rates, head, latency, stages with the one that limits, states of chains, the last minutes.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};

use super::super::app::App;
use rest::{Latency, Sample as Second, Stage, Stats};

use super::super::data::{self, Sample};
use super::super::look::Look;
use super::super::words::{ago, bytes, counted, grouped, millis, or_none, rate, short};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, look: Look, now: u64) {
    let Some(sample) = &app.sample else { return };
    let stats = &sample.stats;
    let mut lines = vec![rates(stats, look), head(sample, look, now)];
    // On a low terminal what matters most comes first, and nothing stands apart.
    let roomy = area.height >= 18;
    let gap = |lines: &mut Vec<Line<'static>>| {
        if roomy {
            lines.push(Line::default());
        }
    };
    gap(&mut lines);
    lines.push(latency(stats, look));
    gap(&mut lines);
    lines.extend(stats.stages.iter().map(|stage| stage_line(stage, area.width, look)));
    lines.push(bottleneck(stats, look));
    gap(&mut lines);
    lines.extend(chains(stats, look));
    lines.push(machine(stats, look));
    gap(&mut lines);

    let used = (lines.len() as u16).min(area.height);
    let [text, charts] = Layout::vertical([Constraint::Length(used), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(lines), text);
    draw_charts(frame, charts, stats, look);
}

fn label(text: &str, look: Look) -> Span<'static> {
    Span::styled(format!("{text:14}"), look.quiet())
}

fn rates(stats: &Stats, look: Look) -> Line<'static> {
    let rates = &stats.rate;
    Line::from(vec![
        label("rate", look),
        Span::styled(format!("{} side blocks/s", rate(rates.side_blocks)), look.strong()),
        Span::raw(format!("   {} main blocks/s   {}/s", rate(rates.main_blocks), bytes(rates.bytes))),
    ])
}

fn head(sample: &Sample, look: Look, now: u64) -> Line<'static> {
    let indexed = sample.stats.side_blocks;
    let text = sample.head().map_or_else(
        || "none yet".to_owned(),
        |head| {
            let (height, hash) = (grouped(head.height.0), short(&head.hash.to_string(), 8));
            format!("{height}   {hash}   {}", ago(Some(head.time.as_millis()), now))
        },
    );
    let mut spans = vec![label("main head", look), Span::styled(text, look.strong())];
    spans.push(Span::raw(format!("   {} side blocks", grouped(indexed))));
    Line::from(spans)
}

fn latency(stats: &Stats, look: Look) -> Line<'static> {
    // None in a node's first minute, or while nothing comes.
    let of = |figure: fn(&Latency) -> f64| millis(stats.latency.as_ref().map(figure));
    Line::from(vec![
        label("to durable", look),
        Span::styled(
            format!("p50 {}   p99 {}", of(|latency| latency.p50_ms), of(|latency| latency.p99_ms)),
            look.strong(),
        ),
        Span::raw(format!(
            "   p99.9 {}   max {}",
            of(|latency| latency.p999_ms),
            of(|latency| latency.max_ms)
        )),
    ])
}

fn machine(stats: &Stats, look: Look) -> Line<'static> {
    let size = |count: u64| bytes(count as f64);
    Line::from(vec![
        label("machine", look),
        Span::raw(format!(
            "{}   memory {}   log {}, {} free",
            counted(stats.sessions, "session"),
            size(stats.memory_bytes),
            size(stats.disk.used_bytes),
            size(stats.disk.free_bytes)
        )),
    ])
}

fn stage_line(stage: &Stage, width: u16, look: Look) -> Line<'static> {
    let bar = if width >= 110 { 30 } else { 16 };
    let mut spans = vec![
        label(&stage.name, look),
        Span::styled(look.bar(stage.busy, bar), look.share(stage.busy)),
        Span::raw(format!(" {:>4.0} % busy", stage.busy * 100.0)),
        Span::raw(format!("   {}", waiting(stage))),
    ];
    if width >= 96 && stage.p99_ms.is_some() {
        spans.push(Span::styled(format!("   p99 {}", millis(stage.p99_ms)), look.quiet()));
    }
    if width >= 110 {
        let threads = if stage.threads == 1 { "" } else { "s" };
        spans.push(Span::styled(format!("   {} thread{threads}", stage.threads), look.quiet()));
    }
    Line::from(spans)
}

/// What waits for a stage, and how much may.
fn waiting(stage: &Stage) -> String {
    let Stage { queue, capacity, unit, .. } = stage;
    if unit == "bytes" {
        format!("{} of {}", bytes(*queue as f64), bytes(*capacity as f64))
    } else {
        format!("{} of {} {unit}", grouped(*queue), grouped(*capacity))
    }
}

fn bottleneck(stats: &Stats, look: Look) -> Line<'static> {
    let (text, style) = match data::bottleneck(stats) {
        None => ("not known".to_owned(), look.quiet()),
        Some(stage) if stage.busy < 0.5 => {
            (format!("none: every stage has room; {} has the least", stage.name), look.good())
        }
        Some(stage) => {
            let waits = match &*stage.unit {
                "bytes" => format!("{} wait for it", bytes(stage.queue as f64)),
                unit => format!("{} {unit} wait for it", grouped(stage.queue)),
            };
            (
                format!("{}: busy {:.0} % of the time, {waits}", stage.name, stage.busy * 100.0),
                look.share(stage.busy),
            )
        }
    };
    Line::from(vec![label("bottleneck", look), Span::styled(text, style)])
}

fn chains(stats: &Stats, look: Look) -> Vec<Line<'static>> {
    let all: u64 = stats.chains.values().sum();
    let mut line = vec![label("chains", look), Span::styled(format!("{}:", grouped(all)), look.strong())];
    // Those that are well first, then by number.
    let mut states: Vec<_> = stats.chains.iter().filter(|(_, count)| **count > 0).collect();
    states.sort_by_key(|(state, count)| (*state != "live", std::cmp::Reverse(**count)));
    for (state, count) in states {
        line.push(Span::styled(format!(" {} {state} ", grouped(*count)), look.state(state)));
    }
    vec![Line::from(line)]
}

/// A name, a figure of each second, and how it is said.
type Chart<'a> = (&'a str, &'a dyn Fn(&Second) -> f64, &'a dyn Fn(f64) -> String);

/// What the last minutes were like, as far as there is room.
#[expect(clippy::cast_sign_loss, reason = "none of the figures is negative, and one that is counts as 0")]
fn draw_charts(frame: &mut Frame<'_>, area: Rect, stats: &Stats, look: Look) {
    if area.height < 2 || stats.history.is_empty() {
        return;
    }
    let newest = stats.history.last().map_or(0, |second| second.time.as_millis());
    let width = usize::from(area.width).min(stats.history.len());
    let shown = &stats.history[stats.history.len() - width..];
    let oldest = shown.first().map_or(newest, |second| second.time.as_millis());
    let minutes = newest.saturating_sub(oldest).div_ceil(60_000).max(1);
    let charts: [Chart<'_>; 3] = [
        ("side blocks/s", &|second| second.side_blocks as f64, &rate),
        ("p99 to durable", &|second| second.p99_ms.unwrap_or(0.0), &|value| millis(Some(value))),
        ("waiting blocks", &|second| second.waiting as f64, &|value| or_none(Some(value as u64))),
    ];
    let count = (usize::from(area.height) / 3).clamp(1, charts.len());
    let rows = Layout::vertical(vec![Constraint::Fill(1); count]).split(area);
    for ((name, figure, said), row) in charts.into_iter().zip(rows.iter()) {
        let figures: Vec<f64> = shown.iter().map(figure).collect();
        let most = figures.iter().copied().fold(0.0, f64::max);
        let [title, chart] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(*row);
        let text = format!(
            "{name}, the last {minutes} min   highest {}   now {}",
            said(most),
            said(*figures.last().unwrap_or(&0.0))
        );
        frame.render_widget(Line::styled(text, look.quiet()), title);
        // Whole numbers, fine enough for any height.
        let scale = if most > 0.0 { 10_000.0 / most } else { 0.0 };
        let data: Vec<u64> = figures.iter().map(|figure| (figure * scale).round().max(0.0) as u64).collect();
        let chart = Rect { height: chart.height.min(6), ..chart };
        let spark = Sparkline::default().data(data).max(10_000).bar_set(look.sparks()).style(look.title());
        frame.render_widget(spark, chart);
    }
}
