//! The blocks that were received and not handed out yet, and where they begin.

use std::collections::VecDeque;

use engine::chain::{Columns, Hash, Timestamp};

/// Consecutive blocks above an anchor: the newest block that was handed out, or that the main chain has.
#[derive(Debug, Default)]
pub(super) struct Window {
    anchor: Option<Anchor>,
    blocks: VecDeque<Block>,
    /// Counts the anchors that a node has to be held against anew.
    era: u64,
    /// Nobody takes blocks: the newest ones are kept, to know how far the node is.
    standing_by: bool,
}

/// A block as a node gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Block {
    pub(super) hash: Hash,
    pub(super) tx_root: Hash,
}

/// The block that the first one follows.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    height: u64,
    /// `None` where the main chain did not say it: a node does.
    hash: Option<Hash>,
}

/// What to ask a node for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    /// The first height.
    pub(super) from: u64,
    /// Which anchor it follows; given back to [`Window::put`].
    pub(super) era: u64,
    /// The first height is a block that should be known already.
    pub(super) check: bool,
}

/// What became of a block.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Put {
    /// It is the next one, or the known one that was asked for.
    Taken,
    /// It was the next one, and there is room for no more.
    Full,
    /// The main chain wants something else by now.
    Outdated,
    /// At this height another block is known.
    Contradicts(Hash),
}

impl Window {
    /// The main chain wants the block `next` next, on top of `parent`.
    pub(super) fn resume(&mut self, next: u64, parent: Option<Hash>) {
        self.standing_by = false;
        let below = next - 1;
        if let Some(parent) = parent
            && self.hash_at(below) == Some(parent)
            && let Some(anchor) = self.anchor
        {
            self.blocks.drain(..(below - anchor.height) as usize);
            self.anchor = Some(Anchor { height: below, hash: Some(parent) });
            return;
        }
        self.begin(below, if below == 0 { Some(parent.unwrap_or(Hash::ZERO)) } else { parent });
    }

    /// Nothing is taken until the next resume; others have sent the blocks up to `received`.
    pub(super) fn stand_by(&mut self, received: u64) {
        self.standing_by = true;
        if self.anchor.is_none_or(|anchor| anchor.height + (self.blocks.len() as u64) < received) {
            self.begin(received, (received == 0).then_some(Hash::ZERO));
        }
    }

    fn begin(&mut self, height: u64, hash: Option<Hash>) {
        self.anchor = Some(Anchor { height, hash });
        self.blocks.clear();
        self.era += 1;
    }

    /// What to ask a node for that has been held against the anchor of the era `proven`; nothing while there is no room,
    /// or before the main chain said from where.
    pub(super) fn wanted(&self, proven: Option<u64>) -> Option<Wanted> {
        let anchor = self.anchor?;
        let last = anchor.height + self.blocks.len() as u64;
        if self.blocks.len() >= CAPACITY && !self.standing_by {
            return None;
        }
        // Nothing precedes the first block of a chain.
        let check = last > 0 && (proven != Some(self.era) || anchor.hash.is_none());
        Some(Wanted { from: if check { last } else { last + 1 }, era: self.era, check })
    }

    /// Takes a block in that a node gave for `wanted`.
    pub(super) fn put(&mut self, wanted: Wanted, height: u64, block: Block) -> Put {
        let Some(anchor) = self.anchor.as_mut().filter(|_| wanted.era == self.era) else {
            return Put::Outdated;
        };
        let last = anchor.height + self.blocks.len() as u64;
        if height == last + 1 {
            self.blocks.push_back(block);
            if self.blocks.len() <= CAPACITY {
                let full = self.blocks.len() == CAPACITY && !self.standing_by;
                return if full { Put::Full } else { Put::Taken };
            }
            // Standing by: the oldest one goes.
            let oldest = self.blocks.pop_front().expect("one was just put in");
            *anchor = Anchor { height: anchor.height + 1, hash: Some(oldest.hash) };
            return Put::Taken;
        }
        if height == anchor.height && anchor.hash.is_none() {
            anchor.hash = Some(block.hash);
            return Put::Taken;
        }
        match self.hash_at(height) {
            Some(known) if known == block.hash => Put::Taken,
            Some(known) => Put::Contradicts(known),
            // Blocks were handed out, and the answer is an old one.
            None => Put::Outdated,
        }
    }

    /// Hands out up to `max` blocks, and says which block they follow; zero where that is not known yet.
    pub(super) fn take(&mut self, max: usize, out: &mut Columns) -> Hash {
        let Some(Anchor { height, hash: Some(follows) }) = self.anchor else { return Hash::ZERO };
        let count = max.min(self.blocks.len());
        for block in self.blocks.drain(..count) {
            // AElf nodes do not tell the time of a block.
            out.push(block.hash, block.tx_root, Timestamp::from_millis(0));
        }
        if let Some(last) = out.hashes.last().filter(|_| count > 0) {
            self.anchor = Some(Anchor { height: height + count as u64, hash: Some(*last) });
        }
        follows
    }

