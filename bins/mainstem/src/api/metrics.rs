//! `GET /metrics`: figures for machines, in the text format of OpenMetrics, which Prometheus reads.
//!
//! `docs/metrics.md` says what each of them is for; a test fails when one is missing there.
//!
//! # Capacity
//! Labels take values from lists that are fixed in the program, but for `chain`: at most `metrics.max_chains` chains have
//! lines of their own, those that are furthest behind, and the others have one together.

mod lines;
mod surface;

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use engine::chain::BlockView;
use engine::pipeline::{StageNow, Stats};
use engine::store::BlockReader;
use net::server::{ByCode, Counters};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use crate::proc;

use super::problem::Problem;
use super::routes::{Answer, Node, unreadable};
use super::{params, side_blocks};
use lines::Lines;
use surface::{Process, Surface};

/// What the format is called.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the format is called that Prometheus had before.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// For so long an answer is given again.
const KEPT: Duration = Duration::from_millis(200);

/// Upper bounds of the buckets of durations, in seconds: 100 us to 10 s.
pub(super) const BUCKETS: [f64; 15] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// `GET /metrics`
pub(super) async fn metrics<R: BlockReader>(
    State(node): State<Arc<Node<R>>>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    params::query(&uri, &[])?;
    let out = node.scraped.text(|| {
        let mut registry = Registry::with_prefix("mainstem");
        registry.register_collector(Box::new(Scrape::of(&node)?));
        registry.register_collector(Box::new(Surface::of(&node)));
        let mut out = String::new();
        encode_registry(&mut out, &registry).map_err(Problem::internal)?;
        // Their names are the same in every program.
        let mut process = Registry::with_prefix("process");
        process.register_collector(Box::new(Process { started: node.started }));
        encode_registry(&mut out, &process).and_then(|()| encode_eof(&mut out)).map_err(Problem::internal)?;
        Ok(out)
    })?;
    let (name, out) = if wants_text(&headers) { (TEXT, as_text(&out)) } else { (OPEN_METRICS, out) };
    let headers = [(header::CONTENT_TYPE, name), (header::VARY, "accept")];
    Ok((headers.map(|(name, value)| (name, HeaderValue::from_static(value))), out).into_response())
}

/// Whether who asks would rather have the older text format.
fn wants_text(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut open, mut text) = (0.0, 0.0);
    for range in accepted.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
        if kind.eq_ignore_ascii_case("application/openmetrics-text") {
            open = quality.max(open);
        } else if kind.eq_ignore_ascii_case("text/plain") {
            text = quality.max(text);
        }
    }
    text > open
}

