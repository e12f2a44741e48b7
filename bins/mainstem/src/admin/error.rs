//! Why a change was not made.

use axum::http::StatusCode;
use engine::chain::ChainId;

use crate::api::problem::Problem;

/// Why a change was not made. Nothing was changed, unless it says so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// The body is not what the call takes.
    #[error("{0}")]
    Body(String),
    /// No chain has this id.
    #[error("chain {0} is not registered here; `mainstem chains` lists those that are")]
    UnknownChain(ChainId),
    /// The change contradicts how the node stands.
    #[error("{0}")]
    Conflict(String),
    /// The configuration, as it stands now, is wrong.
    #[error("{0}")]
    Settings(String),
    /// Others are being made.
    #[error("other changes are being made; try again when they are done")]
    Busy,
    /// The node begins or ends.
    #[error("the node is starting or stopping and takes no change now")]
    NotRunning,
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        let chain = if let AdminError::UnknownChain(chain) = &error { Some(chain.0) } else { None };
        let (status, kind, title) = match &error {
            AdminError::Body(_) => {
                (StatusCode::BAD_REQUEST, "invalid-body", "The body is not what it should be")
            }
            AdminError::UnknownChain(_) => (StatusCode::NOT_FOUND, "unknown-chain", "No such chain"),
            AdminError::Conflict(_) => (StatusCode::CONFLICT, "conflict", "The change cannot be made"),
            AdminError::Settings(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid-settings", "The configuration is wrong")
            }
            AdminError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "The node is busy"),
            AdminError::NotRunning => {
                (StatusCode::SERVICE_UNAVAILABLE, "not-running", "The node takes no changes now")
            }
            AdminError::Failed(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "change-failed", "The change failed")
            }
        };
        let problem = Self::new(status, kind, title, error);
        match chain {
            Some(id) => problem.with("chain_id", id),
            None => problem,
        }
    }
}
