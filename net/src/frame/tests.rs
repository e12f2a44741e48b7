use engine::chain::Columns;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq)]
struct Blocks {
    chain: ChainId,
    first: Height,
    parent: Hash,
    columns: Columns,
}

fn encode(sections: &[Blocks]) -> Vec<u8> {
    let mut writer = FrameWriter::new(FrameBuffer::default(), MAX_FRAME_BYTES);
    for section in sections {
        writer.push(section.chain, section.first, section.parent, section.columns.as_ref());
    }
    writer.finish().as_bytes().to_vec()
}

fn decode(bytes: &[u8]) -> Result<Vec<Blocks>, FrameError> {
    let own = |section: Section<'_>| Blocks {
        chain: section.chain,
        first: section.first,
        parent: section.parent,
        columns: Columns {
            hashes: section.columns.hashes.to_vec(),
            tx_roots: section.columns.tx_roots.to_vec(),
            times: section.columns.times.to_vec(),
        },
    };
    Ok(Frame::parse(bytes)?.sections().map(own).collect())
}

/// Writes the checksum that belongs to the bytes, so that what lies behind it is reached.
fn seal(bytes: &mut [u8]) {
    let checksum = xxh3_64(&bytes[HEADER_BYTES..]);
    bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
}

fn blocks(count: usize, seed: u8) -> Columns {
    let mut columns = Columns::default();
    for index in 0..count {
        let byte = seed.wrapping_add(index as u8);
        columns.push(Hash([byte; 32]), Hash([!byte; 32]), Timestamp::from_millis(index as u64));
    }
    columns
}

fn section(chain: u32, first: u64, count: usize) -> Blocks {
    let parent = Hash([chain as u8; 32]);
    Blocks { chain: ChainId(chain), first: Height(first), parent, columns: blocks(count, chain as u8) }
}

fn two() -> Vec<u8> {
    encode(&[section(3, 1, 2), section(5, 900, 1)])
}

#[test]
fn the_golden_frame_reads_as_described_and_is_written_again_byte_for_byte() {
    let text = include_str!("../../tests/vectors/frame_v1.hex");
    let digits: String = text.lines().filter_map(|line| line.split('#').next()).collect();
    let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
    let mut first = Columns::default();
    first.push(Hash([0x11; 32]), Hash([0x21; 32]), Timestamp::from_millis(1_700_000_000_000));
    first.push(Hash([0x12; 32]), Hash([0x22; 32]), Timestamp::from_millis(1_700_000_000_001));
    let mut second = Columns::default();
    second.push(Hash([0x31; 32]), Hash([0x41; 32]), Timestamp::from_millis(0));
    let expected = [
        Blocks { chain: ChainId(7), first: Height(1), parent: Hash::ZERO, columns: first },
        Blocks { chain: ChainId(9_992_731), first: Height::MAX, parent: Hash([0x30; 32]), columns: second },
    ];
    assert_eq!(decode(&bytes).unwrap(), expected);
    assert_eq!(encode(&expected), bytes);
}

#[test]
fn every_flipped_bit_and_every_truncation_is_refused() {
    let frame = two();
    for bit in 0..frame.len() * 8 {
        let mut wrong = frame.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(Frame::parse(&wrong).is_err(), "bit {bit}");
    }
    for end in 0..frame.len() {
        assert!(Frame::parse(&frame[..end]).is_err(), "cut at {end}");
    }
    let mut longer = frame;
    longer.push(0);
    assert!(Frame::parse(&longer).is_err());
}

