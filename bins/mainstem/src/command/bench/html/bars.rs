//! A plot of bars that lie: what was achieved of each limit, and what a side block cost.

use maud::{Markup, html};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{self, UNIT};
use super::palette::{Colour, GRID, ON_BAR, STRONG, TEXT};

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
    /// Whether its line of text stands out.
    pub(super) strong: bool,
}

/// A piece of a bar.
pub(super) struct Part {
    pub(super) colour: &'static Colour,
    pub(super) value: f64,
    /// What stands in it, if there is room; may be empty.
    pub(super) text: String,
    /// What is shown under the pointer.
    pub(super) title: String,
}

const WIDTH: u32 = 480;
const TEXT_SIZE: u32 = 13;
/// Where a bar begins below the top of its row.
const BELOW_TEXT: u32 = 20;
/// Height of all rows together, if that gives none of them too little or too much.
const HEIGHT: u32 = 232;
const ROW: (u32, u32) = (42, 76);

impl Bars<'_> {
    pub(super) fn draw(&self) -> Markup {
        let length = |bar: &Bar| bar.parts.iter().map(|part| part.value).sum::<f64>().max(bar.up_to);
        let most = self.bars.iter().map(length).fold(f64::MIN_POSITIVE, f64::max);
        let pixel = |value: f64| (value / most * f64::from(WIDTH * UNIT)).round() as i32;
        let rows = (self.bars.len() as u32).max(1);
        let row = (HEIGHT / rows).clamp(ROW.0, ROW.1);
        // A third of what is left under the text stays free.
        let height = (row - BELOW_TEXT) * 2 / 3;
        let mut bands = Vec::new();
        let svg = canvas::draw((WIDTH, rows * row), self.label, |root| {
            for (index, bar) in (0..).zip(&self.bars) {
                let top = canvas::at(index * row);
                let from = top + canvas::at(BELOW_TEXT);
                let to = from + canvas::at(height);
                let line = if bar.strong {
                    canvas::bold(TEXT_SIZE, &STRONG)
                } else {
                    canvas::text(TEXT_SIZE, &TEXT)
                };
                let right = line.pos(Pos::new(HPos::Right, VPos::Top));
                root.draw(&Text::new(bar.name.clone(), (0, top), line))?;
                root.draw(&Text::new(bar.note.clone(), (canvas::at(WIDTH), top), right))?;
                root.draw(&Rectangle::new([(0, from), (pixel(bar.up_to), to)], GRID.rgb().filled()))?;
                let mut start = 0.0;
                for part in &bar.parts {
                    let (left, end) = (pixel(start), pixel(start + part.value));
                    root.draw(&Rectangle::new([(left, from), (end, to)], part.colour.rgb().filled()))?;
                    let needed = canvas::at(part.text.chars().count() as u32 * 8 + 8);
                    if !part.text.is_empty() && end - left > needed {
                        let style = canvas::bold(12, &ON_BAR).pos(Pos::new(HPos::Center, VPos::Center));
                        let middle = (i32::midpoint(left, end), i32::midpoint(from, to));
                        root.draw(&Text::new(part.text.clone(), middle, style))?;
                    }
                    bands.push(canvas::band((left, from), (end, to), &part.title));
                    start += part.value;
                }
            }
            Ok(())
        });
        canvas::with(&svg, &html! { @for band in bands { (band) } })
    }
}
