//! What all measurements print: commit, command, medians and spreads, as a markdown table and as JSON.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

/// Where results go beside the table on standard output.
#[derive(Args, Clone, Debug)]
pub(crate) struct Output {
    /// Write the results to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Rows of figures under a heading, and the same as data.
#[derive(Debug)]
pub(crate) struct Table {
    text: String,
    data: Vec<serde_json::Value>,
}

impl Table {
    pub(crate) fn new(columns: &[&str]) -> Self {
        let mut table = Self { text: String::new(), data: Vec::new() };
        table.line(columns.iter().map(ToString::to_string));
        table.text.push_str(&"|---".repeat(columns.len()));
        table.text.push_str("|\n");
        table
    }

    /// Adds a row: the cells for people, `data` for programs.
    pub(crate) fn row(
        &mut self,
        cells: impl IntoIterator<Item = String>,
        data: &impl Serialize,
    ) -> Result<()> {
        self.line(cells);
        self.data.push(serde_json::to_value(data)?);
        Ok(())
    }

    /// Prints it, with the commit and the command above it.
    pub(crate) fn finish(self, output: &Output, method: &str) -> Result<()> {
        let (commit, command) = (commit()?, command());
        println!("commit {commit}, `{command}`; {method}\n\n{}", self.text);
        if let Some(path) = &output.json {
            let all = serde_json::json!({ "commit": commit, "command": command, "method": method, "rows": self.data });
            fs::write(path, serde_json::to_vec_pretty(&all)?)
                .with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(())
    }

    fn line(&mut self, cells: impl IntoIterator<Item = String>) {
        for cell in cells {
            self.text.push_str("| ");
            self.text.push_str(&cell);
            self.text.push(' ');
        }
        self.text.push_str("|\n");
    }
}

/// In the place of a figure.
pub(crate) const NOT_MEASURED: &str = "not measured";

/// Figures of several runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// NaN throughout when there is none, which is shown as "not measured".
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        // Of an even number the mean of the two in the middle.
        Self { median: f64::midpoint(at(last / 2), at(values.len() / 2)), low: at(0), high: at(last) }
    }

    /// Nothing when there is none.
    pub(crate) fn of_any(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values = values.into_iter().peekable();
        values.peek()?;
        Some(Self::of(values))
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let Self { median, low, high } = *self;
        if median.is_nan() {
            return f.write_str(NOT_MEASURED);
        }
        if low.to_bits() == high.to_bits() {
            return write!(f, "{median:.digits$}");
        }
        write!(f, "{median:.digits$} ({low:.digits$} to {high:.digits$})")
    }
}

/// Tells on standard error what is being done: a bar on a terminal, lines elsewhere.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        let style = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {elapsed} {msg}");
        bar.set_style(style.expect("the template is well-formed"));
        Self(bar)
    }

    /// What is done now; of interest only to who watches.
    pub(crate) fn say(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }

    /// A line that stays.
    pub(crate) fn note(&self, what: &str) {
        if self.0.is_hidden() {
            eprintln!("{what}");
        } else {
            self.0.println(what);
        }
    }

    pub(crate) fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The root of the workspace.
pub(crate) fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("this package is in the workspace")
}

/// Builds a program of the workspace like this one was, and says where it is.
pub(crate) fn build(program: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Into the target directory that this program is in: what is built there already is used.
    let own = std::env::current_exe().context("the path of this program is not known")?;
    let target = own.parent().and_then(Path::parent).context("this program is in a target directory")?;
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        // `cargo run` set these for us. ring is built again when they change, and all that stands on it.
        if name
            .to_str()
            .is_some_and(|name| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| name.starts_with(of)))
        {
            command.env_remove(name);
        }
    }
    let built = command
        .current_dir(root()?)
        .args(["build", "--release", "--bin", program, "--message-format=json-render-diagnostics"])
        .arg("--target-dir")
        .arg(target)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    if !built.status.success() {
        bail!("{program} cannot be built: see above");
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    let executable = messages.lines().find_map(|line| {
        let message: Artifact = serde_json::from_str(line).ok()?;
        message.executable.filter(|_| message.target.name == program)
    });
    executable.with_context(|| format!("cargo does not say where it has put {program}"))
}

/// What cargo says of something that it has built, or found built.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The commit that is measured.
pub(crate) fn commit() -> Result<String> {
    let git = |args: &[&str]| -> Result<String> {
        let output =
            Command::new("git").current_dir(root()?).args(args).output().context("git cannot be started")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Ok(git(&["rev-parse", "--short", "HEAD"])? + if changed { WITH_CHANGES } else { "" })
}

/// Behind a commit: what was measured is not that alone.
pub(crate) const WITH_CHANGES: &str = " with changes";

fn command() -> String {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    format!("cargo run --release -p mainstem-perf -- {}", arguments.join(" ")).trim_end().to_owned()
}
