//! One picture each.

use super::svg::{At, BLUE, GREEN, GREY, ORANGE, Scale, Svg};
use crate::bench::{Outcome, Tick};
use crate::goals::{Latency, Shape};
use crate::table::Spread;

const WIDTH: f64 = 760.0;
/// Where values begin, beside their names.
const LEFT: f64 = 190.0;
const RIGHT: f64 = WIDTH - 70.0;
const TOP: f64 = 64.0;

/// What was reached, against the limits of the same runs; nothing if there was none.
pub(super) fn shapes(shapes: &[Shape]) -> Option<String> {
    let shapes: Vec<_> = shapes.iter().filter(|shape| !shape.runs.is_empty()).collect();
    let million = |limits: &Shape, name: &str| {
        limits.rare(|run| Some(run.limits.as_ref()?.get(name)? / 1e6)).map(|limit| limit.median)
    };
    let named = [
        ("quic", "QUIC"),
        ("hash", "hashing"),
        ("write_and_sync", "write + sync"),
        ("processors", "processors"),
    ];
    let all = shapes.iter().flat_map(|shape| {
        let speed = shape.of(|run| run.blocks_per_second / 1e6).high;
        named.iter().filter_map(|(name, _)| million(shape, name)).chain([speed])
    });
    let most = all.fold(1.0, f64::max);
    let (row, bottom) = (62.0, TOP + 62.0 * shapes.len() as f64);
    let title = "Durable side blocks a second, against the limits of the machine";
    let subtitle = "million/s, median of the runs; ticks: what each stage could do alone, and all of them sharing the processors";
    let mut svg = Svg::new(WIDTH, bottom + 34.0, title, subtitle);
    let scale = Scale::linear(most, LEFT, RIGHT - 30.0);
    axis(&mut svg, scale, bottom);
    for (shape, y) in shapes.iter().zip(0..).map(|(shape, index)| (shape, TOP + row * f64::from(index))) {
        label(&mut svg, shape, y + 34.0);
        let speed = shape.of(|run| run.blocks_per_second / 1e6);
        svg.bar(LEFT, y + 20.0, scale.at(speed.median) - LEFT, 20.0, BLUE);
        svg.line((scale.at(speed.low), y + 30.0), (scale.at(speed.high), y + 30.0), GREY, 2.0);
        svg.strong(WIDTH - 12.0, y + 26.0, At::End, &format!("{:.2} M", speed.median));
        if let Some(ratio) = shape.ratio() {
            svg.text(WIDTH - 12.0, y + 42.0, At::End, &format!("{:.0} % of limit", 100.0 * ratio.median));
        }
        let mut limits: Vec<_> =
            named.iter().filter_map(|(name, title)| Some((million(shape, name)?, *title))).collect();
        limits.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut taken = f64::MIN;
        for (index, (limit, title)) in limits.into_iter().enumerate() {
            let x = scale.at(limit);
            svg.line((x, y + 16.0), (x, y + 44.0), if index == 0 { ORANGE } else { GREEN }, 2.5);
            // Names above, or below where the one before is in the way.
            let wide = 6.4 * title.len() as f64 + 8.0;
            let above = x - wide / 2.0 > taken;
            svg.text(x, if above { y + 12.0 } else { y + 56.0 }, At::Middle, title);
            taken = if above { x + wide / 2.0 } else { taken };
        }
    }
    (!shapes.is_empty()).then(|| svg.finish())
}

