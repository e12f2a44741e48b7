//! QUIC endpoints of a reactor, with our limits.
