//! `cargo xtask monitoring`: the alert rules and the dashboard against a real Prometheus and real nodes.

mod troubles;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::step::Unavailable;
use crate::{browser, workspace};
use troubles::Filling;

pub(crate) const LONG: &str = "\
Try alert rules and dashboard (bins/mainstem/monitoring) against a real Prometheus and real nodes.

promtool checks the rules and runs alerts.test.yml; then nodes are brought into trouble, and each alert has to fire within \
two minutes (with the times in the rules shortened), and every expression of the rules and of the dashboard has to find \
data. Every alert has its section in docs/runbook.md.

Takes Prometheus where it is installed, else the package of Debian, unpacked into target/tools, which installs nothing (as \
root, apt-get may have to fetch its lists first). Where neither can be had, the step is left out with the reason; where \
CI=true is set, a download that fails is a failure.";

/// Where the rules and the dashboard are.
const FOLDER: &str = "bins/mainstem/monitoring";

/// The alerts, each of which is provoked in a real node.
const LIVE: [&str; 23] = [
    "MainstemDown",
    "MainstemRestarted",
    "MainstemNotReady",
    "MainstemNoProgress",
    "MainstemLogDamaged",
    "MainstemDiskLow",
    "MainstemDiskFillsSoon",
    "MainstemNoSessions",
    "MainstemChainDisconnected",
    "MainstemChainPaused",
    "MainstemChainQuarantined",
    "MainstemChainRefused",
    "MainstemChainStalled",
    "MainstemLaneFull",
    "MainstemWaitingForSeal",
    "MainstemHighLatency",
    "MainstemStageSaturated",
    "MainstemStageStalls",
    "MainstemUnknownKeys",
    "MainstemConnectionsRefused",
    "MainstemApiErrors",
    "MainstemApiStreamsFull",
    "MainstemFilesNearLimit",
];

/// How long all of them may take to fire, and whatever else is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why it cannot be done here, if so.
pub(crate) fn missing() -> Option<&'static str> {
    let there = installed().is_some() || workspace::require("apt-get", "").is_ok();
    (!there).then_some("Prometheus is not installed and there is no apt-get (apt-get install prometheus)")
}

/// The step of `cargo xtask test`: runs after the one that builds the programs.
pub(crate) fn step() -> Result<()> {
    let tools = match installed() {
        Some(tools) => tools,
        None => fetch()?,
    };
    let folder = workspace::root().join(FOLDER);
    let rules = fs::read_to_string(folder.join("alerts.yml")).context("alerts.yml cannot be read")?;
    let alerts = alerts(&rules)?;
    every_alert_is_tried(&alerts)?;
    for args in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let status = workspace::program(&tools.join("promtool"), &folder).args(args).status()?;
        ensure!(status.success(), "promtool {} failed", args.join(" "));
    }
    let dashboard = fs::read_to_string(folder.join("grafana.json")).context("grafana.json cannot be read")?;
    let world = World::start(&tools, &rules)?;
    world.all_fire()?;
    world.all_find_data(alerts.values().map(|expr| left_side(expr)).chain(panels(&dashboard)))
}

/// Where prometheus and promtool are, if they are installed.
fn installed() -> Option<PathBuf> {
    let unpacked = workspace::target("tools").join("prometheus/usr/bin");
    let folders = [PathBuf::from("/usr/bin"), PathBuf::from("/usr/local/bin"), unpacked];
    folders
        .into_iter()
        .find(|folder| ["prometheus", "promtool"].iter().all(|tool| folder.join(tool).is_file()))
}

/// Unpacks the package of Debian, which needs no rights.
fn fetch() -> Result<PathBuf> {
    let folder = workspace::target("tools");
    fs::create_dir_all(&folder)?;
    let download = || browser::apt_get(&["download", "prometheus"], &folder);
    if let Err(error) = download() {
        // The lists of packages are missing or too old; only root may fetch them.
        if !browser::is_root() {
            return Err(Unavailable(format!("{error}; `apt-get update` may help")).into());
        }
        browser::apt_get(&["update", "--quiet"], &folder)?;
        download()?;
    }
    let packages = fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
    let package = packages
        .filter(|path| path.extension().is_some_and(|end| end == "deb"))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("prometheus_")))
        .context("apt-get downloaded no package")?;
    let status =
        workspace::program("dpkg".as_ref(), &folder).arg("-x").arg(package).arg("prometheus").status()?;
    ensure!(status.success(), "dpkg -x failed");
    installed().context("the package has no prometheus and promtool")
}