    /// Whether nobody takes blocks.
    pub(super) fn is_standing_by(&self) -> bool {
        self.standing_by
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    fn hash_at(&self, height: u64) -> Option<Hash> {
        let anchor = self.anchor?;
        match height.checked_sub(anchor.height)? {
            0 => anchor.hash,
            above => self.blocks.get((above - 1) as usize).map(|block| block.hash),
        }
    }
}

/// Most blocks that wait to be handed out: 256 KiB.
pub(super) const CAPACITY: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn block(height: u64) -> Block {
        Block { hash: Hash([height as u8; 32]), tx_root: Hash([0x99; 32]) }
    }

    fn filled(to: u64) -> Window {
        let mut window = Window::default();
        window.resume(1, None);
        let wanted = window.wanted(None).unwrap();
        assert_eq!((wanted.from, wanted.check), (1, false));
        for height in 1..=to {
            assert_eq!(window.put(wanted, height, block(height)), Put::Taken);
        }
        window
    }

    fn taken(window: &mut Window, max: usize) -> (Hash, Vec<Hash>) {
        let mut out = Columns::default();
        let follows = window.take(max, &mut out);
        (follows, out.hashes)
    }

    #[test]
    fn blocks_come_out_as_they_came_in_and_name_the_one_before() {
        let mut window = filled(3);
        assert_eq!(taken(&mut window, 2), (Hash::ZERO, vec![block(1).hash, block(2).hash]));
        assert_eq!(taken(&mut window, 9), (block(2).hash, vec![block(3).hash]));
        assert_eq!(taken(&mut window, 9), (block(3).hash, vec![]));
        assert_eq!(window.wanted(None).unwrap().from, 3);
        assert_eq!(window.wanted(Some(1)).unwrap().from, 4);
    }

    #[test]
    fn resuming_where_blocks_are_keeps_them_and_elsewhere_begins_anew() {
        let mut window = filled(5);
        window.resume(3, Some(block(2).hash));
        assert_eq!(taken(&mut window, 9).1.len(), 3);

        for (next, parent) in [(3, Some(block(2).hash)), (6, Some(block(9).hash)), (8, Some(block(7).hash))] {
            window.resume(next, parent);
            let wanted = window.wanted(Some(1)).unwrap();
            assert_eq!((wanted.from, wanted.check), (next - 1, true));
            assert_eq!(taken(&mut window, 9), (parent.unwrap(), vec![]));
            assert_eq!(window.put(wanted, next - 1, block(200)), Put::Contradicts(parent.unwrap()));
            assert_eq!(window.put(wanted, next - 1, Block { hash: parent.unwrap(), ..block(0) }), Put::Taken);
        }
    }

    #[test]
    fn a_parent_that_the_main_chain_does_not_name_is_asked_for() {
        let mut window = Window::default();
        window.resume(10, None);
        let wanted = window.wanted(None).unwrap();
        assert_eq!((wanted.from, wanted.check), (9, true));
        assert_eq!(window.put(wanted, 9, block(9)), Put::Taken);
        assert_eq!(window.put(wanted, 10, block(10)), Put::Taken);
        assert_eq!(taken(&mut window, 9), (block(9).hash, vec![block(10).hash]));
    }

    #[test]
    fn what_was_asked_for_before_is_outdated() {
        let mut window = filled(3);
        let old = window.wanted(Some(1)).unwrap();
        window.resume(50, Some(Hash([7; 32])));
        assert_eq!(window.put(old, 4, block(4)), Put::Outdated);
        assert!(window.is_empty());
    }

    #[test]
    fn it_is_bounded_and_standing_by_keeps_the_newest() {
        let mut window = Window::default();
        assert_eq!(window.wanted(None), None);
        window.resume(1, None);
        let wanted = window.wanted(None).unwrap();
        let full = CAPACITY as u64;
        for height in 1..full {
            assert_eq!(window.put(wanted, height, block(height)), Put::Taken);
        }
        assert_eq!(window.put(wanted, full, block(full)), Put::Full);
        assert_eq!(window.wanted(None), None);

        window.stand_by(3);
        let wanted = window.wanted(Some(1)).unwrap();
        assert_eq!(wanted.from, full + 1);
        for height in full + 1..full + 10 {
            assert_eq!(window.put(wanted, height, block(height)), Put::Taken);
        }
        window.resume(full + 1, Some(block(full).hash));
        assert_eq!(taken(&mut window, 100).1.len(), 9);

        window.stand_by(full * 2);
        assert_eq!(window.wanted(Some(1)).map(|wanted| (wanted.from, wanted.check)), Some((full * 2, true)));
    }
}
