//! Which lines are written, changed while the node runs, and back again by itself.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::settings::{LogFilter, nearest};

/// Longest time for which a change holds.
pub(crate) const LONGEST: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Names of our parts, for those who do not know how their modules are called.
const PARTS: [(&str, &str); 10] = [
    ("net", "mainstem_net"),
    ("engine", "mainstem_engine"),
    ("storage", "mainstem_storage"),
    ("aelf", "mainstem_aelf"),
    ("api", "mainstem::api"),
    ("admin", "mainstem::admin"),
    ("watch", "mainstem::watch"),
    ("keys", "mainstem::keys"),
    ("external", "mainstem::external"),
    ("node", "mainstem::node"),
];

/// Where lines come from: our packages, and those of others that write some.
const CRATES: [&str; 17] = [
    "mainstem",
    "mainstem_net",
    "mainstem_engine",
    "mainstem_storage",
    "mainstem_aelf",
    "mainstem_client",
    "h2",
    "hyper",
    "hyper_util",
    "mio",
    "opentelemetry",
    "opentelemetry_sdk",
    "opentelemetry_otlp",
    "quinn",
    "quinn_proto",
    "rustls",
    "tonic",
];

/// The modules of this program.
const MODULES: [&str; 24] = [
    "admin", "alloc", "api", "clock", "codes", "command", "data_dir", "external", "ingest", "keys", "listen",
    "log", "logging", "node", "otel", "proc", "record", "registry", "settings", "signals", "snapshot",
    "threads", "watch", "web",
];

/// What holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// Which lines are written.
    pub filter: String,
    /// Which ones are when nothing was changed.
    pub configured: String,
    /// In how many seconds that is so again; nothing when it is so now.
    pub for_s: Option<u64>,
}

struct Control {
    handle: reload::Handle<EnvFilter, Registry>,
    configured: Mutex<LogFilter>,
    /// What was set, and until when it holds.
    changed: Mutex<Option<(LogFilter, Instant)>>,
}

static CONTROL: OnceLock<Control> = OnceLock::new();

/// The filter that the process begins with.
pub(super) fn start(configured: &LogFilter) -> reload::Layer<EnvFilter, Registry> {
    let (layer, handle) = reload::Layer::new(configured.filter());
    let control = Control { handle, configured: Mutex::new(configured.clone()), changed: Mutex::default() };
    // A second start fails later, at `init`, as it should.
    let _ = CONTROL.set(control);
    layer
}

/// Adds to the configured filter, for a time. What was set before is over.
///
/// # Errors
/// Says what would be right.
pub(super) fn set(filter: &str, time: Duration) -> Result<Shown, String> {
    let control = CONTROL.get().ok_or("this process does not log")?;
    let filter = with(&control.configured(), filter)?;
    control.apply(&filter)?;
    *control.changed() = Some((filter, Instant::now() + time.min(LONGEST)));
    Ok(control.shown())
}

/// As it was configured, at once.
///
/// # Errors
/// The process does not log.
pub(super) fn reset() -> Result<Shown, String> {
    let control = CONTROL.get().ok_or("this process does not log")?;
    control.apply(&control.configured())?;
    *control.changed() = None;
    Ok(control.shown())
}

/// What holds now; nothing if the process does not log.
pub(super) fn shown() -> Option<Shown> {
    CONTROL.get().map(Control::shown)
}

/// Goes back if it is time.
pub(super) fn revert_if_due(now: Instant) {
    let Some(control) = CONTROL.get() else { return };
    if control.changed().as_ref().is_some_and(|(_, until)| *until <= now) && reset().is_ok() {
        tracing::info!(filter = control.configured().text(), "the log's filter is as configured again");
    }
}

/// What is configured is another one from now on: it holds at once, unless another one was set for a time.
///
/// # Errors
/// The process does not log, or does not take it.
pub(crate) fn reconfigure(filter: &LogFilter) -> Result<(), String> {
    let control = CONTROL.get().ok_or("this process does not log")?;
    let changed = control.changed();
    if changed.is_none() {
        control.apply(filter)?;
    }
    *control.configured.lock().unwrap_or_else(PoisonError::into_inner) = filter.clone();
    Ok(())
}

