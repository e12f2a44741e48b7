//! Claims of [`Map`] and its handler of SIGBUS. Whatever may end its process runs in one of its own.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Output};
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;

use super::*;

const PAGE: usize = 4096;
const PAGES: usize = 16;
const LENGTH: usize = PAGE * PAGES;

/// A file of sevens, published whole.
fn sevens() -> (tempfile::NamedTempFile, Map) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(&vec![7; LENGTH]).expect("written");
    let map = Map::new(file.as_file(), file.path(), LENGTH as u64, None).expect("mapped");
    map.publish(LENGTH as u64);
    (file, map)
}

fn cut(file: &tempfile::NamedTempFile, length: usize) {
    file.as_file().set_len(length as u64).expect("cut");
}

fn is_there(map: &Map, range: Range<usize>) -> bool {
    match map.vouch(range, Ok(())) {
        Ok(()) => true,
        Err(Error::Shrunk { file, expected, .. }) => {
            assert_eq!((file, expected), (map.path.clone(), LENGTH as u64));
            false
        }
        Err(other) => panic!("{other}"),
    }
}

/// Runs the rest of the test `name` in a process of its own; gives what became of it. `None`: this is that process.
fn alone(name: &str) -> Option<Output> {
    const CHILD: &str = "MAINSTEM_TEST_ALONE";
    if std::env::var_os(CHILD).is_some_and(|child| child == *name) {
        // A core dump of a child that is meant to die is of no use to anyone.
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        rustix::process::setrlimit(rustix::process::Resource::Core, none).expect("no core dumps");
        return None;
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", &format!("map::tests::{name}"), "--nocapture"]).env(CHILD, name);
    let output = command.output().expect("started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("running 1 test"), "no such test: {text}");
    Some(output)
}

fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

fn assert_killed(status: ExitStatus) {
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
}

/// A map that is none of ours, of a file that is cut to nothing.
fn foreign() -> (File, MmapRaw) {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&vec![7; LENGTH]).expect("written");
    let map = MmapOptions::new().map_raw_read_only(&file).expect("mapped");
    file.set_len(0).expect("cut");
    (file, map)
}

fn read(map: &MmapRaw) -> u8 {
    // SAFETY: the mapping is alive; that its page is gone is the point.
    unsafe { map.as_ptr().read_volatile() }
}

#[test]
fn only_published_bytes_are_seen() {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(&[7; 8192]).expect("written");
    assert!(Map::new(file.as_file(), file.path(), 8193, None).is_err());
    assert!(Map::new(file.as_file(), file.path(), 0, None).is_err());
    let map = Map::new(file.as_file(), file.path(), 8192, None).expect("mapped");
    assert_eq!(map.get(0, 1), None);
    map.publish(100);
    map.publish(50);
    assert_eq!(map.get(0, 100), Some(&[7; 100][..]));
    assert_eq!(map.get(99, 1), Some(&[7][..]));
    assert_eq!(map.get(100, 0), Some(&[][..]));
    for (offset, length) in [(0, 101), (100, 1), (101, 0), (usize::MAX, 1), (1, usize::MAX)] {
        assert_eq!(map.get(offset, length), None);
    }
    assert!(map.vouch(0..100, Ok(())).is_ok());
}

#[test]
fn what_was_cut_off_reads_as_zeros_and_is_not_vouched_for() {
    let Some(output) = alone("what_was_cut_off_reads_as_zeros_and_is_not_vouched_for") else {
        let (file, map) = sevens();
        assert!(is_there(&map, 0..LENGTH));
        cut(&file, 3 * PAGE + 100);
        assert_eq!(map.get(5 * PAGE, 3 * PAGE), Some(&[0; 3 * PAGE][..]));
        assert_eq!(map.get(0, 3 * PAGE + 100), Some(&[7; 3 * PAGE + 100][..]));
        for (range, there) in [
            (0..3 * PAGE + 100, true),
            (0..3 * PAGE + 101, false),
            (3 * PAGE + 100..3 * PAGE + 101, false),
            (4 * PAGE..LENGTH, false),
            (LENGTH - 1..LENGTH, false),
        ] {
            assert_eq!(is_there(&map, range.clone()), there, "{range:?}");
        }
        // An answer from what is gone is replaced, right or wrong; any other is not.
        let wrong = || Err::<(), _>(Error::NoLog { dir: "x".into() });
        assert!(matches!(map.vouch(0..PAGE, wrong()), Err(Error::NoLog { .. })));
        assert!(matches!(map.vouch(0..LENGTH, wrong()), Err(Error::Shrunk { .. })));
        return;
    };
    assert_done(&output);
}

#[test]
fn a_cut_is_noticed_without_reading_behind_it() {
    let Some(output) = alone("a_cut_is_noticed_without_reading_behind_it") else {
        let (file, map) = sevens();
        cut(&file, PAGE + 100);
        // Zeros and no signal: the kernel clears the rest of the page.
        assert_eq!(map.get(PAGE + 200, 50), Some(&[0; 50][..]));
        assert!(!is_there(&map, PAGE + 200..PAGE + 250));
        assert!(is_there(&map, 0..PAGE));
        // Also once it has its length again, but not its bytes.
        let (file, map) = sevens();
        cut(&file, PAGE);
        assert!(!is_there(&map, LENGTH - 1..LENGTH));
        cut(&file, LENGTH);
        let error = map.vouch(3 * PAGE..4 * PAGE, Ok(())).expect_err("zeros");
        assert!(matches!(error, Error::Io { action: "read", .. }), "{error}");
        // A map made now is of what is there now.
        let new = Map::new(file.as_file(), file.path(), LENGTH as u64, None).expect("mapped");
        assert!(is_there(&new, 0..LENGTH));
        return;
    };
    assert_done(&output);
}

#[test]
fn a_file_that_is_removed_stays_readable() {
    let (file, map) = sevens();
    file.close().expect("removed");
    assert_eq!(map.get(0, LENGTH), Some(&vec![7; LENGTH][..]));
    assert!(is_there(&map, 0..LENGTH));
}

#[test]
fn only_the_maps_of_a_cut_file_are_poisoned_and_slots_are_used_again() {
    let Some(output) = alone("only_the_maps_of_a_cut_file_are_poisoned_and_slots_are_used_again") else {
        for round in 0..3 {
            let maps: Vec<_> = (0..150).map(|_| sevens()).collect();
            for (file, _) in maps.iter().skip(round).step_by(3) {
                cut(file, 0);
            }
            for (index, (_, map)) in maps.iter().enumerate() {
                let gone = index % 3 == round;
                assert_eq!(map.get(0, 1), Some(&[if gone { 0 } else { 7 }][..]), "{index}");
                assert_eq!(is_there(map, 0..LENGTH), !gone, "{index}");
            }
        }
        for _ in 0..2000 {
            let (file, map) = sevens();
            cut(&file, 0);
            assert!(!is_there(&map, 0..1));
        }
        assert_eq!(faults::slots(), 3 * 64, "for 150 maps at once");
        return;
    };
    assert_done(&output);
}

#[test]
fn threads_fault_at_once_while_others_map_and_unmap() {
    let Some(output) = alone("threads_fault_at_once_while_others_map_and_unmap") else {
        let (round, done) = (Barrier::new(6), AtomicUsize::new(0));
        let shared = std::sync::Mutex::new(Arc::new(sevens()));
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let (round, shared, done) = (&round, &shared, &done);
                scope.spawn(move || {
                    for number in 0..200 {
                        let now = shared.lock().expect("no panic").clone();
                        round.wait();
                        if thread == 0 {
                            cut(&now.0, (number % PAGES) * PAGE);
                        }
                        for page in 0..PAGES {
                            // Each thread in another order.
                            let start = (page * (2 * thread + 1) + thread) % PAGES * PAGE;
                            let bytes = now.1.get(start, PAGE).expect("published");
                            let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
                            let there = is_there(&now.1, start..start + PAGE);
                            assert!(!there || sum == 7 * PAGE as u64, "{sum} is vouched for");
                            drop(sevens());
                        }
                        round.wait();
                        assert!(!is_there(&now.1, LENGTH - 1..LENGTH));
                        if thread == 0 {
                            *shared.lock().expect("no panic") = Arc::new(sevens());
                        }
                        round.wait();
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(done.into_inner(), 6);
        return;
    };
    assert_done(&output);
}

#[test]
fn a_fault_elsewhere_still_kills() {
    let Some(output) = alone("a_fault_elsewhere_still_kills") else {
        let (file, map) = sevens();
        cut(&file, 0);
        assert!(!is_there(&map, 0..1));
        let (_file, foreign) = foreign();
        panic!("read {}", read(&foreign));
    };
    assert_killed(output.status);
}

#[test]
fn a_fault_elsewhere_kills_also_when_the_signal_was_ignored() {
    let Some(output) = alone("a_fault_elsewhere_kills_also_when_the_signal_was_ignored") else {
        set_handler(libc::SIG_IGN, 0);
        let (_kept, _map) = sevens();
        send();
        eprintln!("ignored what was sent");
        let (_file, foreign) = foreign();
        panic!("read {}", read(&foreign));
    };
    assert!(String::from_utf8_lossy(&output.stderr).contains("ignored what was sent"));
    assert_killed(output.status);
}

#[test]
fn a_signal_that_was_sent_still_kills() {
    let Some(output) = alone("a_signal_that_was_sent_still_kills") else {
        // The standard library's handler came before ours.
        let (_file, _map) = sevens();
        send();
        panic!("alive");
    };
    assert_killed(output.status);
}

#[test]
fn a_signal_that_was_sent_still_kills_by_default() {
    let Some(output) = alone("a_signal_that_was_sent_still_kills_by_default") else {
        set_handler(libc::SIG_DFL, 0);
        let (_file, _map) = sevens();
        send();
        panic!("alive");
    };
    assert_killed(output.status);
}

#[test]
fn a_fault_elsewhere_reaches_the_handler_that_was_there_before() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn with_info(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: what the kernel passed on.
        let info = unsafe { info.as_ref() };
        // SAFETY: of a fault.
        let address = info.map_or(0, |info| unsafe { info.si_addr() }.addr());
        SEEN.store(address, Ordering::Relaxed);
        // SAFETY: allowed in handlers.
        unsafe { libc::_exit(if address == WANTED.load(Ordering::Relaxed) { 42 } else { 43 }) };
    }
    static WANTED: AtomicUsize = AtomicUsize::new(0);
    let Some(output) = alone("a_fault_elsewhere_reaches_the_handler_that_was_there_before") else {
        set_handler(with_info as *const () as usize, libc::SA_SIGINFO);
        let (file, map) = sevens();
        cut(&file, 0);
        assert!(!is_there(&map, 0..LENGTH));
        assert_eq!(SEEN.load(Ordering::Relaxed), 0, "it sees no fault of ours");
        let (_file, foreign) = foreign();
        WANTED.store(foreign.as_ptr().addr(), Ordering::Relaxed);
        panic!("read {}", read(&foreign));
    };
    assert_eq!(output.status.code(), Some(42), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_signal_that_was_sent_reaches_a_plain_handler_each_time() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn plain(_: libc::c_int) {
        SEEN.fetch_add(1, Ordering::Relaxed);
    }
    let Some(output) = alone("a_signal_that_was_sent_reaches_a_plain_handler_each_time") else {
        set_handler(plain as *const () as usize, 0);
        let (file, map) = sevens();
        for sent in 1..4 {
            send();
            assert_eq!(SEEN.load(Ordering::Relaxed), sent);
        }
        cut(&file, 0);
        assert!(!is_there(&map, 0..1));
        assert_eq!(SEEN.load(Ordering::Relaxed), 3);
        return;
    };
    assert_done(&output);
}

fn set_handler(handler: usize, flags: libc::c_int) {
    // SAFETY: zeros are an action.
    let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: a whole action with a handler of the kind that the flags say.
    assert_eq!(unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) }, 0);
}

fn send() {
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::raise(libc::SIGBUS) }, 0);
}
