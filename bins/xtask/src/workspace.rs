//! Where things are, and how other programs are called.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The root of the workspace: two folders above this package.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).expect("the package lies in bins/xtask").to_path_buf()
}

/// Where chores keep what they make: `target/NAME` in the workspace, wherever cargo's own artifacts go.
pub(crate) fn target(name: &str) -> PathBuf {
    root().join("target").join(name)
}

/// A call of the cargo that runs us, from the root of the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = program(cargo.as_ref(), &root());
    command.args(args);
    command
}

/// A call of `program` in `folder`, with nothing to read and without the variables that `cargo run` set for us.
///
/// Build scripts name some of those variables in `rerun-if-env-changed` (ring does), so leaving them in would
/// rebuild half of the tree at every change between `cargo test` and `cargo xtask`.
pub(crate) fn program(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// The same for a program that runs until we end it: it ends with us however we end, ctrl-c and SIGKILL included, and a
/// stopped one too.
pub(crate) fn leashed(path: &Path, folder: &Path) -> Command {
    if require("setpriv", "").is_err() {
        return program(path, folder);
    }
    // Becomes the program, so that its process id is the one we know. To be started by the main thread: it is that thread's end
    // that counts.
    let mut command = program("setpriv".as_ref(), folder);
    command.args(["--pdeathsig", "KILL", "--"]).arg(path);
    command
}

/// The version that `tool` tells, or an error that says what is missing and what to do.
pub(crate) fn require(tool: &str, remedy: &str) -> Result<String> {
    let output = program(tool.as_ref(), &root())
        .arg("--version")
        .output()
        .with_context(|| format!("{tool} does not start; {remedy}"))?;
    if !output.status.success() {
        bail!("`{tool} --version` failed with {}; {remedy}", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_the_folder_of_the_workspace_manifest() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }

    #[test]
    fn missing_tool_is_an_error_that_names_it_and_the_remedy() {
        let error = require("no-such-tool-here", "install it").unwrap_err();
        assert!(format!("{error:#}").contains("no-such-tool-here does not start; install it"));
    }
}