/// The expression of each alert.
fn alerts(rules: &str) -> Result<BTreeMap<&str, &str>> {
    let (mut alerts, mut name) = (BTreeMap::new(), None);
    for line in rules.lines().map(str::trim) {
        if let Some(alert) = line.strip_prefix("- alert: ") {
            name = Some(alert);
        } else if let Some(expr) = line.strip_prefix("expr: ") {
            alerts.insert(name.take().context("an expression without an alert")?, expr);
        }
    }
    ensure!(!alerts.is_empty(), "there are no alerts");
    Ok(alerts)
}

fn every_alert_is_tried(alerts: &BTreeMap<&str, &str>) -> Result<()> {
    let runbook = workspace::root().join("docs/runbook.md");
    let runbook = fs::read_to_string(&runbook).context("docs/runbook.md cannot be read")?;
    let sections: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    for name in alerts.keys() {
        ensure!(LIVE.contains(name), "{name} is tried in no node");
        ensure!(sections.contains(name), "{name} has no section in docs/runbook.md");
    }
    for name in LIVE.iter().chain(&sections) {
        ensure!(alerts.contains_key(name), "{name} is no alert of alerts.yml");
    }
    Ok(())
}

/// What an alert compares.
fn left_side(expr: &str) -> String {
    // The `and` of an alert joins two comparisons; the first one is asked.
    let expr = expr.split(" and ").next().unwrap_or(expr);
    let end = [" == ", " > ", " < ", " >= "].iter().filter_map(|sign| expr.rfind(sign)).max();
    shortened(&expr[..end.unwrap_or(expr.len())])
}

/// The expressions of a dashboard, for all nodes.
fn panels(dashboard: &str) -> Vec<String> {
    let lines = dashboard.lines().filter_map(|line| line.trim().strip_prefix("\"expr\": \""));
    let texts = lines.map(|line| line.trim_end_matches(',').trim_end_matches('"').replace("\\\"", "\""));
    texts.map(|text| shortened(&text.replace("$instance", ".*"))).collect()
}

/// With ranges that a test of two minutes has data for.
fn shortened(text: &str) -> String {
    ["[1m]", "[5m]", "[10m]", "[15m]", "[6h]"]
        .iter()
        .fold(text.to_owned(), |text, range| text.replace(range, "[20s]"))
}

/// The chain that is of another key than all others.
const OTHERS: u32 = 8;

/// Nodes in trouble, and who watches them. All ends with it.
struct World {
    prometheus: String,
    /// The API of the node that cannot read all of its log.
    damaged: String,
    _running: Vec<Running>,
    _stream: TcpStream,
    _filling: Filling,
}

/// A process that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, and there is nothing left to do about any other error.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node and where it is.
struct Node {
    running: Running,
    api: String,
    ingest: String,
    key: String,
}

