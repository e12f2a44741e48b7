//! `mainstem peers`: who is connected, what arrives, how far behind, and who was refused and why.

use std::collections::HashMap;
use std::io::{IsTerminal, Write, stdout};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use engine::chain::Timestamp;
use rest::{ChainOfPeer, Client, NodeKey, Peer, PeerChains, Refusal};
use serde::Serialize;

use super::Which;
use super::table::Table;
use super::words::{self, bytes, counted, grouped, printable};
use crate::clock::unix_millis;
use crate::codes::is_closed_output;

const EXAMPLES: &str = "\
Examples:
  mainstem peers                                who is connected to the node on this machine
  mainstem peers --watch                        the same, every second
  mainstem peers 3b6a27bc                       the chains of one node, by the start of its key
  mainstem peers --refused                      only who was refused, why, and what to do
  mainstem peers --node http://10.0.0.5:9480 --json

Columns:
  CHAINS    how many it speaks for, of how many it named; the others it stands by for
  BLOCKS/S  blocks that arrived in the second before
  BEHIND    blocks that its nodes have and that are not durable here yet; - if it has not told
  MEMORY    what the node has set aside for frames that it is sending";

/// Between two looks, from which blocks a second follow.
const PACE: Duration = Duration::from_secs(1);

/// Show who is connected, and who was refused and why
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Peers {
    /// Show the chains of the node with this key; its first digits will do
    #[arg(value_name = "KEY", value_parser = prefix, conflicts_with = "refused")]
    key: Option<String>,
    #[command(flatten)]
    which: Which,
    /// Show only who was refused
    #[arg(long)]
    refused: bool,
    /// As JSON, at once and without rates
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    /// Show it anew every second
    #[arg(long)]
    watch: bool,
}

/// What is asked for, at one moment.
struct Sample {
    at: Instant,
    peers: Vec<Peer>,
    refusals: Vec<Refusal>,
    /// With `KEY`: those of its sessions.
    chains: Vec<PeerChains>,
}

/// Blocks a second, by session.
type Rates = HashMap<u64, u64>;

impl Peers {
    pub(crate) fn run(self) -> Result<()> {
        match self.show() {
            // Whoever closed the pipe has seen enough.
            Err(error) if is_closed_output(&error) => Ok(()),
            result => result,
        }
    }

    fn show(&self) -> Result<()> {
        let client = self.which.client()?;
        let mut before = self.sample(&client)?;
        if self.json {
            return self.print_json(&before);
        }
        if !self.watch {
            if self.refused || before.peers.is_empty() {
                return self.print(&client, &before, &Rates::new(), &mut stdout().lock());
            }
            thread::sleep(PACE);
            let now = self.sample(&client)?;
            return self.print(&client, &now, &now.rates(&before), &mut stdout().lock());
        }
        let clear = if stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        loop {
            thread::sleep(PACE);
            let mut screen = Vec::new();
            match self.sample(&client) {
                Ok(now) => {
                    self.print(&client, &now, &now.rates(&before), &mut screen)?;
                    before = now;
                }
                // It may be restarting.
                Err(error) => writeln!(screen, "{error:#}")?,
            }
            let mut out = stdout().lock();
            write!(out, "{clear}")?;
            out.write_all(&screen)?;
            writeln!(out)?;
            out.flush()?;
        }
    }

    fn sample(&self, client: &Client) -> Result<Sample> {
        let mut peers = client.all_peers().collect::<Result<Vec<_>, _>>()?;
        let mut refusals = client.refusals()?.refusals;
        let mut chains = Vec::new();
        if let Some(key) = &self.key {
            let is_it = |found: &NodeKey| found.to_string().starts_with(key);
            peers.retain(|peer| is_it(&peer.key) || is_it(&peer.presented));
            refusals.retain(|refusal| is_it(&refusal.key));
            for peer in &peers {
                chains.extend(client.whole_peer(peer.session)?);
            }
        }
        Ok(Sample { at: Instant::now(), peers, refusals, chains })
    }

    fn print_json(&self, sample: &Sample) -> Result<()> {
        #[derive(Serialize)]
        struct Document<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            peers: Option<&'a [Peer]>,
            #[serde(skip_serializing_if = "Option::is_none")]
            sessions: Option<&'a [PeerChains]>,
            refusals: &'a [Refusal],
        }
        let sessions = self.key.is_some().then_some(sample.chains.as_slice());
        let peers = (sessions.is_none() && !self.refused).then_some(sample.peers.as_slice());
        let mut out = stdout().lock();
        serde_json::to_writer_pretty(&mut out, &Document { peers, sessions, refusals: &sample.refusals })?;
        writeln!(out)?;
        Ok(())
    }

    fn print(&self, client: &Client, sample: &Sample, rates: &Rates, out: &mut impl Write) -> Result<()> {
        let now = Timestamp::from_millis(unix_millis());
        if !self.refused {
            if sample.peers.is_empty() {
                self.nobody(client, out)?;
            } else {
                write!(out, "{}", sessions(&sample.peers, rates, now))?;
                if sample.peers.len() > 1 {
                    writeln!(out, "{}", total(&sample.peers, rates))?;
                }
            }
        }
        for session in &sample.chains {
            writeln!(out)?;
            one(session, out)?;
        }
        if !sample.refusals.is_empty() {
            if !self.refused {
                writeln!(out)?;
            }
            refused(&sample.refusals, now, out)?;
        } else if self.refused {
            writeln!(out, "Nobody was refused since the node started.")?;
        }
        Ok(())
    }

    fn nobody(&self, client: &Client, out: &mut impl Write) -> Result<()> {
        if let Some(key) = &self.key {
            writeln!(out, "No node whose key begins with {key} is connected.")?;
            return Ok(());
        }
        let status = client.status()?;
        writeln!(out, "Nobody is connected. Nodes of side chains connect with")?;
        writeln!(out, "  tributary ... --main {} --main-key {}", status.ingest_addr, status.node_key)?;
        writeln!(out, "and a key that the genesis document names; `mainstem keys list` shows which.")?;
        Ok(())
    }
}

