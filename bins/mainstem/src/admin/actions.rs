//! What the routes do, without HTTP.

use std::path::Path;

use engine::chain::{ChainId, Height};
use engine::state::SideChain;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::AdminError;
use crate::record::Wanted;

/// What can be done to a running node. Calls block until they are done: they come on threads of their own.
pub(crate) trait Actions: Send + Sync {
    /// Registers a side chain; gives the main block that says so, once it is durable.
    fn add_chain(&self, chain: SideChain) -> Result<Height, AdminError>;

    /// Removes a side chain; gives the main block that says so, once it is durable.
    fn remove_chain(&self, chain: ChainId) -> Result<Height, AdminError>;

    /// Stops a chain from being sealed, or lets it go on. Holds over restarts.
    fn pause_chain(&self, chain: ChainId, paused: bool) -> Result<(), AdminError>;

    /// Reads the configuration again and applies what can change while the node runs.
    fn reload(&self) -> Result<Applied, AdminError>;

    /// Writes what a node can start from to a new directory; tells what it wrote.
    fn snapshot(&self, to: &Path, with_key: bool) -> Result<Value, AdminError>;

    /// Records what comes in and what is sealed, to its end; tells what it wrote.
    fn record(&self, _wanted: &Wanted) -> Result<Value, AdminError> {
        Err(AdminError::NotRunning)
    }

    /// Ends the recording that runs; tells whether one does.
    fn stop_record(&self) -> Result<bool, AdminError> {
        Err(AdminError::NotRunning)
    }
}

/// What came of reading the configuration again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// Settings that hold now, as `section.key`.
    #[expect(clippy::struct_field_names, reason = "the name in the answer")]
    pub applied: Vec<String>,
    /// Settings that changed and hold from the next start on.
    pub needs_restart: Vec<String>,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
