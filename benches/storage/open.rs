//! Opening a log of many sealed segments. They are small: opening reads a page and a trailer of each, however large
//! it is.

use std::time::Instant;

use anyhow::Result;
use engine::store::BlockReader;
use serde_json::json;
use storage::{Log, LogReader};

use crate::Bench;
use crate::feed::{Feed, Shape};
use crate::log::MainstemLog;
use crate::measure::{self, Spread};
use crate::report::{Report, Table};

/// One main block fills more than half of the smallest segment.
const SHAPE: Shape = Shape { name: "open", sections: 1000, per_section: 8 };
const SEGMENT_BYTES: u64 = 1 << 20;

/// Measures a reader's and a writer's opening.
pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let dir = bench.dir.join("open");
    let log = MainstemLog { segment_bytes: SEGMENT_BYTES };
    let segments = bench.plan.segments;
    let bar = Bench::bar(segments);
    bar.set_message(format!("open: making {segments} segments"));
    let mut feed = Feed::new(SHAPE, segments * SHAPE.leaves(), false);
    let (mut writer, reader, _) = Log::open(&dir, log.options())?;
    while (reader.segments().len() as u64) <= segments {
        writer.append(feed.next())?;
        writer.sync()?;
        bar.inc(1);
    }
    drop((reader, writer));
    bar.set_message("open: opening");

    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..bench.plan.runs.max(3) {
        for (index, (cold, writing)) in
            [(true, false), (false, false), (true, true), (false, true)].into_iter().enumerate()
        {
            if cold {
                measure::forget(&dir)?;
            }
            let start = Instant::now();
            let head = if writing {
                let (_writer, reader, _) = Log::open(&dir, log.options())?;
                times[index].push(start.elapsed().as_secs_f64() * 1e3);
                reader.head()
            } else {
                let reader = LogReader::open(&dir)?;
                times[index].push(start.elapsed().as_secs_f64() * 1e3);
                reader.head()
            };
            assert!(head.0 > segments, "all segments are there");
        }
    }
    bar.finish_and_clear();
    std::fs::remove_dir_all(&dir)?;

    let mut table = Table::new(&["by", "cold ms", "warm ms", "cold us per segment"]);
    for (by, index) in [("a reader", 0), ("the writer", 2)] {
        let (cold, warm) =
            (Spread::of(times[index].iter().copied()), Spread::of(times[index + 1].iter().copied()));
        let each = cold.median * 1e3 / segments as f64;
        table.row(vec![by.into(), cold.show(1), warm.show(1), format!("{each:.1}")]);
        report.figure(json!({
            "part": "open", "segments": segments, "by": by, "cold_ms": times[index], "warm_ms": times[index + 1],
        }));
    }
    let per_100_gib = Spread::of(times[2].iter().copied()).median / segments as f64 * 400.0;
    let notes = [format!(
        "100 GiB are 400 segments of the default size: {per_100_gib:.0} ms by the writer, cold; goal well below a \
         second: {}",
        bench.verdict(per_100_gib < 500.0)
    )];
    table.print(&format!("Opening a log of {segments} sealed segments"), &notes);
    Ok(())
}
