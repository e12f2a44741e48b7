//! `mainstem dev`: the first thing that anyone runs.

use crate::support::process::Process;
use crate::support::{alone, http, mainstem, run};

#[test]
fn dev_indexes_ends_with_a_verified_proof_and_continues_when_run_again() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let world = dir.path().join("world");
    let dev = |args: &[&str]| {
        let mut command = mainstem();
        command
            .arg("dev")
            .arg("--data")
            .arg(&world)
            .args(["--api", "127.0.0.1:0", "--quic", "127.0.0.1:0"])
            .args(args);
        run(&mut command)
    };
    let (code, out, error) = dev(&["--for", "3s", "--chains", "3", "--rate", "50"]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.contains("verified    the proof that main block"), "{out}");
    assert!(out.contains("side chains 3, simulated"), "{out}");
    assert!(out.contains("curl http://127.0.0.1:"), "{out}");

    let (code, out, error) = dev(&["--blocks", "100", "--rate", "0"]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.contains("continued, main block"), "{out}");
    assert!(!out.contains("continued, main block 0"), "{out}");

    let (code, _, error) = dev(&["--chains", "4"]);
    assert_eq!(code, 1);
    assert!(error.contains("is a world of 3 chains, and --chains says 4"), "{error}");
}

#[test]
fn dev_names_the_flag_that_moves_a_busy_port() {
    let dir = tempfile::tempdir().unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (busy_tcp, busy_udp) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
    for (api, quic, said) in [
        (busy_tcp.to_string(), "127.0.0.1:0".into(), "--api moves this port"),
        ("127.0.0.1:0".into(), busy_udp.to_string(), "--quic moves this port"),
    ] {
        let (code, _, error) = run(mainstem()
            .args(["dev", "--api", &api, "--quic", &quic, "--data"])
            .arg(dir.path().join("world")));
        assert_eq!(code, 1);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn dev_serves_while_it_runs_and_stops_on_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = mainstem();
    command.arg("dev").arg("--data").arg(dir.path().join("world"));
    command.args(["--api", "127.0.0.1:0", "--quic", "127.0.0.1:0"]);
    let mut dev = Process::start("mainstem dev", &mut command);
    let api = dev.line("the API's address", |line| Some(line.strip_prefix("api  ")?.trim().to_owned()));
    crate::support::wait_for("a block of every chain", || {
        let durable = http::try_durable(&api)?;
        (durable.len() == 8 && durable.iter().all(|(_, height)| *height > 0)).then_some(())
    });
    // It is steered as every node is.
    let admin = |args: &[&str]| {
        let (code, out, error) = run(mainstem().args(args).arg("--data").arg(dir.path().join("world")));
        assert_eq!(code, 0, "{args:?}: {out}{error}");
        out
    };
    assert!(admin(&["chains", "pause", "tDVV"]).contains("tDVV"));
    admin(&["chains", "resume", "tDVV"]);
    assert_eq!(admin(&["reload"]), "nothing has changed\n");
    admin(&["log", "set", "info"]);
    admin(&["snapshot", "--to", dir.path().join("copy").to_str().unwrap()]);
    assert!(dir.path().join("copy/MANIFEST.json").exists());
    let (code, out, error) = run(mainstem().args(["trace", "block", "latest", "--node", &api]));
    assert!(code == 0 && out.starts_with("main block ") && out.contains("synced"), "{out}{error}");
    dev.signal("INT");
    assert!(dev.wait().success(), "{}", dev.output());
    let output = dev.output();
    assert!(output.contains("verified    the proof"), "{output}");
}
