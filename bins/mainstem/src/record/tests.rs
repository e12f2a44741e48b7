//! The file, and a replay of what the file says. Recording a node is tried end to end (`tests/e2e/replay.rs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::chain::{ChainId, Columns, Hash, Height, MainHeader, Timestamp};
use engine::pipeline::Sealer;
use net::frame::{FrameBuffer, FrameWriter, MAX_FRAME_BYTES};

use super::format::{Chunk, FormatError, Reader, Sealing, Writer};
use super::start::Start;
use super::{Outcome, Replay, Speed};

const GENESIS: &str = "[main]\nid = 1\nname = \"m\"\n[[chain]]\nid = 7\nname = \"seven\"\nnodes = [\"0101010101010101010101010101010101010101010101010101010101010101\"]\n";

fn start() -> Start {
    Start {
        software: "test".into(),
        genesis: GENESIS.into(),
        head: None,
        peaks: vec![],
        heads: vec![],
        operations: vec![],
        lane_blocks: 64,
    }
}

/// A frame with the heights `first` to `last` of chain 7.
fn frame(first: u64, last: u64) -> FrameBuffer {
    let hash = |height: u64| Hash([height as u8; 32]);
    let mut columns = Columns::default();
    for height in first..=last {
        columns.push(hash(height), hash(height + 100), Timestamp::from_millis(height));
    }
    let mut writer = FrameWriter::new(FrameBuffer::default(), MAX_FRAME_BYTES);
    writer.push(ChainId(7), Height(first), hash(first - 1), columns.as_ref());
    writer.finish()
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn sealing(height: u64, first: u64, count: u32, hash: Hash) -> Sealing {
    Sealing {
        height: Height(height),
        time: Timestamp::from_millis(1_000 * height),
        hash,
        shares: vec![(ChainId(7), Height(first), count)],
        operations: vec![],
    }
}

/// A recording of two main blocks, whose header hashes are given. The second frame comes in the file after the block that
/// it is not in, and some of the first are from the log.
fn record(dir: &Path, hashes: [Hash; 2]) -> PathBuf {
    let path = dir.join("file.rec");
    let _ = fs::remove_file(&path);
    let mut file = Writer::create(&path).unwrap();
    file.start(&start()).unwrap();
    file.frame(at(10), &[], frame(4, 9).as_bytes()).unwrap();
    file.frame(at(30), &[0], frame(4, 9).as_bytes()).unwrap();
    file.frame(at(50), &[], frame(10, 12).as_bytes()).unwrap();
    file.backlog(at(20), frame(1, 3).as_bytes()).unwrap();
    file.block(at(20), &sealing(1, 1, 8, hashes[0])).unwrap();
    file.block(at(60), &sealing(2, 9, 4, hashes[1])).unwrap();
    file.end(at(70), "its time was over").unwrap();
    path
}

fn replay(path: &Path) -> anyhow::Result<(Outcome, Vec<Hash>)> {
    let mut hashes = Vec::new();
    let outcome = Replay::open(path, 1)?.run(Speed::Max, |sealed| {
        hashes.push(sealed.replayed);
        Ok(())
    })?;
    Ok((outcome, hashes))
}

#[test]
fn a_replay_makes_the_same_main_blocks_and_tells_those_that_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (outcome, made) = replay(&record(dir.path(), [Hash::ZERO; 2])).unwrap();
    assert_eq!((outcome.main_blocks, outcome.different, outcome.side_blocks), (2, 2, 12));
    let (outcome, again) = replay(&record(dir.path(), [made[0], made[1]])).unwrap();
    assert_eq!((outcome.different, again), (0, made.clone()));
    assert_eq!((outcome.frames, outcome.ended.as_str()), (3, "its time was over"));
    let (outcome, _) = replay(&record(dir.path(), [made[0], Hash::ZERO])).unwrap();
    assert_eq!(outcome.different, 1);
    assert_ne!(made[0], Sealer::blank().hash);
}

