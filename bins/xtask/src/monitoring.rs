//! `cargo xtask monitoring`: the alert rules and the dashboard against a real Prometheus and real nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace;

pub(crate) const LONG: &str = "\
Try alert rules and dashboard (bins/mainstem/monitoring) against a real Prometheus and real nodes.

promtool checks the rules and runs alerts.test.yml; then nodes are brought into trouble, and each alert that is not \
tested there has to fire within two minutes (with the times in the rules shortened), and every expression of the rules and of the \
dashboard has to find data. Every alert is tried in one way or the other, and has its section in docs/runbook.md.

Takes Prometheus where it is installed, else the package of Debian, unpacked into target/tools; where neither can be had \
the step is left out.";

/// Where the rules and the dashboard are.
const FOLDER: &str = "bins/mainstem/monitoring";

/// The alerts that are provoked in real nodes; the others are in `alerts.test.yml`.
const LIVE: [&str; 12] = [
    "MainstemDown",
    "MainstemRestarted",
    "MainstemNotReady",
    "MainstemDiskLow",
    "MainstemNoSessions",
    "MainstemChainDisconnected",
    "MainstemChainPaused",
    "MainstemChainStalled",
    "MainstemLaneFull",
    "MainstemHighLatency",
    "MainstemUnknownKeys",
    "MainstemApiStreamsFull",
];

/// How long all of them may take to fire.
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
    every_alert_is_tried(&alerts, &folder)?;
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
    let status = workspace::program("apt-get".as_ref(), &folder).args(["download", "prometheus"]).status()?;
    ensure!(status.success(), "apt-get download prometheus failed; `apt-get update` may help");
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

