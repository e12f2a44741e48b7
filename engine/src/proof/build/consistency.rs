//! That a header continues the history of an earlier one.

use crate::chain::{BlockView, Height, MainHeader};
use crate::merkle::history;
use crate::store::{BlockReader, StoredHistory};

use super::super::ConsistencyProof;
use super::{ProofError, asked, unpruned};

/// Builds the proof that the header of main block `to` has all of the history of the header of `from`, and that one
/// itself.
///
/// # Errors
/// `from` is above `to`, one of them does not exist yet or was pruned, or the store cannot be read.
pub fn build_consistency<R: BlockReader>(
    reader: &R,
    from: Height,
    to: Height,
) -> Result<ConsistencyProof, ProofError> {
    if from > to {
        return Err(ProofError::Order { from, to });
    }
    unpruned(reader, || {
        let version = ConsistencyProof::VERSION;
        let (earlier, later) = (header(reader, "from", from)?, header(reader, "to", to)?);
        if from == to {
            return Ok(ConsistencyProof {
                version,
                from: earlier,
                to: later,
                consistency: vec![],
                inclusion: vec![],
            });
        }
        let (before, size) = (from.0 - 1, to.0 - 1);
        let nodes = &StoredHistory::new(reader);
        let consistency = history::consistency(before, size, nodes)?;
        let inclusion = history::path(before, size, nodes)?.into_iter().map(|step| step.hash).collect();
        Ok(ConsistencyProof { version, from: earlier, to: later, consistency, inclusion })
    })
}

fn header<R: BlockReader>(reader: &R, field: &'static str, height: Height) -> Result<MainHeader, ProofError> {
    let block = asked(reader, field, height)?;
    let header = block.header();
    block.intact()?;
    Ok(header)
}
