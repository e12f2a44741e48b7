//! The disk alone: the bytes of main blocks written and synced, in a file whose pages have been written before, as the
//! log's are when its segments are used again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use super::super::cpu::of_this_thread;
use super::super::meter::millis;
use super::super::outcome::over;
use super::{BLOCK_BYTES, Found, Rounds, Spread};

/// What the disk can do.
pub(in super::super) struct Disk {
    /// In side blocks, and the processor time of one in nanoseconds.
    pub(in super::super) write: Found<f64>,
    /// Each `fdatasync`, in milliseconds.
    pub(in super::super) sync_p50_ms: f64,
    pub(in super::super) sync_p99_ms: f64,
    /// How many bytes each of them made durable.
    pub(in super::super) piece_bytes: u64,
}

/// What copies are aligned to.
const PAGE: usize = 4096;

/// The longest piece that the file is filled with at first.
const FILL: usize = 4 << 20;

/// Writes pieces of so many bytes, each synced, into a file of `file_bytes` in `dir`, which is removed.
pub(in super::super) fn measure(
    dir: &Path,
    file_bytes: u64,
    piece_bytes: u64,
    rounds: Rounds,
) -> Result<Disk> {
    let path = dir.join("limit");
    let measured = File::create_new(&path).and_then(|_| {
        let file = OpenOptions::new().write(true).open(&path)?;
        run(&file, file_bytes, piece_bytes, rounds)
    });
    let removed = std::fs::remove_file(&path);
    let measured = measured.with_context(|| format!("{} cannot be written", path.display()))?;
    removed.with_context(|| format!("{} cannot be removed", path.display()))?;
    Ok(measured)
}

fn run(file: &File, file_bytes: u64, piece_bytes: u64, rounds: Rounds) -> io::Result<Disk> {
    let piece_bytes = piece_bytes.clamp(1, file_bytes);
    // Copying between places that are just not a multiple of a page apart is many times slower on some processors.
    let room = vec![0x5a; PAGE + FILL.max(piece_bytes as usize)];
    let start = room.as_ptr().align_offset(PAGE).min(PAGE);
    let (fill, piece) = (&room[start..start + FILL], &room[start..start + piece_bytes as usize]);
    for at in (0..file_bytes).step_by(FILL) {
        let part = (file_bytes - at).min(FILL as u64) as usize;
        file.write_all_at(&fill[..part], at)?;
    }
    file.sync_all()?;

    let mut syncs = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are in order");
    let (mut rates, mut written, mut at, before) = (Vec::new(), 0, 0, of_this_thread());
    for _ in 0..rounds.count {
        let (start, mut bytes) = (Instant::now(), 0);
        while start.elapsed() < rounds.time {
            if at + piece_bytes > file_bytes {
                at = 0;
            }
            file.write_all_at(piece, at)?;
            let sync = Instant::now();
            file.sync_data()?;
            syncs.saturating_record(sync.elapsed().as_micros() as u64);
            at += piece_bytes;
            bytes += piece_bytes;
        }
        rates.push(bytes as f64 / BLOCK_BYTES as f64 / start.elapsed().as_secs_f64());
        written += bytes;
    }
    let spent = of_this_thread().saturating_sub(before);
    let cost = over(spent as f64, written as f64 / BLOCK_BYTES as f64);
    Ok(Disk {
        write: Found { limit: Spread::of(rates), cost },
        sync_p50_ms: millis(&syncs, 0.5),
        sync_p99_ms: millis(&syncs, 0.99),
        piece_bytes,
    })
}