/// Mainstem beside common parts put together, where both were measured.
pub(super) fn peer(shapes: &[Shape]) -> Option<String> {
    let shapes: Vec<_> = shapes.iter().filter_map(|shape| Some((shape, shape.over_peer()?.median))).collect();
    let ours = |shape: &Shape| shape.of(|run| run.blocks_per_second);
    let theirs = |shape: &Shape| Spread::of(shape.peer.iter().map(|peer| peer.blocks_per_second));
    let values = || shapes.iter().flat_map(|(shape, _)| [ours(shape).median, theirs(shape).median]);
    let (least, most) = (values().fold(f64::NAN, f64::min), values().fold(f64::NAN, f64::max));
    let (row, bottom) = (58.0, TOP + 58.0 * shapes.len() as f64);
    let title = "Mainstem and a peer of tokio, quinn, prost, rs_merkle and redb";
    let subtitle =
        "durable side blocks a second, by turns on the same machine; logarithmic; median of the runs";
    let mut svg = Svg::new(WIDTH, bottom + 34.0, title, subtitle);
    let scale = Scale::log(least / 2.0, most, LEFT, RIGHT - 80.0);
    axis(&mut svg, scale, bottom);
    for ((shape, ratio), y) in
        shapes.iter().zip(0..).map(|(shape, index)| (shape, TOP + row * f64::from(index)))
    {
        label(&mut svg, shape, y + 34.0);
        let bars = [
            (ours(shape), BLUE, "Mainstem", format!(", {ratio:.1} times")),
            (theirs(shape), ORANGE, "peer", String::new()),
        ];
        for ((spread, colour, name, times), y) in bars.into_iter().zip([y + 10.0, y + 32.0]) {
            svg.bar(LEFT, y, scale.at(spread.median) - LEFT, 18.0, colour);
            svg.light(LEFT + 8.0, y + 13.0, name);
            svg.line((scale.at(spread.low), y + 9.0), (scale.at(spread.high), y + 9.0), GREY, 2.0);
            let text = format!("{:.2} M{times}", spread.median / 1e6);
            svg.strong(scale.at(spread.high) + 6.0, y + 13.0, At::Start, &text);
        }
    }
    (!shapes.is_empty()).then(|| svg.finish())
}

/// From received to durable at half of the highest rate; nothing if there was no run.
pub(super) fn latency(paces: &[Latency]) -> Option<String> {
    let paces: Vec<_> = paces.iter().filter(|pace| !pace.runs.is_empty()).collect();
    let (left, right, bottom) = (70.0, WIDTH - 150.0, 350.0);
    let rate = paces.first().map_or(0.0, |pace| pace.rate as f64 / 1e6);
    let title = format!("From received to durable at {rate:.1} million side blocks a second");
    let subtitle =
        "ms by share of side blocks, logarithmic; median of the runs; dashed: the disk's own fdatasync";
    let mut svg = Svg::new(WIDTH, bottom + 40.0, &title, subtitle);
    let quantiles: Vec<_> = paces
        .iter()
        .filter_map(|pace| pace.runs.first())
        .flat_map(|run| &run.latency)
        .map(|at| at.quantile)
        .collect();
    let mut shown = quantiles;
    shown.sort_by(f64::total_cmp);
    shown.dedup();
    let at = |pace: &Latency, quantile: f64| {
        let of = |run: &Outcome| {
            run.latency.iter().find(|at| at.quantile.total_cmp(&quantile).is_eq()).map(|at| at.ms)
        };
        Spread::of(pace.runs.iter().filter_map(of)).median
    };
    let disk = |of: fn(&Outcome) -> f64| {
        Spread::of(paces.iter().flat_map(|pace| &pace.runs).map(of).filter(|ms| *ms > 0.0)).median
    };
    let disk = [
        ("fdatasync p50", disk(|run| run.disk_sync_p50_ms)),
        ("fdatasync p99", disk(|run| run.disk_sync_p99_ms)),
    ];
    let values = || {
        let paces = paces.iter().flat_map(|pace| shown.iter().map(move |quantile| at(pace, *quantile)));
        paces.chain(disk.iter().map(|(_, ms)| *ms)).filter(|ms| ms.is_finite() && *ms > 0.0)
    };
    let scale = Scale::log(values().fold(f64::NAN, f64::min), values().fold(f64::NAN, f64::max), bottom, TOP);
    for tick in scale.ticks() {
        svg.grid((left, scale.at(tick)), (right, scale.at(tick)));
        svg.text(left - 8.0, scale.at(tick) + 4.0, At::End, &number(tick));
    }
    let place =
        |index: usize| left + 24.0 + (right - left - 48.0) * index as f64 / (shown.len().max(2) - 1) as f64;
    for (index, quantile) in shown.iter().enumerate() {
        let name = if *quantile >= 100.0 { "max".into() } else { format!("p{}", number(*quantile)) };
        svg.text(place(index), bottom + 18.0, At::Middle, &name);
    }
    let mut names = Vec::new();
    for (name, ms) in disk.into_iter().filter(|(_, ms)| ms.is_finite()) {
        svg.dashed((left, scale.at(ms)), (right, scale.at(ms)), GREY);
        names.push((scale.at(ms), name.to_owned()));
    }
    for (pace, colour) in paces.iter().zip([BLUE, ORANGE, GREEN]) {
        let points: Vec<_> = shown
            .iter()
            .enumerate()
            .map(|(index, quantile)| (place(index), scale.at(at(pace, *quantile))))
            .filter(|(_, y)| y.is_finite())
            .collect();
        svg.curve(&points, colour);
        points.iter().for_each(|point| svg.dot(*point, colour));
        let name = match pace.interval_ms {
            0 => "sealed at once".to_owned(),
            ms => format!("sealed every {ms} ms"),
        };
        names.extend(points.last().map(|last| (last.1, name)));
    }
    // Each at its line, but not on the one above.
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut above = f64::MIN;
    for (y, name) in names {
        above = y.max(above + 15.0);
        svg.strong(right + 8.0, above + 4.0, At::Start, &name);
    }
    (!paces.is_empty()).then(|| svg.finish())
}

