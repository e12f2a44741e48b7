//! Chain ids: made from serial numbers, shown as four letters (`ChainHelper.cs`, `Base58.cs`).

use crate::chain::{ChainId, Hash};
use crate::merkle::digest;

use super::base58;

/// 58^4 and 58^3: numbers from the one up to the other have four letters.
const FOUR_LETTERS: u32 = 58 * 58 * 58 * 58;
const THREE_LETTERS: u32 = 58 * 58 * 58;

/// The id that belongs to a serial number. Ids repeat: 0, 195112 and -1 all have that of `2111`.
pub fn of_serial(serial: i64) -> ChainId {
    let bits = serial.cast_unsigned();
    let folded = bits as u32 ^ (bits >> 32) as u32;
    let mut number = folded % FOUR_LETTERS;
    if number < THREE_LETTERS {
        number += THREE_LETTERS;
    }
    // The three big-endian bytes of the number, read as little-endian.
    let [_, a, b, c] = number.to_be_bytes();
    ChainId(u32::from_le_bytes([a, b, c, 0]))
}

/// The id of the `serial`-th side chain of `parent`; the first has serial 1. `None` when the sum is out of AElf's range.
pub fn of_side_chain(parent: ChainId, serial: i64) -> Option<ChainId> {
    // An id is an int32 of AElf.
    Some(of_serial(serial.checked_add(i64::from(parent.0.cast_signed()))?))
}

/// The id as AElf shows it: its low three bytes in base58. Other than [`ChainId`]'s own text also where that would be
/// digits alone: `2111`.
pub fn text(id: ChainId) -> String {
    let [a, b, c, _] = id.to_le_bytes();
    base58::encode([a, b, c])
}

/// The id of a name as AElf reads it: the first four bytes of the base58, zeros where there are fewer. As there, names
/// that are longer or shorter than four letters are taken; `None` for what is no base58, or longer than 128 letters.
pub fn parse(text: &str) -> Option<ChainId> {
    let bytes = base58::decode(text)?;
    let mut low = [0; 4];
    low.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
    Some(ChainId(u32::from_le_bytes(low)))
}

/// SHA-256 of the id's four little-endian bytes: part of proposal tokens, and names a chain's deposit.
pub fn hash(id: ChainId) -> Hash {
    digest(&id.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_serials_read_back_from_their_four_letters() {
        for serial in (0..300_000).step_by(97).chain([i64::MIN, i64::MAX, -1]) {
            let id = of_serial(serial);
            let text = text(id);
            assert_eq!(text.len(), 4, "{serial}");
            assert_eq!(parse(&text), Some(id));
        }
    }

    #[test]
    fn names_out_of_shape_are_read_as_aelf_reads_them_and_garbage_is_not() {
        assert_eq!(parse(""), Some(ChainId(0)));
        assert_eq!(parse("1"), Some(ChainId(0)));
        assert_eq!(parse("z"), Some(ChainId(57)));
        assert_eq!(parse("0OIl"), None);
        assert_eq!(parse(&"z".repeat(129)), None);
        assert_eq!(of_side_chain(ChainId(9_992_731), i64::MAX), None);
    }
}
