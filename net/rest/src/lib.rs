//! The HTTP API of a node: what it answers, as types that both sides share, and a client that asks for it.
//!
//! The node itself answers with these types (`docs/api.md` describes them), so they cannot drift from what it says.

pub mod status;
