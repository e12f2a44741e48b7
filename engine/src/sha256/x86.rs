//! SHA-256 with the instructions of x86-64 for it (SHA-NI), messages side by side.
//!
//! A round instruction takes four cycles until its result is there, and another one can begin after one. Two messages
//! in turns hide half of that, and their states and schedules just fit into the sixteen registers. The second block of a
//! node has a schedule that is known ([`PADDING_OF_64`]), so there four states fit, and four are hashed.
//!
//! # No AVX
//! The round instructions have the old encoding only. Between instructions of the new one they cost a hundred times as
//! much while the upper half of some 256-bit register is in use. So the functions ask for no AVX, are never inlined into
//! others, which might use it, and touch 128 bits at a time; and where the whole program is compiled for AVX, they clear
//! the upper halves when they begin.

use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_load_si128, _mm_loadu_si128, _mm_or_si128,
    _mm_set_epi8, _mm_set_epi32, _mm_set_epi64x, _mm_setzero_si128, _mm_sha256msg1_epu32,
    _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_slli_si128,
    _mm_srli_si128, _mm_storeu_si128,
};

use crate::chain::Hash;

use super::Pair;
use super::constants::{K, PADDING_OF_64, Quads, START};

/// Proof that this processor has the instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ShaNi(());

#[expect(clippy::unused_self, reason = "to have one is what makes the calls sound")]
impl ShaNi {
    pub(super) fn find() -> Option<Self> {
        let found = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse4.1")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse2");
        found.then_some(Self(()))
    }

    pub(super) fn nodes(self, row: &mut [Hash], pairs: impl Iterator<Item = Pair>) {
        // SAFETY: `self` is there only where `find` saw all the features that the function is compiled for.
        unsafe { nodes(row, pairs) }
    }

    pub(super) fn prefixed_pairs(
        self,
        prefixes: impl Iterator<Item = u128>,
        firsts: &[Hash],
        seconds: &[Hash],
        out: &mut [Hash],
    ) {
        // SAFETY: as in `nodes`.
        unsafe { prefixed_pairs(prefixes, firsts, seconds, out) }
    }

    pub(super) fn digests<const LENGTH: usize>(
        self,
        messages: impl Iterator<Item = [u8; LENGTH]>,
        out: &mut [Hash],
    ) {
        // SAFETY: as in `nodes`.
        unsafe { digests(messages, out) }
    }
}

/// The state of a message: the words a, b, e, f and the words c, d, g, h, in the order in which the instructions take
/// them.
type State = [__m128i; 2];

/// A block of a message, as words.
type Block = [__m128i; 4];

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline(never)]
fn nodes(row: &mut [Hash], mut pairs: impl Iterator<Item = Pair>) {
    clear_upper_halves();
    while let Some(a) = pairs.next() {
        let Some(b) = pairs.next() else { return put(row, [a.to], one_node(row, a)) };
        let Some(c) = pairs.next() else { return put(row, [a.to, b.to], two_nodes(row, [a, b])) };
        let Some(d) = pairs.next() else {
            put(row, [a.to, b.to], two_nodes(row, [a, b]));
            return put(row, [c.to], one_node(row, c));
        };
        put(row, [a.to, b.to, c.to, d.to], four_nodes(row, [a, b, c, d]));
    }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline(never)]
fn prefixed_pairs(
    mut prefixes: impl Iterator<Item = u128>,
    firsts: &[Hash],
    seconds: &[Hash],
    out: &mut [Hash],
) {
    clear_upper_halves();
    let (twos, rest) = out.as_chunks_mut::<2>();
    for ((out, first), second) in
        twos.iter_mut().zip(firsts.as_chunks::<2>().0).zip(seconds.as_chunks::<2>().0)
    {
        let (Some(a), Some(b)) = (prefixes.next(), prefixes.next()) else { return };
        let (a, b) = (prefixed(a, &first[0], &second[0]), prefixed(b, &first[1], &second[1]));
        let state = compress([start(); 2], [a[0], b[0]]);
        put(out, [0, 1], compress(state, [a[1], b[1]]));
    }
    let last = 2 * twos.len();
    if let ([out], Some(a)) = (rest, prefixes.next()) {
        let a = prefixed(a, &firsts[last], &seconds[last]);
        put(std::slice::from_mut(out), [0], compress(compress([start()], [a[0]]), [a[1]]));
    }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline(never)]
