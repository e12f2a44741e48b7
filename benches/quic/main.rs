//! QUIC: our reactor against tokio's runtimes under the same quinn, and against plain UDP.
//!
//! Not a Criterion bench: what counts are whole transfers between two processes, interleaved, and their spread.
//! `-- --help` says how to run it; without arguments, as under `cargo test`, it runs quickly, to show that it runs.
//!
//! # What a thousand busy connections cost, and what was done about it
//! Seen with it (figures in `perf/RESULTS.md`), each by itself:
//! - *Loss.* A thousand windows do not fit into a socket buffer of 4 MiB. 32 MiB end it, where the system allows them.
//! - *Small sends.* The endpoint's task took 32 datagrams and queued behind the connections they were for; so each of
//!   these had one acknowledgement at a time, and answered it with what that one let it send. The reactor now empties
//!   the socket first: ten datagrams a send instead of five or six, a round trip of 15 ms instead of 180.
//! - *Cold state.* The rest of the difference to one connection: what quinn keeps of a thousand does not fit into a
//!   core's cache, and a turn of a connection costs some 10 us more. Only more bytes for each turn help.
//! - Without effect, or none outside the noise, and so not there: fewer acknowledgements (the ACK frequency extension),
//!   smaller windows, running a stream's reader right behind its connection's driver.

mod args;
mod child;
mod engine;
mod measure;
mod parent;
#[path = "../storage/report.rs"]
mod report;
mod spec;
mod udp;

use anyhow::Result;
use clap::Parser;
use serde_json::json;

use args::{Args, Part, Plan};
use engine::Engine;
use measure::Spread;
use parent::{Outcome, Share};
use report::{Report, Table};
use spec::Load;

fn main() -> Result<()> {
    let args = Args::parse();
    if args.is_for_others() {
        return Ok(());
    }
    if let Some(spec) = &args.child {
        return child::run(&serde_json::from_str(spec)?);
    }
    let plan = args.plan()?;
    if plan.quick {
        println!("A quick run: it shows that everything works. Its figures say nothing.");
    }
    let mut report = Report::default();
    let bench = Bench { args: &args, plan: &plan };
    if plan.has(Part::Bulk) {
        bench.bulk(&mut report)?;
    }
    if plan.has(Part::Echo) {
        bench.echo(&mut report)?;
    }
    if plan.has(Part::Accept) {
        bench.accept(&mut report)?;
    }
    if plan.has(Part::Idle) {
        bench.idle(&mut report)?;
    }
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    Ok(())
}

struct Bench<'a> {
    args: &'a Args,
    plan: &'a Plan,
}