type Value = fn(&Tick) -> f64;

/// Rate and memory over a long run; nothing if there was no timeline.
pub(super) fn catch_up(run: &Outcome) -> Option<String> {
    let ticks: Vec<_> = run.timeline.iter().filter(|tick| tick.at > 0.0).collect();
    let end = ticks.last()?.at;
    let millions = run.side_blocks as f64 / 1e6;
    let (left, right, middle, bottom) = (70.0, WIDTH - 30.0, 250.0, 350.0);
    let title = format!("Catching up with {millions:.0} million side blocks");
    let subtitle =
        "above: million durable side blocks a second; below: resident memory of the node, MB; by seconds";
    let mut svg = Svg::new(WIDTH, bottom + 34.0, &title, subtitle);
    let time = Scale::linear(end, left, right);
    for tick in time.ticks() {
        svg.text(time.at(tick), bottom + 18.0, At::Middle, &number(tick));
    }
    let rate = |tick: &Tick| tick.blocks_per_second / 1e6;
    let memory = |tick: &Tick| tick.memory_bytes as f64 / 1e6;
    let panels: [(Value, f64, f64, &str); 2] =
        [(rate, middle, TOP, BLUE), (memory, bottom, middle + 24.0, GREEN)];
    for (of, from, to, colour) in panels {
        let scale = Scale::linear(ticks.iter().map(|tick| of(tick)).fold(0.0, f64::max), from, to);
        let marks = scale.ticks();
        let every = if from - to < 120.0 { marks.len().div_ceil(3) } else { 1 };
        for tick in marks.into_iter().step_by(every) {
            svg.grid((left, scale.at(tick)), (right, scale.at(tick)));
            svg.text(left - 8.0, scale.at(tick) + 4.0, At::End, &number(tick));
        }
        let points: Vec<_> = ticks.iter().map(|tick| (time.at(tick.at), scale.at(of(tick)))).collect();
        svg.curve(&points, colour);
    }
    Some(svg.finish())
}

/// The lines and numbers of a scale that runs to the right.
fn axis(svg: &mut Svg, scale: Scale, bottom: f64) {
    for tick in scale.ticks() {
        let x = scale.at(tick);
        svg.grid((x, TOP), (x, bottom));
        svg.text(x, bottom + 18.0, At::Middle, &number(tick));
    }
}

fn label(svg: &mut Svg, shape: &Shape, y: f64) {
    let plural =
        |count: u32, name: &str| format!("{} {name}{}", thousands(count), if count == 1 { "" } else { "s" });
    svg.strong(LEFT - 12.0, y - 8.0, At::End, &plural(shape.chains, "chain"));
    svg.text(LEFT - 12.0, y + 8.0, At::End, &plural(shape.connections, "connection"));
}

fn thousands(count: u32) -> String {
    if count < 1_000 { count.to_string() } else { format!("{},{:03}", count / 1_000, count % 1_000) }
}

/// Without needless digits.
fn number(value: f64) -> String {
    if value >= 1e6 {
        return format!("{} M", value / 1e6);
    }
    if value >= 1e4 {
        return format!("{} k", value / 1e3);
    }
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
