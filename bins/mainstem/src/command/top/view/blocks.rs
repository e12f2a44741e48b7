//! The newest main blocks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::Line;

use super::super::app::App;
use super::super::look::Look;
use super::super::words::{NONE, ago, cut, grouped, short};
use super::window;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, look: Look, now: u64) {
    let [title, heading, body] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(1)]).areas(area);
    app.height = body.height.into();
    let Some(blocks) = app.sample.as_ref().and_then(|sample| sample.blocks.as_ref()) else { return };
    let text = format!("the newest {} main blocks", grouped(blocks.len() as u64));
    frame.render_widget(Line::styled(text, look.strong()), title);
    let digits = if area.width >= 110 { 24 } else { 8 };
    let head = row(digits, ["HEIGHT", "CHAINS", "SIDE BLOCKS", "AFTER", "SIDE ROOT", "STATE ROOT", "SEALED"]);
    frame.render_widget(Line::styled(head, look.quiet()), heading);
    let shown = window(blocks.len(), body.height.into(), app.line);
    for (y, at) in (body.y..).zip(shown) {
        let block = &blocks[at];
        let after = blocks.get(at + 1).map_or_else(
            || NONE.into(),
            |before| {
                format!("{} ms", grouped(block.time.as_millis().saturating_sub(before.time.as_millis())))
            },
        );
        let cells = [
            &*grouped(block.height.0),
            &*grouped(block.chain_count.into()),
            &*grouped(block.leaf_count),
            &*after,
            &*short(&block.side_root.to_string(), digits),
            &*short(&block.state_root.to_string(), digits),
            &*ago(Some(block.time.as_millis()), now),
        ];
        let text = cut(&row(digits, cells), area.width.into());
        let style = if at == app.line { look.chosen() } else { Style::new() };
        let text = format!("{text:width$}", width = usize::from(area.width));
        frame.render_widget(Line::styled(text, style), Rect { y, height: 1, ..body });
    }
}

fn row(digits: usize, cells: [&str; 7]) -> String {
    let [height, chains, blocks, after, side, state, sealed] = cells;
    let width = digits + 2;
    format!("{height:>12} {chains:>7} {blocks:>11} {after:>9}  {side:width$}  {state:width$}  {sealed}")
}