fn every_alert_is_tried(alerts: &BTreeMap<&str, &str>, folder: &Path) -> Result<()> {
    let tests =
        fs::read_to_string(folder.join("alerts.test.yml")).context("alerts.test.yml cannot be read")?;
    let runbook = workspace::root().join("docs/runbook.md");
    let runbook = fs::read_to_string(&runbook).context("docs/runbook.md cannot be read")?;
    let sections: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    for name in alerts.keys() {
        let tried = LIVE.contains(name) || tests.contains(&format!("alertname=\"{name}\""));
        ensure!(tried, "{name} is tried neither in a node nor in alerts.test.yml");
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

/// Nodes in trouble, and who watches them. All ends with it.
struct World {
    prometheus: String,
    _running: Vec<Running>,
    _stream: TcpStream,
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
    fn start(tools: &Path, rules: &str) -> Result<Self> {
        let folder = workspace::target("monitoring");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let (key, stranger) = (folder.join("node.key"), folder.join("stranger.key"));
        let (public, _) = (new_key(&key)?, new_key(&stranger)?);
        let data = |name: &str, chains: &[u32]| -> Result<PathBuf> {
            let mut genesis = "[main]\nid = \"AELF\"\nname = \"test\"\n".to_owned();
            for id in chains {
                genesis += &format!("[[chain]]\nid = {id}\nname = \"chain {id}\"\nnodes = [\"{public}\"]\n");
            }
            let (document, data) = (folder.join(format!("{name}.toml")), folder.join(name));
            fs::write(&document, genesis)?;
            run(program("mainstem")?.arg("init").arg("--data").arg(&data).arg("--genesis").arg(&document))?;
            Ok(data)
        };

        // Slow to store, with a tiny lane, little disk and one stream; a chain without a node, one that is paused, and one
        // whose tributary freezes.
        let (busy, alone) = (data("busy", &[1, 2, 3, 4])?, data("alone", &[5])?);
        let slow = ["--storage.sync-interval-ms", "3000", "--cache.lane-blocks", "64"];
        let strict = ["--health.min-free", "1048576GiB", "--api.max-streams", "1"];
        let watch = ["--watch.stalled-ms", "1000", "--watch.silent-ms", "2000", "--watch.full-ms", "1000"];
        let a = Node::start(&busy, &[&slow[..], &strict, &watch].concat())?;
        let mut running = Vec::new();
        for (chains, key, rate) in
            [("1", &key, "0"), ("2", &stranger, "1"), ("3", &key, "5"), ("4", &key, "5")]
        {
            let mut tributary = program("tributary")?;
            tributary.args([
                "sim",
                "--main",
                &a.ingest,
                "--main-key",
                &a.key,
                "--chain",
                chains,
                "--keep-trying",
            ]);
            tributary.args(["--rate", rate, "--key"]).arg(key).stdout(Stdio::null()).stderr(Stdio::null());
            running.push(Running(tributary.spawn().context("tributary does not start")?));
        }
        run(program("mainstem")?.args(["chains", "pause", "3", "--data"]).arg(&busy))?;
        let mut stream = TcpStream::connect(&a.api)?;
        write!(stream, "GET /v1/events?topics=heads HTTP/1.1\r\nHost: x\r\n\r\n")?;

        let c = Node::start(&data("stops", &[6])?, &["--run.drain-ms", "600000"])?;
        let b = Node::start(&alone, &[])?;
        let (gone, empty) = (b.api.clone(), data("empty", &[7])?);
        let d = Node::start(&empty, &[])?;

        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let prometheus = format!("127.0.0.1:{port}");
        let short = shortened(rules);
        let short: Vec<_> = short
            .lines()
            .map(|line| if line.trim().starts_with("for: ") { "        for: 0s" } else { line })
            .collect();
        fs::write(folder.join("alerts.yml"), short.join("\n"))?;
        let nodes: Vec<_> = [&a, &b, &c, &d].iter().map(|node| format!("\"{}\"", node.api)).collect();
        let config = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [alerts.yml]\nscrape_configs:\n\
             - job_name: mainstem\n  static_configs:\n  - targets: [{}]\n",
            nodes.join(", ")
        );
        fs::write(folder.join("prometheus.yml"), config)?;
        let mut server = workspace::program(&tools.join("prometheus"), &folder);
        server.args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--log.level=warn"]);
        server.arg(format!("--web.listen-address={prometheus}"));
        running.push(Running(server.spawn().context("prometheus does not start")?));

        // Seen well first, then gone for good, started anew, asked to stop, or frozen.
        thread::sleep(Duration::from_secs(8));
        drop(b);
        signal(&c.running, "TERM")?;
        signal(&running[3], "STOP")?;
        let api = d.api.clone();
        drop(d);
        let d = Node::start(&empty, &["--api.addr", &api])?;
        println!("     nodes at {}, {gone} (gone), {} and {}", a.api, c.api, d.api);
        running.extend([a.running, c.running, d.running]);
        Ok(Self { prometheus, _running: running, _stream: stream })
    }

    /// Waits until all alerts of [`LIVE`] have fired, each at any time.
    fn all_fire(&self) -> Result<()> {
        ensure!(!self.finds("ALERTS{alertname=\"NoSuchAlert\"}")?, "an alert fires that there is not");
        let begun = Instant::now();
        let mut waiting: BTreeSet<_> = LIVE.into_iter().collect();
        while !waiting.is_empty() {
            if begun.elapsed() > PATIENCE {
                bail!("these alerts did not fire in {} s: {waiting:?}", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_secs(1));
            waiting.retain(|name| {
                let query = format!("ALERTS{{alertname=\"{name}\", alertstate=\"firing\"}}");
                !self.finds(&query).unwrap_or(false)
            });
        }
        println!("     {} alerts fired in {:.0} s", LIVE.len(), begun.elapsed().as_secs_f64());
        Ok(())
    }

    fn all_find_data(&self, expressions: impl Iterator<Item = String>) -> Result<()> {
        let mut count = 0;
        for expression in expressions {
            // What no node has had yet has no series: 5xx are not provoked.
            let expression = expression.replace("status=~\"5..\", ", "");
            ensure!(self.finds(&expression)?, "this finds no data: {expression}");
            count += 1;
        }
        println!("     {count} expressions of rules and dashboard find data");
        Ok(())
    }

    fn finds(&self, query: &str) -> Result<bool> {
        let mut path = "/api/v1/query?query=".to_owned();
        for byte in query.bytes() {
            if byte.is_ascii_alphanumeric() {
                path.push(byte.into())
            } else {
                path += &format!("%{byte:02X}")
            }
        }
        let answer = get(&self.prometheus, &path)?;
        ensure!(answer.contains("\"status\":\"success\""), "{query}: {answer}");
        Ok(!answer.contains("\"result\":[]"))
    }
}

impl Node {
    fn start(data: &Path, more: &[&str]) -> Result<Self> {
        let mut command = program("mainstem")?;
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
    let own = std::env::current_exe().context("where this program is")?;
    let path = own.with_file_name(name);
    ensure!(path.is_file(), "{} is missing: cargo build -p {name}", path.display());
    Ok(workspace::program(&path, &workspace::root()))
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
    fn what_an_alert_compares_is_what_stands_before_the_last_sign() {
        assert_eq!(left_side("rate(a{b=~\"c\"}[5m]) / d > 0.9"), "rate(a{b=~\"c\"}[20s]) / d");
        assert_eq!(left_side("a == 0 and b > 0"), "a");
        assert_eq!(left_side("a / b >= 0.9"), "a / b");
    }
}
