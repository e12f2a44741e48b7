//! `mainstem inspect log`: segments, sizes, checksums, heads.

use std::fs;
use std::io::{Write, stdout};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use engine::chain::{ChainId, Hash, Height};
use engine::store::BlockReader;
use serde::Serialize;
use storage::{LogReader, SegmentInfo};

use super::check::Damage;
use super::{ChainName, Directory, Held, print_json};
use crate::command::words::{bytes, counted, grouped};

/// The segments, what they hold, and the head
#[derive(Args)]
pub(super) struct Log {
    /// List the side chains: how far each is indexed, and in which main block
    #[arg(long)]
    chains: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct View {
    main_chain: ChainName,
    genesis_hash: Hash,
    segment_bytes: u64,
    /// The oldest main block that is there.
    first: Height,
    /// The newest one.
    head: Height,
    side_blocks: u64,
    /// What the file system has reserved for all files of the directory.
    disk_bytes: u64,
    segments: Vec<Segment>,
    /// Null if the index that knows is damaged.
    chain_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chains: Option<Vec<Head>>,
    damage: Vec<Damage>,
}

#[derive(Serialize)]
struct Segment {
    file: String,
    state: &'static str,
    /// Of its trailer and index; null of the active one, which has none yet.
    index: Option<&'static str>,
    first: Height,
    last: Height,
    records: u64,
    side_blocks: u64,
    record_bytes: u64,
}

#[derive(Serialize)]
struct Head {
    #[serde(flatten)]
    chain: ChainName,
    height: Height,
    /// Null once it was pruned.
    main_height: Option<Height>,
}

impl Log {
    pub(super) fn run(&self, data: &Directory) -> Result<ExitCode> {
        let reader = data.open()?;
        // Of every sealed segment it reads the index, and no more.
        let report = storage::check(data.log(), false, &mut |_, _| {})?;
        let view = self.view(&reader, &report.damage, &data.log())?;
        let sound = view.damage.is_empty();
        if self.json {
            print_json(&view)?;
        } else {
            print(&view, Held::by(&reader))?;
            if !sound {
                let next = data.command("inspect repair");
                writeln!(stdout(), "\nWhat can be done about it, without doing it:\n  {next}")?;
            }
        }
        Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn view(&self, reader: &LogReader, damage: &[storage::Error], dir: &Path) -> Result<View> {
        let damage: Vec<_> = damage.iter().map(Damage::from).collect();
        let damaged: Vec<_> = damage.iter().filter_map(|damage| damage.file.clone()).collect();
        let segments: Vec<_> =
            reader.segments().iter().map(|segment| Segment::of(segment, &damaged)).collect();
        // What keeps it from being read stands among the damage.
        let heads = match reader.chain_heads() {
            Err(_) if !damage.is_empty() => None,
            heads => Some(heads?),
        };
        let head = |&(chain, height): &(ChainId, Height)| -> Result<Head> {
            let main_height = reader.locate(chain, height)?;
            Ok(Head { chain: chain.into(), height, main_height })
        };
        let listed = heads.as_ref().filter(|_| self.chains);
        let chains = listed.map(|heads| heads.iter().map(head).collect::<Result<_>>()).transpose()?;
        let held = Held::by(reader);
        Ok(View {
            main_chain: reader.main_chain().into(),
            genesis_hash: reader.genesis_hash(),
            segment_bytes: reader.segment_bytes(),
            first: held.first,
            head: held.head,
            side_blocks: segments.iter().map(|segment| segment.side_blocks).sum(),
            disk_bytes: disk_bytes(dir)?,
            segments,
            chain_count: heads.map(|heads| heads.len()),
            chains,
            damage,
        })
    }
}

impl Segment {
    fn of(info: &SegmentInfo, damaged: &[PathBuf]) -> Self {
        let name = info.file.file_name().map(|name| name.to_string_lossy().into_owned());
        let sound = !damaged.contains(&info.file);
        Self {
            file: name.unwrap_or_default(),
            state: match info {
                SegmentInfo { readable: false, .. } => "lost",
                SegmentInfo { sealed: true, .. } => "sealed",
                SegmentInfo { sealed: false, .. } => "active",
            },
            index: info.sealed.then_some(if sound { "ok" } else { "damaged" }),
            first: info.first,
            last: Height(info.first.0 + info.blocks).previous(),
            records: info.blocks,
            side_blocks: info.leaves,
            record_bytes: info.record_bytes,
        }
    }
}

fn print(view: &View, held: Held) -> Result<()> {
    let mut out = stdout().lock();
    let chain = &view.main_chain;
    writeln!(out, "main chain   {} ({})", chain.chain, chain.chain_id.0)?;
    writeln!(out, "genesis      {}", view.genesis_hash)?;
    match (held.is_empty(), held.first) {
        (true, _) => writeln!(out, "main blocks  none yet")?,
        (_, Height(1)) => writeln!(out, "main blocks  1 to {}", grouped(view.head.0))?,
        (_, first) => {
            let (first, head) = (grouped(first.0), grouped(view.head.0));
            writeln!(out, "main blocks  {first} to {head}; those before {first} were pruned")?;
        }
    }
    let of = view.chain_count.map(|chains| format!(" of {}", counted(chains as u64, "chain")));
    writeln!(out, "side blocks  {}{}", grouped(view.side_blocks), of.unwrap_or_default())?;
    writeln!(out, "on disk      {}, segments of {}", bytes(view.disk_bytes), bytes(view.segment_bytes))?;
    writeln!(out)?;
    writeln!(out, "segment         state   main blocks          side blocks     records  index")?;
    for segment in &view.segments {
        let blocks = match segment.records {
            0 => "none".to_owned(),
            _ => format!("{}-{}", segment.first, segment.last),
        };
        writeln!(
            out,
            "{:15} {:6}  {blocks:19} {:>12} {:>11}  {}",
            segment.file,
            segment.state,
            grouped(segment.side_blocks),
            bytes(segment.record_bytes).to_string(),
            segment.index.unwrap_or("-"),
        )?;
    }
    for damage in &view.damage {
        writeln!(out, "damaged: {}", damage.text)?;
    }
    if let Some(chains) = &view.chains {
        writeln!(out, "\nchain           indexed up to  in main block")?;
        for Head { chain, height, main_height } in chains {
            let main = main_height.map_or_else(|| "pruned".to_owned(), |main| main.to_string());
            writeln!(out, "{:12} {height:>16} {main:>14}", chain.chain)?;
        }
    }
    Ok(())
}

fn disk_bytes(dir: &Path) -> Result<u64> {
    let unreadable = || format!("{} cannot be listed", dir.display());
    let mut sum = 0;
    for entry in fs::read_dir(dir).with_context(unreadable)? {
        // A file may go while we look: a node prunes, or renames an unfinished one.
        if let Ok(about) = entry.with_context(unreadable)?.metadata() {
            // POSIX leaves the unit open; Linux and macOS count in 512 bytes, whatever the file system's blocks.
            sum += about.blocks() * 512;
        }
    }
    Ok(sum)
}
