//! A simulated side chain: hash-linked blocks with transactions and a real transaction tree, all from a seed.
//! The same seed gives the same chain, whoever reads it and from whatever height.
