//! The log on real file systems: what `cargo xtask disk` runs. Start it by that: it makes the private mount and
//! process namespace that this program relies on, so that whatever way it ends, nothing stays mounted or running.
//!
//! ```text
//! crash:   workload -> log -> file system -> loop device -> FUSE -> qemu-storage-daemon -> image, list of writes
//!          list of writes -> states that a power loss may leave -> mount -> open the log -> judge     (x hundreds)
//! failing: a disk whose flushes or writes fail, once or from some point on
//! full:    a small file system, filled to the last byte
//! ```
//!
//! The program that appends runs in a process of its own, is killed and started again, and notes outside of the
//! recorded disk what was acknowledged, with the length of the list of writes at that moment ([`history`]). So for
//! every point in that list it is known which blocks must be there and which may.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "of the tests' support, where a panic is how a test fails")]

mod campaign;
mod crash_state;
mod failing;
mod full;
mod history;
mod program;
mod recorder;
#[path = "../../tests/support/mod.rs"]
mod support;
mod verify;
mod workload;
mod write_log;

use std::process::ExitCode;

/// What goes wrong ends the program with its text; nobody matches on it.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A recording and its states stay far below; XFS needs the most.
const WORK_MIB: u64 = 4096;

const USAGE: &str = "\
usage (normally by `cargo xtask disk`, in a mount and process namespace of its own; WORK is an empty folder):
  disk WORK crash FILE_SYSTEM STATES SEED KEEP   record, make STATES crash states, judge them; KEEP what failed
  disk WORK replay KEEP STATE                    judge one state of a kept recording again
  disk WORK failing FILE_SYSTEM                  use a disk that fails
  disk WORK full FILE_SYSTEM                     fill a small file system
  disk write .., disk judge ..                   what `crash` starts";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        [work, "crash", kind, states, seed, keep] => {
            in_memory(work).and_then(|()| campaign::crash(kind, states, seed, keep.as_ref()))
        }
        [work, "replay", keep, state] => {
            in_memory(work).and_then(|()| campaign::replay(keep.as_ref(), state))
        }
        [work, "failing", kind] => in_memory(work).and_then(|()| failing::failing(kind)),
        [work, "full", kind] => in_memory(work).and_then(|()| full::full(kind)),
        ["judge", recording, worker, ref states @ ..] => {
            campaign::judge_states(recording.as_ref(), worker, states)
        }
        ["write", ref args @ ..] => workload::write(args),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Goes to `work`, over which it mounts a file system in memory: images need no disk, and go with the namespace.
fn in_memory(work: &str) -> Outcome {
    program::Mount::tmpfs(WORK_MIB, work.as_ref())?.leave();
    Ok(std::env::set_current_dir(work)?)
}
