//! Rows as Apache Parquet.
//!
//! The columns are those of the JSON lines: hashes as 32 bytes, times as timestamps, numbers unsigned. Hashes do not
//! compress; what does (heights, places, repeated values) is small by its encoding, so no codec is needed.
//!
//! # Capacity
//! One row group is in memory at a time: some 20 MB, however large a main block is.

use std::io::Write;
use std::mem;
use std::sync::Arc;

use anyhow::Result;
use engine::chain::{Hash, MainHeader};
use parquet::basic::Encoding;
use parquet::data_type::{
    ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int32Type, Int64Type,
};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, Type};

use super::{Main, Rows, Run, What};

/// Rows of a group: near what analytic databases use for their own. Few in tests, which want several groups.
const GROUP_ROWS: usize = if cfg!(test) { 1000 } else { 128 << 10 };

const SIDE_BLOCKS: &str = "message side_block {
    REQUIRED INT64 main_height (INTEGER(64, false));
    REQUIRED FIXED_LEN_BYTE_ARRAY (32) main_hash;
    REQUIRED INT64 leaf (INTEGER(64, false));
    REQUIRED INT32 chain_id (INTEGER(32, false));
    REQUIRED BYTE_ARRAY chain (STRING);
    REQUIRED INT64 height (INTEGER(64, false));
    REQUIRED FIXED_LEN_BYTE_ARRAY (32) hash;
    REQUIRED FIXED_LEN_BYTE_ARRAY (32) tx_root;
    OPTIONAL INT64 time (TIMESTAMP(MILLIS, true));
}";

const HEADERS: &str = "message header {
    REQUIRED FIXED_LEN_BYTE_ARRAY (32) hash;
    REQUIRED INT32 version (INTEGER(16, false));
    REQUIRED INT32 chain_id (INTEGER(32, false));
    REQUIRED INT64 height (INTEGER(64, false));
    OPTIONAL INT64 time (TIMESTAMP(MILLIS, true));
    REQUIRED FIXED_LEN_BYTE_ARRAY (32) parent;
    REQUIRED FIXED_LEN_BYTE_ARRAY (32) side_root;
    REQUIRED INT32 chain_count (INTEGER(32, false));
    REQUIRED INT64 leaf_count (INTEGER(64, false));
    REQUIRED FIXED_LEN_BYTE_ARRAY (32) ops_root;
    REQUIRED FIXED_LEN_BYTE_ARRAY (32) state_root;
    REQUIRED FIXED_LEN_BYTE_ARRAY (32) history_root;
    REQUIRED FIXED_LEN_BYTE_ARRAY (32) aelf_root;
}";

pub(super) struct ParquetFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    /// The row group in the making, in the order of the schema.
    columns: Vec<Column>,
    rows: usize,
}

/// A column of the row group in the making. Unsigned numbers stand in the signed ones of the same width, as the format
/// wants it.
enum Column {
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Hash(Vec<u8>),
    Text(Vec<ByteArray>),
    /// Values, and of each row whether it has one: a time may be too large for a timestamp.
    Time(Vec<i64>, Vec<i16>),
}

impl<W: Write + Send> ParquetFile<W> {
    pub(super) fn new(what: What, out: W) -> Result<Self> {
        let message = match what {
            What::SideBlocks => SIDE_BLOCKS,
            What::Headers => HEADERS,
        };
        let schema = Arc::new(parse_message_type(message)?);
        let properties = properties(&schema);
        let writer = SerializedFileWriter::new(out, Arc::clone(&schema), Arc::new(properties))?;
        let columns = schema.get_fields().iter().map(|field| Column::of(field)).collect();
        Ok(Self { writer, columns, rows: 0 })
    }

    fn end_row(&mut self) -> Result<()> {
        self.rows += 1;
        if self.rows == GROUP_ROWS { self.end_group() } else { Ok(()) }
    }

