//! Other projects' programs for the end-to-end tests. Real EVM nodes: anvil (Rust) and ganache (JavaScript), two
//! independent implementations. AElf's clients, unmodified: aelf-sdk and aelf-sdk-cross-chain.
//!
//! What they are made of, as found in the packages:
//! - `@foundry-rs/anvil-linux-amd64` holds one program, `bin/anvil` (ELF, needs glibc only). npm has the same for
//!   `linux-arm64`, `darwin-amd64` and `darwin-arm64`. The launcher package `@foundry-rs/anvil` is not used: all it
//!   does is choose among them, at run time, through node.
//! - `ganache` is JavaScript, `dist/node/cli.js`, with prebuilt native parts and fallbacks for them. Its command
//!   line refuses port 0 while its library takes it, hence the small launcher `peers/ganache.cjs`.
//!
//! - `aelf-sdk` and `aelf-sdk-cross-chain` are JavaScript, used as they are in `node_modules`.
//! - `puppeteer-core` drives a browser, which it does not bring; `axe-core` looks for what keeps people out of a page.
//! - `solc` is the Solidity compiler as JavaScript and WebAssembly; `engine/verify/solidity` is compiled by it.
//!
//! None needs its install scripts, so none is run. Versions and hashes of every package are pinned by
//! `peers/package-lock.json`, which on purpose tells no registry: npm uses the one it is configured for. Make a new
//! one with `npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts`, and take the
//! `funding` entries out, which are addresses too.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{probe, workspace};

pub(crate) const LONG: &str = "\
Install the real EVM nodes that the end-to-end tests index, and check that they answer; and AElf's clients, which ask \
a node of this project.

Installs anvil 1.7.1, ganache 7.9.2, the Solidity compiler solc 0.8.37, aelf-sdk 3.5.0, aelf-sdk-cross-chain 1.0.14, \
puppeteer-core 24.43.1 and axe-core 4.14.1 by npm into target/peers, unless they are there already, then starts each node on a free port of 127.0.0.1, asks it for \
eth_chainId and stops it.

What tests can rely on:

- MAINSTEM_PEERS is the folder; where it is not set, it is target/peers in the workspace.

- $MAINSTEM_PEERS/bin/anvil and bin/ganache are programs that take `--host 127.0.0.1 --port 0`, where 0 is any free \
port, then print a line `Listening on 127.0.0.1:PORT` on stdout, and run until they are killed. anvil takes its own \
further options (`--hardfork cancun --slots-in-an-epoch 1`), ganache its own as `--SECTION.OPTION VALUE` \
(`--chain.chainId 7 --miner.blockTime 1 --wallet.deterministic`).

- $MAINSTEM_PEERS/node_modules/aelf-sdk and aelf-sdk-cross-chain are the packages, to be required by node.

- MAINSTEM_WITHOUT_PEERS=1 (set by --without-peers and --fast): a test that needs a peer passes without running, and \
says so. Without it, a peer that is not there is a failure.";

/// Tells tests the folder that the peers are in.
pub(crate) const FOLDER_VAR: &str = "MAINSTEM_PEERS";
/// Tells tests that the peers are left out on purpose.
pub(crate) const WITHOUT_VAR: &str = "MAINSTEM_WITHOUT_PEERS";

const MANIFEST: &str = include_str!("../peers/package.json");
const LOCK: &str = include_str!("../peers/package-lock.json");
const GANACHE_LAUNCHER: &str = include_str!("../peers/ganache.cjs");

/// As in `peers/package.json`.
const ANVIL_VERSION: &str = "1.7.1";
/// AElf's clients, and what the tests of the dashboard need, as in `peers/package.json`.
const PACKAGES: [(&str, &str); 4] = [
    ("aelf-sdk", "3.5.0"),
    ("aelf-sdk-cross-chain", "1.0.14"),
    ("axe-core", "4.14.1"),
    ("puppeteer-core", "24.43.1"),
];
/// The platform whose anvil is in the lock file, with its hash.
const LOCKED_PLATFORM: &str = "linux-amd64";

/// How long a node may take to say its port; ganache takes seconds on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(90);

pub(crate) fn folder() -> PathBuf {
    workspace::target("peers")
}

/// Fails, saying what to install, where the nodes could not be installed.
pub(crate) fn require_tools() -> Result<()> {
    let remedy = "install Node.js 20 or newer with npm (your distribution or its site has it), or leave out the \
                  tests that need EVM nodes: --without-peers";
    let node = workspace::require("node", remedy)?;
    let npm = workspace::require("npm", remedy)?;
    println!("     node {node}, npm {npm}");
    Ok(())
}

