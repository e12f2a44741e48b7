//! Looks at the data directory: the documents, the keys, the log, how fast the disk syncs.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use engine::state::{Genesis, Registry};
use net::identity::Identity;
use storage::LogReader;

use super::super::run;
use super::super::words::{counted, grouped};
use super::finding::Finding;
use crate::admin::PausedFile;
use crate::data_dir::{DataDir, read_genesis};
use crate::keys::KeysFile;
use crate::node::lost_operations;
use crate::registry::ever_registered;
use crate::settings::Api;

/// Pieces that are synced, at most.
const SYNCS: usize = 24;

/// What is written before each sync, in bytes.
const PIECE: usize = 64 << 10;

/// How long the disk is tried, at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// A sync that takes longer than this holds back every main block.
const SLOW: Duration = Duration::from_millis(25);

/// One of these, and chains that make a block each 100 ms fall behind.
const VERY_SLOW: Duration = Duration::from_millis(250);

/// The name of the file that the disk is tried with.
const PROBE: &str = ".doctor-probe";

/// Reads the genesis document, and says what is wrong with it.
pub(super) fn genesis(dir: &DataDir) -> (Finding, Option<Genesis>) {
    const CHECK: &str = "genesis";
    match read_genesis(&dir.genesis) {
        Ok((genesis, _)) => {
            let found = format!(
                "main chain {}, {}",
                genesis.main.id,
                counted(genesis.chains.len() as u64, "side chain")
            );
            (Finding::ok(CHECK, found), Some(genesis))
        }
        Err(error) => {
            let means = "a node starts only with the document that its log was made with";
            let mend = if dir.genesis.exists() {
                format!("correct {}", dir.genesis.display())
            } else if dir.log.exists() || dir.key.exists() {
                format!("put {} back", dir.genesis.display())
            } else {
                format!(
                    "put the document back, or make a new data directory: mainstem init --data {}",
                    dir.root.display()
                )
            };
            (Finding::fail(CHECK, format!("{error:#}"), means, mend), None)
        }
    }
}

/// The node's own key.
pub(super) fn key(dir: &DataDir) -> Finding {
    const CHECK: &str = "key";
    let file = dir.key.display();
    let means = "it is who this node is: side chains' nodes know it by this key";
    let metadata = match fs::metadata(&dir.key) {
        Ok(metadata) => metadata,
        Err(error) => {
            let mend = format!("put the file back; only if there never was one: mainstem keys new {file}");
            return Finding::fail(CHECK, format!("{file}: {error}"), means, mend);
        }
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let found = format!("{file} has mode {mode:04o}: others than its owner may read or change it");
        return Finding::fail(CHECK, found, means, format!("chmod 600 {file}"));
    }
    match Identity::load(&dir.key) {
        Ok(key) => Finding::ok(CHECK, format!("{}, for its owner alone", key.public())),
        Err(error) => {
            Finding::fail(CHECK, error.to_string(), means, format!("put back the backup of {file}"))
        }
    }
}

/// The keys of side chains' nodes that were revoked or rotated.
pub(super) fn keys(dir: &DataDir, genesis: &Genesis) -> Finding {
    const CHECK: &str = "registered-keys";
    // What is wrong with the log is told elsewhere.
    let operations = storage::operations(&dir.log).unwrap_or_default();
    let chains = Registry::new(genesis, operations.iter().map(|(_, operation)| operation)).chains();
    let state = match KeysFile::at(&dir.keys).read(&ever_registered(genesis, &operations)) {
        Ok(state) => state,
        Err(error) => {
            let means = "a node does not start with it: it would not know who may speak";
            return Finding::fail(CHECK, error.to_string(), means, format!("correct {}", dir.keys.display()));
        }
    };
    let mute = state.mute(&chains);
    if let Some(chain) = mute.first() {
        let found = format!(
            "nobody may speak for {}, such as {} ({:?}): all their keys are revoked",
            counted(mute.len() as u64, "chain"),
            chain.id,
            chain.name
        );
        let mend = "mainstem keys restore KEY, or mainstem keys rotate OLD NEW; mainstem keys list shows all";
        return Finding::warn(CHECK, found, "such a chain is not indexed", mend);
    }
    let nodes: usize = chains.iter().map(|chain| chain.nodes.len()).sum();
    let changes = state.revoked.len() + state.stands_for.len();
    Finding::ok(CHECK, format!("{} registered, {}", grouped(nodes as u64), counted(changes as u64, "change")))
}

/// Which chains are paused.
pub(super) fn paused(dir: &DataDir) -> Finding {
    const CHECK: &str = "paused-chains";
    match PausedFile::at(&dir.chains).read() {
        Ok(paused) if paused.is_empty() => Finding::ok(CHECK, "none"),
        Ok(paused) => Finding::ok(CHECK, format!("{}, as somebody asked", grouped(paused.len() as u64))),
        Err(error) => {
            let mend = format!("correct {}, or remove it: then no chain is paused", dir.chains.display());
            Finding::fail(CHECK, error.to_string(), "a node does not start with it", mend)
        }
    }
}

