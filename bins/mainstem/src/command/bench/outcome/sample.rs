//! A result to test with.

use super::*;

impl Outcome {
    /// A run that might have been: 2 processors, 10 seconds, two of warm-up, a tick every 200 ms.
    pub(in super::super) fn sample() -> Self {
        let seconds = 10.0;
        let options = [
            ("chains", Value::from(100)),
            ("connections", Value::from(1)),
            ("data", Value::from("mainstem-bench")),
            ("rate", Value::Null),
            ("seconds", Value::from(10)),
            ("skew", Value::from("uniform")),
            ("warm-up", Value::from(2)),
        ];
        let limits = Limits { quic: 15.2e6, hash: 16.3e6, write_and_sync: 21.4e6, processors: 8.9e6 };
        let stage =
            |name: &str, threads, utilisation, queue: f64, capacity: f64, unit: &str, ms: Option<f64>| {
                Stage {
                    name: name.into(),
                    threads,
                    utilisation,
                    queue_mean: rounded(queue * capacity),
                    queue_max: rounded((1.6 * queue).min(1.0) * capacity),
                    capacity,
                    unit: unit.into(),
                    p50_ms: ms,
                    p99_ms: ms.map(|ms| rounded(2.4 * ms)),
                }
            };
        Self {
            format: FORMAT,
            version: "0.1.0".into(),
            started: "2026-11-21T20:00:00Z".into(),
            command: "mainstem bench --json a.json".into(),
            machine: Machine {
                cpu: "AMD EPYC 7763 64-Core Processor".into(),
                processors: 2,
                memory_bytes: 23 << 30,
                kernel: "6.18.0".into(),
                disk: "ext4 on /dev/vda1".into(),
            },
            options: options.map(|(name, value)| (name.to_owned(), value)).into(),
            processors: 2,
            chains: 100,
            connections: 1,
            seconds,
            side_blocks: 63_300_000,
            main_blocks: 480,
            blocks_per_second: 6.33e6,
            durable_p50_ms: 102.1,
            durable_p99_ms: 141.8,
            late_p50_ms: None,
            late_p99_ms: None,
            seal_p50_ms: 8.1,
            seal_p99_ms: 12.9,
            sync_p50_ms: 11.4,
            sync_p99_ms: 24.0,
            disk_sync_p50_ms: 5.2,
            disk_sync_p99_ms: 11.7,
            limits,
            roofline_blocks_per_second: 0.0,
            ratio: 0.0,
            bottleneck: Limit::Quic,
            bottleneck_stage: None,
            costs_ns: Costs { quic_send: 62.0, quic_receive: 66.0, hash: 61.0, write: 35.7 },
            spent_ns: Spent {
                load: 81.0,
                ingest: 94.0,
                seal: 12.0,
                hash: 71.0,
                persist: 39.0,
                other: 4.0,
                total: 301.0,
            },
            latency: [(50, 102.1), (75, 112.0), (90, 124.4), (95, 131.2), (99, 141.8)]
                .map(|(quantile, ms)| Quantile { quantile: quantile.into(), ms })
                .into_iter()
                .chain(
                    [(99.9, 168.2), (99.99, 203.5), (100.0, 211.1)]
                        .map(|(q, ms)| Quantile { quantile: q, ms }),
                )
                .collect(),
            stages: vec![
                stage("ingest", 1, 0.91, 0.05, f64::from(256 << 20), "bytes", None),
                stage("seal", 3, 0.52, 0.62, f64::from(1 << 20), "side blocks", Some(8.1)),
                stage("append", 1, 0.21, 0.30, 2.0, "main blocks", Some(3.9)),
                stage("sync", 1, 0.44, 0.45, 4.0, "main blocks", Some(11.4)),
            ],
            timeline: (0..60).map(sample_tick).collect(),
            allocations: Some(Allocations {
                per_side_block: 0.000_012,
                by_thread: vec![
                    ThreadAllocations { name: "ingest-0".into(), count: 5_412, per_main_block: 11.275 },
                    ThreadAllocations { name: "seal".into(), count: 0, per_main_block: 0.0 },
                    ThreadAllocations { name: "persist".into(), count: 96, per_main_block: 0.2 },
                ],
            }),
        }
        .judged()
    }
}

impl Outcome {
    /// The sample, of a run that did not measure the limits of its machine.
    pub(in super::super) fn sample_without_limits() -> Self {
        let without = Self { limits: Limits::default(), ..Self::sample() };
        serde_json::from_str(&without.to_json()).expect("what may be left out was left out")
    }
}

/// What the run does at a time: it settles in the warm-up, wobbles afterwards, and stumbles once.
fn sample_tick(tick: u32) -> Tick {
    let at = f64::from(tick) * 0.2 - 1.8;
    let wobble = |period: f64| (at * std::f64::consts::TAU / period).sin();
    let warm = ((at + 2.0) / 1.2).min(1.0);
    let stumble = if (6.0..6.3).contains(&at) { 0.45 } else { 1.0 };
    let rate = 6.36e6 * warm * stumble * (1.0 + 0.03 * wobble(1.7) + 0.02 * wobble(0.61));
    let p50 = 100.0 / stumble + 6.0 * wobble(2.3);
    let each = |values: [(&str, f64); 4]| {
        values
            .map(|(name, value)| {
                (name.to_owned(), rounded((value * (1.0 + 0.1 * wobble(1.3))).clamp(0.0, 1.0)))
            })
            .into()
    };
    Tick {
        at: rounded(at),
        blocks_per_second: rounded(rate),
        p50_ms: (at > -1.7).then_some(rounded(p50)),
        p99_ms: (at > -1.7).then_some(rounded(p50 * 1.35)),
        utilisation: each([
            ("ingest", 0.9 * warm * stumble),
            ("seal", 0.5 * warm),
            ("append", 0.2),
            ("sync", 0.44),
        ]),
        queue: each([
            ("ingest", 0.05),
            ("seal", 0.6 / stumble * warm),
            ("append", 0.3),
            ("sync", 0.5 / stumble),
        ]),
        memory_bytes: (400 << 20) + 800_000 * u64::from(tick),
    }
}

/// With few digits, so that it is the same number when it was written and read.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
