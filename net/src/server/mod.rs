//! Sessions of the main chain.
