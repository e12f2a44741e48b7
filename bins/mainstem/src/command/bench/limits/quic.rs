//! QUIC alone: the bytes of side blocks in bulk, from another process, over as many connections, and discarded.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use net::identity::Identity;
use net::probe::Discard;

use crate::ingest;
use crate::settings::Settings;

use super::super::cpu::Cpu;
use super::super::load::{Flooding, Helper};
use super::super::outcome::over;
use super::{BLOCK_BYTES, Found, Rounds, Spread};

/// Processor time of both sides, in nanoseconds a side block.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Cost {
    pub(in super::super) send: f64,
    pub(in super::super) receive: f64,
}

/// How long all connections may take to be there.
const CONNECT: Duration = Duration::from_secs(120);

/// Slow start, and the discovery of the largest datagram.
const WARM_UP: Duration = Duration::from_millis(400);

/// Side blocks a second that QUIC could carry here if nothing were done with them. The receiving endpoint is as the node's.
pub(in super::super) fn measure(
    settings: &Settings,
    connections: u32,
    rounds: Rounds,
) -> Result<Found<Cost>> {
    let mut config = ingest::config(&settings.ingest, Identity::from_seed([0xb5; 32]));
    config.addr = (Ipv4Addr::LOCALHOST, 0).into();
    let receiver = Discard::start(&config).context("the receiver of the QUIC limit cannot start")?;
    let flags = [("to", receiver.local_addr().to_string()), ("key", receiver.key().to_string())];
    let mut arguments = vec!["bulk".to_owned(), "--connections".into(), connections.to_string()];
    arguments.extend(flags.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]));
    let sender = Helper::start(&arguments)?;
    let Flooding { .. } = sender.hear(CONNECT)?;
    std::thread::sleep(WARM_UP);
    let look = || {
        let own = Cpu::of_self();
        (Instant::now(), receiver.bytes() / BLOCK_BYTES, own, Cpu::of_process(sender.id()))
    };
    let (mut rates, mut last) = (Vec::new(), look());
    let (_, blocks, own, other) = last.clone();
    for _ in 0..rounds.count {
        std::thread::sleep(rounds.time);
        let now = look();
        rates.push((now.1 - last.1) as f64 / (now.0 - last.0).as_secs_f64());
        last = now;
    }
    let a_block = |ns: u64| over(ns as f64, (last.1 - blocks) as f64);
    let cost = Cost {
        send: a_block(last.3.all_since(&other)),
        receive: a_block(last.2.since(&own, |thread| thread.starts_with("quic-"))),
    };
    drop(sender);
    Ok(Found { limit: Spread::of(rates), cost })
}