impl Control {
    fn configured(&self) -> LogFilter {
        self.configured.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn changed(&self) -> MutexGuard<'_, Option<(LogFilter, Instant)>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, filter: &LogFilter) -> Result<(), String> {
        self.handle.reload(filter.filter()).map_err(|error| error.to_string())
    }

    fn shown(&self) -> Shown {
        let changed = self.changed();
        let configured = self.configured().text().to_owned();
        match &*changed {
            None => Shown { filter: configured.clone(), configured, for_s: None },
            Some((filter, until)) => {
                let left = until.saturating_duration_since(Instant::now());
                // A part of a second is one more: 0 would say that it is over.
                let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                Shown { filter: filter.text().to_owned(), configured, for_s: Some(seconds) }
            }
        }
    }
}

/// A filter with more said after it: of what both say, the later holds.
fn with(configured: &LogFilter, more: &str) -> Result<LogFilter, String> {
    let directive = |part: &str| {
        let (target, level) = part.split_once('=').unwrap_or(("", part));
        let known = PARTS.iter().find(|(name, _)| *name == target.trim());
        known.map_or_else(|| part.to_owned(), |(_, module)| format!("{module}={level}"))
    };
    let more: Vec<_> = more.split(',').map(directive).collect();
    more.iter().try_for_each(|part| known(part))?;
    let more = LogFilter::parse(&more.join(","))?;
    LogFilter::parse(&format!("{},{}", configured.text(), more.text()))
}

/// Refuses what no line comes from: `tracing` takes any word, and nothing would be heard of it.
fn known(directive: &str) -> Result<(), String> {
    let Some((target, _)) = directive.split_once('=') else { return Ok(()) };
    // `target[span{field=value}]=level`
    let target = target.split_once('[').map_or(target, |(target, _)| target).trim();
    let (root, module) = target.split_once("::").map_or((target, None), |(root, rest)| {
        (root, Some(rest.split_once("::").map_or(rest, |(module, _)| module)))
    });
    let is_known = target.is_empty()
        || (CRATES.contains(&root)
            && module.is_none_or(|module| root != "mainstem" || MODULES.contains(&module)));
    if is_known {
        return Ok(());
    }
    let modules: Vec<_> = MODULES.iter().map(|module| format!("mainstem::{module}")).collect();
    let names = PARTS.iter().map(|(name, _)| *name).chain(CRATES).chain(modules.iter().map(String::as_str));
    let parts: Vec<_> = PARTS.iter().map(|(name, _)| *name).collect();
    let like = nearest(target, names).map_or_else(String::new, |name| format!("; did you mean {name}?"));
    Err(format!("no line comes from {target:?}: expected one of {}, or a module{like}", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_short_names_and_a_misspelt_level_is_refused() {
        let info = LogFilter::parse("info").unwrap();
        let text = |more| with(&info, more).map(|filter| filter.text().to_owned());
        assert_eq!(text("net=debug"), Ok("info,mainstem_net=debug".into()));
        assert_eq!(text("api=trace,h2=warn"), Ok("info,mainstem::api=trace,h2=warn".into()));
        assert_eq!(text("debug"), Ok("info,debug".into()));
        for wrong in ["", "net", "inof", "net=loud"] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_part_that_writes_no_lines_is_refused_with_the_nearest_one() {
        let info = LogFilter::parse("info").unwrap();
        let error = |more| with(&info, more).unwrap_err();
        assert!(
            error("nonsense=debug").contains("no line comes from \"nonsense\": expected one of net, engine,")
        );
        assert!(error("storrage=debug").ends_with("did you mean storage?"));
        assert!(error("mainstem_nte=debug").ends_with("did you mean mainstem_net?"));
        assert!(error("net=debug,mainstem::wach=debug").ends_with("did you mean mainstem::watch?"));
        for right in
            ["mainstem::api::events=debug", "mainstem_net::server=trace", "[{chain=7}]=debug", "quinn=warn"]
        {
            with(&info, right).unwrap();
        }
    }

    #[test]
    fn the_modules_are_those_of_the_program() {
        let main = include_str!("../main.rs");
        let modules = main.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
        for module in modules {
            assert!(MODULES.contains(&module), "{module}");
        }
        for (_, path) in PARTS {
            known(&format!("{path}=debug")).unwrap();
        }
    }
}
