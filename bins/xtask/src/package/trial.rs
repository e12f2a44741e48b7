//! What is done with the package on the machine of the trial, by root, as an administrator would.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Runs the whole trial, and leaves its result in `/out/result`.
pub(crate) fn trial() -> Result<()> {
    let result = install().and_then(|()| start()).and_then(|()| upgrade()).and_then(|()| remove());
    let text = match &result {
        Ok(()) => "ok".to_owned(),
        Err(error) => format!("{error:#}\n{}", services()),
    };
    fs::write("/out/result", text).context("/out/result cannot be written")?;
    result
}

fn install() -> Result<()> {
    let begun = Instant::now();
    run("dpkg", &["--force-unsafe-io", "--install", "/out/first.deb"])?;
    for file in [
        "/usr/bin/mainstem",
        "/usr/bin/tributary",
        "/usr/share/man/man1/mainstem.1.gz",
        "/usr/share/man/man1/tributary-evm.1.gz",
        "/usr/share/bash-completion/completions/mainstem",
        "/usr/share/doc/mainstem/copyright",
        "/etc/mainstem/mainstem.toml",
    ] {
        ensure!(Path::new(file).exists(), "the package brought no {file}");
    }
    for (path, mode, owner) in
        [("/var/lib/mainstem", 0o750, "mainstem"), ("/var/lib/tributary", 0o750, "tributary")]
    {
        let at = fs::metadata(path).with_context(|| path.to_owned())?;
        ensure!(at.permissions().mode() & 0o777 == mode, "{path} has mode {:o}", at.permissions().mode());
        ensure!(at.uid().to_string() == said("id", &["-u", owner])?, "{path} is not {owner}'s");
    }
    // Nobody was asked yet who this main chain is.
    ensure!(state("mainstem.service") == "inactive", "installing started the service");
    run("systemctl", &["start", "mainstem.service"])?;
    ensure!(state("mainstem.service") == "inactive", "the service started without a genesis document");
    passed("installed: files, users, directories; nothing was started", begun);
    Ok(())
}

fn start() -> Result<()> {
    let begun = Instant::now();
    let data = "/var/lib/mainstem";
    as_user("mainstem", &["mainstem", "init", "--data", data, "--id", "AELF"])?;
    fs::remove_file("/var/lib/mainstem/mainstem.toml")?;
    as_user("tributary", &["mkdir", "-p", "/var/lib/tributary/trial"])?;
    let key = as_user("tributary", &["tributary", "keys", "new", "/var/lib/tributary/trial/node.key"])?;
    let mut genesis = fs::read_to_string("/var/lib/mainstem/genesis.toml")?;
    write!(genesis, "\n[[chain]]\nid = \"tDVV\"\nname = \"trial\"\nnodes = [\"{key}\"]\n")?;
    fs::write("/var/lib/mainstem/genesis.toml", genesis)?;
    // Small, as this machine is in memory.
    fs::write(
        "/etc/default/mainstem",
        "MAINSTEM_STORAGE_SEGMENT_BYTES=1MiB\nMAINSTEM_SEAL_MAX_LEAVES=2048\nMAINSTEM_THREADS_PIN=true\n",
    )?;
    run("systemctl", &["enable", "--now", "mainstem.service"])?;
    healthy()?;

    let main_key = said("mainstem", &["keys", "show", "/var/lib/mainstem/node.key"])?;
    let environment = format!(
        "TRIBUTARY_SOURCE=sim\nTRIBUTARY_CHAIN=tDVV\nTRIBUTARY_MAIN=localhost:9481\nTRIBUTARY_MAIN_KEY={main_key}\n\
         TRIBUTARY_KEEP=/var/lib/tributary/trial/main-chain\nTRIBUTARY_SERVE=127.0.0.1:9490\n"
    );
    fs::create_dir_all("/etc/tributary")?;
    fs::write("/etc/tributary/trial.env", environment)?;
    run("systemctl", &["start", "tributary@trial.service"])?;
    proven(1)?;
    for unit in ["mainstem.service", "tributary@trial.service"] {
        ensure!(state(unit) == "active", "{unit} is {}", state(unit));
        let restarts = said("systemctl", &["show", "--property=NRestarts", "--value", unit])?;
        ensure!(restarts == "0", "{unit} was started again {restarts} times");
    }
    passed("started under systemd, hardened: a side chain's block is indexed, and its proof verifies", begun);
    Ok(())
}