/// The same in the older text format, in which a counter is called as its samples are, and nothing marks the end.
fn as_text(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            continue;
        }
        let described = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '));
        let kind = |next: &&str, name| Some(next.strip_prefix("# TYPE ")?.strip_prefix(name)? == " counter");
        match described {
            Some((name, help)) if lines.peek().and_then(|next| kind(next, name)) == Some(true) => {
                lines.next();
                let _ = writeln!(text, "# HELP {name}_total {help}\n# TYPE {name}_total counter");
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// The newest answer. A look takes some hundreds of microseconds of a core that ingest may need, so however many ask, it is
/// done a few times a second at most.
#[derive(Debug, Default)]
pub(crate) struct Scraped(Mutex<Option<(Instant, String)>>);

impl Scraped {
    fn text(&self, scrape: impl FnOnce() -> Answer<String>) -> Answer<String> {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*newest {
            Some((at, text)) if at.elapsed() < KEPT => Ok(text.clone()),
            _ => {
                let text = scrape()?;
                *newest = Some((Instant::now(), text.clone()));
                Ok(text)
            }
        }
    }
}

/// All figures, as they were at one moment.
#[derive(Debug)]
struct Scrape {
    uptime_seconds: f64,
    head: u64,
    head_seconds: f64,
    first_block: u64,
    side_chains: usize,
    side_blocks: u64,
    waiting_blocks: u64,
    fullest_lane: u64,
    resident_bytes: Option<u64>,
    stats: Option<Stats>,
    stages: Vec<StageNow>,
    ingest: Counters,
}

impl Scrape {
    fn of<R: BlockReader>(node: &Node<R>) -> Answer<Self> {
        let head = node.reader.head();
        let time = match node.reader.block(head).map_err(unreadable)? {
            Some(block) => {
                let time = block.header().time;
                block.intact().map_err(unreadable)?;
                time.as_millis()
            }
            None => 0,
        };
        let (mut waiting_blocks, mut fullest_lane) = (0, 0);
        for lane in node.cache.lanes() {
            let cursors = lane.cursors();
            let waiting = cursors.received.saturating_sub(cursors.indexed);
            waiting_blocks += waiting;
            fullest_lane = fullest_lane.max(waiting);
        }
        Ok(Self {
            uptime_seconds: node.started.elapsed().as_secs_f64(),
            head: head.0,
            head_seconds: time as f64 / 1e3,
            first_block: node.reader.base().first.0,
            side_chains: node.registry.len(),
            side_blocks: side_blocks(&node.registry.chains(), &node.cache),
            waiting_blocks,
            fullest_lane,
            resident_bytes: proc::resident_bytes(),
            stats: node.engine.stats(),
            stages: node.engine.stages(&node.ingest).unwrap_or_default(),
            ingest: node.peers.counters(),
        })
    }

    fn engine(&self, out: &mut Lines<'_>) -> fmt::Result {
        out.gauge("uptime_seconds", "Time since the node started", &self.uptime_seconds)?;
        out.gauge("main_block_height", "Height of the newest durable main block", &self.head)?;
        out.gauge(
            "main_block_time_seconds",
            "Time of the newest durable main block since the Unix epoch, 0 before the first",
            &self.head_seconds,
        )?;
        out.gauge(
            "main_block_first_height",
            "Height of the oldest main block that is kept",
            &self.first_block,
        )?;
        out.gauge("side_chains", "Side chains that are registered", &self.side_chains)?;
        out.counter("side_blocks_indexed", "Side blocks that are durable, of all chains", self.side_blocks)?;
        out.gauge("side_blocks_waiting", "Side blocks received and not durable yet", &self.waiting_blocks)?;
        out.gauge(
            "lane_blocks_max",
            "The most blocks that wait in one lane; at cache.lane_blocks its sender has to stop",
            &self.fullest_lane,
        )?;
        if let Some(bytes) = self.resident_bytes {
            out.gauge("resident_memory_bytes", "Memory of the process that is in RAM", &bytes)?;
        }
        let Some(stats) = &self.stats else { return Ok(()) };
        out.counter("main_blocks", "Main blocks made durable since the start", stats.main_blocks)?;
        out.histogram("durable_seconds", "From received to durable, of side blocks", &stats.durable)?;
        out.histogram("seal_seconds", "Gathering and hashing a main block", &stats.seal)?;
        out.histogram("append_seconds", "Appending a main block to the log", &stats.append)?;
        out.histogram("sync_seconds", "Making main blocks durable, one value a sync", &stats.sync)?;
        let stages =
            |value: fn(&StageNow) -> u64| self.stages.iter().map(move |stage| (stage.name, value(stage)));
        out.counters(
            "stage_busy_seconds",
            "For how long the threads of a stage have worked since the start, in all",
            "stage",
            self.stages.iter().map(|stage| (stage.name, stage.busy.as_secs_f64())),
        )?;
        out.gauges(
            "stage_threads",
            "Threads of a stage that have turns of their own; append and sync share one",
            "stage",
            stages(|stage| stage.threads as u64),
        )?;
        let queues = |value: fn(&StageNow) -> u64| {
            self.stages.iter().map(move |stage| ([stage.name, stage.unit], value(stage)))
        };
        let labels = ["stage", "unit"];
        out.gauges_by_two(
            "stage_queue",
            "What waits for a stage, in its unit",
            labels,
            queues(|stage| stage.queue),
        )?;
        let help = "How much may wait for a stage, in its unit";
        out.gauges_by_two("stage_queue_capacity", help, labels, queues(|stage| stage.capacity))
    }
}

impl Scrape {
    fn ingest(&self, out: &mut Lines<'_>) -> fmt::Result {
        let counts = &self.ingest;
        out.gauge("ingest_sessions", "Sessions now", &counts.sessions)?;
        out.gauge("ingest_handshakes", "Handshakes under way now", &counts.handshakes)?;
        out.gauge(
            "ingest_window_bytes",
            "What connected peers may send ahead of our reading now",
            &counts.window_bytes,
        )?;
        out.gauge(
            "ingest_frame_memory_bytes",
            "Memory set aside now for frames that are being received",
            &counts.frame_memory_bytes,
        )?;
        for (name, help, count) in [
            ("ingest_handshakes_started", "Handshakes begun", counts.handshakes_started),
            (
                "ingest_handshakes_completed",
                "Handshakes that ended with a known key",
                counts.handshakes_completed,
            ),
            (
                "ingest_retries",
                "Clients asked to show that they receive at their address",
                counts.retries_sent,
            ),
            ("ingest_sessions_opened", "Sessions begun", counts.sessions_opened),
            ("ingest_sessions_closed", "Sessions ended, for whatever reason", counts.sessions_closed),
            (
                "ingest_sessions_revoked",
                "Sessions ended since their key was revoked or rotated",
                counts.sessions_revoked,
            ),
            ("ingest_take_overs", "Chains whose silent speaker was replaced by a standby", counts.take_overs),
            ("ingest_frames", "Frames received whole and valid", counts.frames),
            ("ingest_frame_bytes", "Bytes of the frames received", counts.bytes),
            ("ingest_blocks", "Side blocks put into lanes", counts.blocks),
            ("ingest_control_messages", "Messages received on control streams", counts.control_messages),
            (
                "ingest_control_rounds",
                "Looks of sessions for what their peers are to be told",
                counts.control_rounds,
            ),
            ("ingest_herald_rounds", "Looks through all sessions for news", counts.herald_rounds),
        ] {
            out.counter(name, help, count)?;
        }
        let known =
            counts.handshakes_unknown_key + counts.handshakes_revoked_key + counts.handshakes_timed_out;
        out.counters(
            "ingest_handshakes_failed",
            "Handshakes that failed, by reason",
            "reason",
            [
                ("unknown-key", counts.handshakes_unknown_key),
                ("revoked", counts.handshakes_revoked_key),
                ("timeout", counts.handshakes_timed_out),
                ("other", counts.handshakes_failed.saturating_sub(known)),
            ],
        )?;
        out.counters(
            "ingest_refused",
            "Connections refused before a handshake, by the limit reached",
            "limit",
            [
                ("max_handshakes", counts.refused_handshakes),
                ("handshakes_per_address", counts.refused_rate),
                ("max_connections_per_address", counts.refused_address),
            ],
        )?;
        let names =
            |counts: &ByCode| counts.iter().map(|(code, count)| (code.name(), count)).collect::<Vec<_>>();
        out.counters(
            "ingest_closes",
            "Sessions that the node ended, by reason",
            "code",
            names(&counts.closes),
        )?;
        let refusals = names(&counts.chain_refusals);
        out.counters("ingest_chain_refusals", "Chains refused in a session, by reason", "code", refusals)
    }
}

impl Collector for Surface {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Lines(encoder);
        self.node(&mut out)?;
        self.chains(&mut out)
    }
}

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.tell(&mut Lines(encoder))
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Lines(encoder);
        self.engine(&mut out)?;
        self.ingest(&mut out)
    }
}
