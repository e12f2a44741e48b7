//! The stages between lanes and store, each on its own thread.

mod head;

pub use head::{Head, HeadSink};
