//! A disk that fails: the log says so, takes no more, and has all that it acknowledged when it is opened again on a
//! disk that works.

use std::path::Path;
use std::sync::Arc;

use engine::chain::{Height, MainBlock};
use engine::store::BlockReader as _;
use mainstem_storage::{Error, Log};

use crate::Outcome;
use crate::history::{Blocks, Model};
use crate::program::{FileSystem, Mount};
use crate::recorder::{Daemon, file};
use crate::support::{Maker, assert_holds};
use crate::workload;

/// Flushes before the failing one. The file system's own and those of making the log are among them.
const FLUSHES: [u64; 5] = [12, 17, 23, 30, 41];
/// Appends until the disk must have failed.
const MOST_BLOCKS: usize = 200;

/// How a disk fails.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// One flush fails, all else works: the kernel forgets what it could not write, and the next sync succeeds.
    OneFlush,
    /// No flush works any more.
    AllFlushes,
    /// No write works any more.
    AllWrites,
}

/// `cargo xtask disk`, second part.
pub(crate) fn failing(kind: &str) -> Outcome {
    let kind = FileSystem::of(kind)?;
    for fault in [Fault::OneFlush, Fault::AllFlushes, Fault::AllWrites] {
        let mut acknowledged = Vec::new();
        for flushes in FLUSHES {
            let blocks = case(kind, fault, flushes)
                .map_err(|error| format!("{}, {fault:?} after {flushes} flushes: {error}", kind.name()))?;
            acknowledged.push(blocks.to_string());
        }
        println!(
            "{:<5} failing, {fault:?}: of {} acknowledged blocks none is lost",
            kind.name(),
            acknowledged.join(", ")
        );
    }
    Ok(())
}

/// How many blocks were acknowledged before the disk failed.
fn case(kind: FileSystem, fault: Fault, flushes: u64) -> Outcome<usize> {
    let here = std::env::current_dir()?;
    let (image, at) = (here.join("failing.img"), here.join("failing"));
    let _ = std::fs::remove_file(&image);
    kind.make(&image, kind.recording_mib())?;
    let daemon = Daemon::start(
        // A node sees the events of the one above it.
        &[file("image", &image), faulty(fault, flushes), "driver=raw,node-name=top,file=faulty".to_owned()],
        &here.join("export"),
    )?;
    let mount = Mount::image(kind, &daemon.export, &at)?;
    let (appended, acknowledged) = use_until_it_fails(&at.join("log"))?;
    // Whatever the kernel still wants to write is lost with the disk.
    mount.end()?;
    daemon.end()?;

    let mount = Mount::image(kind, &image, &at)?;
    let (mut log, reader, _) = Log::open(at.join("log"), workload::options(0))?;
    let head = reader.head().0 as usize;
    if head < acknowledged || head > appended.len() {
        return Err(format!("{head} blocks are there, {acknowledged} were acknowledged").into());
    }
    assert_holds(&reader, &appended[..head]);
    let held: Blocks = appended[..head].iter().cloned().map(Arc::new).collect();
    let next = Model::after(&held, 9, 2);
    log.append(&next)?;
    log.sync()?;
    assert_holds(&reader, &[&appended[..head], &[next]].concat());
    drop((log, reader));
    mount.end()?;
    Ok(acknowledged)
}

/// Appends until the log refuses; what was appended, and how much of it was acknowledged.
fn use_until_it_fails(dir: &Path) -> Outcome<(Vec<MainBlock>, usize)> {
    let (mut log, reader, _) = match Log::open(dir, workload::options(0)) {
        Ok(opened) => opened,
        // It failed while the log was made.
        Err(Error::Io { .. }) => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error.into()),
    };
    let mut maker = Maker::new(8);
    let mut blocks = Vec::new();
    while blocks.len() < MOST_BLOCKS {
        let acknowledged = blocks.len();
        let block = maker.random_block(600);
        blocks.push(block.clone());
        let Err(error) = log.append(&block).and_then(|()| log.sync()) else { continue };
        // What was shown stays shown, and nothing more is taken: not even when the disk seems to work again.
        for _ in 0..3 {
            let again = [log.append(&block), log.sync(), log.append(&maker.clone().random_block(10))];
            let refused = |result: &Result<(), Error>| matches!(result, Err(Error::Failed { .. }));
            if !again.iter().all(refused) && !error.leaves_log_usable() && !is_of_next_segment(&error) {
                return Err(format!("after \"{error}\" the log answers {again:?}").into());
            }
        }
        if reader.head() != Height(acknowledged as u64) {
            return Err(
                format!("{acknowledged} blocks were acknowledged, {} are shown", reader.head()).into()
            );
        }
        return Ok((blocks, acknowledged));
    }
    Err(format!("the disk did not fail within {MOST_BLOCKS} blocks").into())
}

/// Whether it is the next segment that could not be made: the log itself was not touched, and may try again.
fn is_of_next_segment(error: &Error) -> bool {
    matches!(error, Error::Io { action: "create" | "rename" | "sync", path, .. }
        if path.extension().is_none_or(|extension| extension != "seg"))
}

/// The daemon's node that fails after so many flushes, as a chain of states that each flush moves along.
fn faulty(fault: Fault, flushes: u64) -> String {
    use std::fmt::Write as _;
    let mut node = "driver=blkdebug,node-name=faulty,image=image".to_owned();
    for index in 0..flushes {
        let (state, next) = (index + 1, index + 2);
        let rule = format!("set-state.{index}");
        let _ = write!(node, ",{rule}.event=flush_to_disk,{rule}.state={state},{rule}.new_state={next}");
    }
    let (kind, once) = match fault {
        Fault::OneFlush => ("flush", "on"),
        Fault::AllFlushes => ("flush", "off"),
        Fault::AllWrites => ("write", "off"),
    };
    let state = flushes + 1;
    let error = "inject-error.0";
    let _ = write!(
        node,
        ",{error}.event=flush_to_disk,{error}.iotype={kind},{error}.state={state},{error}.errno=5,{error}.once={once}"
    );
    node
}
