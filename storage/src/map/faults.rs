//! [`Guard`]: keeps a process alive that reads a page of a map which is gone, and remembers which.
//!
//! # The handler
//! The first guard of a process installs a handler of SIGBUS, for good. It looks the address up among the guarded
//! ones. One of ours: it notes the page as lost, puts a page of zeros in its place and returns; the read that failed
//! is done again and gives zero. Any other address, and a SIGBUS that a process sent: the handler that was there
//! before is called; where there was none the signal does what it does by default, and ends the process. (A Rust
//! program has one before, of the standard library, which restores the default for whatever is no stack overflow.)
//!
//! A program that installs its own handler of SIGBUS should do so before it opens a log, or pass on what it does not
//! know, as this one does. A thread that blocks SIGBUS is not kept alive: the kernel ends the process at the fault.
//!
//! # Why it is safe in a signal handler
//! It reads and writes atomics, and calls `mmap` (a plain system call) or `sigaction` and `raise`, which POSIX allows
//! there; it takes no lock, allocates nothing and cannot panic. It may run on any thread, and on several at once.
//!
//! # The registry
//! ```text
//!  FIRST: [slot slot ... slot] -> next chunk -> ...      grows, never shrinks: about as large as maps were ever open
//!  slot:  place: address and length in one word, 0 when free        lost: first and last lost byte in one word
//! ```
//! A place is one word so that the handler never sees half of an old map and half of a new one. The list of free
//! slots has a lock; the handler does not look at it.

use std::ffi::{c_int, c_void};
use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::mm::{MapFlags, ProtFlags};

/// Watches the addresses of one map, for as long as it lives.
#[derive(Debug)]
pub(super) struct Guard {
    slot: &'static Slot,
}

impl Guard {
    /// Watches `length` bytes from `address` on. They must be a whole mapping, at most until the guard is dropped
    /// read by anyone, and nothing else than such reads may depend on what is there.
    pub(super) fn new(address: usize, length: usize) -> io::Result<Self> {
        let place = Place::new(address, length).ok_or_else(|| {
            io::Error::other(format!("a map of {length} bytes at {address:#x} is out of what can be watched"))
        })?;
        let slot = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner).claim()?;
        // Whoever reads the map got it from here, so the handler that runs on its thread sees this. Release, with
        // the Acquire in `contain`, is for slots of others: their `lost` was cleared before.
        slot.place.store(place.0, Ordering::Release);
        Ok(Self { slot })
    }

    /// The bytes that were gone when someone read them, from the start of the map: the first one to the last one.
    /// Noted before anyone can read zeros there.
    pub(super) fn lost(&self) -> Option<Range<usize>> {
        // Relaxed: the caller's fence, with the system call in `contain`, gives the order that matters.
        Lost(self.slot.lost.load(Ordering::Relaxed)).range()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // No thread reads the map any more, so no handler is at work on this slot. Release: who takes the slot next
        // has the lock after us; the handler on other threads compares places only.
        self.slot.place.store(0, Ordering::Release);
        self.slot.lost.store(0, Ordering::Release);
        REGISTRY.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.slot);
    }
}

/// What the handler knows of a map.
#[derive(Debug)]
struct Slot {
    /// A [`Place`]; 0 when the slot is free. Written by [`Guard`], read by the handler.
    place: AtomicU64,
    /// A [`Lost`]. Grown by the handler, cleared when the slot is free.
    lost: AtomicU64,
}

/// Where a map is: the number of its first page of 4096 bytes, and how many such pages, in the low 20 bits.
#[derive(Clone, Copy)]
struct Place(u64);

impl Place {
    const PAGE: usize = 4096;
    const COUNT_BITS: u32 = 20;
    /// Lengths above do not fit a [`Lost`].
    const MOST: usize = 2 << 30;

    fn new(address: usize, length: usize) -> Option<Self> {
        let count = length.div_ceil(Self::PAGE) as u64;
        let page = (address / Self::PAGE) as u64;
        let fits = length <= Self::MOST && page < 1 << (u64::BITS - Self::COUNT_BITS);
        (fits && length > 0 && address.is_multiple_of(Self::PAGE))
            .then_some(Self(page << Self::COUNT_BITS | count))
    }