fn digests<const LENGTH: usize>(mut messages: impl Iterator<Item = [u8; LENGTH]>, out: &mut [Hash]) {
    clear_upper_halves();
    let (twos, rest) = out.as_chunks_mut::<2>();
    for out in twos {
        let (Some(a), Some(b)) = (messages.next(), messages.next()) else { return };
        let (a, b) = (padded(&a), padded(&b));
        let mut state = [start(); 2];
        for block in 0..const { blocks_of(LENGTH) } {
            state = compress(state, [words(&a[block]), words(&b[block])]);
        }
        put(out, [0, 1], state);
    }
    if let ([out], Some(a)) = (rest, messages.next()) {
        let a = padded(&a);
        let mut state = [start()];
        for block in &a[..const { blocks_of(LENGTH) }] {
            state = compress(state, [words(block)]);
        }
        put(std::slice::from_mut(out), [0], state);
    }
}

/// Where the program is compiled for AVX, some caller may have left upper halves in use.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn clear_upper_halves() {
    #[cfg(target_feature = "avx")]
    // SAFETY: the whole program is compiled for AVX, so it runs only where that is.
    unsafe {
        core::arch::x86_64::_mm256_zeroupper();
    }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn one_node(row: &[Hash], pair: Pair) -> [State; 1] {
    padding_of_64(compress([start()], [children(row, pair)]))
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn two_nodes(row: &[Hash], [a, b]: [Pair; 2]) -> [State; 2] {
    padding_of_64(compress([start(); 2], [children(row, a), children(row, b)]))
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn four_nodes(row: &[Hash], [a, b, c, d]: [Pair; 4]) -> [State; 4] {
    let [first, second] = compress([start(); 2], [children(row, a), children(row, b)]);
    let [third, fourth] = compress([start(); 2], [children(row, c), children(row, d)]);
    padding_of_64([first, second, third, fourth])
}

/// The block of a node: two neighbours.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn children(row: &[Hash], Pair { left, .. }: Pair) -> Block {
    let [left, right] = &row[left..][..2].as_chunks::<2>().0[0];
    [load::<0>(&left.0), load::<16>(&left.0), load::<0>(&right.0), load::<16>(&right.0)].map(|raw| swap(raw))
}

/// The two blocks of a message of 77 bytes, put together in registers from where its parts lie.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn prefixed(prefix: u128, first: &Hash, second: &Hash) -> [Block; 2] {
    let prefix = _mm_set_epi64x((prefix >> 64) as i64, prefix as i64);
    let (first, second) = (&first.0, &second.0);
    // 13 bytes of prefix, and each hash thus in parts of 3, 16 and 13 bytes.
    let head = _mm_or_si128(prefix, _mm_slli_si128::<13>(load::<0>(first)));
    let middle =
        _mm_or_si128(_mm_srli_si128::<3>(load::<16>(first)), _mm_slli_si128::<13>(load::<0>(second)));
    let end = _mm_set_epi8(0, 0, i8::MIN, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    let tail = _mm_or_si128(_mm_srli_si128::<3>(load::<16>(second)), end);
    let (zero, bits) = (_mm_setzero_si128(), _mm_set_epi32(77 * 8, 0, 0, 0));
    [
        [swap(head), swap(load::<3>(first)), swap(middle), swap(load::<3>(second))],
        [swap(tail), zero, zero, bits],
    ]
}

/// How many blocks a message of some bytes has: a byte and its length, eight bytes, come after it.
const fn blocks_of(length: usize) -> usize {
    (length + 9).div_ceil(64)
}

/// A message and its padding; one of 55 bytes or less has one block.
#[inline]
fn padded<const LENGTH: usize>(message: &[u8; LENGTH]) -> [[u8; 64]; 2] {
    let mut blocks = [[0; 64]; 2];
    let bytes = blocks.as_flattened_mut();
    bytes[..LENGTH].copy_from_slice(message);
    bytes[LENGTH] = 0x80;
    let end = 64 * const { blocks_of(LENGTH) };
    bytes[end - 8..end].copy_from_slice(&(8 * LENGTH as u64).to_be_bytes());
    blocks
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn words(block: &[u8; 64]) -> Block {
    let (halves, _) = block.as_chunks::<32>();
    [load::<0>(&halves[0]), load::<16>(&halves[0]), load::<0>(&halves[1]), load::<16>(&halves[1])]
        .map(|raw| swap(raw))
}

/// The state before the first block.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn start() -> State {
    const S: [i32; 8] = {
        let mut words = [0; 8];
        let mut at = 0;
        while at < 8 {
            words[at] = START[at].cast_signed();
            at += 1;
        }
        words
    };
    [_mm_set_epi32(S[0], S[1], S[4], S[5]), _mm_set_epi32(S[2], S[3], S[6], S[7])]
}

/// One block of each of `LANES` messages.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn compress<const LANES: usize>(before: [State; LANES], mut words: [Block; LANES]) -> [State; LANES] {
    let mut state = before;
    macro_rules! quads {
        ($($quad:literal)*) => { $(
            if $quad >= 4 {
                for words in &mut words {
                    // W[t] = W[t-16] + s0(W[t-15]) + W[t-7] + s1(W[t-2]), for four of them.
                    let first = _mm_sha256msg1_epu32(words[$quad % 4], words[($quad + 1) % 4]);
                    let seventh = _mm_alignr_epi8::<4>(words[($quad + 3) % 4], words[($quad + 2) % 4]);
                    words[$quad % 4] =
                        _mm_sha256msg2_epu32(_mm_add_epi32(first, seventh), words[($quad + 3) % 4]);
                }
            }
            let mut sums = [_mm_setzero_si128(); LANES];
            for (sum, words) in sums.iter_mut().zip(&words) {
                *sum = _mm_add_epi32(words[$quad % 4], quad::<$quad>(&K));
            }
            for ([abef, cdgh], sum) in state.iter_mut().zip(&sums) {
                *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, *sum);
            }
            for ([abef, cdgh], sum) in state.iter_mut().zip(&sums) {
                *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32::<0x0e>(*sum));
            }
        )* };
    }
    quads!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    add(state, before)
}