    fn end_group(&mut self) -> Result<()> {
        self.rows = 0;
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            let mut writer = group.next_column()?.expect("there are as many as in the schema");
            column.write(&mut writer)?;
            writer.close()?;
        }
        group.close()?;
        Ok(())
    }
}

impl<W: Write + Send> Rows for ParquetFile<W> {
    fn side_blocks(&mut self, main: Main, run: &Run<'_>) -> Result<()> {
        let name = ByteArray::from(run.chain.to_string().into_bytes());
        for (index, hash) in run.columns.hashes.iter().enumerate() {
            let [main_height, main_hash, leaf, chain_id, chain, height, of_hash, tx_root, time] =
                &mut self.columns[..]
            else {
                unreachable!("these are the columns of the schema")
            };
            main_height.int64(main.height.0);
            main_hash.hash(&main.hash);
            leaf.int64(u64::from(run.first_leaf) + index as u64);
            chain_id.int32(run.chain.0);
            chain.text(&name);
            height.int64(run.first_height.0 + index as u64);
            of_hash.hash(hash);
            tx_root.hash(&run.columns.tx_roots[index]);
            time.time(run.columns.times[index].as_millis());
            self.end_row()?;
        }
        Ok(())
    }

    fn header(&mut self, of_header: Hash, header: &MainHeader) -> Result<()> {
        let [hash, version, chain_id, height, time, parent, side_root, chain_count, leaf_count, roots @ ..] =
            &mut self.columns[..]
        else {
            unreachable!("these are the columns of the schema")
        };
        hash.hash(&of_header);
        version.int32(header.version.into());
        chain_id.int32(header.chain_id.0);
        height.int64(header.height.0);
        time.time(header.time.as_millis());
        parent.hash(&header.parent);
        side_root.hash(&header.side_root);
        chain_count.int32(header.chain_count);
        leaf_count.int64(header.leaf_count);
        let others = [&header.ops_root, &header.state_root, &header.history_root, &header.aelf_root];
        for (column, root) in roots.iter_mut().zip(others) {
            column.hash(root);
        }
        self.end_row()
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.writer.flush()?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if self.rows > 0 {
            self.end_group()?;
        }
        self.writer.finish()?;
        Ok(self.writer.inner_mut().flush()?)
    }
}

/// How the columns are encoded.
fn properties(schema: &Type) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("mainstem ", env!("CARGO_PKG_VERSION")).to_owned())
        // Ours end sooner.
        .set_max_row_group_row_count(None)
        .set_dictionary_enabled(false);
    for field in schema.get_fields() {
        let path = || ColumnPath::from(field.name());
        properties = match field.name() {
            "main_height" | "main_hash" | "chain_id" | "chain" | "version" => {
                properties.set_column_dictionary_enabled(path(), true)
            }
            "leaf" | "height" | "time" | "leaf_count" | "chain_count" => {
                properties.set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED)
            }
            // Bounds of a column of random values exclude nothing.
            _ => properties.set_column_statistics_enabled(path(), EnabledStatistics::None),
        };
    }
    properties.build()
}

impl Column {
    fn of(field: &Type) -> Self {
        use parquet::basic::Type as Physical;
        match (field.get_physical_type(), field.is_optional()) {
            (Physical::INT32, _) => Self::Int32(Vec::new()),
            (Physical::INT64, false) => Self::Int64(Vec::new()),
            (Physical::INT64, true) => Self::Time(Vec::new(), Vec::new()),
            (Physical::FIXED_LEN_BYTE_ARRAY, _) => Self::Hash(Vec::new()),
            (Physical::BYTE_ARRAY, _) => Self::Text(Vec::new()),
            (other, _) => unreachable!("no column is {other}"),
        }
    }

    fn int32(&mut self, value: u32) {
        let Self::Int32(values) = self else { unreachable!("the schema says so") };
        values.push(value.cast_signed());
    }

    fn int64(&mut self, value: u64) {
        let Self::Int64(values) = self else { unreachable!("the schema says so") };
        values.push(value.cast_signed());
    }

