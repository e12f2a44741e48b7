//! The client crate and its examples against a real node: what its users copy has to work.

use std::path::Path;
use std::process::Command;

use rest::{ChainFilter, Client, Event, Topic};

use crate::support::process::Process;
use crate::support::{mainstem, run, wait_for};

/// An example of the client crate, which cargo builds beside the tests' program.
fn example(name: &str) -> Command {
    let path = Path::new(env!("CARGO_BIN_EXE_mainstem")).with_file_name("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing: `cargo build -p mainstem-client --examples` builds it, `cargo xtask test` does so by itself",
        path.display()
    );
    Command::new(path)
}

#[test]
fn the_client_and_its_examples_work_against_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = mainstem();
    command.arg("dev").arg("--data").arg(dir.path().join("world"));
    command.args(["--chains", "3", "--rate", "20", "--api", "127.0.0.1:0", "--quic", "127.0.0.1:0"]);
    let mut dev = Process::start("mainstem dev", &mut command);
    let api = dev.line("the API's address", |line| Some(line.strip_prefix("api  ")?.trim().to_owned()));
    let client = Client::new(&api);
    wait_for("a block of every chain", || {
        let chains: Vec<_> = client.all_chains(&ChainFilter::default()).collect::<Result<_, _>>().ok()?;
        (chains.len() == 3 && chains.iter().all(|chain| chain.durable >= chain.first_height))
            .then_some(chains)
    });
    let status = client.status().unwrap();
    assert_eq!(status.chains, 3);
    let chain = client.chains(&ChainFilter::default(), None, 1).unwrap().chains.remove(0);

    let (code, out, error) = run(example("chains").arg(&api));
    assert_eq!((code, out.lines().count()), (0, 4), "{out}{error}");
    assert!(out.contains(&chain.chain), "{out}");

    // One that is not there yet comes as soon as it is.
    let next = rest::Height(client.chain(chain.chain_id).unwrap().durable.0 + 10);
    let (code, out, error) = run(example("wait_for_proof").arg(&api).arg(&chain.chain).arg(next.to_string()));
    assert_eq!(code, 0, "{out}{error}");
    let block = client.side_block(chain.chain_id, next).unwrap();
    assert!(
        out.contains(&block.hash.to_string()) && out.contains(&block.indexed_in.hash.to_string()),
        "{out}"
    );
    let wrong = format!("0x{}", "11".repeat(32));
    let (code, out, _) = run(example("wait_for_proof").arg(&api).arg(&chain.chain).arg("1").arg(wrong));
    assert_eq!(code, 1, "a header that is not the trusted one proves nothing: {out}");

    let (code, out, error) = run(example("follow_heads").arg(&api).arg("3"));
    assert_eq!((code, out.lines().count()), (0, 3), "{out}{error}");

    // What a client that was away has missed, and figures on the same stream.
    let mut events = client.events(&[Topic::Heads, Topic::Stats], Some("1")).unwrap();
    let (mut heights, mut stats) = (Vec::new(), 0);
    while heights.len() < 3 || stats == 0 {
        match events.next().unwrap().unwrap() {
            Event::Head(head) => heights.push(head.height.0),
            Event::Stats(now) => {
                assert!(now.head.is_some() && now.history.is_empty());
                stats += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    let first = heights[0];
    assert!(heights.iter().zip(first..).all(|(height, expected)| *height == expected), "{heights:?}");

    dev.signal("INT");
    let end = events.find_map(|event| match event {
        Ok(Event::End(why)) => Some(why),
        _ => None,
    });
    assert_eq!(end.as_deref(), Some("stopping"));
    assert!(dev.wait().success(), "{}", dev.output());
}
