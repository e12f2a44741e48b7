//! `mainstem top`: a node, live, in the terminal.

mod app;
mod data;
mod feed;
mod look;
mod screen;
#[cfg(test)]
mod tests;
mod view;
mod words;

use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Args;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::Event;
use ratatui::crossterm::terminal;
use rest::Client;

use super::Which;
use crate::clock::unix_millis;
use crate::codes::is_closed_output;

use app::{Action, App, Page};
use feed::{Feed, Wanted};
use look::Look;
use screen::Screen;

const EXAMPLES: &str = "\
Keys: 1-4 and tab for the pages, up and down, enter on a chain for why it is where it is, / to filter, s to sort, \
? for all keys, q to quit.

It asks the node's API once a second and shows what came last when the node does not answer. No colours with NO_COLOR=1; \
no characters beyond ASCII without a UTF-8 locale.

Examples:
  mainstem top                                   the node on this machine
  mainstem top --node http://10.0.0.5:9480       another one
  mainstem top --once --page chains              one frame, as text
  mainstem top --json | jq .stats.rate           all figures once, for programs";

/// How long to wait for a key before looking for news.
const GLANCE: Duration = Duration::from_millis(100);

/// What a frame has where there is no terminal.
const SIZE: (u16, u16) = (80, 24);

/// Most lines of a frame that is printed: all chains that a list is asked for.
const MOST_LINES: usize = 60_000;

/// Watch a node live in the terminal: rates, stages, chains and why they are behind
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Top {
    #[command(flatten)]
    which: Which,
    /// Begin with this page
    #[arg(long, value_enum, default_value = "overview")]
    page: Page,
    /// Print one frame as text and end
    #[arg(long)]
    once: bool,
    /// Print all figures once, as JSON, and end
    #[arg(long, conflicts_with_all = ["once", "page"])]
    json: bool,
}

impl Top {
    pub(crate) fn run(self) -> Result<()> {
        let url = self.which.url()?;
        let shown = if self.json {
            json(&url)
        } else if self.once {
            once(&url, self.page)
        } else {
            live(url, self.page)
        };
        match shown {
            // Whoever closed the pipe has seen enough.
            Err(error) if is_closed_output(&error) => Ok(()),
            result => result,
        }
    }
}

/// The live view, until somebody ends it.
fn live(url: String, page: Page) -> Result<()> {
    let look = Look::of_environment();
    let mut app = App::new(url, page);
    let mut screen = Screen::open()?;
    let feed = Feed::start(&app.url, app.wanted())?;
    let (mut changed, mut drawn) = (true, Instant::now());
    while !screen.stopped() {
        // Times go on without news.
        if changed || drawn.elapsed() >= Duration::from_secs(1) {
            screen.terminal().draw(|frame| view::draw(frame, &mut app, look, unix_millis(), true))?;
            (changed, drawn) = (false, Instant::now());
        }
        match screen.event(GLANCE)? {
            Some(Event::Key(key)) => {
                changed = true;
                match app.key(key) {
                    Action::Quit => break,
                    Action::Ask => feed.want(app.wanted()),
                    Action::Draw => {}
                }
            }
            Some(Event::Resize(..)) => changed = true,
            _ => {}
        }
        if let Some(news) = feed.news()? {
            app.take(news, Instant::now());
            changed = true;
        }
    }
    Ok(())
}

/// One frame, as text.
fn once(url: &str, page: Page) -> Result<()> {
    let client = Client::new(url);
    let sample = feed::look(&client, Wanted { page: Some(page), chain: None })?;
    let mut app = App::new(url.to_owned(), page);
    app.take(Ok(sample), Instant::now());
    let (width, height) = if stdout().is_terminal() { terminal::size().unwrap_or(SIZE) } else { SIZE };
    // A list is printed to its end.
    let height = height.max((app.lines() + 6).min(MOST_LINES) as u16);
    let text = frame(&mut app, Look::of_environment(), (width.max(SIZE.0), height), unix_millis(), false)?;
    Ok(stdout().write_all(text.as_bytes())?)
}

/// All figures, for programs.
fn json(url: &str) -> Result<()> {
    let client = Client::new(url);
    let sample = feed::look(&client, Wanted { page: None, chain: None })?;
    let mut out = stdout().lock();
    serde_json::to_writer_pretty(&mut out, &sample)?;
    writeln!(out)?;
    Ok(())
}

/// A frame as lines of text.
fn frame(app: &mut App, look: Look, size: (u16, u16), now: u64, interactive: bool) -> Result<String> {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).map_err(|error| anyhow!("{error}"))?;
    terminal
        .draw(|frame| view::draw(frame, app, look, now, interactive))
        .map_err(|error| anyhow!("{error}"))?;
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..size.1 {
        let line: String = (0..size.0).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    Ok(text.trim_end().to_owned() + "\n")
}
