//! Refusals of a session's chains that are still to be written down.

use engine::chain::ChainId;

use super::{Fault, LastRefusal};

/// What was refused since it was last looked: the first ones one by one, of the others the last of each code, and how
/// many it stands for. A session may have thousands of chains, and have them all refused with one frame.
#[derive(Debug, Default)]
pub(in super::super) struct Refusals {
    first: Vec<LastRefusal>,
    more: Vec<(LastRefusal, u64)>,
}

/// How many are kept one by one.
pub(super) const MAX_FIRST: usize = 8;

impl Refusals {
    pub(super) fn push(&mut self, chain: ChainId, (code, detail): Fault) {
        let refusal = LastRefusal { chain: Some(chain), code, detail };
        if self.first.len() < MAX_FIRST {
            self.first.push(refusal);
        } else if let Some((last, count)) = self.more.iter_mut().find(|(last, _)| last.code == code) {
            *last = refusal;
            *count += 1;
        } else {
            self.more.push((refusal, 1));
        }
    }

    /// All of them, each with how many it stands for.
    pub(in super::super) fn into_iter(self) -> impl Iterator<Item = (LastRefusal, u64)> {
        self.first.into_iter().map(|refusal| (refusal, 1)).chain(self.more)
    }
}
