//! What happens around a log in its life: processes that are killed, a second writer, files that may not be touched,
//! clocks that jump. Crashes of the machine and full disks are `cargo xtask disk`'s.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

use engine::chain::{Height, MainBlock};
use engine::store::BlockReader;
use mainstem_storage::{Error, Log, LogReader, LogWriter, Options, Prepare};
use support::{Maker, Rng, assert_holds, copy, scratch};

/// Tells the child of a test which log to write.
const DIR_VAR: &str = "MAINSTEM_FAULTS_DIR";
/// How many blocks it appends before it only waits to be killed.
const BLOCKS_OF_A_WRITER: usize = 20;
const KILLS: usize = 12;

fn options() -> Options {
    Options { segment_bytes: 1 << 20, ..support::options() }
}

fn maker() -> Maker {
    Maker::new(77)
}

/// Mostly small blocks, and some that fill segments.
fn next(maker: &mut Maker) -> MainBlock {
    let leaves = if maker.height % 6 == 5 { 3000 } else { 20 };
    maker.random_block(leaves)
}

fn blocks(count: usize) -> Vec<MainBlock> {
    let mut maker = maker();
    (0..count).map(|_| next(&mut maker)).collect()
}

/// A process that appends to the log in `dir` and says the height of each block once it is durable.
struct Writer {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Writer {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_process_that_writes", "--ignored", "--nocapture"])
            .env(DIR_VAR, dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next height that it says.
    fn durable(&mut self) -> u64 {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the writer ended by itself");
            // The test program has words of its own, and may put them before ours.
            if let Some((_, height)) = line.split_once("durable ") {
                return height.trim().parse().unwrap();
            }
        }
    }

    /// Kills it, and reads what it had still said.
    fn kill(mut self) -> Option<u64> {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "it ended by itself");
        let rest = self.lines.lines().map_while(Result::ok);
        rest.filter_map(|line| line.split_once("durable ")?.1.trim().parse().ok()).last()
    }
}

#[test]
#[ignore = "the child of other tests"]
fn a_process_that_writes() {
    let dir = PathBuf::from(std::env::var_os(DIR_VAR).expect("started by a test"));
    let prepare = if std::process::id().is_multiple_of(2) { Prepare::Ahead } else { Prepare::AtRoll };
    let (mut log, reader, _) = Log::open(dir, Options { prepare, ..options() }).unwrap();
    let mut maker = maker();
    let head = reader.head().0;
    (0..head).for_each(|_| drop(next(&mut maker)));
    println!("durable {head}");
    for _ in 0..BLOCKS_OF_A_WRITER {
        let block = next(&mut maker);
        log.append(&block).unwrap();
        log.sync().unwrap();
        println!("durable {}", block.header.height);
    }
    // The test kills it; it does not outlive the test by much if the test fails.
    std::thread::sleep(Duration::from_secs(60));
}

/// This tests restarting, and readers beside it, not durability: a killed process takes nothing from the page cache.
#[test]
fn a_killed_writer_starts_again_where_it_was_and_readers_beside_it_notice_nothing() {
    let dir = scratch();
    let blocks = blocks(BLOCKS_OF_A_WRITER * KILLS);
    let mut rng = Rng(5);
    let mut durable = 0;
    let mut reader = None;
    for _ in 0..KILLS {
        let mut writer = Writer::start(dir.path());
        let reopened = writer.durable();
        assert!(reopened >= durable, "acknowledged block {durable}, opened again at {reopened}");
        for _ in 0..=rng.below(BLOCKS_OF_A_WRITER as u64 - 1) {
            durable = writer.durable();
        }
        // A reader of another process, opened while the first writer was at work, and never again.
        let reader = reader.get_or_insert_with(|| LogReader::open(dir.path()).unwrap());
        let seen = reader.refresh().unwrap();
        assert!(seen.0 >= durable, "acknowledged block {durable}, a reader sees {seen}");
        assert_same(reader, &blocks, seen);
        std::thread::sleep(Duration::from_micros(rng.below(3000)));
        durable = durable.max(writer.kill().unwrap_or(0));
        let now = reader.refresh().unwrap();
        assert!(now >= seen && now.0 >= durable, "{seen} and {durable}, then {now}");
        assert_same(reader, &blocks, now);
        assert_holds(&LogReader::open(dir.path()).unwrap(), &blocks[..now.0 as usize]);
    }
    let (_, reader, _) = Log::open(dir.path(), options()).unwrap();
    assert_holds(&reader, &blocks[..reader.head().0 as usize]);
    assert!(reader.segments().len() > 3, "the history rolls");
}

/// The newest blocks that this reader shows are those that were appended.
fn assert_same(reader: &LogReader, blocks: &[MainBlock], head: Height) {
    for height in head.0.saturating_sub(3).max(1)..=head.0 {
        let found = reader.block(Height(height)).unwrap().expect("below the head");
        assert!(copy(&found) == blocks[height as usize - 1], "block {height}");
    }
}

#[test]
fn a_second_process_is_refused_until_the_first_is_killed() {
    let dir = scratch();
    let mut writer = Writer::start(dir.path());
    let first = writer.durable();
    for _ in 0..3 {
        let error = Log::open(dir.path(), options()).unwrap_err();
        assert!(matches!(&error, Error::Locked { path } if path == &dir.path().join("LOCK")), "{error}");
    }
    // Being refused disturbs nobody.
    assert!(writer.durable() > first);
    writer.kill();
    let (log, reader, _) = Log::open(dir.path(), options()).unwrap();
    assert_holds(&reader, &blocks(reader.head().0 as usize));
    drop(log);
}

