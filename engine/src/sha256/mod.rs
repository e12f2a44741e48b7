//! SHA-256 of many short messages of one length at once.
//!
//! A processor that has instructions for SHA-256 waits for the result of one round before it begins the next one: a
//! message alone leaves it idle more than half of the time. So messages are hashed side by side, two or four of them
//! in turns. Single digests stay with the crate `sha2`, which is also what all other processors use here.
//!
//! [`Kernel`] is one way to do it. [`Kernel::best`] is the fastest one on this machine; all of them give the same.

mod constants;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::chain::Hash;

/// A way to hash rows of messages. Copied freely; choose once for a row, not for each hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kernel(Path);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Path {
    Portable,
    /// Exists only where the processor has the instructions.
    #[cfg(target_arch = "x86_64")]
    ShaNi(x86::ShaNi),
}

/// Two neighbours, at `left` and after it, and where the node over them goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Where the left one stands; the right one is next to it.
    pub left: usize,
    /// Where their node goes.
    pub to: usize,
}

impl Kernel {
    /// The one that works everywhere: `sha2`, one message at a time.
    pub const PORTABLE: Self = Self(Path::Portable);

    /// The fastest one on this machine. What the processor can do is found out once and remembered.
    ///
    /// Of a build without optimisation that is [`Kernel::PORTABLE`]: each instruction is a call there, while the crate
    /// `sha2` is optimised like all that we depend on, and so twenty times as fast.
    pub fn best() -> Self {
        if cfg!(debug_assertions) { Self::PORTABLE } else { Self::special().unwrap_or(Self::PORTABLE) }
    }

    /// All that work on this machine, [`Kernel::PORTABLE`] first.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::PORTABLE).chain(Self::special())
    }

    /// The one that is made for this processor.
    fn special() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return x86::ShaNi::find().map(|found| Self(Path::ShaNi(found)));
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Path::Portable => "sha2, one at a time",
            #[cfg(target_arch = "x86_64")]
            Path::ShaNi(_) => "SHA-NI, side by side",
        }
    }

    /// Puts the node over each pair of `row` in its place in `row`, in any order: no pair may be in the place of an
    /// earlier pair's node.
    ///
    /// # Panics
    /// When a place is outside of the row.
    pub fn nodes(self, row: &mut [Hash], pairs: impl Iterator<Item = Pair>) {
        match self.0 {
            Path::Portable => portable::nodes(row, pairs),
            #[cfg(target_arch = "x86_64")]
            Path::ShaNi(kernel) => kernel.nodes(row, pairs),
        }
    }

    /// Digests of messages of 77 bytes: the lower 13 bytes of a prefix, little-endian, then two hashes. The upper
    /// three bytes of a prefix are zero.
    ///
    /// # Panics
    /// When the rows are not of one length, or there are fewer prefixes.
    pub fn prefixed_pairs(
        self,
        prefixes: impl Iterator<Item = u128>,
        firsts: &[Hash],
        seconds: &[Hash],
        out: &mut [Hash],
    ) {
        assert!(firsts.len() == out.len() && seconds.len() == out.len(), "rows of one length");
        let mut given = 0;
        let prefixes = prefixes.inspect(|_| given += 1);
        match self.0 {
            Path::Portable => portable::prefixed_pairs(prefixes, firsts, seconds, out),
            #[cfg(target_arch = "x86_64")]
            Path::ShaNi(kernel) => kernel.prefixed_pairs(prefixes, firsts, seconds, out),
        }
        assert!(given >= out.len(), "a prefix for each message");
    }

    /// Digests of messages of `LENGTH` bytes, at most 119 (two blocks of SHA-256): as many as `out` has places.
    ///
    /// # Panics
    /// When there are fewer messages.
    pub fn digests<const LENGTH: usize>(
        self,
        messages: impl Iterator<Item = [u8; LENGTH]>,
        out: &mut [Hash],
    ) {
        const { assert!(LENGTH <= 119, "two blocks at most") };
        let mut given = 0;
        let messages = messages.inspect(|_| given += 1);
        match self.0 {
            Path::Portable => portable::digests(messages, out),
            #[cfg(target_arch = "x86_64")]
            Path::ShaNi(kernel) => kernel.digests(messages, out),
        }
        assert!(given >= out.len(), "a message for each place");
    }
}

