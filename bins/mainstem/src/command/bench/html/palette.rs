//! The colours of the plots.
//!
//! A plot is drawn in the colours of the light theme. The page's style names each of them again by the attribute that
//! carries it, so that the dark theme and the printer choose their own; a plot cut out of the page keeps its colours.

use std::fmt::Write as _;

use plotters::style::RGBColor;

use crate::command::bench::outcome::SEAL_AND_HASH;

/// A colour by the name of its CSS variable, light and dark.
pub(super) struct Colour {
    name: &'static str,
    light: RGBColor,
    dark: RGBColor,
}

impl Colour {
    pub(super) const fn rgb(&self) -> RGBColor {
        self.light
    }

    /// As CSS.
    pub(super) fn var(&self) -> String {
        format!("var(--{})", self.name)
    }
}

const fn colour(name: &'static str, light: u32, dark: u32) -> Colour {
    const fn rgb(hex: u32) -> RGBColor {
        let [_, red, green, blue] = hex.to_be_bytes();
        RGBColor(red, green, blue)
    }
    Colour { name, light: rgb(light), dark: rgb(dark) }
}

/// Texts of a plot.
pub(super) static TEXT: Colour = colour("muted", 0x0055_6070, 0x009a_a7b8);

/// Lines behind the data.
pub(super) static GRID: Colour = colour("grid", 0x00e2_e7ee, 0x002b_3442);

/// What lies before the measuring.
pub(super) static SHADE: Colour = colour("shade", 0x00ee_f1f5, 0x001f_2733);

/// Texts within a bar.
pub(super) static ON_BAR: Colour = colour("on", 0x00ff_ffff, 0x000f_141b);

/// What a plot emphasises.
pub(super) static STRONG: Colour = colour("strong", 0x0017_202c, 0x00e4_eaf2);

/// Lines and bars: apart from each other in hue and in lightness, also for those who see fewer hues.
pub(super) static SERIES: [Colour; 6] = [
    colour("s1", 0x0025_63eb, 0x006e_a8fe),
    colour("s2", 0x00d9_480f, 0x00ff_9466),
    colour("s3", 0x000b_8a63, 0x004f_d1a5),
    colour("s4", 0x0087_34c9, 0x00c9_9bff),
    colour("s5", 0x00b7_791f, 0x00e6_b450),
    colour("s6", 0x0064_748b, 0x0094_a3b8),
];

/// The colour of a stage or thread group: the same one in every plot.
pub(super) fn of_stage(name: &str) -> &'static Colour {
    match name {
        "ingest" | "quic_receive" => &SERIES[0],
        "seal" => &SERIES[1],
        "hash" | SEAL_AND_HASH => &SERIES[2],
        "persist" | "append" | "write" => &SERIES[3],
        "sync" | "other" => &SERIES[4],
        _ => &SERIES[5],
    }
}

/// The colours of both themes as variables, and the rules that put them into the plots.
pub(super) fn css() -> String {
    let all = || SERIES.iter().chain([&TEXT, &STRONG, &ON_BAR, &GRID, &SHADE]);
    let hex = |colour: RGBColor| format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2);
    let variables = |pick: &dyn Fn(&Colour) -> RGBColor| {
        all().fold(String::new(), |mut css, colour| {
            let _ = write!(css, "--{}:{};", colour.name, hex(pick(colour)));
            css
        })
    };
    let mut css = format!(
        ":root{{{}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{}}}}}\n",
        variables(&|colour| colour.light),
        variables(&|colour| colour.dark)
    );
    for colour in all() {
        let (name, value) = (colour.name, hex(colour.light));
        let _ = writeln!(
            css,
            "svg [fill=\"{value}\"]{{fill:var(--{name})}}svg [stroke=\"{value}\"]{{stroke:var(--{name})}}"
        );
    }
    css
}