/// What takes changes: the socket, and the API's address for those who show the secret.
pub(super) fn admin(settings: &Api, dir: &DataDir) -> Vec<Finding> {
    const SOCKET: &str = "admin-socket";
    const SECRET: &str = "admin-token";
    let in_the_way = fs::symlink_metadata(&dir.admin).is_ok_and(|found| !found.file_type().is_socket());
    let socket = if in_the_way {
        let path = dir.admin.display();
        let mend = format!("mv {path} {path}.away");
        let found = format!("{path} is there and is no socket");
        Finding::fail(SOCKET, found, "the node does not start: its socket has this name", mend)
    } else {
        Finding::ok(SOCKET, "nothing is in its way")
    };
    let mend = "openssl rand -hex 32 > FILE; chmod 600 FILE; or api.admin_token_file = \"-\"";
    let secret = match run::secret(settings, dir) {
        Ok(None) => Finding::ok(SECRET, "none: only the admin socket takes changes"),
        Ok(Some(_)) if is_open(&dir.root.join(&settings.admin_token_file)) => {
            let file = dir.root.join(&settings.admin_token_file);
            let found = format!("{} can be read or changed by others than its owner", file.display());
            let means = "whoever can read it can change this node";
            Finding::warn(SECRET, found, means, format!("chmod 600 {}", file.display()))
        }
        Ok(Some(_)) => match run::exposed(settings) {
            None => Finding::ok(SECRET, "can be read, and is asked for on this machine alone"),
            Some(exposed) => {
                let means = "whoever sees the network can take the secret";
                Finding::warn(SECRET, exposed, means, "--api.addr 127.0.0.1:9480, and a proxy with TLS")
            }
        },
        Err(error) => Finding::fail(SECRET, error.to_string(), "a node does not start without it", mend),
    };
    vec![socket, secret]
}

