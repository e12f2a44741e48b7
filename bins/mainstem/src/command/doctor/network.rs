//! Looks at ports, and at the node that runs, if one does.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use engine::chain::NodeKey;
use rest::status::State;
use rest::{ChainFilter, Client};

use super::finding::Finding;
use crate::command::which::url_of;
use crate::settings::{Mode, Settings};

/// How long a node may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(3);

/// How far in the future blocks of side chains may be before our clock is doubted, in milliseconds.
const SKEW: i64 = 2_000;

/// Chains whose newest block is looked at.
const CHAINS: usize = 8;

/// The node that runs with these settings: what answers at the API's address with our key.
pub(super) fn running(settings: &Settings, key: Option<NodeKey>) -> Option<Client> {
    let client = Client::new(&url_of(settings.api.addr)?).with_timeout(PATIENCE);
    let status = client.status().ok()?;
    key.is_some_and(|key| status.node_key.to_string() == key.to_string()).then_some(client)
}

/// Whether the ports can be had, or are had by our own node.
pub(super) fn ports(settings: &Settings, running: bool) -> Vec<Finding> {
    let mut findings = vec![
        port("ingest-port", "ingest.addr", "UDP", settings.ingest.addr, running, bind_udp),
        port("api-port", "api.addr", "TCP", settings.api.addr, running, bind_tcp),
    ];
    if settings.main.mode == Mode::External {
        let addr = settings.external.addr;
        findings.push(port("external-port", "external.addr", "TCP", addr, running, bind_tcp));
    }
    findings
}

fn bind_udp(addr: SocketAddr) -> io::Result<()> {
    UdpSocket::bind(addr).map(drop)
}

fn bind_tcp(addr: SocketAddr) -> io::Result<()> {
    TcpListener::bind(addr).map(drop)
}

fn port(
    check: &'static str,
    setting: &str,
    protocol: &str,
    addr: SocketAddr,
    running: bool,
    bind: fn(SocketAddr) -> io::Result<()>,
) -> Finding {
    let error = match bind(addr) {
        Ok(()) if running && addr.port() != 0 => {
            let found = format!("{protocol} {addr} is free, though a node with this key runs");
            let means = "the node runs with other settings than these";
            return Finding::warn(check, found, means, "mainstem config show --origin");
        }
        Ok(()) => return Finding::ok(check, format!("{protocol} {addr} is free")),
        Err(error) => error,
    };
    let flag = setting.replace('_', "-");
    let elsewhere = format!("mainstem run --{flag} {}:PORT", addr.ip());
    match error.kind() {
        ErrorKind::AddrInUse if running => {
            Finding::ok(check, format!("{protocol} {addr} is held by this node, which runs"))
        }
        ErrorKind::AddrInUse => {
            let letter = if protocol == "UDP" { 'u' } else { 't' };
            let mend = format!(
                "see by whom: sudo ss -l{letter}np 'sport = :{}'; or move it: {elsewhere}",
                addr.port()
            );
            Finding::fail(
                check,
                format!("{protocol} {addr} is taken by another program"),
                "the node does not start",
                mend,
            )
        }
        ErrorKind::PermissionDenied => {
            let found = format!("{protocol} {addr} may not be used by this user: {error}");
            let mend = format!(
                "sudo setcap cap_net_bind_service=+ep $(command -v mainstem), or take a port above 1023: {elsewhere}"
            );
            Finding::fail(check, found, "the node does not start", mend)
        }
        ErrorKind::AddrNotAvailable => {
            let mend =
                format!("`ip addr` lists those that it has: mainstem run --{flag} ADDRESS:{}", addr.port());
            Finding::fail(
                check,
                format!("{addr}: this machine has no such address"),
                "the node does not start",
                mend,
            )
        }
        _ => {
            Finding::fail(check, format!("{protocol} {addr}: {error}"), "the node does not start", elsewhere)
        }
    }
}

/// What the running node says of its chains, and of the clock by the times of their newest blocks.
pub(super) fn node(client: &Client, now: u64) -> Vec<Finding> {
    let status = match client.status() {
        Ok(status) => status,
        Err(error) => {
            let mend = "look at its log: journalctl -u mainstem -n 50";
            return vec![Finding::fail("node", error.to_string(), "the node does not answer", mend)];
        }
    };
    let head = status.head.as_ref().map_or(0, |head| head.height.0);
    let mut findings =
        vec![Finding::ok("node", format!("runs, main block {head}, {} chains", status.chains))];
    let mut skews = Vec::new();
    let filter = ChainFilter { state: Some(State::Live), ..ChainFilter::default() };
    for chain in client.all_chains(&filter).filter_map(Result::ok).take(CHAINS) {
        if let Ok(block) = client.side_block(chain.chain_id, chain.durable) {
            skews.push(block.time.as_millis().cast_signed().saturating_sub(now.cast_signed()));
        }
    }
    findings.push(skew(skews));
    findings
}

/// By the times of blocks of several chains: those that are in the future say that our clock is slow, or theirs fast.
fn skew(mut skews: Vec<i64>) -> Finding {
    const CHECK: &str = "clock-skew";
    skews.sort_unstable();
    let Some(&median) = skews.get(skews.len() / 2) else {
        return Finding::ok(CHECK, "not known: no chain that is live has a block");
    };
    let of = skews.len();
    if median > SKEW {
        let found = format!("the newest blocks of most of {of} live chains are {median} ms in the future");
        let means = "this machine's clock is slow, or theirs are fast: times of main blocks lag";
        return Finding::warn(
            CHECK,
            found,
            means,
            "timedatectl timesync-status; sudo timedatectl set-ntp true",
        );
    }
    Finding::ok(CHECK, format!("no block of {of} live chains is far in the future"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_named_unless_it_is_our_own_node() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let of = |running| port("api-port", "api.addr", "TCP", addr, running, bind_tcp);
        assert_eq!((of(true).level, of(false).level), (Level::Ok, Level::Fail));
        assert!(of(false).mend.unwrap().contains(&format!("sport = :{}", addr.port())));
        let far = port("ingest-port", "ingest.addr", "UDP", "192.0.2.1:9".parse().unwrap(), false, bind_udp);
        assert_eq!(far.level, Level::Fail, "an address that no machine has: {far:?}");
        let any = port("ingest-port", "ingest.addr", "UDP", "127.0.0.1:0".parse().unwrap(), false, bind_udp);
        assert_eq!(any.level, Level::Ok);
    }

    #[test]
    fn blocks_from_the_future_make_the_clock_doubtful() {
        assert_eq!(skew(vec![]).level, Level::Ok);
        assert_eq!(skew(vec![-500, -90, 60_000]).level, Level::Ok, "one chain's clock alone");
        assert_eq!(skew(vec![-500, 5_000, 60_000]).level, Level::Warn);
    }
}
