//! Base58 with the alphabet of Bitcoin, without a checksum (`Base58.cs`).

/// Longest text that is read: reading takes time by the square of the length.
const MAX_CHARS: usize = 128;

/// The text of some bytes. A zero byte at the beginning is a `1`.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    bs58::encode(bytes).into_string()
}

/// The bytes of a text; `None` if it has other letters, or more than 128.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    (text.len() <= MAX_CHARS).then(|| bs58::decode(text).into_vec().ok()).flatten()
}
