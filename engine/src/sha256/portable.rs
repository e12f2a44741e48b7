//! One message after the other with the crate `sha2`: any processor, and the oracle of the tests.

use crate::chain::Hash;
use crate::merkle::{digest, node};

use super::{Pair, prefixed};

pub(super) fn nodes(row: &mut [Hash], pairs: impl Iterator<Item = Pair>) {
    for Pair { left, to } in pairs {
        row[to] = node(row[left], row[left + 1]);
    }
}

pub(super) fn prefixed_pairs(
    prefixes: impl Iterator<Item = u128>,
    firsts: &[Hash],
    seconds: &[Hash],
    out: &mut [Hash],
) {
    for (((out, prefix), first), second) in out.iter_mut().zip(prefixes).zip(firsts).zip(seconds) {
        *out = digest(&prefixed(prefix, first, second));
    }
}

pub(super) fn digests<const LENGTH: usize>(messages: impl Iterator<Item = [u8; LENGTH]>, out: &mut [Hash]) {
    out.iter_mut().zip(messages).for_each(|(out, message)| *out = digest(&message));
}
