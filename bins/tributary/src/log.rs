//! The log, on standard error, and the live line below it.

use std::io::{self, IsTerminal as _, Write, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::{Log, LogFormat};

/// Starts to log. Returns the live line, where there is a terminal to show it on and people to read it.
pub(crate) fn start(log: Log) -> Option<ProgressBar> {
    let terminal = stderr().is_terminal();
    let line = (terminal && log.log_format == LogFormat::Text).then(|| {
        let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        line.set_style(style);
        line
    });
    let filter = match log.verbose {
        0 => "warn,tributary=info",
        1 => "info,tributary=debug,mainstem_net=debug",
        _ => "debug,tributary=trace,mainstem_net=trace",
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(terminal)
        .with_target(log.verbose > 0)
        .with_writer(Above(line.clone()));
    match log.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    line
}

/// Writes above the live line, which is taken away for the moment.
struct Above(Option<ProgressBar>);

impl<'a> MakeWriter<'a> for Above {
    type Writer = AboveWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        AboveWriter(self.0.as_ref())
    }
}

struct AboveWriter<'a>(Option<&'a ProgressBar>);

impl Write for AboveWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0 {
            Some(line) => line.suspend(|| stderr().write_all(bytes))?,
            None => stderr().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        stderr().flush()
    }
}
