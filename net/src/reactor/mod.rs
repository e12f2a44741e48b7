//! A small single-threaded runtime over mio that drives quinn.
