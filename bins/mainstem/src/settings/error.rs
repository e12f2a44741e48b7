//! What is wrong with a configuration: every problem at once, each with where it stands and what would be right.

use std::fmt;
use std::path::{Path, PathBuf};

/// Everything that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct ConfigError {
    /// In the order of the layers: file, environment, flags. Never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {reason}{}", hint(.file))]
    Unreadable {
        /// Which file.
        file: Shown,
        /// What the system says.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{place}: not TOML: {reason}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        reason: String,
    },
    /// No setting has this name.
    #[error("{place}: `{name}` is no {kind}{}", suggest(.nearest.as_ref()))]
    Unknown {
        /// Where.
        place: Place,
        /// The name as it was given.
        name: String,
        /// "setting", "section".
        kind: &'static str,
        /// The nearest name that exists.
        nearest: Option<String>,
    },
    /// The value cannot be.
    #[error("{place}: {key} = {value}: expected {expected}")]
    Value {
        /// Where.
        place: Place,
        /// Path of the setting, as `seal.interval_ms`.
        key: String,
        /// The value as it was given.
        value: String,
        /// What would be right.
        expected: String,
    },
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: the built-in default.
    Default,
    /// In the configuration file.
    File {
        /// Which.
        file: Shown,
        /// Line, from 1.
        line: usize,
    },
    /// In an environment variable.
    Env(String),
    /// On the command line.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A path that prints itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown(pub PathBuf);

impl From<&Path> for Shown {
    fn from(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

fn hint(file: &Shown) -> &'static str {
    if file.0.exists() { "" } else { "; `mainstem init` makes a data directory with one" }
}

fn suggest(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
