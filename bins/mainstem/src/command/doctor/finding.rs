//! What was found, and what mends it.

use serde::Serialize;

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
        Self { check, level: Level::Ok, found: found.into(), means: None, mend: None }
    }

    pub(super) fn warn(
        check: &'static str,
        found: impl Into<String>,
        means: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        let (means, mend) = (Some(means.into()), Some(mend.into()));
        Self { check, level: Level::Warn, found: found.into(), means, mend }
    }

    pub(super) fn fail(
        check: &'static str,
        found: impl Into<String>,
        means: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { level: Level::Fail, ..Self::warn(check, found, means, mend) }
    }
}
