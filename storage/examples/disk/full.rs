//! A real file system without space: the log is readable, says what is wrong, loses nothing, and goes on once there
//! is space again.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use engine::chain::{Height, MainBlock};
use engine::store::BlockReader as _;
use mainstem_storage::{Error, Log, LogReader, LogWriter, Options, Prepare, check};

use crate::Outcome;
use crate::program::{FileSystem, Mount};
use crate::support::{Maker, assert_holds};
use crate::workload;

/// So small that a handful of segments of 1 MiB fill it; XFS cannot be made smaller.
const MIB: u64 = 24;
/// Space that is left when a case begins, in MiB.
const ROOM_MIB: u64 = 7;

const NO_INODES: &str = "a disk without a free inode is a full one";

type Case = fn(&Disk, Prepare) -> Outcome;

const CASES: [(&str, Case); 5] = [
    ("an append that finds no space leaves the log as it was, and works when there is space again", runs_out),
    ("a disk that is full to the last byte takes all that fits the active segment", reserved_space_is_there),
    ("a log can be read on a full disk, and written again when there is space", reopened_when_full),
    ("a log that could not be made leaves nothing in the way", made_when_full),
    (NO_INODES, no_inodes),
];

/// `cargo xtask disk`, second part.
pub(crate) fn full(kind: &str) -> Outcome {
    let kind = FileSystem::of(kind)?;
    for prepare in [Prepare::Ahead, Prepare::AtRoll] {
        for (name, case) in CASES {
            if name == NO_INODES && kind != FileSystem::Ext4 {
                // The others make inodes as they need them.
                continue;
            }
            let disk = Disk::make(kind)?;
            case(&disk, prepare).map_err(|error| format!("{}, {prepare:?}: {name}: {error}", kind.name()))?;
            disk.mount.end()?;
            println!("{:<5} full, {prepare:?}: {name}", kind.name());
        }
    }
    Ok(())
}

struct Disk {
    mount: Mount,
}

