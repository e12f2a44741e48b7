//! As much of SVG as the charts need.
//!
//! Colours are of a middle lightness and there is no background: the pictures are read on white pages and on dark ones.

use std::fmt::Write;

/// A picture being drawn.
pub(super) struct Svg {
    body: String,
    width: f64,
    height: f64,
}

/// Colours, each to be told from the others by lightness too.
pub(super) const BLUE: &str = "#3b82f6";
pub(super) const ORANGE: &str = "#e8862e";
pub(super) const GREEN: &str = "#2c9f68";
pub(super) const GREY: &str = "#7a828b";

/// Which end of a text is at its place.
#[derive(Clone, Copy)]
pub(super) enum At {
    Start,
    Middle,
    End,
}

impl Svg {
    /// With a title, which is what is read out to who does not see it, too.
    pub(super) fn new(width: f64, height: f64, title: &str, subtitle: &str) -> Self {
        let mut svg = Self { body: String::new(), width, height };
        let title = escape(title);
        svg.put(&format!("<title>{title}</title><text x=\"16\" y=\"24\" class=\"title\">{title}</text>"));
        svg.text(16.0, 43.0, At::Start, subtitle);
        svg
    }

    fn put(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    /// With its baseline at `y`.
    pub(super) fn text(&mut self, x: f64, y: f64, at: At, text: &str) {
        self.styled(x, y, at, "", text);
    }

    pub(super) fn strong(&mut self, x: f64, y: f64, at: At, text: &str) {
        self.styled(x, y, at, " class=\"strong\"", text);
    }

    /// On a bar.
    pub(super) fn light(&mut self, x: f64, y: f64, text: &str) {
        self.styled(x, y, At::Start, " class=\"strong\" style=\"fill:#fff\"", text);
    }

    fn styled(&mut self, x: f64, y: f64, at: At, class: &str, text: &str) {
        let anchor = match at {
            At::Start => "start",
            At::Middle => "middle",
            At::End => "end",
        };
        let text = escape(text);
        self.put(&format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{class}>{text}</text>"));
    }

    pub(super) fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        let width = width.max(1.0);
        self.put(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" fill=\"{colour}\"/>"
        ));
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        self.path(&[from, to], colour, width, "");
    }

    pub(super) fn dashed(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        self.path(&[from, to], colour, 1.5, " stroke-dasharray=\"5 4\"");
    }

    /// A line behind what is shown.
    pub(super) fn grid(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.path(&[from, to], GREY, 1.0, " stroke-opacity=\"0.25\"");
    }

    pub(super) fn curve(&mut self, points: &[(f64, f64)], colour: &str) {
        self.path(points, colour, 2.0, " stroke-linejoin=\"round\"");
    }

    fn path(&mut self, points: &[(f64, f64)], colour: &str, width: f64, more: &str) {
        let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let points = points.join(" ");
        self.put(&format!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{more}/>"
        ));
    }

    pub(super) fn dot(&mut self, at: (f64, f64), colour: &str) {
        self.put(&format!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>", at.0, at.1));
    }

    pub(super) fn finish(self) -> String {
        let mut out = String::new();
        let Self { body, width, height } = self;
        write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             role=\"img\">\n<style>text{{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:{GREY}}}\
             .title{{font-size:15px;font-weight:600}}.strong{{font-weight:600}}</style>\n{body}</svg>\n"
        )
        .expect("a text takes all that is written");
        out
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Values to places.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    /// From 0 at `from` to a round number at or above `most` at `to`.
    pub(super) fn linear(most: f64, from: f64, to: f64) -> Self {
        let step = step(most);
        Self { from, to, low: 0.0, high: (most / step).ceil().max(1.0) * step, log: false }
    }

    /// From one round number (1, 2 or 5 times a power of ten) at or below `least` to another above `most`.
    pub(super) fn log(least: f64, most: f64, from: f64, to: f64) -> Self {
        let least = least.max(1e-9);
        let mut low = 10_f64.powf(least.log10().floor());
        while next(low) <= least {
            low = next(low);
        }
        let mut high = next(low);
        while high < most {
            high = next(high);
        }
        Self { from, to, low, high, log: true }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let part = if self.log {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round values along it.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        let mut tick = self.low;
        while tick <= self.high * 1.000_001 {
            ticks.push(tick);
            tick = if self.log { next(tick) } else { tick + step(self.high) };
        }
        ticks
    }
}

/// The round number above another one: 1, 2, 5, 10, ...
fn next(round: f64) -> f64 {
    let first = round / 10_f64.powf((round * 1.000_001).log10().floor());
    if (1.5..4.0).contains(&first) { round * 2.5 } else { round * 2.0 }
}

/// A round step that gives four to ten ticks.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf(most.max(1e-9).log10().floor());
    match most / power {
        part if part <= 2.0 => power / 4.0,
        part if part <= 5.0 => power / 2.0,
        _ => power,
    }
}
