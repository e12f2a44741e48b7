//! Two network namespaces with a cable between them: two hosts on one machine, and a real path that can be made bad.
//!
//! ```text
//!   near 10.77.0.1 ── veth "path" ── 10.77.0.2 far        nft: loss and cuts, at each end of what comes in
//!                                                          tc tbf: rate, of what goes out; ip: the MTU
//! ```
//!
//! Takes root, `ip` and `nft`, and `tc` for a rate. Namespaces that were left behind by a process that was killed are
//! taken away by the next one.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// Where the client is.
    Near,
    /// Where the server is.
    Far,
}

impl Host {
    pub(crate) fn ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 77, 0, if self == Self::Near { 1 } else { 2 }))
    }
}

const HOSTS: [Host; 2] = [Host::Near, Host::Far];

/// The name of the cable's end in either namespace.
const CABLE: &str = "path";

/// All names begin so; the process id follows.
const PREFIX: &str = "mainstem-";

/// Both namespaces. Dropping them takes them away, with all that runs on them in the kernel.
#[derive(Debug)]
pub(crate) struct Namespaces {
    names: [String; 2],
}

impl Namespaces {
    /// Why there can be none here, and what to do; nothing when all that it takes is there.
    pub(crate) fn missing() -> Option<String> {
        let mut missing = Vec::new();
        if !std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            missing.push("they take root".to_owned());
        }
        for (program, flag, package) in [("ip", "-V", "iproute2"), ("nft", "--version", "nftables")] {
            let found = Command::new(program).arg(flag).stdout(Stdio::null()).stderr(Stdio::null()).status();
            if !found.is_ok_and(|status| status.success()) {
                missing.push(format!("{program} is not there (Debian: apt-get install {package})"));
            }
        }
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    /// Two hosts with a perfect path of 1500 bytes between them.
    pub(crate) fn create() -> io::Result<Self> {
        sweep();
        let pid = std::process::id();
        // From here on, dropping it takes away what there is.
        let made = Self { names: ["near", "far"].map(|host| format!("{PREFIX}{pid}-{host}")) };
        let [near, far] = &made.names;
        ip(&["netns", "add", near])?;
        ip(&["netns", "add", far])?;
        ip(&["link", "add", CABLE, "netns", near, "type", "veth", "peer", "name", CABLE, "netns", far])?;
        for host in HOSTS {
            let name = made.name(host);
            ip(&["-n", name, "addr", "add", &format!("{}/24", host.ip()), "dev", CABLE])?;
            // Datagrams that were sent together (GSO) travel and are lost one by one, as behind a real network card.
            ip(&["-n", name, "link", "set", CABLE, "gso_max_segs", "1", "up"])?;
            // As wide as the cable, so that a relay on loopback carries what the cable does.
            ip(&["-n", name, "link", "set", "lo", "mtu", "1500", "up"])?;
        }
        Ok(made)
    }

    /// A program on one of them: name it and its arguments in the command that is returned.
    #[allow(dead_code, reason = "not all who share this file need it")]
    pub(crate) fn exec(&self, host: Host) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.name(host)]);
        command
    }

    /// The name of one of them, as `ip` knows it.
    pub(crate) fn name(&self, host: Host) -> &str {
        &self.names[host as usize]
    }

    /// Of what comes in on either host, loses so many of a thousand datagrams at random.
    pub(crate) fn lose(&self, per_mille: u32) -> io::Result<()> {
        self.filter(&format!("numgen random mod 1000 < {per_mille} drop"))
    }

    /// Cuts the cable, or heals it; a loss that was set is no more.
    #[allow(dead_code, reason = "not all who share this file need it")]
    pub(crate) fn cut(&self, cut: bool) -> io::Result<()> {
        self.filter(if cut { "drop" } else { "accept" })
    }

    fn filter(&self, verdict: &str) -> io::Result<()> {
        // One transaction: the old table goes with the new one's coming.
        let rules = format!(
            "table inet bad\ndelete table inet bad\ntable inet bad {{\n chain input {{\n  type filter hook input priority 0\n  \
             iifname \"{CABLE}\" meta l4proto udp {verdict}\n }}\n}}\n"
        );
        self.names
            .iter()
            .try_for_each(|name| run("ip", &["netns", "exec", name, "nft", "-f", "-"], Some(&rules)))
    }

    /// Makes the path carry packets of so many bytes at most.
    pub(crate) fn set_mtu(&self, bytes: u32) -> io::Result<()> {
        let bytes = bytes.to_string();
        self.names.iter().try_for_each(|name| ip(&["-n", name, "link", "set", CABLE, "mtu", &bytes]))
    }

    /// Lets so many megabits a second pass each way; 50 ms' worth may wait.
    #[allow(dead_code, reason = "not all who share this file need it")]
    pub(crate) fn set_rate(&self, megabits: u32) -> io::Result<()> {
        let rate = format!("{megabits}mbit");
        let queue = ["root", "tbf", "rate", &rate, "burst", "32kb", "latency", "50ms"];
        self.names.iter().try_for_each(|name| {
            run("tc", &[&["-n", name, "qdisc", "replace", "dev", CABLE][..], &queue].concat(), None)
        })
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            // What is left the next process sweeps away.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

/// Takes namespaces away whose process is no more.
fn sweep() {
    let Ok(folder) = std::fs::read_dir("/run/netns") else { return };
    for name in folder.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = run("ip", &["netns", "del", &name], None);
        }
    }
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    run("ip", arguments, None)
}

fn run(program: &str, arguments: &[&str], input: Option<&str>) -> io::Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} {}: {}", arguments.join(" "), said.trim())))
}
