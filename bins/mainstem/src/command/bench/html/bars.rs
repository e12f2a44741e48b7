//! A plot of bars that lie: what was achieved of each limit, and what a side block cost.

use maud::{Markup, html};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{self, UNIT};
use super::palette::{Colour, SHADE, TEXT};

/// Bars, one below the other, on a common scale.
pub(super) struct Bars<'a> {
    /// What is shown, for those who cannot see it.
    pub(super) label: &'a str,
    pub(super) bars: Vec<Bar>,
}

/// Parts one behind the other, under a line of text.
pub(super) struct Bar {
    pub(super) name: String,
    /// At the right end of the line.
    pub(super) note: String,
    pub(super) parts: Vec<Part>,
    /// The end of the shaded rest behind the parts, on their scale.
    pub(super) up_to: f64,
}

/// A piece of a bar.
pub(super) struct Part {
    pub(super) colour: &'static Colour,
    pub(super) value: f64,
    /// What is shown under the pointer.
    pub(super) title: String,
}

const WIDTH: u32 = 560;
/// Height of a bar with its text.
const ROW: u32 = 48;
const TEXT_SIZE: u32 = 14;
/// Where a bar begins below the top of its row, and how high it is.
const BAR: (u32, u32) = (21, 16);

impl Bars<'_> {
    pub(super) fn draw(&self) -> Markup {
        let length = |bar: &Bar| bar.parts.iter().map(|part| part.value).sum::<f64>().max(bar.up_to);
        let most = self.bars.iter().map(length).fold(f64::MIN_POSITIVE, f64::max);
        let pixel = |value: f64| (value / most * f64::from(WIDTH * UNIT)).round() as i32;
        let mut bands = Vec::new();
        let rows = self.bars.len() as u32;
        let svg = canvas::draw((WIDTH, (rows * ROW).max(1)), self.label, |root| {
            for (row, bar) in (0..).zip(&self.bars) {
                let top = (row * ROW * UNIT) as i32;
                let (from, to) = (top + (BAR.0 * UNIT) as i32, top + ((BAR.0 + BAR.1) * UNIT) as i32);
                let line = canvas::text(TEXT_SIZE, &TEXT);
                let right = line.pos(Pos::new(HPos::Right, VPos::Top));
                root.draw(&Text::new(bar.name.clone(), (0, top), line.clone()))?;
                root.draw(&Text::new(bar.note.clone(), ((WIDTH * UNIT) as i32, top), right))?;
                root.draw(&Rectangle::new([(0, from), (pixel(bar.up_to), to)], SHADE.rgb().filled()))?;
                let mut start = 0.0;
                for part in &bar.parts {
                    let (left, end) = (pixel(start), pixel(start + part.value));
                    root.draw(&Rectangle::new([(left, from), (end, to)], part.colour.rgb().filled()))?;
                    bands.push(canvas::band((left, from), (end, to), &part.title));
                    start += part.value;
                }
            }
            Ok(())
        });
        canvas::with(&svg, &html! { @for band in bands { (band) } })
    }
}
