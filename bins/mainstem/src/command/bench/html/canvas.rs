//! Where plots are drawn: an SVG element for the page.

use maud::{Markup, PreEscaped, html};
use plotters::coord::Shift;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;
use plotters::style::{FontStyle, TextStyle};

use super::palette::Colour;

/// The drawing of a plot.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What may go wrong with it: nothing, as it is drawn into memory.
pub(super) type Failure = DrawingAreaErrorKind<std::io::Error>;

/// Parts of a pixel: positions are whole numbers, and lines should not jump by whole pixels.
pub(super) const UNIT: u32 = 8;

/// The position of a pixel.
pub(super) fn at(pixel: u32) -> i32 {
    i32::try_from(pixel * UNIT).expect("a plot has a few thousand pixels at most")
}

/// Draws onto an area of so many pixels, of [`UNIT`] parts each.
pub(super) fn draw(
    size: (u32, u32),
    label: &str,
    paint: impl FnOnce(&Area<'_>) -> Result<(), Failure>,
) -> String {
    let size = (size.0 * UNIT, size.1 * UNIT);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        paint(&root).and_then(|()| root.present()).expect("a drawing in memory cannot fail");
    }
    // The element as the page needs it: as wide as there is room, and with a name.
    let content = svg.split_once('>').map_or("", |(_, content)| content);
    let view = format!("0 0 {} {}", size.0, size.1);
    let open = html! { svg viewBox=(view) role="img" aria-label=(label) {} }.into_string();
    open.trim_end_matches("</svg>").to_owned() + content
}

/// A drawing with something on top of it.
pub(super) fn with(svg: &str, top: &Markup) -> Markup {
    let content = svg.trim_end().trim_end_matches("</svg>");
    PreEscaped(format!("{content}{}</svg>", top.0))
}

/// An invisible rectangle from the upper left to the lower right that shows a text while the pointer is over it.
pub(super) fn band(from: (i32, i32), to: (i32, i32), text: &str) -> Markup {
    let (width, height) = ((to.0 - from.0).max(1), (to.1 - from.1).max(1));
    html! {
        rect.band x=(from.0) y=(from.1) width=(width) height=(height) { title { (text) } }
    }
}

/// Text of so many pixels.
pub(super) fn text(size: u32, colour: &Colour) -> TextStyle<'static> {
    // The backend divides by 1.24, as if a font were measured by its line.
    ("sans-serif", f64::from(size * UNIT) * 1.24).into_font().color(&colour.rgb())
}

/// Text of so many pixels that stands out.
pub(super) fn bold(size: u32, colour: &Colour) -> TextStyle<'static> {
    let mut text = text(size, colour);
    text.font = text.font.style(FontStyle::Bold);
    text
}