impl World {
    #[expect(
        clippy::many_single_char_names,
        reason = "the names of the nodes, as the rules of the test have them"
    )]
    fn start(tools: &Path, rules: &str) -> Result<Self> {
        let folder = workspace::target("monitoring");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let (key, stranger, other) =
            (folder.join("node.key"), folder.join("stranger.key"), folder.join("other.key"));
        let (public, _, others) = (new_key(&key)?, new_key(&stranger)?, new_key(&other)?);
        let data = |name: &str, chains: &[u32]| -> Result<PathBuf> {
            let mut genesis = "[main]\nid = \"AELF\"\nname = \"test\"\n".to_owned();
            for id in chains {
                let owner = if *id == OTHERS { &others } else { &public };
                let chain = format!("[[chain]]\nid = {id}\nname = \"chain {id}\"\nnodes = [\"{owner}\"]\n");
                genesis.push_str(&chain);
            }
            let (document, data) = (folder.join(format!("{name}.toml")), folder.join(name));
            fs::write(&document, genesis)?;
            run(program("mainstem")?.arg("init").arg("--data").arg(&data).arg("--genesis").arg(&document))?;
            Ok(data)
        };

        // Slow to store, with a tiny lane, little disk and one stream; a chain without a node, one that is paused, one
        // whose tributary freezes, and one that is sent by who may not.
        let (busy, alone) = (data("busy", &[1, 2, 3, 4, OTHERS])?, data("alone", &[5])?);
        let slow = ["--storage.sync-interval-ms", "3000", "--cache.lane-blocks", "64"];
        let strict = ["--health.min-free", "1048576GiB", "--api.max-streams", "1"];
        let watch = ["--watch.stalled-ms", "1000", "--watch.silent-ms", "2000", "--watch.full-ms", "1000"];
        let a = Node::start(&busy, &[&slow[..], &strict, &watch].concat())?;
        let mut running = Vec::new();
        let refused = format!("3,{OTHERS}");
        for (chains, key, rate) in
            [("1", &key, "0"), ("2", &stranger, "1"), (&refused, &key, "5"), ("4", &key, "5")]
        {
            running.push(troubles::sim(&a, chains, rate, key)?);
        }
        run(program("mainstem")?.args(["chains", "pause", "3", "--data"]).arg(&busy))?;
        let mut stream = TcpStream::connect(&a.api)?;
        write!(stream, "GET /v1/events?topics=heads HTTP/1.1\r\nHost: {}\r\n\r\n", a.api)?;

        let c = Node::start(&data("stops", &[6])?, &["--run.drain-ms", "600000"])?;
        let b = Node::start(&alone, &[])?;
        let (gone, empty) = (b.api.clone(), data("empty", &[7])?);
        // It comes back to the same address, which nobody must take meanwhile.
        let d = on_a_port(|port| Node::start(&empty, &["--api.addr", &format!("127.0.0.1:{port}")]))?;
        let (e, sender) = troubles::undriven(&data("undriven", &[9, 11])?, ["9", "11"], &key)?;
        let f = troubles::damaged(&data("damaged", &[10])?, "10", &key)?;
        let (g, slow_sender) = troubles::on_a_slow_disk(&folder, &data("slow", &[12])?, "12", &key)?;

        let short = shortened(rules);
        let short: Vec<_> = short
            .lines()
            .map(|line| if line.trim().starts_with("for: ") { "        for: 0s" } else { line })
            .collect();
        fs::write(folder.join("alerts.yml"), short.join("\n"))?;
        let nodes: Vec<_> =
            [&a, &b, &c, &d, &e, &f, &g].iter().map(|node| format!("\"{}\"", node.api)).collect();
        let config = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [alerts.yml]\nscrape_configs:\n\
             - job_name: mainstem\n  static_configs:\n  - targets: [{}]\n",
            nodes.join(", ")
        );
        fs::write(folder.join("prometheus.yml"), config)?;
        let (server, prometheus) = on_a_port(|port| start_prometheus(tools, &folder, port))?;
        let [_, _, _, frozen] = &running[..] else { bail!("four tributaries run") };

        // Seen well first, then gone for good, started anew, asked to stop, frozen, crowded or short of something.
        let well = format!(
            "count(up{{job=\"mainstem\"}} == 1) == {} and min(count_over_time(up{{job=\"mainstem\"}}[1m])) >= 3",
            nodes.len()
        );
        until("all nodes are up", || finds(&prometheus, &well))?;
        for (node, chain) in [(&a, 4), (&e, 9)] {
            until(&format!("chain {chain} has sent blocks"), || {
                let chain = get(&node.api, &format!("/v1/chains/{chain}"))?;
                Ok(chain.contains("\"received\":") && !chain.contains("\"received\":0,"))
            })?;
        }
        drop(b);
        signal(&c.running, "TERM")?;
        signal(frozen, "STOP")?;
        let api = d.api.clone();
        drop(d);
        // From now on it makes blocks durable now and then, which it takes for trouble.
        let late = ["--health.max-head-age-ms", "500", "--watch.late-ms", "1000"];
        let rare = ["--storage.sync-interval-ms", "5000", "--api.addr", &api];
        let d = Node::start(&empty, &[rare, late].concat())?;
        running.push(troubles::sim(&d, "7", "50", &key)?);
        running.extend(troubles::crowd(&e, "9", &key)?);
        troubles::short_of_files(&c)?;
        println!(
            "     nodes at {}, {gone} (gone), {}, {}, {}, {} and {}",
            a.api, c.api, d.api, e.api, f.api, g.api
        );
        let damaged = f.api.clone();
        running.extend([a, c, d, e, f, g].map(|node| node.running));
        running.extend([sender, slow_sender, server]);
        let filling = Filling::start(&folder)?;
        Ok(Self { prometheus, damaged, _running: running, _stream: stream, _filling: filling })
    }

    /// Waits until all alerts of [`LIVE`] have fired, each at any time.
    fn all_fire(&self) -> Result<()> {
        ensure!(
            !finds(&self.prometheus, "ALERTS{alertname=\"NoSuchAlert\"}")?,
            "an alert fires that there is not"
        );
        let begun = Instant::now();
        let mut waiting: BTreeSet<_> = LIVE.into_iter().collect();
        while !waiting.is_empty() {
            if begun.elapsed() > PATIENCE {
                bail!("these alerts did not fire in {} s: {waiting:?}", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_secs(1));
            let answer = get(&self.damaged, "/v1/blocks/1")?;
            ensure!(answer.contains(" 500 "), "a block that is damaged was asked for: {answer}");
            waiting.retain(|name| {
                let query = format!("ALERTS{{alertname=\"{name}\", alertstate=\"firing\"}}");
                !finds(&self.prometheus, &query).unwrap_or(false)
            });
        }
        println!("     {} alerts fired in {:.0} s", LIVE.len(), begun.elapsed().as_secs_f64());
        Ok(())
    }

    fn all_find_data(&self, expressions: impl Iterator<Item = String>) -> Result<()> {
        let mut count = 0;
        for expression in expressions {
            // What has just begun to be counted has a rate only at its second time.
            until(&format!("this finds data: {expression}"), || finds(&self.prometheus, &expression))?;
            count += 1;
        }
        println!("     {count} expressions of rules and dashboard find data");
        Ok(())
    }
}