/// The message of [`Kernel::prefixed_pairs`].
fn prefixed(prefix: u128, first: &Hash, second: &Hash) -> [u8; 77] {
    let mut message = [0; 77];
    message[..16].copy_from_slice(&prefix.to_le_bytes());
    message[13..45].copy_from_slice(first.as_bytes());
    message[45..].copy_from_slice(second.as_bytes());
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    fn oracle(message: &[u8]) -> Hash {
        Hash(Sha256::digest(message).into())
    }

    fn hashes(count: usize, seed: u64) -> Vec<Hash> {
        (0..count as u64).map(|index| oracle(&[seed.to_le_bytes(), index.to_le_bytes()].concat())).collect()
    }

    fn row_of_pairs(count: usize) -> impl Iterator<Item = Pair> {
        (0..count).map(|index| Pair { left: 2 * index, to: index })
    }

    #[test]
    fn nodes_of_every_kernel_are_those_of_sha2_in_rows_of_every_length() {
        for kernel in Kernel::all() {
            for count in 0..40 {
                let below = hashes(2 * count, 1);
                let expected: Vec<_> =
                    below.chunks(2).map(|pair| oracle(&[pair[0].0, pair[1].0].concat())).collect();
                let mut row = below.clone();
                kernel.nodes(&mut row, row_of_pairs(count));
                assert_eq!(row[..count], expected, "{kernel:?} {count}");
                assert_eq!(row[count..], below[count..], "nothing else is written");
            }
        }
    }

    #[test]
    fn pairs_may_lie_anywhere() {
        let below = hashes(128, 2);
        // Their nodes in the upper half, or in places that nothing reads any more.
        let pairs = [(40, 67), (1, 124), (17, 81), (2, 64), (62, 69), (40, 40), (1, 41), (33, 2), (8, 127)];
        let pairs = pairs.map(|(left, to)| Pair { left, to });
        for (kernel, count) in Kernel::all().flat_map(|kernel| (0..=pairs.len()).map(move |n| (kernel, n))) {
            let mut row = below.clone();
            kernel.nodes(&mut row, pairs[..count].iter().copied());
            let mut expected = below.clone();
            for Pair { left, to } in &pairs[..count] {
                expected[*to] = oracle(&[below[*left].0, below[left + 1].0].concat());
            }
            assert_eq!(row, expected, "{kernel:?} {count}");
        }
    }

    proptest! {
        #[test]
        fn prefixed_pairs_of_every_kernel_are_those_of_sha2(
            prefixes in prop::collection::vec(0..1_u128 << 104, 0..20),
            seed in any::<u64>(),
        ) {
            let (firsts, seconds) = (hashes(prefixes.len(), seed), hashes(prefixes.len(), !seed));
            for kernel in Kernel::all() {
                let mut out = vec![Hash::ZERO; prefixes.len()];
                kernel.prefixed_pairs(prefixes.iter().copied(), &firsts, &seconds, &mut out);
                for (index, out) in out.iter().enumerate() {
                    let mut message = prefixes[index].to_le_bytes()[..13].to_vec();
                    message.extend(firsts[index].0);
                    message.extend(seconds[index].0);
                    prop_assert_eq!(*out, oracle(&message), "{:?}", kernel);
                }
            }
        }
    }

    fn check_digests<const LENGTH: usize>() {
        for count in [0, 1, 2, 3, 4, 5, 9] {
            let noise = hashes(4 * count, LENGTH as u64);
            let messages: Vec<[u8; LENGTH]> = noise
                .chunks(4)
                .map(|four| Hash::raw_column(four).concat()[..LENGTH].try_into().unwrap())
                .collect();
            for kernel in Kernel::all() {
                let mut out = vec![Hash::ZERO; count];
                kernel.digests(messages.iter().copied(), &mut out);
                for (out, message) in out.iter().zip(&messages) {
                    assert_eq!(*out, oracle(message), "{kernel:?} {LENGTH}");
                }
            }
        }
    }

    #[test]
    fn digests_of_every_kernel_are_those_of_sha2_at_every_edge_of_a_block() {
        check_digests::<0>();
        check_digests::<1>();
        check_digests::<41>();
        check_digests::<49>();
        check_digests::<54>();
        check_digests::<55>();
        check_digests::<56>();
        check_digests::<63>();
        check_digests::<64>();
        check_digests::<65>();
        check_digests::<77>();
        check_digests::<118>();
        check_digests::<119>();
    }

    #[test]
    #[should_panic(expected = "a message for each place")]
    fn a_place_without_a_message_is_refused() {
        Kernel::best().digests([[0; 49]; 2].into_iter(), &mut [Hash::ZERO; 3]);
    }

    #[test]
    #[should_panic(expected = "a prefix for each message")]
    fn a_message_without_a_prefix_is_refused() {
        let hashes = [Hash::ZERO; 3];
        Kernel::best().prefixed_pairs([1, 2].into_iter(), &hashes, &hashes, &mut [Hash::ZERO; 3]);
    }
}