    fn hash(&mut self, value: &Hash) {
        let Self::Hash(values) = self else { unreachable!("the schema says so") };
        values.extend_from_slice(&value.0);
    }

    fn text(&mut self, value: &ByteArray) {
        let Self::Text(values) = self else { unreachable!("the schema says so") };
        values.push(value.clone());
    }

    fn time(&mut self, millis: u64) {
        let Self::Time(values, there) = self else { unreachable!("the schema says so") };
        // A side chain may say what it likes. What is no timestamp is null here; the JSON lines have it.
        let value = i64::try_from(millis).ok();
        there.push(value.is_some().into());
        values.extend(value);
    }

    /// Writes what there is, and forgets it.
    fn write(&mut self, writer: &mut SerializedColumnWriter<'_>) -> Result<()> {
        match self {
            Self::Int32(values) => {
                writer.typed::<Int32Type>().write_batch(values, None, None)?;
                values.clear();
            }
            Self::Int64(values) => {
                writer.typed::<Int64Type>().write_batch(values, None, None)?;
                values.clear();
            }
            Self::Time(values, there) => {
                writer.typed::<Int64Type>().write_batch(values, Some(there), None)?;
                values.clear();
                there.clear();
            }
            Self::Text(values) => {
                writer.typed::<ByteArrayType>().write_batch(values, None, None)?;
                values.clear();
            }
            Self::Hash(values) => {
                const BATCH: usize = 1024;
                let writer = writer.typed::<FixedLenByteArrayType>();
                let (all, size) = (values.len(), size_of::<Hash>());
                let bytes = ByteArray::from(mem::take(values));
                let mut batch: Vec<FixedLenByteArray> = Vec::with_capacity(BATCH);
                for start in (0..all).step_by(BATCH * size) {
                    let end = (start + BATCH * size).min(all);
                    batch.clear();
                    batch.extend((start..end).step_by(size).map(|at| bytes.slice(at, size).into()));
                    writer.write_batch(&batch, None, None)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engine::chain::{ChainId, Columns, Height, Timestamp};
    use parquet::file::metadata::RowGroupMetaData;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    use super::*;

    #[test]
    fn a_parquet_file_has_groups_of_bounded_size_however_long_a_run_is() {
        let mut columns = Columns::default();
        for index in 0..2 * GROUP_ROWS as u64 + 7 {
            let mut hash = Hash::ZERO;
            hash.0[..8].copy_from_slice(&index.to_le_bytes());
            columns.push(hash, Hash([1; 32]), Timestamp::from_millis(index));
        }
        let written = tempfile::tempfile().unwrap();
        let mut file = Box::new(ParquetFile::new(What::SideBlocks, &written).unwrap());
        let run = Run {
            chain: ChainId(1_866_392),
            first_height: Height(10),
            first_leaf: 5,
            columns: columns.as_ref(),
        };
        file.side_blocks(Main { height: Height(3), hash: Hash([9; 32]) }, &run).unwrap();
        (file as Box<dyn Rows>).finish().unwrap();

        let file = SerializedFileReader::new(written).unwrap();
        let groups: Vec<_> = file.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).collect();
        assert_eq!(groups, [1000, 1000, 7]);
        for (index, row) in file.get_row_iter(None).unwrap().enumerate() {
            let (row, index) = (row.unwrap(), index as u64);
            assert_eq!((row.get_ulong(0).unwrap(), row.get_bytes(1).unwrap().data()), (3, &[9; 32][..]));
            assert_eq!((row.get_ulong(2).unwrap(), row.get_string(4).unwrap().as_str()), (5 + index, "tDVV"));
            assert_eq!(
                (row.get_ulong(5).unwrap(), row.get_timestamp_millis(8).unwrap()),
                (10 + index, index.cast_signed())
            );
            assert_eq!(row.get_bytes(6).unwrap().data()[..8], index.to_le_bytes());
        }
    }
}