/// The second block of each of `LANES` messages of 64 bytes.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn padding_of_64<const LANES: usize>(before: [State; LANES]) -> [State; LANES] {
    let mut state = before;
    macro_rules! quads {
        ($($quad:literal)*) => { $(
            let sum = quad::<$quad>(&PADDING_OF_64);
            for [abef, cdgh] in &mut state {
                *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, sum);
            }
            let sum = _mm_shuffle_epi32::<0x0e>(sum);
            for [abef, cdgh] in &mut state {
                *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, sum);
            }
        )* };
    }
    quads!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    add(state, before)
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn add<const LANES: usize>(mut state: [State; LANES], before: [State; LANES]) -> [State; LANES] {
    for (state, before) in state.iter_mut().zip(before) {
        *state = [_mm_add_epi32(state[0], before[0]), _mm_add_epi32(state[1], before[1])];
    }
    state
}

/// Writes digests to their places.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn put<const LANES: usize>(row: &mut [Hash], places: [usize; LANES], states: [State; LANES]) {
    for (place, [abef, cdgh]) in places.into_iter().zip(states) {
        // Lanes from the lowest up: f e b a and h g d c become a b c d and e f g h.
        let abef = _mm_shuffle_epi32::<0x1b>(abef);
        let dchg = _mm_shuffle_epi32::<0xb1>(cdgh);
        let abcd = _mm_blend_epi16::<0xf0>(abef, dchg);
        let efgh = _mm_alignr_epi8::<8>(dchg, abef);
        let (halves, _) = row[place].0.as_chunks_mut::<16>();
        let [low, high] = halves else { unreachable!("32 bytes are two halves") };
        store(low, swap(abcd));
        store(high, swap(efgh));
    }
}

/// Bytes to words and back: both are big-endian in SHA-256.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn swap(raw: __m128i) -> __m128i {
    _mm_shuffle_epi8(raw, _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203))
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn quad<const QUAD: usize>(table: &Quads) -> __m128i {
    const { assert!(QUAD < 16, "64 words") };
    let four = &table.0[4 * QUAD..4 * QUAD + 4];
    // SAFETY: `four` is 16 bytes, any of which make a vector, and aligned to 16: the table is (`repr(align(16))`), and
    // it begins a multiple of four words of four bytes into it.
    unsafe { _mm_load_si128(four.as_ptr().cast()) }
}

/// Sixteen bytes from `AT` on.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn load<const AT: usize>(bytes: &[u8; 32]) -> __m128i {
    const { assert!(AT <= 16, "sixteen bytes are left") };
    let sixteen = &bytes[AT..AT + 16];
    // SAFETY: `sixteen` is 16 bytes, any of which make a vector; they need no alignment.
    unsafe { _mm_loadu_si128(sixteen.as_ptr().cast()) }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn store(place: &mut [u8; 16], value: __m128i) {
    // SAFETY: `place` is 16 bytes that nobody else refers to; they need no alignment.
    unsafe { _mm_storeu_si128(std::ptr::from_mut(place).cast(), value) }
}