impl Bench<'_> {
    /// Every engine in every round, each time another one first.
    fn rounds(&self, mut one: impl FnMut(Engine) -> Result<Outcome>) -> Result<Vec<(Engine, Vec<Outcome>)>> {
        let engines = &self.plan.engines;
        let mut outcomes: Vec<(Engine, Vec<Outcome>)> =
            engines.iter().map(|&engine| (engine, Vec::new())).collect();
        for round in 0..self.plan.runs as usize {
            for turn in 0..engines.len() {
                let (engine, of_engine) = &mut outcomes[(round + turn) % engines.len()];
                of_engine.push(one(*engine)?);
            }
        }
        Ok(outcomes)
    }

    fn bulk(&self, report: &mut Report) -> Result<()> {
        let plan = self.plan;
        let mut table = Table::new(&[
            "connections x streams",
            "runtime",
            "MB/s",
            "receiver ns/byte",
            "sender ns/byte",
            "lost %",
            "datagrams a send",
            "received an ack",
            "window KB",
            "RTT ms",
        ]);
        let mut limits = Vec::new();
        for &connections in &plan.connections {
            limits.push(parent::run_udp(self.args, plan.warm_up, plan.measured)?);
            for &streams in &plan.streams {
                let load = Load::Bulk { connections, streams };
                let rows =
                    self.rounds(|engine| parent::run(self.args, engine, load, plan.warm_up, plan.measured))?;
                for (engine, outcomes) in rows {
                    let of = |figure: fn(&Outcome) -> f64| Spread::of(outcomes.iter().map(figure));
                    let (speed, receiver, sender) =
                        (of(speed), of(|o| per_byte(o, &o.receiver)), of(|o| per_byte(o, &o.sender)));
                    table.row(vec![
                        format!("{connections} x {streams}"),
                        engine.to_string(),
                        speed.show(0),
                        receiver.show(2),
                        sender.show(2),
                        of(|o| ratio(o.sender.quic.lost_packets, o.sender.quic.sent_packets) * 100.0).show(2),
                        of(|o| ratio(o.sender.quic.datagrams_sent, o.sender.quic.sends)).show(1),
                        of(|o| ratio(o.receiver.quic.datagrams_received, o.receiver.quic.acks_sent)).show(1),
                        of(|o| ratio(o.sender.quic.congestion_windows, o.sender.quic.connections) / 1e3)
                            .show(0),
                        of(|o| ratio(o.sender.quic.rtt_nanos, o.sender.quic.connections) / 1e6).show(2),
                    ]);
                    report.figure(json!({
                        "part": "bulk", "connections": connections, "streams": streams,
                        "runtime": format!("{engine:?}"), "mb_per_second": speed.median,
                        "receiver_ns_per_byte": receiver.median, "sender_ns_per_byte": sender.median,
                        "socket_drops": of(|o| o.receiver.drops).median,
                    }));
                    eprintln!(
                        "{connections} x {streams}, {engine}: {} MB/s; processor {} and {} ns/byte; {} datagrams dropped by the socket, {} lost; MTU {}",
                        speed.show(0),
                        receiver.show(2),
                        sender.show(2),
                        of(|o| o.receiver.drops).show(0),
                        of(|o| o.sender.quic.lost_packets as f64).show(0),
                        of(|o| ratio(o.sender.quic.mtus, o.sender.quic.connections)).show(0),
                    );
                }
            }
        }
        let of = |figure: fn(&Outcome) -> f64| Spread::of(limits.iter().map(figure)).show(2);
        let mut limit = vec!["limit".to_owned(), "UDP with GSO and GRO, no QUIC".to_owned()];
        limit.push(Spread::of(limits.iter().map(speed)).show(0));
        limit.push(of(|o| per_byte(o, &o.receiver)));
        limit.push(of(|o| per_byte(o, &o.sender)));
        limit.extend(["-"; 5].map(ToOwned::to_owned));
        table.row(limit);
        table.print(
            "Bulk transfer",
            &[format!(
                "Datagrams of up to {} bytes. ns/byte: processor time of the process, user and system. 10^6 bytes are a MB.",
                self.args.tuning.max_mtu
            )],
        );
        Ok(())
    }

    fn echo(&self, report: &mut Report) -> Result<()> {
        let plan = self.plan;
        let mut table =
            Table::new(&["runtime", "p50 us", "p99 us", "receiver CPU us each", "sender CPU us each"]);
        let rows =
            self.rounds(|engine| parent::run(self.args, engine, Load::Echo, plan.warm_up, plan.measured))?;
        for (engine, outcomes) in rows {
            let of = |figure: fn(&Outcome) -> f64| Spread::of(outcomes.iter().map(figure));
            let (p50, p99) = (of(|o| o.sender.p50_nanos / 1e3), of(|o| o.sender.p99_nanos / 1e3));
            table.row(vec![
                engine.to_string(),
                p50.show(1),
                p99.show(1),
                of(|o| o.receiver.cpu_nanos / o.sender.operations / 1e3).show(1),
                of(|o| o.sender.cpu_nanos / o.sender.operations / 1e3).show(1),
            ]);
            report.figure(json!({
                "part": "echo", "runtime": format!("{engine:?}"), "p50_us": p50.median, "p99_us": p99.median,
            }));
        }
        table.print(
            "Request and answer",
            &["64 bytes there and back, one at a time, nothing else going on: both sides sleep in between."
                .to_owned()],
        );
        Ok(())
    }

    fn accept(&self, report: &mut Report) -> Result<()> {
        let plan = self.plan;
        let mut table =
            Table::new(&["runtime", "handshakes/s", "receiver CPU us each", "sender CPU us each"]);
        let load = Load::Handshakes { at_once: if plan.quick { 2 } else { 16 } };
        let rows = self.rounds(|engine| parent::run(self.args, engine, load, plan.warm_up, plan.measured))?;
        for (engine, outcomes) in rows {
            let of = |figure: fn(&Outcome) -> f64| Spread::of(outcomes.iter().map(figure));
            let rate = of(|o| o.receiver.operations / o.receiver.seconds);
            table.row(vec![
                engine.to_string(),
                rate.show(0),
                of(|o| o.receiver.cpu_nanos / o.receiver.operations / 1e3).show(0),
                of(|o| o.sender.cpu_nanos / o.receiver.operations / 1e3).show(0),
            ]);
            report.figure(json!({
                "part": "accept", "runtime": format!("{engine:?}"), "per_second": rate.median,
            }));
        }
        table.print(
            "Handshakes",
            &["TLS 1.3 with a certificate of either side, 16 under way at a time, closed at once."
                .to_owned()],
        );
        Ok(())
    }

    fn idle(&self, report: &mut Report) -> Result<()> {
        let plan = self.plan;
        let connections = plan.idle_connections;
        let mut table = Table::new(&["runtime", "memory KB each", "receiver CPU us/s each"]);
        let load = Load::Idle { connections };
        let rows = self.rounds(|engine| parent::run(self.args, engine, load, plan.warm_up, plan.idle))?;
        for (engine, outcomes) in rows {
            let each = |figure: fn(&Share) -> f64| {
                Spread::of(outcomes.iter().map(|o| figure(&o.receiver) / connections as f64))
            };
            let memory = each(|share| (share.rss_bytes - share.rss_before) / 1e3);
            let cpu = each(|share| share.cpu_nanos / share.seconds / 1e3);
            table.row(vec![engine.to_string(), memory.show(1), cpu.show(2)]);
            report.figure(json!({
                "part": "idle", "runtime": format!("{engine:?}"), "kb_each": memory.median,
                "us_per_second_each": cpu.median,
            }));
        }
        table.print(
            "Idle connections",
            &[format!(
                "{connections} connections that have said nothing yet, on the side that took them, with a keep-alive of the other side every 20 s. Resident memory that they added, those of quinn and rustls in it."
            )],
        );
        Ok(())
    }
}

/// 10^6 bytes a second, at the receiver.
fn speed(outcome: &Outcome) -> f64 {
    outcome.receiver.bytes / outcome.receiver.seconds / 1e6
}

/// Processor time of this side for each byte that was received.
fn per_byte(outcome: &Outcome, side: &Share) -> f64 {
    side.cpu_nanos / side.seconds / (outcome.receiver.bytes / outcome.receiver.seconds)
}

fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / (to as f64).max(1.0)
}
