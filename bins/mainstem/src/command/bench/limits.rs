//! What the machine can do of each stage alone, measured after the run on the same disk and processors.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use engine::chain::{ChainId, Hash, Height};
use engine::merkle::{leaf, node};
use rayon::prelude::*;
use serde::Serialize;

/// Side blocks a second that single stages could carry.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Limits {
    /// One side leaf and one node hashed for each block, on all processors.
    pub(super) hash: f64,
    /// 72 bytes written for each block, in pieces as large as the run's main blocks, each synced.
    pub(super) write_and_sync: f64,
}

/// How long each limit is measured.
const TIME: Duration = Duration::from_secs(2);

/// Bytes of the file that is written over and over, as large as a segment.
const FILE_BYTES: u64 = 256 << 20;

pub(super) fn measure(dir: &Path, blocks: u64) -> Result<Limits> {
    Ok(Limits { hash: hash(), write_and_sync: write_and_sync(dir, blocks)? })
}

fn hash() -> f64 {
    const ROUND: u32 = 1 << 16;
    let (start, mut blocks) = (Instant::now(), 0_u64);
    let mut last = Hash::ZERO;
    while start.elapsed() < TIME {
        last = (0..ROUND)
            .into_par_iter()
            .with_min_len(1024)
            .map(|height| node(leaf::side(ChainId(1), Height(height.into()), last, last), last))
            .reduce(|| Hash::ZERO, Hash::max);
        blocks += u64::from(ROUND);
    }
    std::hint::black_box(last);
    blocks as f64 / start.elapsed().as_secs_f64()
}

fn write_and_sync(dir: &Path, blocks: u64) -> Result<f64> {
    let path = dir.join("limit");
    let piece = vec![0x5a; (blocks * 72).clamp(1, FILE_BYTES / 4) as usize];
    let run = || -> std::io::Result<f64> {
        let mut file = OpenOptions::new().create_new(true).write(true).open(&path)?;
        let (start, mut bytes, mut at) = (Instant::now(), 0_u64, 0_u64);
        while start.elapsed() < TIME {
            file.write_all(&piece)?;
            file.sync_data()?;
            bytes += piece.len() as u64;
            at += piece.len() as u64;
            if at >= FILE_BYTES {
                file.seek(SeekFrom::Start(0))?;
                at = 0;
            }
        }
        Ok(bytes as f64 / 72.0 / start.elapsed().as_secs_f64())
    };
    run().with_context(|| format!("{} cannot be written", path.display()))
}
