//! `mainstem inspect`: what it says of a sound log, and that it finds damage.

use std::fs;
use std::os::unix::fs::FileExt;

use crate::support::{alone, mainstem, run};

#[test]
fn inspect_shows_a_log_finds_it_sound_and_names_the_place_that_is_damaged() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("world");
    let (code, out, error) = run(mainstem()
        .args(["dev", "--blocks", "500", "--rate", "0", "--chains", "3"])
        .args(["--api", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--data"])
        .arg(&data));
    assert_eq!(code, 0, "{out}{error}");
    let inspect = |args: &[&str]| run(mainstem().arg("inspect").args(args).arg("--data").arg(&data));

    let (code, log, error) = inspect(&["log"]);
    assert_eq!(code, 0, "{error}");
    assert!(log.contains("main chain     AELF") && log.contains("0000000001.seg    active"), "{log}");
    let (code, newest, _) = inspect(&["block", "latest"]);
    assert_eq!(code, 0);
    assert!(newest.contains("\"history_root\": \"0x") && newest.contains("tDV"), "{newest}");
    let (code, _, error) = inspect(&["block", "99999999"]);
    assert_eq!(code, 1);
    assert!(error.contains("there is no main block 99999999: the log has 1 to "), "{error}");
    let (code, chain, _) = inspect(&["chain", "tDVV"]);
    assert_eq!(code, 0);
    assert!(chain.contains("chain          tDVV (1866392)"), "{chain}");
    let (code, _, error) = inspect(&["chain", "zzzz"]);
    assert_eq!((code, error.contains("no block of chain zzzz")), (1, true), "{error}");
    for deep in [&["check"][..], &["check", "--deep"]] {
        let (code, out, error) = inspect(deep);
        assert_eq!(code, 0, "{out}{error}");
        assert!(out.contains("\nsound"), "{out}");
    }

    // The body of the first record, behind the segment's and the record's headers.
    let file = fs::File::options().write(true).open(data.join("log/0000000001.seg")).unwrap();
    file.write_all_at(&[0xff; 8], 4096 + 64 + 8).unwrap();
    let (code, out, error) = inspect(&["check"]);
    assert_eq!(code, 1, "{out}{error}");
    let said = out + &error;
    assert!(said.contains("0000000001.seg") && said.contains("record 1"), "{said}");
}
