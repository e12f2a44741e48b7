//! What was found, and what mends it.

use serde::Serialize;

/// The names of all checks, in the order of `docs/doctor.md`, which says of each what it bounds and how to mend it.
const CHECKS: &[&str] = &[
    "configuration",
    "genesis",
    "settings",
    "key",
    "registered-keys",
    "paused-chains",
    "admin-socket",
    "admin-token",
    "log",
    "log-genesis",
    "disk-speed",
    "disk-space",
    "file-system",
    "memory",
    "memory-maps",
    "open-files",
    "udp-buffers",
    "processor",
    "huge-pages",
    "clock",
    "clock-sync",
    "clock-skew",
    "ingest-port",
    "api-port",
    "external-port",
    "node",
];

/// How it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be, or nothing can be said.
    Ok,
    /// The node works, but not as well or as safely as it could.
    Warn,
    /// The node does not start, or may lose what it has.
    Fail,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Finding {
    /// Its stable name.
    pub check: &'static str,
    pub level: Level,
    /// How it is, with the figures.
    pub found: String,
    /// What it means for the node; `None` when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub means: Option<String>,
    /// A command to be copied, or what to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::of(check, Level::Ok, found.into(), None, None)
    }

    pub(super) fn warn(
        check: &'static str,
        found: impl Into<String>,
        means: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self::of(check, Level::Warn, found.into(), Some(means.into()), Some(mend.into()))
    }

    pub(super) fn fail(
        check: &'static str,
        found: impl Into<String>,
        means: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { level: Level::Fail, ..Self::warn(check, found, means, mend) }
    }

    fn of(
        check: &'static str,
        level: Level,
        found: String,
        means: Option<String>,
        mend: Option<String>,
    ) -> Self {
        debug_assert!(CHECKS.contains(&check), "{check} is not among the checks");
        Self { check, level, found, means, mend }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_document_has_a_row_for_each_check_and_no_other() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/doctor.md");
        let text = fs::read_to_string(file).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        assert_eq!(rows.map(|(check, _)| check).collect::<Vec<_>>(), CHECKS);
    }
}