#[test]
fn every_field_out_of_range_is_named() {
    let refuse = |at: usize, bytes: &[u8]| {
        let mut wrong = two();
        wrong[at..at + bytes.len()].copy_from_slice(bytes);
        seal(&mut wrong);
        Frame::parse(&wrong).expect_err("a field was out of range")
    };
    assert_eq!(refuse(6, &[2]), FrameError::Version { got: 2 });
    assert_eq!(refuse(7, &[1]), FrameError::Flags { got: 1 });
    assert_eq!(refuse(4, &[0, 0]), FrameError::Sections { got: 0 });
    assert_eq!(refuse(4, &4097_u16.to_le_bytes()), FrameError::Sections { got: 4_097 });
    assert_eq!(refuse(4, &[1, 0]), FrameError::Trailing { bytes: 120, sections: 1 });
    assert_eq!(refuse(4, &[3, 0]), FrameError::Length { got: 312, least: 360 });
    assert_eq!(refuse(0, &u32::MAX.to_le_bytes()), FrameError::Length { got: u32::MAX as usize, least: 240 });
    let chain = ChainId(3);
    assert_eq!(refuse(20, &[0; 4]), FrameError::Count { index: 0, chain, got: 0 });
    assert_eq!(
        refuse(20, &4_097_u32.to_le_bytes()),
        FrameError::Count { index: 0, chain, got: 4_097 },
        "before anything is allocated for it"
    );
    assert_eq!(refuse(20, &[4]), FrameError::Truncated { index: 0, need: 336, left: 312 });
    assert_eq!(refuse(24, &[0; 8]), FrameError::FirstHeight { index: 0, chain, got: 0, count: 2 });
    let top = Height::MAX.0;
    let got = FrameError::FirstHeight { index: 0, chain, got: top, count: 2 };
    assert_eq!(refuse(24, &top.to_le_bytes()), got);
    assert!(got.to_string().ends_with("expected 1 to 9223372036854775806 with 2 blocks"), "{got}");
    assert_eq!(
        refuse(16, &5_u32.to_le_bytes()),
        FrameError::Order { index: 1, chain: ChainId(5), previous: ChainId(5) }
    );
}

#[test]
fn a_frame_ends_at_its_target_and_sections_ascend() {
    let target = HEADER_BYTES + 2 * SECTION_BYTES + 5 * BLOCK_BYTES;
    let mut writer = FrameWriter::new(FrameBuffer::default(), target);
    assert!(writer.is_empty());
    assert_eq!(writer.room(ChainId(4)), 5);
    writer.push(ChainId(4), Height(1), Hash::ZERO, blocks(3, 0).as_ref());
    assert_eq!((writer.room(ChainId(4)), writer.room(ChainId(3)), writer.room(ChainId(5))), (0, 0, 2));
    writer.push(ChainId(5), Height(1), Hash::ZERO, blocks(2, 0).as_ref());
    assert_eq!(writer.room(ChainId(6)), 0);
    assert_eq!(writer.len(), target);
    let buffer = writer.finish();
    assert_eq!(Frame::parse(buffer.as_bytes()).unwrap().section_count(), 2);
    assert_eq!(buffer.as_bytes().as_ptr() as usize % 64, 0, "aligned");

    let full = FrameWriter::new(buffer, MAX_FRAME_BYTES);
    assert_eq!(full.room(ChainId(0)), MAX_SECTION_BLOCKS);
}

#[test]
fn the_largest_frames_are_read() {
    let many: Vec<_> = (0..MAX_SECTIONS as u32).map(|chain| section(chain, 7, 1)).collect();
    assert_eq!(decode(&encode(&many)).unwrap(), many);
    let long = [section(1, 1, MAX_SECTION_BLOCKS), section(2, 1, MAX_SECTION_BLOCKS)];
    assert_eq!(decode(&encode(&long)).unwrap(), long);
}

fn any_sections() -> impl Strategy<Value = Vec<Blocks>> {
    let one = (any::<u32>(), 1..Height::MAX.0 - 16, any::<[u8; 32]>(), 1..12_usize, any::<u8>());
    prop::collection::vec(one, 1..12).prop_map(|raw| {
        let mut sections: Vec<_> = raw
            .into_iter()
            .map(|(chain, first, parent, count, seed)| Blocks {
                chain: ChainId(chain),
                first: Height(first),
                parent: Hash(parent),
                columns: blocks(count, seed),
            })
            .collect();
        sections.sort_by_key(|section| section.chain);
        sections.dedup_by_key(|section| section.chain);
        sections
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back(sections in any_sections()) {
        prop_assert_eq!(decode(&encode(&sections)).unwrap(), sections);
    }

    #[test]
    fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(Frame::parse(&bytes).is_err());
    }

    /// Behind a right checksum anything may stand: it is refused, or it is a frame that reads back to its bytes.
    #[test]
    fn whatever_is_accepted_is_canonical(
        sections in any_sections(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode(&sections);
        for (index, byte) in edits {
            // Counts, heights and ids are where it matters: half of the edits fall on the first section's.
            let range = if byte & 1 == 0 { bytes.len() } else { HEADER_BYTES + SECTION_BYTES };
            bytes[index.index(range)] = byte;
        }
        seal(&mut bytes);
        if let Ok(read) = decode(&bytes) {
            prop_assert_eq!(encode(&read), bytes);
        }
    }
}