/// Makes `target/peers` hold working nodes.
pub(crate) fn install() -> Result<()> {
    require_tools()?;
    let folder = folder();
    let platform = platform(std::env::consts::OS, std::env::consts::ARCH)?;
    let stamp = folder.join("installed");
    let wanted = format!("{platform}\n{MANIFEST}{LOCK}{GANACHE_LAUNCHER}");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        println!("     already installed in {}", folder.display());
    } else {
        println!("     installing into {}", folder.display());
        lay(&folder, &platform)?;
        write(&stamp, &wanted)?;
    }
    for (name, options) in [("anvil", &["--hardfork", "cancun"][..]), ("ganache", &[])] {
        let path = folder.join("bin").join(name);
        let chain_id = probe::chain_id(&path, options, START_TIMEOUT).with_context(|| {
            format!("{} does not work; to install it anew, remove {} first", path.display(), folder.display())
        })?;
        println!("     {}: answers, chain id {chain_id}", path.display());
    }
    for (name, version) in PACKAGES {
        let path = folder.join("node_modules").join(name).join("package.json");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if !text.contains(&format!("\"version\": \"{version}\"")) {
            bail!(
                "{} is not of version {version}; to install it anew, remove {} first",
                path.display(),
                folder.display()
            );
        }
        println!("     {name} {version}: there");
    }
    Ok(())
}

fn lay(folder: &Path, platform: &str) -> Result<()> {
    let bin = folder.join("bin");
    // The links go first, so that an interrupted run never leaves links to what it did not finish.
    if folder.exists() {
        let _ = fs::remove_file(folder.join("installed"));
        if bin.exists() {
            fs::remove_dir_all(&bin).with_context(|| format!("cannot remove {}", bin.display()))?;
        }
    }
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    write(&folder.join("package.json"), MANIFEST)?;
    write(&folder.join("package-lock.json"), LOCK)?;
    npm(folder, &["ci"])?;

    let package = format!("@foundry-rs/anvil-{platform}");
    if platform != LOCKED_PLATFORM {
        // The lock file has no hash for this platform, so here the version alone is pinned.
        npm(folder, &["install", "--no-save", "--no-package-lock", &format!("{package}@{ANVIL_VERSION}")])?;
    }
    let anvil = Path::new("../node_modules").join(package).join("bin/anvil");
    let path = bin.join("anvil");
    if !bin.join(&anvil).is_file() {
        bail!("npm installed no {}; does its registry have the package?", bin.join(&anvil).display());
    }
    symlink(&anvil, &path).with_context(|| format!("cannot link {}", path.display()))?;

    let path = bin.join("ganache");
    write(&path, GANACHE_LAUNCHER)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}

fn npm(folder: &Path, args: &[&str]) -> Result<()> {
    let mut command = workspace::program("npm".as_ref(), folder);
    command.args(args).args(["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]);
    let status = command.status().context("npm does not start")?;
    if !status.success() {
        bail!("`npm {}` in {} failed with {status}", args.join(" "), folder.display());
    }
    Ok(())
}

/// The platform as the names of anvil's packages spell it.
fn platform(os: &str, arch: &str) -> Result<String> {
    let system = match os {
        "linux" => "linux",
        "macos" => "darwin",
        _ => {
            bail!("anvil {ANVIL_VERSION} has no package for {os} that this project uses; use --without-peers")
        }
    };
    let machine = match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        _ => bail!("anvil {ANVIL_VERSION} has no package for {arch}; use --without-peers"),
    };
    Ok(format!("{system}-{machine}"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_spelled_as_the_packages_are() {
        assert_eq!(platform("linux", "x86_64").unwrap(), LOCKED_PLATFORM);
        assert_eq!(platform("macos", "aarch64").unwrap(), "darwin-arm64");
        assert!(platform("linux", "riscv64").is_err());
        assert!(platform("windows", "x86_64").is_err());
    }

    #[test]
    fn versions_are_pinned_alike_everywhere() {
        let anvil = format!("\"@foundry-rs/anvil-{LOCKED_PLATFORM}\": \"{ANVIL_VERSION}\"");
        assert!(MANIFEST.contains(&anvil) && LOCK.contains(&anvil), "{anvil}");
        assert!(LONG.contains(&format!("anvil {ANVIL_VERSION}")));
        assert!(MANIFEST.contains("\"ganache\": \"7.9.2\"") && LONG.contains("ganache 7.9.2"));
        for (name, version) in PACKAGES {
            let pinned = format!("\"{name}\": \"{version}\"");
            assert!(MANIFEST.contains(&pinned) && LOCK.contains(&pinned), "{pinned}");
            assert!(LONG.contains(&format!("{name} {version}")));
        }
        assert!(MANIFEST.contains("\"solc\": \"0.8.37\"") && LONG.contains("solc 0.8.37"));
    }

    #[test]
    fn lock_has_a_strong_hash_for_whatever_is_fetched_and_names_no_registry() {
        let packages: Vec<&str> = LOCK.split("\n    \"node_modules/").skip(1).collect();
        assert!(packages.len() > 2);
        for package in packages {
            // What is bundled comes inside another package, whose hash covers it.
            let hashed =
                package.contains("\"integrity\": \"sha512-") || package.contains("\"inBundle\": true");
            assert!(hashed, "{package}");
        }
        assert!(!LOCK.contains("://"));
    }
}
