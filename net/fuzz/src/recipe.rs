//! Long frames from short inputs: libFuzzer's are short, and many sections, many blocks and the greatest length are
//! where a frame's bounds are.
//!
//! ```text
//! plans u8 | plans * { chain u32, sections u16, count u16, first u64 } | changes * { at u32, byte u8 }
//! ```
//! A plan makes `sections` sections of `count` blocks each, of the chains from `chain` on. Changes are made to the frame that
//! comes of it, its header included; a position counts anew from the beginning when it is behind the end.

use net::frame::{BLOCK_BYTES, HEADER_BYTES, MAX_FRAME_BYTES, SECTION_BYTES, VERSION};

/// Sections of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Chain of the first one.
    pub chain: u32,
    /// How many sections.
    pub sections: u16,
    /// Blocks in each.
    pub count: u16,
    /// Height of the first block of each.
    pub first: u64,
}

const PLAN_BYTES: usize = 16;

/// The most plans in a recipe.
const MAX_PLANS: usize = 8;

/// A little longer than frames may be.
pub const LONG_BYTES: usize = MAX_FRAME_BYTES + SECTION_BYTES + 4 * BLOCK_BYTES;

/// Some sections and blocks.
pub const SHORT_BYTES: usize = 8 << 10;

/// The recipe of `plans` and `changes`.
pub fn write(plans: &[Plan], changes: &[(u32, u8)]) -> Vec<u8> {
    let mut out = vec![plans.len() as u8];
    for plan in plans {
        out.extend(plan.chain.to_le_bytes());
        out.extend(plan.sections.to_le_bytes());
        out.extend(plan.count.to_le_bytes());
        out.extend(plan.first.to_le_bytes());
    }
    for (at, byte) in changes {
        out.extend(at.to_le_bytes());
        out.push(*byte);
    }
    out
}

/// The frame of a recipe, of at most `most` bytes, its checksum right but for the changes.
pub fn frame(recipe: &[u8], most: usize) -> Vec<u8> {
    let (plans, changes) = read(recipe);
    // Not to be counted as ours: a vector that grows asks for twice what it needs.
    let mut bytes = Vec::with_capacity(most);
    bytes.resize(HEADER_BYTES, 0);
    let mut sections: u16 = 0;
    for plan in plans {
        for number in 0..plan.sections {
            let length = SECTION_BYTES + usize::from(plan.count) * BLOCK_BYTES;
            if bytes.len() + length > most {
                break;
            }
            let chain = plan.chain.wrapping_add(number.into());
            bytes.extend(chain.to_le_bytes());
            bytes.extend(u32::from(plan.count).to_le_bytes());
            bytes.extend(plan.first.to_le_bytes());
            bytes.resize(bytes.len() + length - 16, chain as u8);
            sections = sections.wrapping_add(1);
        }
    }
    let length = (bytes.len() - HEADER_BYTES) as u32;
    let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[HEADER_BYTES..]);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..6].copy_from_slice(&sections.to_le_bytes());
    bytes[6] = VERSION;
    bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
    for change in changes.as_chunks::<5>().0 {
        let [at @ .., byte] = *change;
        let at = u32::from_le_bytes(at) as usize % bytes.len();
        bytes[at] = byte;
    }
    bytes
}

fn read(recipe: &[u8]) -> (impl Iterator<Item = Plan>, &[u8]) {
    let (count, rest) = recipe.split_first().map_or((0, recipe), |(count, rest)| (usize::from(*count), rest));
    let plans = rest.as_chunks::<PLAN_BYTES>().0;
    let plans = &plans[..plans.len().min(count % (MAX_PLANS + 1))];
    let changes = &rest[plans.len() * PLAN_BYTES..];
    let plan = |bytes: &[u8; PLAN_BYTES]| Plan {
        chain: u32::from_le_bytes(*bytes.first_chunk().expect("16 bytes begin with 4")),
        sections: u16::from_le_bytes([bytes[4], bytes[5]]),
        count: u16::from_le_bytes([bytes[6], bytes[7]]),
        first: u64::from_le_bytes(*bytes.last_chunk().expect("16 bytes end with 8")),
    };
    (plans.iter().map(plan), changes)
}
