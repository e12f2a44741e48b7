//! AElf's errors: HTTP 403 and `{"Error": {"Code": "20001", "Message": .., "Details": ..}}`.

use std::fmt::Display;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::store::StoreError;
use serde_json::json;

use super::super::problem::Problem;

/// Why a call is not answered, as AElf's clients know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    code: Code,
    details: Option<String>,
}

/// AElf's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// There is nothing of that name.
    NotFound = 20001,
    /// A block hash is none.
    InvalidBlockHash = 20003,
    /// A transaction id is none.
    InvalidTransactionId = 20004,
    /// `offset` is below 0.
    InvalidOffset = 20006,
    /// `limit` is not 1 to 100.
    InvalidLimit = 20007,
    /// A transaction or a view failed; the details say why.
    InvalidTransaction = 20008,
    /// A parameter or the body cannot be read.
    InvalidParams = 20012,
    /// This node failed.
    Internal = 500,
}

impl Code {
    /// AElf's text, which is the same whenever it occurs.
    const fn message(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::InvalidBlockHash => "Invalid block hash format",
            Self::InvalidTransactionId => "Invalid Transaction id format",
            Self::InvalidOffset => "Offset must greater than or equal to 0",
            Self::InvalidLimit => "Limit must between 0 and 100",
            Self::InvalidTransaction => "Invalid transaction information",
            Self::InvalidParams => "Invalid params",
            Self::Internal => "An internal error occurred during your request!",
        }
    }
}

impl Refusal {
    /// A refusal without details.
    pub(super) const fn new(code: Code) -> Self {
        Self { code, details: None }
    }

    /// Says more.
    pub(super) fn because(code: Code, details: impl Display) -> Self {
        Self { code, details: Some(details.to_string()) }
    }

    /// What a contract says when a condition of its does not hold, in AElf's words.
    pub(super) fn assertion(text: impl Display) -> Self {
        Self::because(Code::InvalidTransaction, format_args!("AElf.Sdk.CSharp.AssertionException: {text}"))
    }

    /// The log cannot be read. The reason is for this node's log, not for the client.
    pub(super) fn unreadable(error: StoreError) -> Self {
        Self::internal(error)
    }

    /// This node's own fault.
    pub(super) fn internal(error: impl Display) -> Self {
        // Problem::internal writes the reason into the log; how it is told differs.
        drop(Problem::internal(error));
        Self::new(Code::Internal)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.code {
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::FORBIDDEN,
        };
        let body = json!({ "Error": {
            "Code": (self.code as u32).to_string(),
            "Message": self.code.message(),
            "Details": self.details,
            "Data": {},
            "ValidationErrors": null,
        }});
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        (status, [(header::CONTENT_TYPE, json)], body.to_string()).into_response()
    }
}