/// Whether a Prometheus finds data for a query.
fn finds(prometheus: &str, query: &str) -> Result<bool> {
    let mut path = "/api/v1/query?query=".to_owned();
    for byte in query.bytes() {
        path.push('%');
        let digit = |half: u8| char::from(b"0123456789ABCDEF"[usize::from(half)]);
        path.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    let answer = get(prometheus, &path)?;
    ensure!(answer.contains("\"status\":\"success\""), "{query}: {answer}");
    Ok(!answer.contains("\"result\":[]"))
}

/// Waits for what may take a while on a busy machine.
fn until(what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    loop {
        match holds() {
            Ok(true) => return Ok(()),
            other if begun.elapsed() > PATIENCE => {
                other?;
                bail!("waited {} s in vain until {what}", PATIENCE.as_secs());
            }
            _ => thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Starts what has to know its port beforehand. Ports below those that the system gives to whoever asks for any: a run beside
/// this one, which begins elsewhere, is the only one that may take it first, and then the next one is tried.
fn on_a_port<T>(start: impl Fn(u16) -> Result<T>) -> Result<T> {
    const TRIES: u16 = 5;
    let first = 20_000 + (std::process::id() % 1_000) as u16 * 10;
    let mut failure = None;
    let free = (first..first + 1_000).filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    for port in free.take(TRIES.into()) {
        match start(port) {
            Ok(started) => return Ok(started),
            Err(error) => failure = Some(error.context(format!("port {port}"))),
        }
    }
    Err(failure.context("no port is free")?)
}

/// A Prometheus that answers, and its address.
fn start_prometheus(tools: &Path, folder: &Path, port: u16) -> Result<(Running, String)> {
    let address = format!("127.0.0.1:{port}");
    let mut server = workspace::leashed(&tools.join("prometheus"), folder);
    server.args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--log.level=warn"]);
    server.arg(format!("--web.listen-address={address}"));
    let mut running = Running(server.spawn().context("prometheus does not start")?);
    let begun = Instant::now();
    while !get(&address, "/-/ready").is_ok_and(|answer| answer.contains(" 200 ")) {
        if let Some(status) = running.0.try_wait()? {
            bail!("prometheus ended with {status}");
        }
        ensure!(begun.elapsed() < PATIENCE, "prometheus does not answer at {address}");
        thread::sleep(Duration::from_millis(100));
    }
    Ok((running, address))
}

impl Node {
    fn start(data: &Path, more: &[&str]) -> Result<Self> {
        Self::start_with(data, more, |command| command)
    }

    fn start_with(
        data: &Path,
        more: &[&str],
        set: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<Self> {
        let mut command = leashed("mainstem")?;
        set(&mut command);
        command.arg("run").arg("--data").arg(data).args(["--ingest.addr", "127.0.0.1:0"]);
        if !more.contains(&"--api.addr") {
            command.args(["--api.addr", "127.0.0.1:0"]);
        }
        let log = fs::File::create(data.join("stderr.log"))?;
        let mut child = command.args(more).stdout(Stdio::piped()).stderr(log).spawn()?;
        let output = child.stdout.take().context("standard output is piped")?;
        let running = Running(child);
        let (sender, lines) = mpsc::channel();
        // Reads to the end, so that the node never waits for it.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Nobody listens once the node is up.
                let _ = sender.send(line);
            }
        });
        let after = |label: &str| -> Result<String> {
            loop {
                let line = lines.recv_timeout(Duration::from_secs(60));
                let line = line
                    .with_context(|| format!("mainstem did not print {label:?}; see {}", data.display()))?;
                if let Some(rest) = line.strip_prefix(label) {
                    return Ok(rest.trim().to_owned());
                }
            }
        };
        let (ingest, api, key) = (after("ingest      quic ")?, after("api ")?, after("public key ")?);
        let api = api.trim_start_matches("http://").to_owned();
        Ok(Self { running, api, ingest, key })
    }
}

/// One of our programs, as it was built last.
fn program(name: &str) -> Result<Command> {
    Ok(workspace::program(&built(name)?, &workspace::root()))
}

/// The same, to be left running.
fn leashed(name: &str) -> Result<Command> {
    Ok(workspace::leashed(&built(name)?, &workspace::root()))
}

fn built(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("where this program is")?;
    let path = own.with_file_name(name);
    ensure!(path.is_file(), "{} is missing: cargo build -p {name}", path.display());
    Ok(path)
}

fn new_key(file: &Path) -> Result<String> {
    run(program("mainstem")?.args(["keys", "new"]).arg(file)).map(|public| public.trim().to_owned())
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {error}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn signal(running: &Running, name: &str) -> Result<()> {
    run(Command::new("kill").arg(format!("-{name}")).arg(running.0.id().to_string())).map(drop)
}

fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(16 << 20).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_found_in_rules_and_dashboards() {
        let rules = "rules:\n  - alert: Down\n    expr: up{job=\"x\"} == 0\n    for: 1m\n";
        assert_eq!(alerts(rules).unwrap(), BTreeMap::from([("Down", "up{job=\"x\"} == 0")]));
        let dashboard = "{\n \"expr\": \"rate(a{i=~\\\"$instance\\\"}[5m])\",\n \"x\": 1\n}";
        assert_eq!(panels(dashboard), ["rate(a{i=~\".*\"}[20s])"]);
    }

    #[test]
    fn a_port_that_is_taken_is_not_the_one() {
        let listen = |port| Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?);
        let (first, second) = (on_a_port(listen).unwrap(), on_a_port(listen).unwrap());
        assert_ne!(first.local_addr().unwrap(), second.local_addr().unwrap());
        // One that was taken after it was found free.
        let refuses_once = std::cell::Cell::new(true);
        assert!(on_a_port(|_| if refuses_once.take() { bail!("taken") } else { Ok(()) }).is_ok());
        let error = on_a_port(|_| -> Result<()> { bail!("no disk") }).unwrap_err();
        assert!(format!("{error:#}").contains("no disk"), "{error:#}");
    }

    #[test]
    fn what_an_alert_compares_is_what_stands_before_the_last_sign() {
        assert_eq!(left_side("rate(a{b=~\"c\"}[5m]) / d > 0.9"), "rate(a{b=~\"c\"}[20s]) / d");
        assert_eq!(left_side("a == 0 and b > 0"), "a");
        assert_eq!(left_side("a / b >= 0.9"), "a / b");
    }
}
