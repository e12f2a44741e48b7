//! The bytes of blocks on the wire: containers of sections of many chains.