/// A log with sealed segments, as its owner; permissions do not bind root, so root becomes somebody else first.
fn as_ordinary_user(test: impl FnOnce(&Path) + Send) {
    const NOBODY: u32 = 65534;
    let dir = scratch();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                // Of this thread only. It never becomes root again.
                let nobody = rustix::process::Uid::from_raw(NOBODY);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            test(&dir.path().join("log"));
        });
    });
}

fn write(dir: &Path, blocks: &[MainBlock]) -> LogWriter {
    let (mut log, reader, _) = Log::open(dir, options()).unwrap();
    for block in &blocks[reader.head().0 as usize..] {
        log.append(block).unwrap();
        log.sync().unwrap();
    }
    log
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn is_denied(error: &Error, path: &Path) -> bool {
    matches!(error, Error::Io { path: named, source, .. }
        if source.kind() == ErrorKind::PermissionDenied && named.starts_with(path))
}

#[test]
fn a_log_is_its_owners_alone() {
    as_ordinary_user(|dir| {
        drop(write(dir, &blocks(3)));
        assert_eq!(std::fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700);
    });
}

#[test]
fn a_log_that_may_not_be_written_can_be_read_and_says_which_file_refused() {
    as_ordinary_user(|dir| {
        let blocks = blocks(52);
        drop(write(dir, &blocks[..50]));
        let last = dir.join(format!("{:010}.seg", LogReader::open(dir).unwrap().segments().len()));
        for (path, mode, usual) in
            [(dir, 0o500, 0o700), (&last, 0o400, 0o600), (&dir.join("LOCK"), 0o400, 0o600)]
        {
            set_mode(path, mode);
            let error = Log::open(dir, options()).unwrap_err();
            assert!(is_denied(&error, path), "{}: {error}", path.display());
            assert_holds(&LogReader::open(dir).unwrap(), &blocks[..50]);
            set_mode(path, usual);
        }
        drop(write(dir, &blocks));
        assert_holds(&LogReader::open(dir).unwrap(), &blocks);
    });
}

#[test]
fn a_file_that_may_not_be_read_is_named_and_hides_nothing_for_good() {
    as_ordinary_user(|dir| {
        let blocks = blocks(52);
        drop(write(dir, &blocks[..50]));
        let segments = LogReader::open(dir).unwrap().segments().len();
        assert!(segments >= 3);
        let mut files = vec![dir.join("LOG"), dir.join("MARK")];
        files.extend([1, 2, segments].map(|number| dir.join(format!("{number:010}.seg"))));
        let last = files[files.len() - 1].clone();
        for path in files {
            let name = path.file_name().unwrap().to_str().unwrap();
            set_mode(&path, 0o200);
            match LogReader::open(dir) {
                Err(error) => assert!(is_denied(&error, &path), "{name}: {error}"),
                // A segment that cannot be read leaves the others; of the last one nobody knows what it holds.
                Ok(reader) => {
                    assert!(reader.damage().iter().any(|error| error.to_string().contains(name)));
                    let mut missing = 0;
                    for block in &blocks[..50] {
                        match reader.block(block.header.height) {
                            Ok(Some(found)) => assert!(&copy(&found) == block),
                            Ok(None) => {
                                assert!(block.header.height > reader.head() && path == last, "{name}");
                                missing += 1;
                            }
                            Err(error) => {
                                assert!(error.to_string().contains(name), "{error}");
                                missing += 1;
                            }
                        }
                    }
                    assert!((1..50).contains(&missing), "{name}: {missing} blocks missing");
                }
            }
            match Log::open(dir, options()) {
                Err(error) => assert!(error.to_string().contains(name), "{error}"),
                Ok((_, _, recovery)) => {
                    let damage = recovery.damage.iter().map(ToString::to_string);
                    assert!(path != last && damage.clone().any(|error| error.contains(name)), "{name}");
                }
            }
            set_mode(&path, 0o600);
            assert_holds(&LogReader::open(dir).unwrap(), &blocks[..50]);
        }
        drop(write(dir, &blocks));
        assert_holds(&LogReader::open(dir).unwrap(), &blocks);
    });
}

#[test]
fn nothing_depends_on_the_times_of_files_or_on_the_clock() {
    let dir = scratch();
    let blocks = blocks(48);
    let day = Duration::from_secs(86_400);
    let epoch = SystemTime::UNIX_EPOCH;
    let mut end = 8;
    drop(write(dir.path(), &blocks[..end]));
    // All in 1970, all in 2100, newest first, oldest first: as if the clock had jumped between any two writes.
    for times in [|_: u32| 0, |_| 47_482, |index| 20_000 - index, |index| 20_000 + index] {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.push(dir.path().to_owned());
        for (index, path) in paths.iter().enumerate() {
            let time = epoch + day * times(index as u32);
            File::open(path).unwrap().set_modified(time).unwrap();
        }
        assert_holds(&LogReader::open(dir.path()).unwrap(), &blocks[..end]);
        end += 8;
        drop(write(dir.path(), &blocks[..end]));
        assert_holds(&LogReader::open(dir.path()).unwrap(), &blocks[..end]);
    }
    // The blocks' own times are data: these fall as often as they rise.
    let time = |block: &MainBlock| block.header.time;
    assert!(!blocks.is_sorted_by_key(time) && blocks.windows(2).any(|two| time(&two[0]) < time(&two[1])));
}
