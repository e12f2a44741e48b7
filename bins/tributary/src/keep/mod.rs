//! What the main chain said, kept: its headers, and where in its blocks this node's chains are. This is what lets a
//! side chain verify what happened on others. `docs/tributary.md` describes it for its users.
//!
//! ```text
//!   follower of net::client ──> keeper: gathers, one transaction for all that came ──> store (redb, one file)
//!                                                                                        ^ API, many readers
//! ```

mod error;
mod keeper;
mod store;
#[cfg(test)]
mod tests;

pub use error::KeepError;
pub use keeper::Keeper;
pub use store::{Contents, Evidence, Gap, Indexed, Store};
