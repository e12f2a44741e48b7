//! `cargo xtask audit`: what we depend on, and whether that is known to be harmful.
//!
//! cargo-deny checks bans, licences and sources by `deny.toml`. cargo-audit holds Cargo.lock against a copy of the
//! RustSec advisory database. The copy is a plain folder (with `crates/` in it): without a fetch, cargo-audit opens
//! it as files, so it need not be a git repository, nor new, nor writable. Advisories that we accept stand, each
//! with its reason, in `.cargo/audit.toml`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::step::{self, Step, Work};
use crate::tool::Tool;
use crate::workspace;

pub(crate) const LONG: &str = "\
Check licences, bans and sources of all dependencies (cargo-deny, by deny.toml), and known vulnerabilities \
(cargo-audit, against a copy of the RustSec advisory database; nothing is fetched).

The two tools are built into target/tools the first time, which takes some ten minutes on two cores. That is why \
this is not part of `cargo xtask test`. The database is a folder with `crates/` in it; it need not be a git \
repository. Without one the advisories are left out, with a warning.";

const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
const AUDIT: Tool = Tool { name: "cargo-audit", version: "0.22.2" };

/// Where the advisory database lies beside a checkout.
const DEFAULT_DB: &str = "../shared/advisory-db";

pub(crate) fn audit(advisory_db: Option<&Path>) -> Result<ExitCode> {
    let db = advisory_db_folder(advisory_db)?;
    let mut steps = vec![
        DENY.step(|| DENY.install()),
        DENY.run(
            "deny",
            "bans, licences and sources by deny.toml",
            &["check", "bans", "licenses", "sources"],
        ),
    ];
    let about = "no known vulnerability or unsoundness in Cargo.lock";
    if let Some(db) = &db {
        steps.push(AUDIT.step(|| AUDIT.install()));
        // `--no-yanked`: that check needs an index of the registry that is as new as the question.
        let mut step = AUDIT.run("audit", about, &["audit", "--no-fetch", "--stale", "--no-yanked"]);
        if let Work::Program(command) = &mut step.work {
            command.args(["--deny", "unsound", "--db"]).arg(db);
        }
        steps.push(step);
    } else {
        steps.push(Step { name: "audit", about, work: Work::LeftOut("no advisory database"), hint: "" });
    }
    let code = step::run(steps);
    if db.is_none() {
        eprintln!(
            "WARNING: advisories were LEFT OUT: there is no {DEFAULT_DB}; give a folder by --advisory-db DIR"
        );
    }
    Ok(code)
}

/// The given folder, which must be a database, or the default one where it exists.
fn advisory_db_folder(given: Option<&Path>) -> Result<Option<PathBuf>> {
    let folder = match given {
        // As the user's shell resolves it: the tools run from the root, not from there.
        Some(folder) => std::path::absolute(folder).context("the current folder is gone")?,
        None => workspace::root().join(DEFAULT_DB),
    };
    if folder.join("crates").is_dir() {
        return Ok(Some(folder));
    }
    if given.is_some() {
        bail!("--advisory-db {}: has no folder `crates`, so it is no advisory database", folder.display());
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_folder_that_is_no_database_is_an_error() {
        let error = advisory_db_folder(Some(&workspace::root().join("docs"))).unwrap_err();
        assert!(error.to_string().contains("has no folder `crates`"));
    }
}
