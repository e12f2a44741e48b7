//! The log on real file systems: what `cargo xtask disk` runs. Start it by that: it makes the private mount and
//! process namespace that this program relies on, so that whatever way it ends, nothing stays mounted or running.
//!
//! ```text
//! crash:  workload -> log -> file system -> loop device -> FUSE -> qemu-storage-daemon -> image, list of writes
//!         list of writes -> states that a power loss may leave -> mount -> open the log -> judge      (x hundreds)
//! full:   a small file system, filled to the last byte
//! ```
//!
//! The program that appends runs in a process of its own, is killed and started again, and notes outside of the
//! recorded disk what was acknowledged, with the length of the list of writes at that moment ([`history`]). So for
//! every point in that list it is known which blocks must be there and which may.

#![forbid(unsafe_code)]

mod campaign;
mod crash_state;
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

const USAGE: &str = "\
usage (normally by `cargo xtask disk`, in a mount and process namespace of its own, in an empty folder in memory):
  disk crash FILE_SYSTEM STATES SEED KEEP   record, make STATES crash states, judge them; keep what failed in KEEP
  disk replay KEEP STATE                    judge one state of a kept recording again
  disk full FILE_SYSTEM                     fill a small file system
  disk write .., disk judge ..              what `crash` starts";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["crash", kind, states, seed, keep] => campaign::crash(kind, states, seed, keep.as_ref()),
        ["replay", keep, state] => campaign::replay(keep.as_ref(), state),
        ["full", kind] => full::full(kind),
        ["judge", recording, worker, ref states @ ..] => campaign::judge_states(recording.as_ref(), worker, states),
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