#[test]
fn a_changed_byte_and_a_file_that_breaks_off_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = record(dir.path(), [Hash::ZERO; 2]);
    let whole = fs::read(&path).unwrap();
    // All of the small chunks, and every 97th byte of the rest.
    for place in (0..whole.len()).filter(|place| place % 97 == 0 || whole.len() - place < 120) {
        let mut changed = whole.clone();
        changed[place] ^= 0x10;
        fs::write(&path, &changed).unwrap();
        assert!(replay(&path).is_err(), "byte {place}");
        fs::write(&path, &whole[..place]).unwrap();
        assert!(replay(&path).is_err(), "cut at {place}");
    }
    fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    let error = format!("{:#}", replay(&path).unwrap_err());
    assert!(error.contains("something follows the end"), "{error}");
    let mut other = whole.clone();
    other[8] = 9;
    fs::write(&path, &other).unwrap();
    assert!(matches!(Reader::open(&path), Err(FormatError::Version(9))));
    fs::write(&path, "PAR1").unwrap();
    assert!(matches!(Reader::open(&path), Err(FormatError::NoRecording)));
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = record(dir.path(), [Hash([1; 32]), Hash([2; 32])]);
    let mut reader = Reader::open(&path).unwrap();
    let mut kinds = Vec::new();
    while let Some((at, chunk)) = reader.next().unwrap() {
        kinds.push(match chunk {
            Chunk::Start(found) => {
                assert_eq!(*found, start());
                "start".to_owned()
            }
            Chunk::Frame { left_out, frame } => {
                format!("frame {} {left_out:?} {}", at.as_millis(), frame.len())
            }
            Chunk::Backlog(_) => "backlog".into(),
            Chunk::Block(found) => {
                assert_eq!(found.hash, Hash([found.height.0 as u8; 32]));
                format!("block {} {:?}", found.height, found.shares[0].2)
            }
            Chunk::End(why) => why,
        });
    }
    let frame = |at, left_out, blocks: usize| format!("frame {at} {left_out} {}", 16 + 48 + 72 * blocks);
    let expected = [
        "start".to_owned(),
        frame(10, "[]", 6),
        frame(30, "[0]", 6),
        frame(50, "[]", 3),
        "backlog".into(),
        "block 1 8".into(),
        "block 2 4".into(),
        "its time was over".into(),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn a_recording_that_lacks_what_was_sealed_is_refused_with_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("short.rec");
    let mut file = Writer::create(&path).unwrap();
    file.start(&start()).unwrap();
    file.frame(at(1), &[], frame(1, 3).as_bytes()).unwrap();
    file.block(at(20), &sealing(1, 1, 8, Hash::ZERO)).unwrap();
    file.end(at(70), "its time was over").unwrap();
    let error = replay(&path).unwrap_err().to_string();
    assert!(error.contains("8 blocks of chain") && error.contains("has 3"), "{error}");
}

#[test]
fn a_start_whose_state_is_not_that_of_its_header_is_refused() {
    let header = MainHeader { height: Height(1), ..Sealer::blank().header };
    let wrong = Start { head: Some(header), peaks: vec![Hash::ZERO], ..start() };
    assert!(wrong.restore(1).err().unwrap().to_string().contains("its header says"));
    let wrong = Start { peaks: vec![Hash::ZERO], ..start() };
    assert!(wrong.restore(1).err().unwrap().to_string().contains("peaks"));
}

#[test]
fn numbers_that_no_node_has_are_refused_before_they_take_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file.rec");
    let refused = |threads, change: &dyn Fn(&mut Start)| {
        let _ = fs::remove_file(&path);
        let mut file = Writer::create(&path).unwrap();
        let mut start = start();
        change(&mut start);
        file.start(&start).unwrap();
        file.end(at(0), "x").unwrap();
        Replay::open(&path, threads).err().map(|error| format!("{error:#}"))
    };
    assert_eq!(refused(1, &|_| ()), None);
    for blocks in [0, (1 << 24) + 1, usize::MAX] {
        let error = refused(1, &|start| start.lane_blocks = blocks).unwrap();
        assert!(error.contains(&format!("lane_blocks: {blocks} is out of range")), "{error}");
    }
    let error = refused(usize::MAX, &|_| ()).unwrap();
    assert!(error.contains("hash_threads"), "{error}");
    let head = |chain, height| (ChainId(chain), Height(height), Hash([1; 32]));
    for (heads, said) in [
        (vec![head(7, u64::MAX)], "height 18446744073709551615"),
        (vec![head(7, 0)], "expected 1 at least"),
        (vec![head(7, 3), head(7, 4)], "not in order"),
        (vec![head(9, 3)], "which nobody registered"),
    ] {
        let error = refused(1, &|start| start.heads.clone_from(&heads)).unwrap();
        assert!(error.contains(said), "{error}");
    }
}