impl Sample {
    fn rates(&self, before: &Self) -> Rates {
        let took = self.at.duration_since(before.at).as_millis().max(1);
        let blocks: HashMap<_, _> = before.peers.iter().map(|peer| (peer.session, peer.blocks)).collect();
        let rate = |peer: &Peer| {
            // What came with a session that was not there before came within this time.
            let new = peer.blocks - blocks.get(&peer.session).copied().unwrap_or(0).min(peer.blocks);
            (peer.session, u64::try_from(u128::from(new) * 1_000 / took).unwrap_or(u64::MAX))
        };
        self.peers.iter().map(rate).collect()
    }
}

fn sessions(peers: &[Peer], rates: &Rates, now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "KEY",
        "ADDRESS",
        "SOFTWARE",
        "SINCE",
        ">CHAINS",
        ">BLOCKS/S",
        ">BYTES",
        ">BEHIND",
        ">RTT",
        ">MEMORY",
    ]);
    for peer in peers {
        table.row([
            shown(peer),
            plain(peer.address).to_string(),
            if peer.software.is_empty() { "-".into() } else { printable(&peer.software) },
            ago(peer.since, now),
            format!("{}/{}", peer.speaks_for, peer.chains),
            rates.get(&peer.session).map_or_else(|| "-".into(), |rate| grouped(*rate)),
            bytes(peer.bytes).to_string(),
            peer.behind.map_or_else(|| "-".into(), grouped),
            rtt(peer.rtt_us),
            bytes(peer.memory_bytes).to_string(),
        ]);
    }
    table
}

/// All sessions together.
fn total(peers: &[Peer], rates: &Rates) -> String {
    let chains = peers.iter().map(|peer| peer.speaks_for as u64).sum();
    let behind = peers.iter().filter_map(|peer| peer.behind).sum();
    format!(
        "{}, {} spoken for, {} blocks/s, {} behind",
        counted(peers.len() as u64, "session"),
        counted(chains, "chain"),
        grouped(rates.values().sum()),
        grouped(behind)
    )
}

/// One session with its chains.
fn one(session: &PeerChains, out: &mut impl Write) -> Result<()> {
    let peer = &session.peer;
    writeln!(out, "session {} of {}", peer.session, peer.presented)?;
    if peer.presented != peer.key {
        writeln!(out, "  stands for {}", peer.key)?;
    }
    let mut table = Table::new(&["CHAIN", "STATE", ">RECEIVED", ">DURABLE", ">LIMIT", ">TIP", ">BEHIND"]);
    for ChainOfPeer { chain, state, received, durable, limit, tip, behind, .. } in &session.chains {
        let or_none = |number: Option<u64>| number.map_or_else(|| "-".into(), grouped);
        table.row([
            chain.clone(),
            state.clone(),
            grouped(received.0),
            grouped(durable.0),
            grouped(limit.0),
            or_none(tip.map(|tip| tip.0)),
            or_none(*behind),
        ]);
    }
    write!(out, "{table}")?;
    if let Some(refusal) = &peer.last_refusal {
        let chain = refusal.chain.as_ref().map_or_else(String::new, |chain| format!("chain {chain}: "));
        writeln!(out, "last refused: {chain}{}: {}", refusal.code, printable(&refusal.detail))?;
    }
    Ok(())
}

fn refused(refusals: &[Refusal], now: Timestamp, out: &mut impl Write) -> Result<()> {
    writeln!(out, "Refused, the last time of each key:")?;
    for Refusal { key, registered, time, address, count, last } in refusals {
        // In full: who wants to register it has to copy it.
        writeln!(out, "  {key}  {}", last.code)?;
        let known = if *registered { "" } else { "; the key is not registered" };
        let chain = last.chain.as_ref().map_or_else(String::new, |chain| format!(", chain {chain}"));
        let (ago, times) = (ago(*time, now), counted(*count, "time"));
        writeln!(out, "      {ago} ago, {times}, from {}{chain}{known}", plain(*address))?;
        writeln!(out, "      {}", printable(&last.detail))?;
        writeln!(out, "      what to do: {}", last.remedy)?;
    }
    Ok(())
}

/// The key of a session, and the one that it stands for.
fn shown(peer: &Peer) -> String {
    if peer.presented == peer.key {
        short(&peer.key)
    } else {
        format!("{} for {}", short(&peer.presented), short(&peer.key))
    }
}

/// Enough of a key to tell it from others, and to name it by.
fn short(key: &NodeKey) -> String {
    key.to_string()[..8].to_owned()
}

/// IPv4 as such, also where it came over IPv6.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn ago(time: Timestamp, now: Timestamp) -> String {
    words::ago(time.as_millis(), now.as_millis())
}

fn rtt(micros: u64) -> String {
    if micros < 100_000 {
        format!("{:.1} ms", micros as f64 / 1e3)
    } else {
        format!("{} ms", grouped(micros / 1_000))
    }
}

/// The first digits of a key.
fn prefix(text: &str) -> Result<String, String> {
    let text = text.to_lowercase();
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if fits { Ok(text) } else { Err("expected the first of the 64 hex digits of a key".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_its_first_digits() {
        assert_eq!(prefix("3B6a"), Ok("3b6a".into()));
        for wrong in ["", "xyz", &"a".repeat(65)] {
            assert!(prefix(wrong).is_err(), "{wrong}");
        }
    }
}
