//! The side chains, each with its state and the reason in words.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::super::app::App;
use super::super::data::{figure, status};
use super::super::look::Look;
use super::super::words::{NONE, counted, cut, grouped, or_none, rate};
use super::window;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, look: Look) {
    let wide = area.width >= 110;
    // A narrow list has no room for reasons: that of the chosen chain stands below.
    let [title, heading, body, below] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(u16::from(!wide)),
    ])
    .areas(area);
    app.height = body.height.into();
    let app = &*app;
    let chains = app.chains();
    let all = app.sample.as_ref().and_then(|sample| sample.chains.as_ref()).map_or(0, Vec::len);
    frame.render_widget(title_line(app, chains.len(), all, look), title);
    if let Some(chain) = chains.get(app.line).filter(|_| !wide) {
        let why = status(chain).map_or("", |status| &status.text);
        let text = cut(&format!("{}: {why}", chain.chain), area.width.into());
        frame.render_widget(Line::styled(text, look.strong()), below);
    }
    let head = row(wide, ["CHAIN", "NAME", "STATE", "DURABLE", "LAG", "SECONDS", "RATE/S"], "WHY");
    frame.render_widget(Line::styled(head, look.quiet()), heading);
    let shown = window(chains.len(), body.height.into(), app.line);
    for (at, chain) in shown.clone().zip(&chains[shown]) {
        let state = status(chain).map_or(NONE, |status| status.state.name());
        let cells = [
            chain.chain.as_str(),
            &chain.name,
            state,
            &grouped(chain.durable.0),
            &or_none(figure(chain, |progress| progress.lag_blocks)),
            &figure(chain, |progress| progress.lag_seconds)
                .map_or_else(|| NONE.into(), |lag| format!("{lag:.1}")),
            &figure(chain, |progress| Some(progress.rate)).map_or_else(|| NONE.into(), rate),
        ];
        let text = row(wide, cells, status(chain).map_or("", |status| &status.text));
        let text = cut(&text, usize::from(area.width));
        let y = body.y + (at - window(chains.len(), body.height.into(), app.line).start) as u16;
        let line = if at == app.line {
            Line::styled(format!("{text:width$}", width = usize::from(area.width)), look.chosen())
        } else {
            coloured(text, state, look)
        };
        frame.render_widget(line, Rect { y, height: 1, ..body });
    }
}

/// The row with its state in colour.
fn coloured(text: String, state: &str, look: Look) -> Line<'static> {
    // The name before it may hold the same word: the column's place is fixed.
    let at: usize = text.char_indices().nth(STATE_AT).map_or(text.len(), |(at, _)| at);
    let end = (at + state.len()).min(text.len());
    if !text.is_char_boundary(end) || text[at..end] != *state {
        return Line::raw(text);
    }
    Line::from(vec![
        Span::raw(text[..at].to_owned()),
        Span::styled(text[at..end].to_owned(), look.state(state)),
        Span::raw(text[end..].to_owned()),
    ])
}

/// Where the column of states begins.
const STATE_AT: usize = 10 + 1 + 12 + 1;

fn row(wide: bool, cells: [&str; 7], why: &str) -> String {
    let [chain, name, state, durable, lag, seconds, rate] = cells;
    let (chain, name) = (cut(chain, 10), cut(name, 12));
    let most = if wide { format!(" {seconds:>8} {rate:>8}") } else { String::new() };
    format!("{chain:10} {name:12} {state:16} {durable:>12} {lag:>8}{most}  {why}")
}

fn title_line(app: &App, shown: usize, all: usize, look: Look) -> Line<'static> {
    let mut spans = vec![Span::styled(counted(all as u64, "chain"), look.strong())];
    if app.typing || !app.filter.is_empty() {
        let cursor = if app.typing { "_" } else { "" };
        spans.push(Span::raw(format!("   filter /{}{cursor}   {} fit", app.filter, grouped(shown as u64))));
    }
    spans.push(Span::styled(format!("   sorted by {}", app.sort.name()), look.quiet()));
    Line::from(spans)
}
