//! A plot of lines: values over time, or latencies by quantile.

use std::fmt::Write as _;
use std::ops::Range;

use maud::{Markup, PreEscaped, html};
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;

use super::canvas::{self, UNIT};
use super::palette::{Colour, GRID, SHADE, TEXT};

/// Lines over a common axis.
pub(super) struct Lines<'a> {
    /// What is shown, for those who cannot see it.
    pub(super) label: &'a str,
    pub(super) series: Vec<Series>,
    /// Positions of the marks of the axis and their texts, ascending; the ends of the data where there are none.
    pub(super) marks: Vec<(f64, String)>,
    /// How a value of the horizontal axis is called where the pointer is.
    pub(super) at: &'a dyn Fn(f64) -> String,
    /// A value as text, with its unit.
    pub(super) value: &'a dyn Fn(f64) -> String,
    /// The end of the vertical axis; without it, what the data need.
    pub(super) top: Option<f64>,
    /// What the marks of the vertical axis are round multiples of.
    pub(super) unit: f64,
    /// What lies below it is shaded: the warm-up.
    pub(super) shade_below: Option<f64>,
    /// Whether each point is marked: where there are few.
    pub(super) dots: bool,
}

/// A line; where there is no value, it is broken.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) colour: &'static Colour,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// Size without the scale.
const SIZE: (u32, u32) = (480, 236);

/// Most places that show their values under the pointer.
const MAX_BANDS: usize = 150;

impl Lines<'_> {
    /// The plot, or a note that there is nothing to show.
    pub(super) fn draw(&self) -> Markup {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (from, to) = points()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), (x, _)| (from.min(*x), to.max(*x)));
        let most = points().filter_map(|(_, y)| *y).fold(0.0, f64::max);
        if from >= to || !from.is_finite() {
            return html! { p.none { "Too short a run for a plot over time." } };
        }
        let y_marks = match self.top {
            Some(top) => marks(0.0, top, 4),
            None => marks(0.0, most / self.unit, 5),
        };
        let y_marks: Vec<f64> = y_marks.into_iter().map(|mark| mark * self.unit).collect();
        let top = self.top.unwrap_or_else(|| y_marks.last().map_or(1.0, |last| last.max(most)));
        let mut bands = Vec::new();
        let svg = canvas::draw(SIZE, self.label, |root| {
            let x_marks: Vec<f64> =
                self.marks.iter().map(|(x, _)| *x).filter(|x| (from..=to).contains(x)).collect();
            let mut chart = ChartBuilder::on(root)
                .margin_top(8 * UNIT)
                .margin_right(14 * UNIT)
                .x_label_area_size(28 * UNIT)
                .y_label_area_size(60 * UNIT)
                .build_cartesian_2d(
                    Axis { range: from..to, marks: x_marks },
                    Axis { range: 0.0..top, marks: y_marks.clone() },
                )?;
            if let Some(end) = self.shade_below.filter(|end| *end > from) {
                let area = [(from, top), (end.min(to), 0.0)];
                chart.draw_series([Rectangle::new(area, SHADE.rgb().filled())])?;
            }
            let text_of = |x: &f64| {
                let mark = self.marks.iter().find(|(at, _)| (at - x).abs() < 1e-9);
                mark.map_or_else(String::new, |(_, text)| text.clone())
            };
            chart
                .configure_mesh()
                .disable_x_mesh()
                .bold_line_style(GRID.rgb().stroke_width(UNIT))
                .light_line_style(TRANSPARENT)
                .axis_style(GRID.rgb().stroke_width(UNIT))
                .set_all_tick_mark_size(4 * UNIT)
                .label_style(canvas::text(13, &TEXT))
                .x_label_formatter(&text_of)
                .y_label_formatter(&|y| (self.value)(*y))
                .draw()?;
            for series in &self.series {
                let style = series.colour.rgb().stroke_width(2 * UNIT);
                for piece in series.points.split(|(_, y)| y.is_none()) {
                    // A value between gaps is no line.
                    let dot = if self.dots { 4 } else { 3 };
                    let dotted = self.dots || piece.len() == 1;
                    let piece = piece.iter().filter_map(|(x, y)| y.map(|y| (*x, y.min(top))));
                    chart.draw_series(LineSeries::new(piece.clone(), style))?;
                    if dotted {
                        let dot = |at| Circle::new(at, dot * UNIT, series.colour.rgb().filled());
                        chart.draw_series(piece.map(dot))?;
                    }
                }
            }
            let pixel = |x: f64, y: f64| chart.plotting_area().map_coordinate(&(x, y));
            bands = self.bands(|x| pixel(x, 0.0).0, (pixel(from, top), pixel(to, 0.0)));
            Ok(())
        });
        canvas::with(&svg, &html! { @for band in bands { (band) } })
    }

    /// Invisible places that show the values of all lines while the pointer is over them.
    fn bands(&self, pixel: impl Fn(f64) -> i32, area: ((i32, i32), (i32, i32))) -> Vec<Markup> {
        let mut at: Vec<f64> =
            self.series.iter().flat_map(|series| &series.points).map(|(x, _)| *x).collect();
        at.sort_by(f64::total_cmp);
        at.dedup();
        let each = at.len().div_ceil(MAX_BANDS).max(1);
        let at: Vec<f64> = at.into_iter().step_by(each).collect();
        let ((left, top), (right, bottom)) = area;
        let between = |a: f64, b: f64| i32::midpoint(pixel(a), pixel(b));
        let mut bands = Vec::with_capacity(at.len());
        for (index, x) in at.iter().enumerate() {
            let from = if index == 0 { left } else { between(at[index - 1], *x) };
            let to = at.get(index + 1).map_or(right, |next| between(*x, *next));
            let mut title = (self.at)(*x);
            for series in &self.series {
                // Two runs have ticks of their own: what counts is the next one.
                let next = series.points.iter().find(|(at, _)| at >= x).and_then(|(_, y)| *y);
                if let Some(y) = next {
                    let _ = write!(title, "\n{}: {}", series.name, (self.value)(y));
                }
            }
            bands.push(canvas::band((from, top), (to, bottom), &title));
        }
        bands
    }
}