    /// How far behind the start of the map `address` is, if it is in the map.
    fn offset_of(self, address: usize) -> Option<usize> {
        let start = ((self.0 >> Self::COUNT_BITS) as usize).wrapping_mul(Self::PAGE);
        let length = ((self.0 & ((1 << Self::COUNT_BITS) - 1)) as usize).wrapping_mul(Self::PAGE);
        Some(address.wrapping_sub(start)).filter(|offset| *offset < length)
    }
}

/// The range of lost bytes: its start, and its end in the low 32 bits; 0 when nothing is lost.
#[derive(Clone, Copy)]
struct Lost(u64);

impl Lost {
    fn range(self) -> Option<Range<usize>> {
        let (start, end) = ((self.0 >> 32) as usize, (self.0 & u64::from(u32::MAX)) as usize);
        (end > 0).then_some(start..end)
    }

    /// With the page at `start` to `end`, and all between it and what was lost before.
    fn with(self, start: usize, end: usize) -> Self {
        let Range { start: old_start, end: old_end } = self.range().unwrap_or(start..end);
        Self((old_start.min(start) as u64) << 32 | old_end.max(end) as u64)
    }
}

/// A part of the registry.
struct Chunk {
    slots: [Slot; 64],
    next: AtomicPtr<Chunk>,
}

impl Chunk {
    const fn new() -> Self {
        let slots = [const { Slot { place: AtomicU64::new(0), lost: AtomicU64::new(0) } }; 64];
        Self { slots, next: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The chunk after this one.
    fn next(&self) -> Option<&'static Chunk> {
        // Synchronises with the store in `claim`.
        let next = self.next.load(Ordering::Acquire);
        // SAFETY: null, or a chunk that `claim` leaked, whole before its address was stored.
        unsafe { next.as_ref() }
    }
}

static FIRST: Chunk = Chunk::new();

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { installed: false, last: None, free: Vec::new() });

/// Who owns the slots. Not for the handler.
struct Registry {
    installed: bool,
    /// The newest chunk.
    last: Option<&'static Chunk>,
    free: Vec<&'static Slot>,
}

impl Registry {
    /// A free slot. The first call installs the handler.
    fn claim(&mut self) -> io::Result<&'static Slot> {
        if !self.installed {
            install()?;
            self.installed = true;
        }
        if let Some(slot) = self.free.pop() {
            return Ok(slot);
        }
        let chunk = match self.last {
            None => &FIRST,
            Some(last) => {
                let chunk: &'static Chunk = Box::leak(Box::new(Chunk::new()));
                // Synchronises with the load in `Chunk::next`.
                last.next.store(ptr::from_ref(chunk).cast_mut(), Ordering::Release);
                chunk
            }
        };
        self.last = Some(chunk);
        let (first, rest) = chunk.slots.split_first().expect("a chunk has 64 slots");
        self.free.extend(rest);
        Ok(first)
    }
}

/// Size of a page of this machine. Written once, before the handler is installed.
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The action that was there before ours. Written before ours is there; never freed.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

fn install() -> io::Result<()> {
    // Relaxed, both: `sigaction` is a system call, and no handler runs before it.
    PAGE_BYTES.store(rustix::param::page_size(), Ordering::Relaxed);
    let before = swap_action(None)?;
    BEFORE.store(Box::into_raw(Box::new(before)), Ordering::Relaxed);
    let mut ours = before;
    ours.sa_sigaction = on_sigbus as *const () as usize;
    // On the thread's signal stack, if it has one: a handler before ours may be about stacks that ran over.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    let replaced = swap_action(Some(&ours))?;
    if replaced.sa_sigaction != before.sa_sigaction {
        // Another thread installed one between the two calls.
        BEFORE.store(Box::into_raw(Box::new(replaced)), Ordering::Relaxed);
    }
    Ok(())
}

