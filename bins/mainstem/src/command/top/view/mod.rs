//! Draws the view: a heading, one page, and the keys.

mod blocks;
mod chains;
mod overview;
mod peers;
mod why;

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Wrap};

use super::app::{App, Page};
use super::look::Look;
use super::words;

/// The smallest terminal that has room for something.
const LEAST: (u16, u16) = (40, 8);

/// Draws all of it. `interactive`: whether there is somebody to press keys.
pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, look: Look, now: u64, interactive: bool) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("the terminal is too small: expected {} x {} at least", LEAST.0, LEAST.1);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let keys = u16::from(interactive);
    let [heading, tabs, rule, body, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(keys),
    ])
    .areas(area);
    draw_heading(frame, heading, app, look, now);
    draw_tabs(frame, tabs, app, look);
    let line = match notice(app, area.width.into()) {
        Some(notice) => Line::styled(notice, look.bad()),
        None => Line::styled(look.rule(area.width.into()), look.quiet()),
    };
    frame.render_widget(line, rule);
    draw_page(frame, body, app, look, now);
    if interactive {
        frame.render_widget(keys_line(app, look), footer);
    }
    if app.help {
        draw_help(frame, body, look);
    }
}

fn draw_heading(frame: &mut Frame<'_>, area: Rect, app: &App, look: Look, now: u64) {
    const TITLE: &str = " mainstem ";
    let status = app.sample.as_ref().map(|sample| &sample.status);
    let name = status.map_or("", |status| status.main_chain.name.as_str());
    let name = if name.is_empty() { String::new() } else { format!("{}  ", words::cut(name, 24)) };
    let up = status.map(|status| format!("up {} ", words::span(status.uptime_ms))).unwrap_or_default();
    let clock = format!("{} UTC ", words::clock(now));
    let both = if up.is_empty() { clock } else { format!("{up}  {clock}") };
    // What there is no room for is left out, the least first.
    let (url, none) = (app.url.as_str(), String::new());
    let room = usize::from(area.width).saturating_sub(TITLE.len() + name.chars().count());
    let some = [(url, &both), (url, &up), ("", &both), ("", &up), ("", &none)];
    let fits = |(url, right): &(&str, &String)| url.chars().count() + right.len() < room;
    let (url, right) = some.into_iter().find(fits).unwrap_or(("", &none));
    let left =
        vec![Span::styled(TITLE, look.title()), Span::styled(name, look.strong()), Span::raw(url.to_owned())];
    let width = right.len() as u16;
    let [start, end] = Layout::horizontal([Constraint::Min(0), Constraint::Length(width)]).areas(area);
    frame.render_widget(Line::from(left), start);
    frame.render_widget(Line::raw(right.as_str()).right_aligned(), end);
}

fn draw_tabs(frame: &mut Frame<'_>, area: Rect, app: &App, look: Look) {
    let mut spans = vec![Span::raw(" ")];
    for (number, page) in (1..).zip(Page::ALL) {
        let style = if page == app.page { look.chosen() } else { look.quiet() };
        // Without colours, too, it can be seen which one is open.
        let name = if page == app.page {
            format!("[{number} {}]", page.name())
        } else {
            format!(" {number} {} ", page.name())
        };
        spans.push(Span::styled(name, style));
        spans.push(Span::raw(" "));
    }
    frame.render_widget(Line::from(spans), area);
}

/// That the node is gone, and why, in a line of its own: it is long. Who is asked it says if there is room for that.
fn notice(app: &App, width: usize) -> Option<String> {
    let (since, why) = app.lost.as_ref()?;
    let gone = Instant::now().saturating_duration_since(*since).as_secs();
    let said = |why: &str| format!(" NO ANSWER for {gone} s, asking again: {}", words::printable(why));
    let whole = said(why);
    if whole.chars().count() <= width {
        return Some(whole);
    }
    let short = why
        .strip_prefix(app.url.as_str())
        .map_or(why.as_str(), |rest| rest.trim_start_matches([':', ' ', '/']));
    Some(words::cut(&said(short), width))
}

fn draw_page(frame: &mut Frame<'_>, area: Rect, app: &mut App, look: Look, now: u64) {
    if app.sample.is_none() {
        let text = match &app.lost {
            None => "asking the node ..".to_owned(),
            Some((_, why)) => format!("no answer yet: {}", words::printable(why)),
        };
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), inner(area));
        return;
    }
    match app.page {
        Page::Overview => overview::draw(frame, inner(area), app, look, now),
        Page::Chains if app.why.is_some() => why::draw(frame, inner(area), app, look, now),
        Page::Chains => chains::draw(frame, inner(area), app, look),
        Page::Peers => peers::draw(frame, inner(area), app, look, now),
        Page::Blocks => blocks::draw(frame, inner(area), app, look, now),
    }
}

/// One column left free on each side.
fn inner(area: Rect) -> Rect {
    Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area }
}

fn keys_line(app: &App, look: Look) -> Line<'static> {
    let pairs: &[(&str, &str)] = match app.page {
        _ if app.typing => &[("type", "to filter"), ("enter", "keep"), ("esc", "all again")],
        Page::Chains if app.why.is_some() => &[("esc", "back"), ("q", "quit")],
        Page::Overview => &[("1-4 tab", "pages"), ("/", "find a chain"), ("?", "help"), ("q", "quit")],
        Page::Chains => &[
            ("up down", "choose"),
            ("enter", "why"),
            ("/", "filter"),
            ("s", "sort"),
            ("1-4", "pages"),
            ("?", "help"),
            ("q", "quit"),
        ],
        Page::Peers | Page::Blocks => {
            &[("up down", "scroll"), ("1-4 tab", "pages"), ("?", "help"), ("q", "quit")]
        }
    };
    let mut spans = vec![Span::raw(" ")];
    for (key, what) in pairs {
        spans.push(Span::styled((*key).to_owned(), look.strong()));
        spans.push(Span::styled(format!(" {what}   "), look.quiet()));
    }
    Line::from(spans)
}

fn draw_help(frame: &mut Frame<'_>, area: Rect, look: Look) {
    const HELP: [(&str, &str); 9] = [
        ("1 2 3 4", "Overview, Chains, Peers, Blocks"),
        ("tab, left, right", "the next page, the one before"),
        ("up, down, j, k", "choose a line; page up and down, g, G go further"),
        ("enter", "on Chains: why the chain is where it is, what to do"),
        ("/", "filter chains by id, name, state or reason"),
        ("s", "sort by trouble, id, lag, rate, name"),
        ("esc", "back; no filter"),
        ("?", "this"),
        ("q, ctrl-c", "quit"),
    ];
    let lines = HELP.iter().map(|(key, what)| {
        Line::from(vec![Span::styled(format!(" {key:18}"), look.strong()), Span::raw(*what)])
    });
    let lines: Vec<_> = std::iter::once(Line::styled(" Keys", look.title())).chain(lines).collect();
    let area = Rect { height: area.height.min(lines.len() as u16 + 1), ..area };
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines), area);
}

/// Which lines of a list are shown when line `chosen` has to be seen.
fn window(total: usize, height: usize, chosen: usize) -> std::ops::Range<usize> {
    let first = (chosen + 1).saturating_sub(height).min(total);
    first..total.min(first + height)
}
