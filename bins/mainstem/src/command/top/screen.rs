//! The terminal: taken over, and given back whatever happens.

use std::io::{self, IsTerminal, Stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// A terminal in raw mode, on its alternate screen, until the value ends. A panic of any thread restores it before it
/// prints what happened.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    keyboard: Stdin,
    stop: Arc<AtomicBool>,
}

impl Screen {
    pub(super) fn open() -> Result<Self> {
        if !stdout().is_terminal() || !io::stdin().is_terminal() {
            bail!(
                "a live view needs a terminal; `mainstem top --once` prints one frame as text, --json as JSON"
            );
        }
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, Arc::clone(&stop)).context("cannot handle signals")?;
        }
        let terminal = ratatui::try_init().context("the terminal cannot be set up")?;
        Ok(Self { terminal, keyboard: io::stdin(), stop })
    }

    pub(super) fn terminal(&mut self) -> &mut DefaultTerminal {
        &mut self.terminal
    }

    /// Whether a signal asked to end, or the terminal has gone.
    pub(super) fn stopped(&self) -> bool {
        // Relaxed: the flag guards nothing, and is looked at a few times a second.
        self.stop.load(Ordering::Relaxed)
    }

    /// What was pressed, if anything within so long. A terminal that has gone asks to end, as a signal does.
    pub(super) fn event(&mut self, within: Duration) -> Result<Option<Event>> {
        let mut keyboard = [PollFd::new(&self.keyboard, PollFlags::IN)];
        match rustix::event::poll(&mut keyboard, Some(&within.try_into()?)) {
            // What reads the keys would read the end of a terminal for ever (crossterm 0.29): it is asked only while there
            // is one, and does not wait.
            Ok(_) if keyboard[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) => {
                self.stop.store(true, Ordering::Relaxed);
                return Ok(None);
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("the keyboard cannot be waited for"),
        }
        match event::poll(Duration::ZERO)
            .and_then(|ready| if ready { event::read().map(Some) } else { Ok(None) })
        {
            Ok(event) => Ok(event),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error).context("the keyboard cannot be read"),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