/// Whether others than its owner may read or change a file.
fn is_open(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// The log: whose it is, and whether it is sound as far as a quick look tells. Gives how many segments it has.
pub(super) fn log(dir: &DataDir, genesis: Option<&Genesis>) -> (Vec<Finding>, u64) {
    const CHECK: &str = "log";
    const WHOSE: &str = "log-genesis";
    let data = dir.root.display();
    let reader = match LogReader::open(&dir.log) {
        Ok(reader) => reader,
        Err(storage::Error::NoLog { .. }) => {
            return (vec![Finding::ok(CHECK, "there is none yet: the first start makes it")], 0);
        }
        Err(error) => {
            let mend = match &error {
                storage::Error::LogFileLost { .. } => {
                    format!("put {}/LOG back from a backup", dir.log.display())
                }
                error if error.other_version().is_some() => {
                    "run the version of mainstem that wrote it: mainstem explain MS-5021".to_owned()
                }
                _ => {
                    format!(
                        "mainstem inspect check --data {data}, then mainstem inspect repair --data {data}"
                    )
                }
            };
            return (vec![Finding::fail(CHECK, error.to_string(), "a node does not start with it", mend)], 0);
        }
    };
    let mut findings = Vec::new();
    let segments = reader.segments().len() as u64;
    if let Some(genesis) = genesis {
        findings.push(if reader.genesis_hash() == genesis.hash {
            Finding::ok(WHOSE, "the log was made with this genesis document")
        } else {
            let found = format!(
                "the log was made with genesis {}, and the document is {}",
                reader.genesis_hash(),
                genesis.hash
            );
            let mend = format!("put back the {} that it was made with", dir.genesis.display());
            Finding::fail(WHOSE, found, "a node does not start with it", mend)
        });
    }
    let judged = storage::check(&dir.log, false, &mut |_, _| {});
    let stuck = match &judged {
        Ok(report) => match &report.damage[..] {
            [] => stuck(&reader, genesis),
            [lost @ storage::Error::Operations { .. }] => Some(lost.to_string()),
            _ => None,
        },
        Err(_) => None,
    };
    findings.push(match judged {
        Ok(_) if stuck.is_some() => {
            let mend = format!("mainstem inspect check --deep --data {data}; mainstem explain MS-5022");
            Finding::fail(CHECK, stuck.unwrap_or_default(), "a node does not start with it", mend)
        }
        Ok(report) if report.damage.is_empty() => Finding::ok(
            CHECK,
            format!(
                "sound, as far as a quick look tells: {} in {}",
                counted(report.head.0, "main block"),
                counted(report.segments, "segment")
            ),
        ),
        Ok(report) => {
            let found = format!(
                "{}, first: {}",
                counted(report.damage.len() as u64, "damaged place"),
                report.damage[0]
            );
            let mend =
                format!("mainstem inspect check --data {data}, then mainstem inspect repair --data {data}");
            Finding::fail(CHECK, found, "main blocks there cannot be read, nor proofs of them served", mend)
        }
        Err(error) => {
            let mend = format!("mainstem inspect check --data {data}");
            Finding::fail(CHECK, error.to_string(), "the log cannot be read", mend)
        }
    });
    (findings, segments)
}

/// Why a node could not go on with a log that is sound by itself, as far as a quick look tells: it does not show that the
/// operations of old blocks are lost.
fn stuck(reader: &LogReader, genesis: Option<&Genesis>) -> Option<String> {
    let genesis = genesis.filter(|genesis| genesis.hash == reader.genesis_hash())?;
    let error = engine::pipeline::check(genesis, reader).err()?;
    let lost = lost_operations(reader, &error);
    Some(lost.map_or_else(|| error.to_string(), |lost| lost.to_string()))
}

/// How fast the disk makes small writes durable.
pub(super) fn disk_speed(dir: &Path) -> Finding {
    const CHECK: &str = "disk-speed";
    let mut took = match probe(dir) {
        Ok(took) => took,
        Err(error) => {
            let found = format!("nothing can be written to {}: {error}", dir.display());
            let mend = format!(
                "sudo chown -R $(id -u) {}, or run this as the user who runs the node",
                dir.display()
            );
            return Finding::fail(CHECK, found, "the log cannot be written", mend);
        }
    };
    took.sort_unstable();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    judge_disk(median, longest, took.len())
}

fn judge_disk(median: Duration, longest: Duration, syncs: usize) -> Finding {
    const CHECK: &str = "disk-speed";
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let found = format!(
        "fdatasync of 64 KiB takes {:.1} ms, at worst {:.1} ms of {syncs}",
        millis(median),
        millis(longest)
    );
    let means = "each main block waits for one: chains cannot be durable faster";
    let mend = "use a disk of its own with a cache that survives power loss, or share syncs: --storage.sync-interval-ms 20";
    if median >= VERY_SLOW {
        Finding::fail(CHECK, found, means, mend)
    } else if median >= SLOW {
        Finding::warn(CHECK, found, means, mend)
    } else {
        Finding::ok(CHECK, found)
    }
}

/// Writes and syncs a small file, which is removed. At least one time.
fn probe(dir: &Path) -> io::Result<Vec<Duration>> {
    let path = dir.join(PROBE);
    let run = || {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        // Written before, as the log's segments are: what counts is the sync, not new room.
        file.write_all_at(&vec![0_u8; PIECE * 4], 0)?;
        file.sync_all()?;
        let piece = vec![0x5a_u8; PIECE];
        let (begun, mut took) = (Instant::now(), Vec::new());
        while took.is_empty() || (took.len() < SYNCS && begun.elapsed() < PATIENCE) {
            let at = Instant::now();
            file.write_all_at(&piece, (took.len() % 4 * PIECE) as u64)?;
            file.sync_data()?;
            took.push(at.elapsed());
        }
        Ok(took)
    };
    let took = run();
    // Whether or not it could be made.
    let _ = fs::remove_file(&path);
    took
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_slow_disk_is_named_and_a_probe_leaves_nothing_behind() {
        let of = |millis| judge_disk(Duration::from_millis(millis), Duration::from_millis(900), 3).level;
        assert_eq!((of(1), of(30), of(300)), (Level::Ok, Level::Warn, Level::Fail));
        let dir = tempfile::tempdir().unwrap();
        assert!(!probe(dir.path()).unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(disk_speed(&dir.path().join("none")).level, Level::Fail);
    }

    #[test]
    fn a_log_whose_file_log_is_gone_is_not_taken_for_a_new_one() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = DataDir::plain(temporary.path());
        let level = || log(&dir, None).0[0].level;
        assert_eq!(level(), Level::Ok, "there is none");
        fs::create_dir(&dir.log).unwrap();
        fs::write(dir.log.join("0000000001.seg"), vec![0; 8192]).unwrap();
        assert_eq!(level(), Level::Ok, "its creation was cut short");
        fs::write(dir.log.join("0000000002.seg"), "").unwrap();
        assert_eq!(level(), Level::Fail);
    }

    #[test]
    fn a_secret_that_others_can_read_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = DataDir::plain(temporary.path());
        let file = dir.root.join("token");
        fs::write(&file, "0123456789abcdef").unwrap();
        let settings = Api { admin_token_file: "token".into(), ..Api::default() };
        for (mode, level) in [(0o600, Level::Ok), (0o640, Level::Warn), (0o604, Level::Warn)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(admin(&settings, &dir)[1].level, level, "{mode:o}");
        }
    }
}
