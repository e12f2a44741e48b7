//! What is announced when a main block has become durable.

use zerocopy::transmute;

use crate::chain::{ChainId, Hash, Height, MainHeader, Timestamp};
use crate::sync::Words;

/// The newest durable main block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its header.
    pub header: MainHeader,
    /// Its header hash.
    pub hash: Hash,
}

/// Is told of every new head, in order, on the persisting thread, after the block is durable and its lanes have
/// room again. Must not block.
pub trait HeadSink: Send {
    /// A new head.
    fn publish(&mut self, head: &Head);
}

const HASHES: usize = 7;
const WORDS: usize = 6 + 4 * HASHES;

/// Six numbers, the first of which says that there is a head, and the hashes.
impl Words for Option<Head> {
    type Array = [u64; WORDS];

    fn to_words(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        let Some(Head { header, hash }) = self else { return words };
        words[..6].copy_from_slice(&[
            1 + u64::from(header.version),
            header.chain_id.0.into(),
            header.height.0,
            header.time.as_millis(),
            header.chain_count.into(),
            header.leaf_count,
        ]);
        let hashes = [
            hash,
            &header.parent,
            &header.side_root,
            &header.ops_root,
            &header.state_root,
            &header.history_root,
            &header.aelf_root,
        ];
        for (place, hash) in words[6..].chunks_exact_mut(4).zip(hashes) {
            let hash: [u64; 4] = transmute!(hash.0);
            place.copy_from_slice(&hash);
        }
        words
    }

    fn from_words(words: &[u64; WORDS]) -> Self {
        let version = words[0].checked_sub(1)?;
        let hashes: [Hash; HASHES] = std::array::from_fn(|index| {
            let place = 6 + 4 * index;
            let words = [words[place], words[place + 1], words[place + 2], words[place + 3]];
            Hash(transmute!(words))
        });
        let [hash, parent, side_root, ops_root, state_root, history_root, aelf_root] = hashes;
        let header = MainHeader {
            version: version as u16,
            chain_id: ChainId(words[1] as u32),
            height: Height(words[2]),
            time: Timestamp::from_millis(words[3]),
            parent,
            side_root,
            chain_count: words[4] as u32,
            leaf_count: words[5],
            ops_root,
            state_root,
            history_root,
            aelf_root,
        };
        Some(Head { header, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::fixture;

    #[test]
    fn a_head_is_the_same_after_it_was_words() {
        let genesis = fixture::genesis(3);
        for block in fixture::blocks(&genesis, &[vec![1, 2, 3], vec![0, 1, 700]]) {
            let mut header = block.header;
            // A value of its own in each field that is the same in all blocks, too.
            (header.version, header.ops_root) = (u16::MAX, Hash([7; 32]));
            let head = Some(Head { header, hash: block.hash });
            assert_eq!(Option::<Head>::from_words(&head.to_words()), head);
        }
        assert_eq!(Option::<Head>::from_words(&None.to_words()), None);
    }
}
