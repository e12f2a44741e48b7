//! The memory of a process that appends, for a small log and for a ten times larger one.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use storage::Log;

use crate::Bench;
use crate::feed::{Feed, SHAPES};
use crate::log::MainstemLog;
use crate::measure;
use crate::report::{Report, Table};

/// Starts a process for each size.
pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let bar = Bench::bar(bench.plan.memory.iter().sum());
    let mut table = Table::new(&[
        "side blocks in the log",
        "peak anonymous MB, the blocks to be written aside",
        "peak of file pages MB",
        "peak resident MB (VmHWM), all together",
    ]);
    let mut anonymous = Vec::new();
    for side_blocks in bench.plan.memory {
        bar.set_message(format!("memory: a log of {side_blocks} side blocks"));
        let dir = bench.dir.join(format!("memory-{side_blocks}"));
        let output = Command::new(std::env::current_exe()?)
            .args(["--memory-of", &side_blocks.to_string(), "--dir"])
            .arg(&dir)
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let figures: Value = serde_json::from_slice(&output.stdout)?;
        std::fs::remove_dir_all(&dir)?;
        bar.inc(side_blocks);
        let megabytes = |name: &str| {
            figures[name].as_u64().map(|bytes| bytes as f64 / 1e6).context("the process says what it took")
        };
        let own = megabytes("peak_anonymous")? - megabytes("anonymous_before")?;
        anonymous.push(own);
        table.row(vec![
            side_blocks.to_string(),
            format!("{own:.1}"),
            format!("{:.1}", megabytes("peak_file")?),
            format!("{:.1}", megabytes("peak_resident")?),
        ]);
        report.figure(json!({ "part": "memory", "side_blocks": side_blocks, "bytes": figures }));
    }
    bar.finish_and_clear();
    let ratio = anonymous[1] / anonymous[0];
    let notes = [
        format!(
            "ten times the log takes {ratio:.2} times the memory; goal: independent of the log's size: {}",
            bench.verdict(ratio < 1.25)
        ),
        "file pages are the program itself and what was read through a map; the kernel takes them back when it needs \
         them"
            .into(),
    ];
    table.print("Memory of a process that appends (64 k side blocks a main block)", &notes);
    Ok(())
}

/// What the process does: writes the log and prints what it took.
pub(crate) fn measure_in_this_process(dir: &Path, side_blocks: u64, segment_bytes: u64) -> Result<()> {
    let shape = SHAPES[1];
    let mut feed = Feed::new(shape, 4 * shape.leaves(), false);
    for _ in 0..4 {
        feed.next();
    }
    feed.start_after((0, 0));
    let before = measure::status("RssAnon");
    let (peak_anonymous, peak_file, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let (mut writer, _, _) = Log::open(dir, MainstemLog { segment_bytes }.options())?;
    let written = std::thread::scope(|scope| {
        // The kernel keeps the peak of the sum only.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak_anonymous.fetch_max(measure::status("RssAnon"), Ordering::Relaxed);
                peak_file.fetch_max(measure::status("RssFile"), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let written = (0..shape.blocks_for(side_blocks)).try_for_each(|_| {
            writer.append(feed.next())?;
            writer.sync()
        });
        done.store(true, Ordering::Relaxed);
        written
    });
    written?;
    let figures = json!({
        "anonymous_before": before,
        "peak_anonymous": peak_anonymous.into_inner().max(measure::status("RssAnon")),
        "peak_file": peak_file.into_inner().max(measure::status("RssFile")),
        "peak_resident": measure::status("VmHWM"),
    });
    println!("{figures}");
    Ok(())
}
