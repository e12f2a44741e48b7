//! Transaction ids: SHA-256 of the message `aelf.Transaction` without its signature (`Transaction.cs`).

use crate::chain::Hash;
use crate::merkle::digest;

/// Number of the field that is not part of the id.
const SIGNATURE: u64 = 10_000;

/// The id of a serialised transaction, signed or not.
///
/// # Errors
/// It is not the one way in which AElf writes a transaction: AElf hashes what it writes itself, so the same transaction
/// spelt otherwise would have another id there than the hash of its bytes.
pub fn id(transaction: &[u8]) -> Result<Hash, TransactionError> {
    let mut reader = Reader { bytes: transaction, at: 0 };
    let mut last = 0;
    while reader.at < transaction.len() {
        let start = reader.at;
        let tag = reader.varint()?;
        let (field, wire) = (tag >> 3, tag & 7);
        let expected = match field {
            1 | 2 | 4 | 5 | 6 | SIGNATURE => 2,
            3 => 0,
            _ => return Err(TransactionError::Field { at: start, field }),
        };
        if wire != expected || field <= last {
            return Err(TransactionError::Field { at: start, field });
        }
        last = field;
        let empty = match field {
            3 => reader.varint()? == 0,
            1 | 2 => {
                reader.address()?;
                false
            }
            _ => reader.bytes()?.is_empty(),
        };
        if empty {
            return Err(TransactionError::Spelling { at: start });
        }
        if field == SIGNATURE {
            // No field has a higher number, so nothing follows.
            return if reader.at == transaction.len() {
                Ok(digest(&transaction[..start]))
            } else {
                Err(TransactionError::Field { at: reader.at, field: 0 })
            };
        }
    }
    Ok(digest(transaction))
}

/// Bytes that are not a transaction as AElf writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TransactionError {
    /// It ends within a field.
    #[error("the transaction ends within the field before byte {at}")]
    Truncated {
        /// Where more was expected.
        at: usize,
    },
    /// A field that a transaction does not have, or not there.
    #[error(
        "byte {at} of the transaction begins field {field}: expected fields 1 to 6 and 10000, each once, ascending, \
         with the types of aelf.Transaction"
    )]
    Field {
        /// Where it begins.
        at: usize,
        /// Its number; 0 after the signature.
        field: u64,
    },
    /// A number that could be shorter, or an empty field that should be left out.
    #[error("byte {at} of the transaction begins a number or field that AElf would write otherwise")]
    Spelling {
        /// Where it begins.
        at: usize,
    },
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A base 128 varint, in its shortest form.
    fn varint(&mut self) -> Result<u64, TransactionError> {
        let start = self.at;
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(TransactionError::Truncated { at: self.at })?;
            self.at += 1;
            let part = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if part << shift >> shift != part || (byte == 0 && shift > 0) {
                return Err(TransactionError::Spelling { at: start });
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(TransactionError::Spelling { at: start })
    }

    /// Bytes with their length before them.
    fn bytes(&mut self) -> Result<&'a [u8], TransactionError> {
        let length = self.varint()?;
        let rest = &self.bytes[self.at..];
        let bytes = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let bytes = bytes.ok_or(TransactionError::Truncated { at: self.bytes.len() })?;
        self.at += bytes.len();
        Ok(bytes)
    }

    /// A message `aelf.Address`: nothing, or field 1 with bytes. Other than a number or bytes it may be there and empty.
    fn address(&mut self) -> Result<(), TransactionError> {
        let message = self.bytes()?;
        let start = self.at - message.len();
        if message.is_empty() {
            return Ok(());
        }
        let mut inner = Reader { bytes: &self.bytes[..self.at], at: start };
        let tag = inner.varint()?;
        if tag != 0x0a {
            return Err(TransactionError::Field { at: start, field: tag >> 3 });
        }
        if inner.bytes()?.is_empty() || inner.at != self.at {
            return Err(TransactionError::Spelling { at: start });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction() -> Vec<u8> {
        let address = |field: u8, byte: u8| [&[field << 3 | 2, 34, 0x0a, 32][..], &[byte; 32]].concat();
        let rest = [0x18, 0x80, 0x01, 0x22, 4, 1, 2, 3, 4, 0x2a, 3, b'f', b'o', b'o', 0x32, 2, 9, 9];
        [address(1, 1), address(2, 2), rest.to_vec()].concat()
    }

    #[test]
    fn the_signature_is_not_part_of_the_id_and_everything_else_is() {
        let unsigned = transaction();
        let expected = digest(&unsigned);
        assert_eq!(id(&unsigned), Ok(expected));
        let signed = [&unsigned[..], &[0x82, 0xf1, 0x04, 3, 7, 7, 7]].concat();
        assert_eq!(id(&signed), Ok(expected));
        for at in 0..unsigned.len() {
            let mut other = signed.clone();
            other[at] ^= 1;
            assert_ne!(id(&other), Ok(expected), "byte {at}");
        }
    }

    #[test]
    fn other_spellings_and_cut_transactions_are_refused() {
        let unsigned = transaction();
        let with = |tail: &[u8]| [&unsigned[..], tail].concat();
        for (wrong, why) in [
            (with(&[0x82, 0xf1, 0x04, 1, 7, 0x32, 1, 1]), "params after the signature"),
            (with(&[0x32, 1, 1]), "params twice"),
            (with(&[0x3a, 1, 1]), "field 7"),
            (with(&[0x82, 0xf1, 0x04, 0]), "an empty signature"),
            (with(&[0x82, 0xf1, 0x04, 0x81, 0x00, 1]), "a length that is not the shortest"),
            (vec![0x18, 0], "a zero"),
            (vec![0x18; 12], "no end"),
            (vec![0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "more than 64 bits"),
            (vec![0x1a, 1, 1], "a height of another type"),
            (vec![0x0a, 2, 0x0a, 0], "an address that is empty in a way that AElf does not write"),
            (vec![0x0a, 3, 0x12, 1, 1], "an address with field 2"),
            (vec![0x0a, 4, 0x0a, 1, 1, 1], "an address with more"),
        ] {
            assert!(id(&wrong).is_err(), "{why}");
        }
        let whole = with(&[0x82, 0xf1, 0x04, 3, 7, 7, 7]);
        let starts = [0, 36, 72, 75, 81, 86, 90, whole.len()];
        for length in (0..whole.len()).filter(|length| !starts.contains(length)) {
            assert!(id(&whole[..length]).is_err(), "{length}");
        }
    }
}
