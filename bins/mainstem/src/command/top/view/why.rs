//! One chain: why it is where it is, and what to do.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::super::app::App;
use super::super::data::{figure, status};
use super::super::look::Look;
use super::super::words::{NONE, ago, clock, grouped, or_none, printable, rate};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, look: Look, now: u64) {
    let Some(chain) = app.explained() else {
        frame.render_widget(Line::raw("this chain is not there any more; esc goes back"), area);
        return;
    };
    let why = status(chain);
    let state = why.map_or(NONE, |why| why.state.name());
    let words =
        |of: fn(&rest::status::Status) -> &str| why.map_or_else(|| NONE.into(), |why| printable(of(why)));
    let label = |text: &str| Span::styled(format!("{text:10}"), look.quiet());
    let say = |text: Option<String>| text.as_deref().map_or_else(|| NONE.into(), printable);
    let mut lines = vec![
        Line::from(vec![
            Span::styled(format!("{} ", printable(&chain.chain)), look.title()),
            Span::raw(format!("({}) ", chain.chain_id.0)),
            Span::styled(printable(&chain.name), look.strong()),
        ]),
        Line::default(),
        Line::from(vec![
            label("state"),
            Span::styled(state.to_owned(), look.state(state)),
            Span::styled(format!("   since {}", ago(why.map(|why| why.since), now)), look.quiet()),
        ]),
        Line::from(vec![label("reason"), Span::raw(words(|why| why.reason.name()))]),
        Line::from(vec![label("why"), Span::styled(words(|why| &why.text), look.strong())]),
        Line::from(vec![label("next"), Span::raw(words(|why| &why.next))]),
        Line::default(),
        Line::from(vec![
            label("heights"),
            Span::raw(format!(
                "durable {}   received {}   at its node {}",
                grouped(chain.durable.0),
                grouped(chain.received.0),
                or_none(figure(chain, |progress| progress.tip))
            )),
        ]),
        Line::from(vec![
            label("behind"),
            Span::raw(format!(
                "{} blocks, {}   {} blocks/s",
                or_none(figure(chain, |progress| progress.lag_blocks)),
                figure(chain, |progress| progress.lag_seconds)
                    .map_or_else(|| NONE.into(), |lag| format!("{lag:.1} s")),
                figure(chain, |progress| Some(progress.rate)).map_or_else(|| NONE.into(), rate)
            )),
        ]),
        Line::from(vec![label("last"), Span::raw(ago(figure(chain, |progress| progress.last_block), now))]),
        Line::from(vec![
            label("speaker"),
            Span::raw(format!(
                "{}   {}   {}",
                say(chain.speaker.map(|key| key.to_string())),
                say(figure(chain, |progress| progress.speaker_address.clone())),
                say(figure(chain, |progress| progress.speaker_software.clone()))
            )),
        ]),
    ];
    let history = app.sample.as_ref().and_then(|sample| sample.history.as_ref());
    if let Some((_, changes)) = history.filter(|(of, _)| *of == chain.chain_id) {
        lines.push(Line::default());
        lines.push(Line::styled("before that, newest first (UTC)", look.quiet()));
        lines.extend(changes.iter().map(|change| {
            Line::from(vec![
                Span::raw(format!("{}  ", clock(change.time))),
                Span::styled(format!("{:16} ", change.state), look.state(change.state.name())),
                Span::raw(printable(&change.text)),
            ])
        }));
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
}
