//! Plain HTTP over sockets that are kept, with as little as can be around them: on a machine of two processors the load's
//! work counts as much as the node's.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Longest answer: a thousand chains have less.
const MAX_BYTES: usize = 4 << 20;

/// A connection that is kept, with at most one request on its way.
pub(crate) struct Connection {
    stream: TcpStream,
    host: String,
    request: Vec<u8>,
    /// The last answer, with its head.
    pub(crate) answer: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(node: &str) -> Result<Self> {
        let host = node.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let address = host.to_socket_addrs()?.next().with_context(|| format!("{host}: no address"))?;
        let stream =
            TcpStream::connect(address).with_context(|| format!("{host}: is a node running there?"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { stream, host, request: Vec::new(), answer: Vec::new() })
    }

    pub(crate) fn ask(&mut self, path: &str, binary: bool) -> Result<&[u8]> {
        self.send(path, binary)?;
        self.receive()
    }

    pub(crate) fn send(&mut self, path: &str, binary: bool) -> Result<()> {
        let accept = if binary { "accept: application/octet-stream\r\n" } else { "" };
        self.request.clear();
        write!(self.request, "GET {path} HTTP/1.1\r\nhost: {}\r\n{accept}\r\n", self.host)?;
        Ok(self.stream.write_all(&self.request)?)
    }

    /// Reads an answer to its end, and gives its body.
    pub(crate) fn receive(&mut self) -> Result<&[u8]> {
        self.answer.clear();
        let mut buffer = [0; 16 << 10];
        let mut expected = None;
        while expected.is_none_or(|(_, end)| self.answer.len() < end) {
            let read = self.stream.read(&mut buffer)?;
            ensure!(read > 0, "the node closed a connection");
            self.answer.extend_from_slice(&buffer[..read]);
            if expected.is_none() {
                expected = ends(&self.answer)?;
            }
        }
        let (body, end) = expected.context("an answer has a head")?;
        ensure!(self.answer.len() == end, "more than was asked for");
        Ok(&self.answer[body..])
    }
}

/// Where the body of an answer begins and ends, once its head is there.
fn ends(answer: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(head) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        ensure!(answer.len() < MAX_BYTES, "an endless head");
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..head])?;
    if !text.starts_with("HTTP/1.1 200 ") {
        bail!("the node answers: {}", String::from_utf8_lossy(answer));
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.context("an answer says how long it is")?.trim().parse()?;
    ensure!(length <= MAX_BYTES, "an answer of {length} bytes");
    Ok(Some((head + 4, head + 4 + length)))
}

/// The SplitMix64 generator.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