impl Disk {
    fn make(kind: FileSystem) -> Outcome<Self> {
        let (image, at) = (Path::new("small.img"), Path::new("small"));
        let mib = if kind == FileSystem::Xfs { kind.recording_mib() } else { MIB };
        if kind == FileSystem::Tmpfs {
            return Ok(Self { mount: Mount::tmpfs(mib, at)? });
        }
        // A new file: the loop device of the one before may live on for a moment.
        let _ = std::fs::remove_file(image);
        kind.make(image, mib)?;
        Ok(Self { mount: Mount::image(kind, image, at)? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mount.at().join(name)
    }

    /// Takes all space but `mib` MiB, or all of it, and the last bytes too.
    fn fill(&self, mib: u64) -> Outcome {
        let mut ballast = File::create(self.path("ballast"))?;
        let free = rustix::fs::statvfs(self.mount.at())?;
        let take = (free.f_bavail * free.f_frsize).saturating_sub(mib << 20);
        let zeros = vec![1; 64 << 10];
        for _ in 0..take / zeros.len() as u64 {
            if ballast.write_all(&zeros).is_err() {
                break;
            }
        }
        ballast.sync_all()?;
        if mib == 0 {
            // Delayed allocation may find blocks where statvfs saw none, and the other way round.
            for index in 0..1000 {
                let Ok(mut rest) = File::create(self.path(&format!("ballast-{index}"))) else { break };
                let mut any = false;
                while rest.write_all(&zeros[..4096]).is_ok() {
                    any = true;
                }
                if rest.sync_all().is_err() || !any {
                    break;
                }
            }
        }
        Ok(())
    }

    fn free(&self) -> Outcome {
        for entry in std::fs::read_dir(self.mount.at())? {
            let path = entry?.path();
            if path.is_file() {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// A log under test, with the blocks that it acknowledged.
struct Tested {
    dir: PathBuf,
    options: Options,
    log: LogWriter,
    reader: LogReader,
    maker: Maker,
    blocks: Vec<MainBlock>,
}

impl Tested {
    fn make(disk: &Disk, prepare: Prepare) -> Outcome<Self> {
        let (dir, options) = (disk.path("log"), Options { prepare, ..workload::options(0) });
        let (log, reader, _) = Log::open(&dir, options)?;
        Ok(Self { dir, options, log, reader, maker: Maker::new(1), blocks: Vec::new() })
    }

    fn append(&mut self, block: &MainBlock) -> Result<(), Error> {
        self.log.append(block).and_then(|()| self.log.sync())?;
        self.blocks.push(block.clone());
        Ok(())
    }

    fn append_more(&mut self, blocks: usize) -> Outcome {
        for _ in 0..blocks {
            let block = self.maker.random_block(2500);
            self.append(&block)?;
        }
        Ok(())
    }

    /// Appends until there is no space; gives the block that found none.
    fn append_until_full(&mut self, leaves: u32) -> Outcome<MainBlock> {
        for _ in 0..10_000 {
            let block = self.maker.random_block(leaves);
            match self.append(&block) {
                Ok(()) => {}
                Err(error @ Error::DiskFull { .. }) if error.leaves_log_usable() => return Ok(block),
                Err(error) => return Err(format!("after {} blocks: {error}", self.blocks.len()).into()),
            }
        }
        Err("the disk is never full".into())
    }

    /// Everything that was acknowledged is there, for this reader and for one of another process, and nothing lies
    /// around.
    fn is_whole(&self) -> Outcome {
        assert_holds(&self.reader, &self.blocks);
        assert_holds(&LogReader::open(&self.dir)?, &self.blocks);
        let unfinished: Vec<PathBuf> = std::fs::read_dir(&self.dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<PathBuf>>>()?
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "tmp"))
            .collect();
        if unfinished.is_empty() { Ok(()) } else { Err(format!("left behind: {unfinished:?}").into()) }
    }

    fn reopened(self) -> Outcome<Self> {
        let Self { dir, options, log, reader, maker, blocks } = self;
        drop((log, reader));
        let report = check(&dir, true, &mut |_, _| ())?;
        if !report.damage.is_empty() {
            return Err(format!("damage: {report:?}").into());
        }
        let (log, reader, recovery) = Log::open(&dir, options)?;
        if recovery.cut.is_some() {
            return Err(format!("something was cut: {recovery:?}").into());
        }
        Ok(Self { dir, options, log, reader, maker, blocks })
    }
}

fn runs_out(disk: &Disk, prepare: Prepare) -> Outcome {
    let mut tested = Tested::make(disk, prepare)?;
    disk.fill(ROOM_MIB)?;
    let next = tested.append_until_full(2500)?;
    for _ in 0..3 {
        tested.is_whole()?;
        match tested.append(&next) {
            Err(Error::DiskFull { .. }) => {}
            other => return Err(format!("expected a full disk, got {other:?}").into()),
        }
    }
    disk.free()?;
    tested.append(&next)?;
    tested.append_more(12)?;
    tested.is_whole()?;
    let mut tested = tested.reopened()?;
    tested.append_more(3)?;
    tested.is_whole()
}

fn reserved_space_is_there(disk: &Disk, prepare: Prepare) -> Outcome {
    let mut tested = Tested::make(disk, prepare)?;
    tested.append_more(2)?;
    if prepare == Prepare::Ahead {
        // The next segment must be there before the space is gone; opening the log waits for nothing.
        tested = tested.reopened()?;
    }
    disk.fill(0)?;
    let before = tested.blocks.len();
    // Small blocks, so that many syncs hit the full disk.
    let next = tested.append_until_full(30)?;
    if tested.blocks.len() - before < 50 {
        return Err(format!("only {} blocks went in", tested.blocks.len() - before).into());
    }
    tested.is_whole()?;
    disk.free()?;
    tested.append(&next)?;
    tested.append_more(8)?;
    tested.reopened()?.is_whole()
}

fn reopened_when_full(disk: &Disk, prepare: Prepare) -> Outcome {
    let mut tested = Tested::make(disk, prepare)?;
    tested.append_more(6)?;
    let Tested { dir, options, log, reader, maker, blocks } = tested;
    drop((log, reader));
    disk.fill(0)?;
    for _ in 0..3 {
        assert_holds(&LogReader::open(&dir)?, &blocks);
        // Opening begins a session, which takes a little space: it may find some, or say that there is none.
        match Log::open(&dir, options) {
            Ok((log, reader, _)) => {
                assert_holds(&reader, &blocks);
                drop(log);
            }
            Err(Error::Io { source, .. } | Error::DiskFull { source, .. })
                if source.kind() == std::io::ErrorKind::StorageFull => {}
            Err(error) => return Err(format!("opened on a full disk: {error}").into()),
        }
    }
    disk.free()?;
    let (log, reader, _) = Log::open(&dir, options)?;
    let mut tested = Tested { dir, options, log, reader, maker, blocks };
    tested.is_whole()?;
    tested.append_more(6)?;
    tested.reopened()?.is_whole()
}

fn made_when_full(disk: &Disk, prepare: Prepare) -> Outcome {
    disk.fill(0)?;
    for _ in 0..3 {
        match Tested::make(disk, prepare) {
            Ok(_) => return Err("a log was made on a full disk".into()),
            Err(error) => {
                let text = error.to_string();
                if !text.contains("No space left on device") {
                    return Err(format!("made on a full disk: {text}").into());
                }
            }
        }
        match LogReader::open(disk.path("log")) {
            Err(Error::NoLog { .. } | Error::Io { .. }) => {}
            other => return Err(format!("read what was not made: {:?}", other.map(|_| ())).into()),
        }
    }
    disk.free()?;
    let mut tested = Tested::make(disk, prepare)?;
    if tested.reader.head() != Height(0) {
        return Err("a new log is not empty".into());
    }
    tested.append_more(6)?;
    tested.reopened()?.is_whole()
}

fn no_inodes(disk: &Disk, prepare: Prepare) -> Outcome {
    let mut tested = Tested::make(disk, prepare)?;
    for index in 0..1000 {
        if File::create(disk.path(&format!("inode-{index}"))).is_err() {
            break;
        }
    }
    let next = tested.append_until_full(2500)?;
    tested.is_whole()?;
    disk.free()?;
    tested.append(&next)?;
    tested.append_more(6)?;
    tested.reopened()?.is_whole()
}
