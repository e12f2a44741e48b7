//! Hashes of the newest blocks that were read, to find where two ways of a chain part.

use std::collections::VecDeque;

use engine::chain::Hash;

/// Consecutive heights with their hashes, the newest [`CAPACITY`] of them: 32 KiB.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Height of the first hash.
    first: u64,
    hashes: VecDeque<Hash>,
}

impl Recent {
    pub(super) fn get(&self, height: u64) -> Option<Hash> {
        let position = height.checked_sub(self.first)?;
        self.hashes.get(usize::try_from(position).ok()?).copied()
    }

    pub(super) fn first(&self) -> Option<(u64, Hash)> {
        self.hashes.front().map(|hash| (self.first, *hash))
    }

    pub(super) fn last(&self) -> Option<(u64, Hash)> {
        self.hashes.back().map(|hash| (self.first + self.hashes.len() as u64 - 1, *hash))
    }

    /// Adds the next height's hash; any other height starts anew.
    pub(super) fn push(&mut self, height: u64, hash: Hash) {
        if self.last().is_none_or(|(last, _)| last + 1 != height) {
            self.hashes.clear();
            self.first = height;
        }
        if self.hashes.len() == CAPACITY {
            self.hashes.pop_front();
            self.first += 1;
        }
        self.hashes.push_back(hash);
    }

    /// Goes back to `height`, where the main chain has `hash`. Hashes below are kept if they lead there.
    pub(super) fn rewind(&mut self, height: u64, hash: Hash) {
        if self.get(height) == Some(hash) {
            self.hashes.truncate((height - self.first + 1) as usize);
        } else {
            self.hashes.clear();
            self.push(height, hash);
        }
    }
}

const CAPACITY: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_hashes_are_kept_by_height() {
        let mut recent = Recent::default();
        let hash = |height: u64| Hash([height as u8; 32]);
        for height in 10..10 + 2 * CAPACITY as u64 {
            recent.push(height, hash(height));
        }
        let last = 9 + 2 * CAPACITY as u64;
        let first = last + 1 - CAPACITY as u64;
        assert_eq!(recent.last(), Some((last, hash(last))));
        assert_eq!(recent.first(), Some((first, hash(first))));
        assert_eq!(recent.get(first - 1), None);
        assert_eq!(recent.get(last + 1), None);

        recent.rewind(last - 5, hash(last - 5));
        assert_eq!(recent.last(), Some((last - 5, hash(last - 5))));
        assert_eq!(recent.first(), Some((first, hash(first))));
        recent.rewind(last - 6, Hash::ZERO);
        assert_eq!(
            (recent.first(), recent.last()),
            (Some((last - 6, Hash::ZERO)), Some((last - 6, Hash::ZERO)))
        );
        recent.push(3, hash(3));
        assert_eq!(recent.first(), Some((3, hash(3))));
    }
}
