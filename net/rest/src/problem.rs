//! [`Problem`]: why a node did not do what was asked.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A problem in the form of RFC 9457. `docs/api.md` lists the kinds, `mainstem explain CODE` says more of each.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `urn:mainstem:problem:` and the kind.
    #[serde(rename = "type")]
    pub kind_uri: String,
    /// What it is, the same whenever it occurs.
    pub title: String,
    /// The status of HTTP.
    pub status: u16,
    /// What is wrong here and now, and what would be right.
    pub detail: String,
    /// The path that was asked for.
    pub instance: String,
    /// The stable code of the kind, such as `MS-4001`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Members that only some kinds have.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::BTreeMap<String, Value>))]
    pub members: Map<String, Value>,
}

impl Problem {
    /// What stands before a kind in `type`.
    pub const PREFIX: &str = "urn:mainstem:problem:";

    /// The kind: `not-indexed`, `unknown-chain`, ...
    pub fn kind(&self) -> &str {
        self.kind_uri.strip_prefix(Self::PREFIX).unwrap_or(&self.kind_uri)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}
