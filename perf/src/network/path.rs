//! The paths that are measured, and how each is made.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::namespaces::{Host, Namespaces};
use super::relay::{PAYLOAD_OF_1280, Path};
use super::role::Setup;
use crate::child::{Child, Place};

/// What is bad about a path. Both ways the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Datagrams lost of a thousand.
    loss: u32,
    /// There and back.
    rtt_ms: u64,
    /// Datagrams of a hundred that come 5 ms late, behind later ones.
    reordered: u32,
    /// 1280 instead of 1500.
    narrow: bool,
    /// Megabits a second.
    rate: Option<u32>,
}

pub(super) const GOOD: Conditions = Conditions {
    name: "good",
    about: "nothing wrong",
    loss: 0,
    rtt_ms: 0,
    reordered: 0,
    narrow: false,
    rate: None,
};

pub(super) const ALL: &[Conditions] = &[
    GOOD,
    Conditions { name: "loss1", about: "1 % loss", loss: 10, ..GOOD },
    Conditions { name: "loss5", about: "5 % loss", loss: 50, ..GOOD },
    Conditions { name: "rtt50", about: "50 ms there and back", rtt_ms: 50, ..GOOD },
    Conditions { name: "rtt200", about: "200 ms there and back", rtt_ms: 200, ..GOOD },
    Conditions { name: "reorder", about: "5 % come 5 ms late", reordered: 5, ..GOOD },
    Conditions { name: "mtu1280", about: "MTU 1280", narrow: true, ..GOOD },
    Conditions { name: "rate100", about: "100 Mbit/s", rate: Some(100), ..GOOD },
    Conditions { name: "rtt50loss1", about: "50 ms, 1 % loss", rtt_ms: 50, loss: 10, ..GOOD },
    Conditions { name: "rtt200loss1", about: "200 ms, 1 % loss", rtt_ms: 200, loss: 10, ..GOOD },
    Conditions { name: "rtt50loss5", about: "50 ms, 5 % loss", rtt_ms: 50, loss: 50, ..GOOD },
    Conditions { name: "rtt50rate100", about: "50 ms, 100 Mbit/s", rtt_ms: 50, rate: Some(100), ..GOOD },
    Conditions {
        name: "all",
        about: "50 ms, 1 % loss, 5 % late, MTU 1280, 100 Mbit/s",
        loss: 10,
        rtt_ms: 50,
        reordered: 5,
        narrow: true,
        rate: Some(100),
    },
];

/// What a relay is told of a path, in JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Relayed {
    loss: f64,
    delay: Duration,
    reorder: f64,
    narrow: bool,
    rate: Option<u32>,
}

impl Relayed {
    pub(super) fn path(&self) -> Path {
        Path {
            loss: self.loss,
            delay: self.delay,
            reorder: self.reorder,
            held: Duration::from_millis(5),
            max_payload: if self.narrow { PAYLOAD_OF_1280 } else { PAYLOAD_OF_1500 },
            bytes_per_second: self.rate.map_or(f64::INFINITY, |megabits| f64::from(megabits) * 125_000.0),
            queue: Duration::from_millis(50),
            ..Path::default()
        }
    }
}

/// Under the headers of IPv4 and UDP.
const PAYLOAD_OF_1500: usize = 1_500 - 20 - 8;

/// A path that has been made, and what runs along it.
pub(super) struct Site {
    conditions: Conditions,
    /// Before the namespaces: it ends first.
    relay: Option<Child>,
    namespaces: Option<Namespaces>,
}

impl Site {
    pub(super) fn new(conditions: &Conditions, namespaces: bool) -> Result<Self> {
        let namespaces = namespaces.then(|| make(conditions)).transpose()?;
        Ok(Self { conditions: *conditions, relay: None, namespaces })
    }

    /// Where the receiver is to listen.
    pub(super) fn receiver_ip(&self) -> IpAddr {
        self.namespaces.as_ref().map_or(Ipv4Addr::LOCALHOST.into(), |_| Host::Far.ip())
    }

    pub(super) fn receiver(&self, setup: &Setup) -> Result<Child> {
        self.start(Host::Far, "receiver", setup)
    }

    pub(super) fn sender(&self, setup: &Setup) -> Result<Child> {
        self.start(Host::Near, "sender", setup)
    }

    /// Puts a relay before `receiver` where the path takes one; where the sender is to connect to.
    pub(super) fn between(&mut self, receiver: SocketAddr, seed: u64) -> Result<SocketAddr> {
        let Conditions { loss, rtt_ms, reordered, narrow, rate, .. } = self.conditions;
        let delay = Duration::from_micros(rtt_ms * 500);
        let reorder = f64::from(reordered) / 100.0;
        let path = if self.namespaces.is_some() {
            if rtt_ms == 0 && reordered == 0 {
                return Ok(receiver);
            }
            Relayed { loss: 0.0, delay, reorder, narrow, rate: None }
        } else {
            Relayed { loss: f64::from(loss) / 1_000.0, delay, reorder, narrow, rate }
        };
        let mut relay = self.start(Host::Near, "relay", &Setup::Relay { seed, upstream: receiver, path })?;
        let address = relay.hear()?;
        self.relay = Some(relay);
        Ok(address)
    }

    /// Cuts the path, or heals it.
    pub(super) fn cut(&mut self, cut: bool) -> Result<()> {
        if let Some(namespaces) = &self.namespaces {
            return namespaces.cut(cut).context("nft cannot cut the path");
        }
        let relay = self.relay.as_mut().context("without namespaces there is a relay")?;
        relay.ask(if cut { "cut" } else { "heal" })
    }

    fn start(&self, host: Host, name: &'static str, setup: &Setup) -> Result<Child> {
        let own = std::env::current_exe().context("the path of this program is not known")?;
        let mut arguments: Vec<String> = Vec::new();
        let mut program = own.to_string_lossy().into_owned();
        if let Some(namespaces) = &self.namespaces {
            arguments.extend(["netns".into(), "exec".into(), namespaces.name(host).to_owned(), program]);
            program = "ip".into();
        }
        arguments.extend(["network".into(), "--setup".into(), serde_json::to_string(setup)?]);
        Child::start(name, &program, &arguments, &Place::default())
    }
}

fn make(conditions: &Conditions) -> Result<Namespaces> {
    let made = Namespaces::create().context("the namespaces cannot be made")?;
    if conditions.loss > 0 {
        made.lose(conditions.loss).context("nft cannot set the loss")?;
    }
    if conditions.narrow {
        made.set_mtu(1_280).context("ip cannot set the MTU")?;
    }
    if let Some(megabits) = conditions.rate {
        made.set_rate(megabits).context("tc cannot set the rate")?;
    }
    Ok(made)
}