/// An axis whose marks are given.
struct Axis {
    range: Range<f64>,
    marks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (part.clamp(0.0, 1.0) * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Lines between the marks have no marks of their own.
        if hint.weight().allow_light_points() { Vec::new() } else { self.marks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// Round numbers from the first at or above `from` to the first at or above `to`, about `count` of them.
pub(super) fn marks(from: f64, to: f64, count: u32) -> Vec<f64> {
    let span = to - from;
    if span <= 0.0 || !span.is_finite() {
        return vec![from];
    }
    let rough = span / f64::from(count);
    let power = 10_f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].map(|part| part * power).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(rough);
    let (first, last) = ((from / step).ceil(), (to / step - 1e-9).ceil());
    // Bounded whatever the numbers are.
    (0..=2 * count)
        .map(|index| first + f64::from(index))
        .take_while(|mark| *mark <= last)
        .map(|mark| mark * step)
        .collect()
}

/// Marks of time from the first to the last second.
pub(super) fn seconds(from: f64, to: f64) -> Vec<(f64, String)> {
    marks(from, to, 8).into_iter().map(|at| (at, format!("{at} s"))).collect()
}

/// Where a quantile of so many per cent stands on an axis on which every nine takes as much place.
pub(super) fn nines(quantile: f64) -> f64 {
    // The largest value of all has no place on such an axis: it gets one behind 99.999.
    const LAST: f64 = 5.5;
    let rest = 1.0 - quantile / 100.0;
    if rest <= 0.0 { LAST } else { (-rest.log10()).min(LAST) }
}

/// Escaped already: a legend of the lines.
pub(super) fn legend(entries: &[(&str, &Colour)]) -> Markup {
    html! {
        @if entries.len() > 1 {
            ul.legend {
                @for (name, colour) in entries {
                    li { i style=(PreEscaped(format!("background:{}", colour.var()))) {} (name) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_few_whatever_the_numbers() {
        assert_eq!(marks(0.0, 6.5e6, 5), [0.0, 2e6, 4e6, 6e6, 8e6]);
        assert_eq!(marks(0.0, 1.0, 4), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(marks(-2.0, 10.0, 6), [-2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(marks(0.0, 0.0, 5), [0.0]);
        for (from, to) in [(0.0, 1e18), (0.0, 1e-300), (-1e18, 1e18), (1e18, 1e18), (1e17, 1e17 + 16.0)] {
            assert!(marks(from, to, 5).len() <= 11, "{from} to {to}");
        }
    }

    #[test]
    fn every_nine_takes_as_much_place() {
        let nines = [50.0, 90.0, 99.0, 99.9, 99.99, 100.0].map(nines);
        assert!(nines.windows(2).all(|pair| pair[0] < pair[1]), "{nines:?}");
        assert!((nines[3] - nines[2] - 1.0).abs() < 1e-6);
    }
}
