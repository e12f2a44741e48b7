//! Rows as JSON lines, in the words of the API.

use std::io::Write;

use anyhow::Result;
use engine::chain::{Hash, MainHeader};
use serde::Serialize;

use super::{Main, Rows, Run};

pub(super) struct JsonLines<W> {
    out: W,
}

#[derive(Serialize)]
struct HeaderLine<'a> {
    hash: Hash,
    #[serde(flatten)]
    header: &'a MainHeader,
}

impl<W> JsonLines<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Rows for JsonLines<W> {
    fn side_blocks(&mut self, main: Main, run: &Run<'_>) -> Result<()> {
        let Main { height: main_height, hash: main_hash } = main;
        let Run { chain, first_height, first_leaf, columns } = run;
        // What the rows have in common is laid out once. Numbers, hashes and chain ids hold nothing to escape.
        let start = format!(r#"{{"main_height":{main_height},"main_hash":"{main_hash}","leaf":"#);
        let middle = format!(r#","chain_id":{},"chain":"{chain}","height":"#, chain.0);
        let of_blocks = columns.hashes.iter().zip(columns.tx_roots).zip(columns.times);
        for (index, ((hash, tx_root), time)) in of_blocks.enumerate() {
            let (leaf, height) = (u64::from(*first_leaf) + index as u64, first_height.0 + index as u64);
            let time = time.as_millis();
            writeln!(
                self.out,
                r#"{start}{leaf}{middle}{height},"hash":"{hash}","tx_root":"{tx_root}","time":{time}}}"#
            )?;
        }
        Ok(())
    }

    fn header(&mut self, hash: Hash, header: &MainHeader) -> Result<()> {
        serde_json::to_writer(&mut self.out, &HeaderLine { hash, header })?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush()
    }
}