fn upgrade() -> Result<()> {
    let begun = Instant::now();
    let pid = || said("systemctl", &["show", "--property=MainPID", "--value", "mainstem.service"]);
    let (before, height) = (pid()?, indexed()?);
    let edited = fs::read_to_string("/etc/default/mainstem")?;
    // No question can be answered here: what the administrator changed has to stay without one.
    run("dpkg", &["--force-unsafe-io", "--install", "/out/second.deb"])?;
    ensure!(fs::read_to_string("/etc/default/mainstem")? == edited, "the upgrade undid a change in /etc");
    ensure!(pid()? != before, "the service runs the old program");
    healthy()?;
    proven(height + 1)?;
    proven(1)?;
    passed("upgraded: the services run the new program, and no proof was lost", begun);
    Ok(())
}

fn remove() -> Result<()> {
    let begun = Instant::now();
    run("dpkg", &["--remove", "mainstem"])?;
    for unit in ["mainstem.service", "tributary@trial.service"] {
        ensure!(!running(unit), "{unit} still runs: {}", state(unit));
    }
    ensure!(!Path::new("/usr/bin/mainstem").exists(), "/usr/bin/mainstem is still there");
    ensure!(Path::new("/etc/default/mainstem").exists(), "removing took the configuration away");
    let said = run("dpkg", &["--purge", "mainstem"])?;
    ensure!(!Path::new("/etc/mainstem/mainstem.toml").exists(), "purging left the configuration");
    for kept in ["/var/lib/mainstem/node.key", "/var/lib/mainstem/log", "/var/lib/tributary/trial/node.key"] {
        ensure!(Path::new(kept).exists(), "purging took {kept} away");
    }
    ensure!(said.contains("is kept"), "purging does not tell that data is kept: {said}");
    passed("removed and purged: services stopped, configuration gone, the log and the keys kept", begun);
    Ok(())
}

fn passed(what: &str, begun: Instant) {
    println!("     {what} ({:.1} s)", begun.elapsed().as_secs_f64());
}

/// What systemd knows of the services, to tell why the trial failed.
fn services() -> String {
    let units = ["mainstem.service", "tributary@trial.service"];
    let shown = "--property=Id,ActiveState,SubState,Result,ExecMainStatus,ExecStartPre,ExecStart,NRestarts";
    run("systemctl", &[&["show", shown][..], &units].concat()).unwrap_or_else(|error| error.to_string())
}

/// Waits until the node says that it is ready.
fn healthy() -> Result<()> {
    wait("the node to be ready", || run("mainstem", &["health"]).is_ok())
}

/// Waits until `height` of the side chain is indexed, and verifies its proof.
fn proven(height: u64) -> Result<()> {
    wait(&format!("height {height} to be indexed"), || proof(height).is_ok())?;
    fs::write("/tmp/proof.json", proof(height)?)?;
    let said = run("mainstem", &["verify", "/tmp/proof.json"])?;
    ensure!(said.contains(&format!("height {height} is indexed")), "the proof of {height} says {said}");
    Ok(())
}

/// How far the side chain is indexed: the highest height with a proof, looked for from 1 on in doubled steps.
fn indexed() -> Result<u64> {
    let doubled = std::iter::successors(Some(1_u64), |height| height.checked_mul(2));
    doubled.take_while(|height| proof(*height).is_ok()).last().context("height 1 has no proof")
}

fn proof(height: u64) -> Result<String> {
    run("mainstem", &["proof", "--chain", "tDVV", "--height", &height.to_string()])
}

fn wait(what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > Duration::from_secs(60) {
            bail!("waited a minute for {what}; mainstem.service is {}", state("mainstem.service"));
        }
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn state(unit: &str) -> String {
    let output = Command::new("systemctl").args(["is-active", unit]).output();
    output.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

fn running(unit: &str) -> bool {
    ["active", "activating", "deactivating", "reloading"].contains(&state(unit).as_str())
}

fn as_user(user: &str, command: &[&str]) -> Result<String> {
    let args = ["--reuid", user, "--regid", user, "--clear-groups", "--"];
    said("setpriv", &[&args[..], command].concat())
}

/// Runs a program that has to succeed; gives all that it prints.
fn run(program: &str, args: &[&str]) -> Result<String> {
    let Output { status, stdout, stderr } =
        Command::new(program).args(args).output().with_context(|| format!("{program} does not start"))?;
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    ensure!(status.success(), "{program} {} ended with {status}: {text}", args.join(" "));
    Ok(text)
}

/// Runs a program that has to succeed; gives its last line of standard output.
fn said(program: &str, args: &[&str]) -> Result<String> {
    let text = run(program, args)?;
    Ok(text.lines().last().unwrap_or_default().trim().to_owned())
}
