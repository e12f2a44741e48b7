//! The newest value of a plain type: one writer, any number of readers, and none waits for another.
//!
//! A sequence lock over atomic words (Boehm, "Can seqlocks get along with programming language memory models?",
//! 2012) with two copies: the writer fills the copy that is not the newest one, then says that it is. So a reader goes
//! on while the writer is at work, or was interrupted in the midst of it, and reads again only if two more
//! values began to be published while it read one.
//!
//! # Ordering
//! The words are loaded with Acquire and stored with Release, where Boehm's first version has fences: the same on x86-64,
//! and both loom and ThreadSanitizer know what it means.
//! - A reader that gets a word of value n has loaded it with Acquire, so it then sees `begun >= n`, which was stored
//!   before: it never takes a word that is newer than the value it wanted.
//! - A reader that sees `published == n` sees all words of value n: it never takes one that is older.

use std::marker::PhantomData;

use crossbeam::utils::CachePadded;

use super::facade::{Arc, AtomicU64, Ordering};

/// A plain value as words.
///
/// ```
/// use mainstem_engine::sync::{Words, published};
///
/// #[derive(Clone, Copy, PartialEq, Debug)]
/// struct Tip {
///     height: u64,
///     hash: [u8; 32],
/// }
///
/// impl Words for Tip {
///     type Array = [u64; 5];
///
///     fn to_words(&self) -> [u64; 5] {
///         let [a, b, c, d]: [u64; 4] = zerocopy::transmute!(self.hash);
///         [self.height, a, b, c, d]
///     }
///
///     fn from_words(&[height, ref hash @ ..]: &[u64; 5]) -> Self {
///         Self { height, hash: zerocopy::transmute!(*hash) }
///     }
/// }
///
/// let (mut publisher, newest) = published(Tip { height: 0, hash: [0; 32] });
/// let tip = Tip { height: 7, hash: [9; 32] };
/// publisher.publish(&tip);
/// assert_eq!(newest.load(), tip);
/// ```
pub trait Words: Sized {
    /// An array of `u64`.
    type Array: WordArray;

    /// The value as words.
    fn to_words(&self) -> Self::Array;

    /// The value of which these are the words. Only ever called with words that [`Words::to_words`] gave, all of one value.
    fn from_words(words: &Self::Array) -> Self;
}

/// An array of words: `[u64; N]`, and nothing else.
pub trait WordArray: sealed::Sealed + Copy {
    /// All zero.
    const ZERO: Self;

    /// The words.
    fn words(&self) -> &[u64];

    /// The words, to be written.
    fn words_mut(&mut self) -> &mut [u64];
}

mod sealed {
    pub trait Sealed {}
}

impl<const N: usize> sealed::Sealed for [u64; N] {}

impl<const N: usize> WordArray for [u64; N] {
    const ZERO: Self = [0; N];

    fn words(&self) -> &[u64] {
        self
    }

    fn words_mut(&mut self) -> &mut [u64] {
        self
    }
}

impl<const N: usize> Words for [u64; N] {
    type Array = Self;

    fn to_words(&self) -> Self {
        *self
    }

    fn from_words(words: &Self) -> Self {
        *words
    }
}

/// Publishes `first`, and whatever is given to the [`Publisher`] later.
#[allow(clippy::needless_pass_by_value, reason = "it is published, and not for the caller to keep")]
pub fn published<T: Words>(first: T) -> (Publisher<T>, Published<T>) {
    let words = first.to_words();
    let copy = || words.words().iter().map(|word| AtomicU64::new(*word)).collect();
    let shared = Arc::new(Shared {
        counts: CachePadded::new(Counts { begun: AtomicU64::new(0), published: AtomicU64::new(0) }),
        copies: [copy(), copy()],
    });
    let reader = Published { shared: Arc::clone(&shared), value: PhantomData };
    (Publisher { shared, count: 0, value: PhantomData }, reader)
}

#[derive(Debug)]
struct Shared {
    counts: CachePadded<Counts>,
    /// Value number n is in copy n modulo 2. Written by the publisher; a reader may see words of several values and
    /// then does not use them.
    copies: [Box<[AtomicU64]>; 2],
}

#[derive(Debug)]
struct Counts {
    /// Number of the newest value of which a word may have been written. Written by the publisher; seen too low at
    /// worst, but not by a reader that saw such a word.
    begun: AtomicU64,
    /// Number of the newest value of which all words are there. Written by the publisher; seen too low at worst: then
    /// the reader gets a value that was the newest a moment ago.
    published: AtomicU64,
}

/// The writing end.
#[derive(Debug)]
pub struct Publisher<T> {
    shared: Arc<Shared>,
    /// This end's own copy of `published`, which nobody else moves.
    count: u64,
    value: PhantomData<fn(T)>,
}

impl<T: Words> Publisher<T> {
    /// Makes `value` the newest one.
    pub fn publish(&mut self, value: &T) {
        let Shared { counts, copies } = &*self.shared;
        self.count += 1;
        // Release: pairs with the Acquire load of `begun`: a reader that has to read again then finds the value before this
        // one, at least. (Whoever sees one of the words below sees this, too, as each is stored with Release after it.)
        counts.begun.store(self.count, Ordering::Release);
        for (place, word) in copies[self.count as usize % 2].iter().zip(value.to_words().words()) {
            // Release: pairs with the Acquire load in `Published::load`: a word is never seen without its `begun`.
            place.store(*word, Ordering::Release);
        }
        // Release: pairs with the Acquire load of `published`: its words are never missed.
        counts.published.store(self.count, Ordering::Release);
    }
}

/// The reading end. Cheap to clone.
#[derive(Debug)]
pub struct Published<T> {
    shared: Arc<Shared>,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), value: PhantomData }
    }
}

impl<T: Words> Published<T> {
    /// The newest value.
    pub fn load(&self) -> T {
        let Shared { counts, copies } = &*self.shared;
        let mut words = T::Array::ZERO;
        loop {
            // Acquire: pairs with the Release store at the end of `Publisher::publish`.
            let number = counts.published.load(Ordering::Acquire);
            for (word, place) in words.words_mut().iter_mut().zip(&copies[number as usize % 2]) {
                // Acquire: pairs with the Release store of the word: see there.
                *word = place.load(Ordering::Acquire);
            }
            // Acquire: pairs with the Release store of `begun`; the next value was published before this copy was begun anew,
            // so there is something newer to read at once. The loads of the words, with Acquire, come before this one.
            if counts.begun.load(Ordering::Acquire) < number + 2 {
                return T::from_words(&words);
            }
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn readers_beside_a_busy_publisher_see_whole_values_that_never_go_back() {
        let (mut publisher, published) = published([0; 33]);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let published = published.clone();
                thread::spawn(move || {
                    let mut before = 0;
                    while before < 20_000 {
                        let value = published.load();
                        assert!(value.iter().all(|word| *word == value[0]), "torn: {value:?}");
                        assert!(before <= value[0], "{} came after {before}", value[0]);
                        before = value[0];
                    }
                })
            })
            .collect();
        (1..=20_000).for_each(|value| publisher.publish(&[value; 33]));
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!(published.load(), [20_000; 33]);
    }
}
