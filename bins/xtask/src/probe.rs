//! Starts an EVM node, asks it one question over JSON-RPC, and stops it.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::workspace;

/// How long a node may take over one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// An answer is some 200 bytes; whatever sends more is no EVM node.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Starts `node` on a free port of loopback and returns its answer to `eth_chainId`, e.g. `0x7a69`.
pub(crate) fn chain_id(node: &Path, options: &[&str], start_timeout: Duration) -> Result<String> {
    let mut command = workspace::program(node, &workspace::root());
    command.args(["--host", "127.0.0.1", "--port", "0"]).args(options);
    let child = command.stdout(Stdio::piped()).spawn().context("it does not start")?;
    let mut running = Running(child);
    let stdout = running.0.stdout.take().expect("stdout is piped");
    let address = listening_address(stdout, start_timeout)?;
    ask_chain_id(address).with_context(|| format!("it does not answer on {address}"))
}

/// Stops the node however we leave.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, and there is nothing left to do about any other error.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the line `Listening on HOST:PORT`.
fn listening_address(stdout: impl Read + Send + 'static, timeout: Duration) -> Result<SocketAddr> {
    let (sender, receiver) = mpsc::channel();
    // Reads to the end, so that the node never blocks on a full pipe; ends when the node does.
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(address) = line.strip_prefix("Listening on ") {
                let _ = sender.send(address.trim().to_owned());
            }
        }
    });
    match receiver.recv_timeout(timeout) {
        Ok(address) => {
            address.parse().with_context(|| format!("it listens on {address:?}, not on HOST:PORT"))
        }
        Err(mpsc::RecvTimeoutError::Timeout) => bail!("it did not listen within {timeout:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => bail!("it ended before it listened"),
    }
}

fn ask_chain_id(address: SocketAddr) -> Result<String> {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    read_result(&mut stream)
}

/// Reads an HTTP answer up to its `"result":"0x.."`, without relying on how its body is framed.
fn read_result(stream: &mut impl Read) -> Result<String> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk)?;
        answer.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&answer);
        if let Some(result) = result(&text) {
            return Ok(result.to_owned());
        }
        if read == 0 || answer.len() > MAX_ANSWER_BYTES {
            return Err(anyhow!("no \"result\":\"0x..\" in the answer: {text}"));
        }
    }
}

/// The value of a hex `result` once the whole of it is there.
fn result(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(r#""result":""#)?;
    let (value, _) = rest.split_once('"')?;
    let digits = value.strip_prefix("0x")?;
    (!digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_is_read_from_a_whole_answer_only() {
        let whole = "HTTP/1.1 200 OK\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"0x7a69\"}";
        assert_eq!(read_result(&mut whole.as_bytes()).unwrap(), "0x7a69");
        assert_eq!(result(&whole[..whole.len() - 2]), None);
        assert_eq!(result(r#"{"result":"latest"}"#), None);
        assert_eq!(result(r#"{"result":"0x"}"#), None);
    }

    #[test]
    fn answer_without_a_result_is_refused_with_its_text() {
        let error = read_result(&mut "HTTP/1.1 404 Not Found\r\n\r\n".as_bytes()).unwrap_err();
        assert!(error.to_string().contains("404 Not Found"));
    }

    #[test]
    fn endless_answer_is_refused() {
        assert!(read_result(&mut std::io::repeat(b'x')).is_err());
    }

    #[test]
    fn address_is_found_behind_a_banner() {
        let stdout = "  anvil\n\nListening on 127.0.0.1:4321\n".as_bytes();
        let address = listening_address(stdout, ANSWER_TIMEOUT).unwrap();
        assert_eq!(address, "127.0.0.1:4321".parse().unwrap());
    }

    #[test]
    fn node_that_ends_early_is_an_error_at_once() {
        let error = listening_address("no port\n".as_bytes(), ANSWER_TIMEOUT).unwrap_err();
        assert_eq!(error.to_string(), "it ended before it listened");
    }
}
