//! Colours and symbols: what a terminal can show. A colour never says what no word says.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::bar;

/// How things are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Look {
    /// Whether there are colours: not with `NO_COLOR` (<https://no-color.org>), not on a dumb terminal.
    pub colour: bool,
    /// Whether there are characters beyond ASCII.
    pub unicode: bool,
}

impl Look {
    /// What the environment says.
    pub(super) fn of_environment() -> Self {
        let text = |name: &str| std::env::var(name).unwrap_or_default();
        let colour = text("NO_COLOR").is_empty() && text("TERM") != "dumb";
        // The first that is set decides.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(text).into_iter().find(|value| !value.is_empty());
        let locale = locale.unwrap_or_default().to_lowercase();
        Self { colour, unicode: locale.contains("utf-8") || locale.contains("utf8") }
    }

    fn colour(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn title(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    #[expect(clippy::unused_self, reason = "asked for like the styles that depend on it")]
    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Of labels, beside which the figures stand out.
    pub(super) fn quiet(self) -> Style {
        if self.colour { self.colour(Color::DarkGray) } else { Style::new() }
    }

    /// Of the line that is chosen.
    #[expect(clippy::unused_self, reason = "asked for like the styles that depend on it")]
    pub(super) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn good(self) -> Style {
        self.colour(Color::Green)
    }

    pub(super) fn careful(self) -> Style {
        self.colour(Color::Yellow)
    }

    pub(super) fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Of a chain's state.
    pub(super) fn state(self, state: &str) -> Style {
        match state {
            "live" => self.good(),
            "catching-up" => self.colour(Color::Blue),
            "waiting-for-seal" | "lane-full" => self.careful(),
            "paused" => self.colour(Color::Magenta),
            "" => self.quiet(),
            _ => self.bad(),
        }
    }

    /// Of a share, which is the worse the nearer it is to 1.
    pub(super) fn share(self, share: f64) -> Style {
        if share >= 0.9 {
            self.bad()
        } else if share >= 0.6 {
            self.careful()
        } else {
            self.good()
        }
    }

    /// A bar of `width` characters.
    #[expect(clippy::cast_sign_loss, reason = "a share is not negative")]
    pub(super) fn bar(self, share: f64, width: usize) -> String {
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        // Something is never shown as nothing.
        let full = (share * width as f64).round() as usize;
        let full = if share > 0.005 { full.max(1) } else { full };
        let (on, off) = if self.unicode { ("█", "░") } else { ("#", ".") };
        on.repeat(full) + &off.repeat(width - full)
    }

    /// A line across.
    pub(super) fn rule(self, width: usize) -> String {
        if self.unicode { "─" } else { "-" }.repeat(width)
    }

    /// Steps of a sparkline.
    pub(super) fn sparks(self) -> bar::Set<'static> {
        if self.unicode {
            bar::NINE_LEVELS
        } else {
            bar::Set {
                full: "#",
                seven_eighths: "#",
                three_quarters: "+",
                five_eighths: "+",
                half: "=",
                three_eighths: "-",
                one_quarter: ":",
                one_eighth: ".",
                empty: " ",
            }
        }
    }
}
