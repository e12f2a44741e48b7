//! ed25519 node keys and TLS pinned to them.
