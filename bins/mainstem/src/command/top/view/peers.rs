//! Who is connected.

use std::net::SocketAddr;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

use super::super::app::App;
use super::super::look::Look;
use super::super::words::{NONE, ago, bytes, counted, cut, or_none, rate, short};
use super::window;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, look: Look, now: u64) {
    let [title, heading, body] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(1)]).areas(area);
    app.height = body.height.into();
    let Some(peers) = app.sample.as_ref().and_then(|sample| sample.peers.as_ref()) else { return };
    frame.render_widget(Line::styled(counted(peers.len() as u64, "session"), look.strong()), title);
    let wide = area.width >= 110;
    let head = row(
        wide,
        ["KEY", "ADDRESS", "SOFTWARE", "CHAINS", "BLOCKS/S", "BEHIND", "RTT"],
        ["BYTES", "MEMORY", "SINCE"],
    );
    frame.render_widget(Line::styled(head, look.quiet()), heading);
    let shown = window(peers.len(), body.height.into(), app.line);
    for (y, at) in (body.y..).zip(shown) {
        let peer = &peers[at];
        let speed = app.rates.get(&peer.session).map_or_else(|| NONE.into(), |blocks| rate(*blocks));
        let cells: [&str; 7] = [
            &short(&peer.key.to_string(), 8),
            &plain(peer.address),
            if peer.software.is_empty() { NONE } else { &peer.software },
            &format!("{}/{}", peer.speaks_for, peer.chains),
            &speed,
            &or_none(peer.behind),
            &format!("{:.1} ms", peer.rtt_us as f64 / 1e3),
        ];
        let more = [
            &*bytes(peer.bytes as f64),
            &*bytes(peer.memory_bytes as f64),
            &*ago(Some(peer.since.as_millis()), now),
        ];
        let text = cut(&row(wide, cells, more), area.width.into());
        let style = if at == app.line { look.chosen() } else { ratatui::style::Style::new() };
        let text = format!("{text:width$}", width = usize::from(area.width));
        frame.render_widget(Line::styled(text, style), Rect { y, height: 1, ..body });
    }
}

/// IPv4 as such, also where it came over IPv6.
fn plain(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

fn row(wide: bool, cells: [&str; 7], more: [&str; 3]) -> String {
    let [key, address, software, chains, rate, behind, rtt] = cells;
    let (address, software) = (cut(address, 21), cut(software, 14));
    let more = if wide { format!(" {:>9} {:>9}  {}", more[0], more[1], more[2]) } else { String::new() };
    format!("{key:8} {address:21} {software:14} {chains:>7} {rate:>8} {behind:>7} {rtt:>7}{more}")
}