/// The action of SIGBUS; replaced by `new`, if there is one.
fn swap_action(new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut old = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `new` is null or a whole action whose handler (ours, or the default) may be called at any time; `old`
    // has room for one.
    let result = unsafe { libc::sigaction(libc::SIGBUS, new, old.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call wrote it; zeros would be one too.
    Ok(unsafe { old.assume_init() })
}

extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes what it knows of the signal; it stays there until we return.
    let known = unsafe { info.as_ref() };
    // Codes up to 0 are those of signals that a process sent; they carry no address.
    let fault = known.filter(|info| info.si_code > 0);
    if let Some(fault) = fault {
        // SAFETY: a SIGBUS of the kernel carries an address.
        let address = unsafe { fault.si_addr() };
        if contain(address.addr()) {
            return;
        }
    }
    pass_on(signal, info, context, fault.is_some());
}

/// Puts zeros where a page is gone, if it is one of a guarded map.
fn contain(address: usize) -> bool {
    let mut chunk = Some(&FIRST);
    while let Some(now) = chunk {
        for slot in &now.slots {
            // The thread that is reading the map keeps its slot as it is, and knows it by whatever gave it the map.
            let Some(offset) = Place(slot.place.load(Ordering::Acquire)).offset_of(address) else { continue };
            let page = PAGE_BYTES.load(Ordering::Relaxed);
            let start = offset & !page.wrapping_sub(1);
            let note = |lost| Some(Lost(lost).with(start, start.wrapping_add(page)).0);
            // The note comes first: the system call below orders it before any read of the zeros. Pairs with the
            // fence in `Map::vouch`.
            let before =
                slot.lost.fetch_update(Ordering::AcqRel, Ordering::Acquire, note).unwrap_or_else(|lost| lost);
            // All that is lost, so that a map is never in more than three parts: the kernel allows so many only.
            let lost = Lost(before).with(start, start.wrapping_add(page)).range().unwrap_or(start..start);
            return put_zeros(
                address.wrapping_sub(offset).wrapping_add(lost.start),
                lost.end.wrapping_sub(lost.start),
            );
        }
        chunk = now.next();
    }
    false
}

fn put_zeros(address: usize, length: usize) -> bool {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    // SAFETY: whole pages of a mapping that is ours (the registry says so) and alive (the thread that faulted is
    // reading it). They are only ever read, as bytes, and readers take any value: see `Map`.
    let done = unsafe {
        rustix::mm::mmap_anonymous(ptr::without_provenance_mut(address), length, ProtFlags::READ, flags)
    };
    done.is_ok()
}

/// Does what would be done without us.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void, fault: bool) {
    // Relaxed: see `install`. A second value, if there is one, is stored when the first one is as good.
    let before = BEFORE.load(Ordering::Relaxed);
    // SAFETY: never freed, and written before it was stored; not null since `install` came before us.
    let before = unsafe { before.as_ref() };
    let (handler, flags) = before.map_or((libc::SIG_DFL, 0), |before| (before.sa_sigaction, before.sa_flags));
    match handler {
        // To ignore a fault would be to fault for ever: the kernel ends the process then, and so do we.
        libc::SIG_IGN if !fault => return,
        libc::SIG_DFL | libc::SIG_IGN => restore_default(),
        _ if flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: with that flag it is the address of such a function.
            let handler = unsafe {
                std::mem::transmute::<usize, extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void)>(handler)
            };
            handler(signal, info, context);
        }
        _ => {
            // SAFETY: without the flag it is the address of such a function.
            let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(handler) };
            handler(signal);
        }
    }
    // A fault comes again by itself, and meets what is installed by now. A signal that was sent does not: where the
    // handler before us restored the default, send it again, so that it does what it was sent for.
    if !fault && swap_action(None).is_ok_and(|now| now.sa_sigaction == libc::SIG_DFL) {
        // SAFETY: no pointers; allowed in handlers. The signal waits until we return.
        unsafe { libc::raise(signal) };
    }
}

fn restore_default() {
    // SAFETY: zeros are an action: the default one, with an empty mask.
    let default = unsafe { std::mem::zeroed::<libc::sigaction>() };
    // It fails for wrong arguments only.
    let _ = swap_action(Some(&default));
}

/// How many slots there are.
#[cfg(test)]
pub(super) fn slots() -> usize {
    let chunks = std::iter::successors(Some(&FIRST), |chunk| chunk.next());
    chunks.map(|chunk| chunk.slots.len()).sum()
}
