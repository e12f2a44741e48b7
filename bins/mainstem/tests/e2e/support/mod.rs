//! What end-to-end tests share: processes, nodes, a client of the API.

pub(crate) mod http;
pub(crate) mod indexed;
pub(crate) mod log;
pub(crate) mod node;
pub(crate) mod process;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The program under test.
pub(crate) fn mainstem() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mainstem"))
}

/// The other program, which cargo builds next to this one.
pub(crate) fn tributary() -> Command {
    let path = Path::new(env!("CARGO_BIN_EXE_mainstem")).with_file_name("tributary");
    assert!(
        path.exists(),
        "{} is missing: `cargo build -p tributary` builds it, `cargo xtask test` does so by itself",
        path.display()
    );
    Command::new(path)
}

/// Runs a command to its end; gives exit code, standard output and standard error.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().expect("it ended by itself"), text(stdout), text(stderr))
}

/// Waits until `probe` finds something. Generous: what is waited for comes at once on an idle machine.
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen in a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Held by tests that need the machine for themselves.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Makes a key file; gives its public key.
pub(crate) fn key(file: &Path) -> String {
    let (code, public, error) = run(mainstem().args(["keys", "new"]).arg(file));
    assert_eq!(code, 0, "{error}");
    public.trim().to_owned()
}

/// The SplitMix64 generator: what is random in tests follows from a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The seed of `MAINSTEM_TEST_SEED`, or always the same. It is printed, so that a failure can be seen again.
    pub(crate) fn seeded() -> Self {
        let seed = std::env::var("MAINSTEM_TEST_SEED").map_or(1, |seed| seed.parse().expect("a number"));
        println!("MAINSTEM_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
