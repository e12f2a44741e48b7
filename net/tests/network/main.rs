//! Server and client over bad networks: whatever the path does, every block arrives, once and in order.
//!
//! How fast that is, `mainstem-perf network` measures; here nothing depends on time but how long is waited in vain.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

mod faults;
mod namespaces;
mod netns;
mod outages;
mod relay;
mod relay_tests;
#[allow(dead_code, reason = "shared with the tests in `wire`, which use the rest")]
#[path = "../wire/support.rs"]
mod support;
