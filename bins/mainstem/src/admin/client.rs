//! Speaks to the admin socket of a node on this machine.
//!
//! One request a connection: it ends with the answer, so nothing of HTTP is needed but a head and a body.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::socket::with_short_name;
use crate::data_dir::DataDir;

/// Longest answer that is read.
const MAX_ANSWER: u64 = 16 << 20;

/// How long a node may take over an answer: a snapshot of a large log takes its time.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Asks the node that runs with a data directory.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// Why there is no answer, or none that was hoped for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No node runs there.
    #[error(
        "no node answers at {socket} ({source}); is it running with this data directory? (--data names another one)",
        socket = socket.display()
    )]
    NotReachable {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Only the user who runs the node may ask.
    #[error("{socket} is another user's: run this as the user who runs the node, or as root", socket = socket.display())]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
    },
    /// What answers is no node, or went away.
    #[error("{socket}: not what a node answers: {what}", socket = socket.display())]
    NotANode {
        /// The socket.
        socket: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The node says why not.
    #[error("{detail}")]
    Problem {
        /// The status of HTTP.
        status: u16,
        /// Kind of the problem, as `unknown-chain`.
        kind: String,
        /// In words.
        detail: String,
    },
}

impl Client {
    /// The node that runs with this data directory.
    pub(crate) fn at(dir: &DataDir) -> Self {
        Self { socket: dir.admin.clone() }
    }

    /// `GET path`
    pub(crate) fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.ask("GET", path, &[])
    }

    /// `POST path` with a JSON body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.ask("POST", path, body.to_string().as_bytes())
    }

    /// `DELETE path`
    pub(crate) fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.ask("DELETE", path, &[])
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Value, ClientError> {
        let mut stream = self.connect()?;
        let answer = exchange(&mut stream, method, path, body).map_err(|error| self.no_node(&error))?;
        let (status, body) = parse(&answer).ok_or_else(|| self.no_node(&"the answer breaks off"))?;
        let value: Value = serde_json::from_slice(body).map_err(|error| self.no_node(&error))?;
        if (200..300).contains(&status) {
            return Ok(value);
        }
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let kind = text("type").unwrap_or_default();
        let kind = kind.rsplit(':').next().unwrap_or_default().to_owned();
        let detail = text("detail").unwrap_or_else(|| format!("the node answers {status}"));
        Err(ClientError::Problem { status, kind, detail })
    }

    fn connect(&self) -> Result<UnixStream, ClientError> {
        let connect = |path: &Path| {
            let stream = with_short_name(path, UnixStream::connect)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(Duration::from_secs(10)))?;
            Ok(stream)
        };
        connect(&self.socket).map_err(|source: io::Error| {
            let socket = self.socket.clone();
            match source.kind() {
                ErrorKind::PermissionDenied => ClientError::NotAllowed { socket },
                _ => ClientError::NotReachable { socket, source },
            }
        })
    }

    fn no_node(&self, what: &dyn ToString) -> ClientError {
        ClientError::NotANode { socket: self.socket.clone(), what: what.to_string() }
    }
}

fn exchange(stream: &mut UnixStream, method: &str, path: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    // At once: who answers without reading the body may close before it comes.
    match stream.write_all(&[head.as_bytes(), body].concat()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
        _ => {}
    }
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Status and body of an answer that is whole by its announced length.
fn parse(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    answer.get(end + 4..)?.get(..length).map(|body| (status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_none() {
        let whole = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nx: y\r\n\r\n{}";
        assert_eq!(parse(whole), Some((404, &b"{}"[..])));
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), None, "{end}");
        }
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n{}"), None);
    }
}
