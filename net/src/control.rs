//! The messages of the control stream.
