//! Judges the machine: clock, disk, limits, memory, processor.

use std::path::Path;

use super::super::words::bytes;
use super::finding::Finding;
use super::machine::Machine;

/// What a node asks each of its sockets' buffers for, in bytes: the default of `net::endpoint`.
const BUFFERS: u64 = 32 << 20;

/// 2024: no node ran before.
const LEAST_TIME: u64 = 1_704_067_200_000;

/// Far beyond any clock that is right: 2100.
const MOST_TIME: u64 = 4_102_444_800_000;

/// A jump of the time of day within an instant, in milliseconds.
const JUMP: u64 = 20;

/// What the configuration asks of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    pub segment_bytes: u64,
    /// Segments of the log that is there.
    pub segments: u64,
    pub connections: u64,
    /// All queues together at their bounds.
    pub memory: u64,
    /// The part of it that lanes take.
    pub lanes: u64,
}

/// All that can be said without looking into the data directory.
pub(super) fn findings(machine: &Machine, needs: &Needs, data: &Path) -> Vec<Finding> {
    vec![
        clock(machine),
        synchronized(machine),
        filesystem(machine, data),
        disk_space(machine, needs, data),
        open_files(machine, needs),
        buffers(machine),
        memory(machine, needs),
        maps(machine, needs),
        processor(machine),
        huge_pages(machine),
    ]
}

fn clock(machine: &Machine) -> Finding {
    let set = "set it, and keep it: sudo timedatectl set-ntp true";
    if !(LEAST_TIME..MOST_TIME).contains(&machine.wall) {
        let found = format!("the time of day is {} s since 1970", machine.wall / 1_000);
        let means = "main blocks carry it: their times would be wrong for ever, since they never go back";
        return Finding::fail("clock", found, means, set);
    }
    if machine.clock_jump.unsigned_abs() >= JUMP {
        let found = format!("the time of day moved by {} ms beside the monotonic clock", machine.clock_jump);
        return Finding::warn(
            "clock",
            found,
            "something sets the clock: times of main blocks stand still or leap",
            set,
        );
    }
    Finding::ok("clock", "the time of day goes with the monotonic clock")
}

fn synchronized(machine: &Machine) -> Finding {
    match machine.synchronized {
        Some(true) => Finding::ok("clock-sync", "kept by NTP, as the system says"),
        None => Finding::ok("clock-sync", "not known: this system does not say whether its clock is kept"),
        Some(false) => Finding::warn(
            "clock-sync",
            "the system says that its clock is not kept by NTP",
            "it drifts, and times of main blocks with it",
            "sudo timedatectl set-ntp true",
        ),
    }
}

fn filesystem(machine: &Machine, data: &Path) -> Finding {
    const CHECK: &str = "file-system";
    let Some(kind) = machine.filesystem.as_deref() else {
        return Finding::ok(CHECK, "not known: this system does not say");
    };
    let found = format!("{} is on {kind}", data.display());
    let elsewhere = "put the data directory on a local disk (ext4 or xfs): mainstem run --data DIR";
    match kind {
        "tmpfs" | "ramfs" => {
            Finding::warn(CHECK, found, "the log is gone when the machine restarts", elsewhere)
        }
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "afs" | "ceph" | "glusterfs" => Finding::fail(
            CHECK,
            found,
            "the log is mapped into memory and synced for each main block: over a network that is slow, and files that \
             others change under a map end the program",
            elsewhere,
        ),
        "overlay" => Finding::warn(
            CHECK,
            found,
            "that is the writable layer of a container: it is slow and goes with the container",
            "mount a volume at the data directory",
        ),
        kind if kind.starts_with("fuse") => {
            Finding::warn(CHECK, found, "not every such file system keeps what it says is synced", elsewhere)
        }
        _ => Finding::ok(CHECK, found),
    }
}

fn disk_space(machine: &Machine, needs: &Needs, data: &Path) -> Finding {
    const CHECK: &str = "disk-space";
    let (Some(free), Some(size)) = (machine.disk_free, machine.disk_size) else {
        return Finding::ok(CHECK, "not known: this system does not say");
    };
    let found = format!("{} free of {}", bytes(free), bytes(size));
    let prune = format!(
        "make room, or remove old main blocks (without --apply it only says what would go): mainstem prune --before HEIGHT --data {}",
        data.display()
    );
    // The segment that is written, and the one that is prepared.
    let least = needs.segment_bytes.saturating_mul(2);
    if free < least {
        let means =
            format!("a segment of the log takes {}, and two are needed ahead", bytes(needs.segment_bytes));
        return Finding::fail(CHECK, found, means, prune);
    }
    let comfortable = least.saturating_mul(8).max(size / 20);
    if free < comfortable {
        return Finding::warn(
            CHECK,
            found,
            "the log ends with the disk: then nothing is indexed any more",
            prune,
        );
    }
    Finding::ok(CHECK, found)
}

fn open_files(machine: &Machine, needs: &Needs) -> Finding {
    const CHECK: &str = "open-files";
    let Some(limit) = machine.open_files else { return Finding::ok(CHECK, "not known") };
    if limit == u64::MAX {
        return Finding::ok(CHECK, "no limit");
    }
    // A connection of the API is one; QUIC's are none of their own.
    let needed = needs.connections + needs.segments + 256;
    let found = format!("{limit} may be open; a node wants {needed}");
    if limit >= needed {
        return Finding::ok(CHECK, found);
    }
    let means = "connections of the API or files of the log cannot be opened when there are many";
    let mend =
        format!("ulimit -n {needed}   (systemd: LimitNOFILE={needed})", needed = needed.next_power_of_two());
    Finding::warn(CHECK, found, means, mend)
}

fn buffers(machine: &Machine) -> Finding {
    const CHECK: &str = "udp-buffers";
    let (Some(receive), Some(send)) = (machine.receive_buffer, machine.send_buffer) else {
        return Finding::ok(CHECK, "not known: this system does not say");
    };
    let found = format!("up to {} to receive and {} to send", bytes(receive), bytes(send));
    if receive.min(send) >= BUFFERS {
        return Finding::ok(CHECK, found);
    }
    let means = format!(
        "ingest asks for {} a socket: with less, datagrams of bursts are lost and sent again (unless the node has \
         CAP_NET_ADMIN)",
        bytes(BUFFERS)
    );
    let mend = format!("sudo sysctl -w net.core.rmem_max={BUFFERS} net.core.wmem_max={BUFFERS}");
    Finding::warn(CHECK, found, means, mend)
}

fn memory(machine: &Machine, needs: &Needs) -> Finding {
    const CHECK: &str = "memory";
    let Some(memory) = machine.memory else { return Finding::ok(CHECK, "not known") };
    let found = format!(
        "{} for a node that takes up to {} ({} of them lanes)",
        bytes(memory),
        bytes(needs.memory),
        bytes(needs.lanes)
    );
    let mend = "lower cache.bytes, ingest.window_memory or ingest.frame_memory; `mainstem run --explain` shows each part";
    if needs.memory > memory {
        return Finding::fail(CHECK, found, "with all queues full the system would end the node", mend);
    }
    if needs.memory > memory / 10 * 8 {
        return Finding::warn(
            CHECK,
            found,
            "little is left for the page cache, from which proofs are read",
            mend,
        );
    }
    Finding::ok(CHECK, found)
}

fn maps(machine: &Machine, needs: &Needs) -> Finding {
    const CHECK: &str = "memory-maps";
    let Some(most) = machine.maps else { return Finding::ok(CHECK, "not known") };
    let found = format!("{most} maps at most; the log has {} segments, a map each", needs.segments);
    // Threads, libraries and the heap have some, too.
    if needs.segments.saturating_mul(2) + 1_024 > most {
        let means = "when there are more, no segment can be added, and the node stops";
        return Finding::warn(CHECK, found, means, "sudo sysctl -w vm.max_map_count=262144");
    }
    Finding::ok(CHECK, found)
}

fn processor(machine: &Machine) -> Finding {
    const CHECK: &str = "processor";
    let found = format!("{} processors, SHA-256 by {}", machine.processors, machine.sha256);
    if machine.slow_hashing {
        let means = "without the SHA extensions hashing takes some four times as long";
        return Finding::warn(
            CHECK,
            found,
            means,
            "use a processor that has them: grep -c sha_ni /proc/cpuinfo",
        );
    }
    Finding::ok(CHECK, found)
}

fn huge_pages(machine: &Machine) -> Finding {
    const CHECK: &str = "huge-pages";
    match machine.huge_pages.as_deref() {
        Some("always") => Finding::warn(
            CHECK,
            "transparent huge pages are given always",
            "lanes that are mostly empty hold whole huge pages: resident memory is more than what they need",
            "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
        ),
        Some(mode) => Finding::ok(CHECK, format!("transparent huge pages: {mode}")),
        None => Finding::ok(CHECK, "this system has no transparent huge pages"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    /// A machine on which all is well.
    fn sound() -> Machine {
        Machine {
            wall: LEAST_TIME + 1,
            clock_jump: 1,
            synchronized: Some(true),
            filesystem: Some("ext4".into()),
            disk_free: Some(500 << 30),
            disk_size: Some(1_000 << 30),
            open_files: Some(65_536),
            receive_buffer: Some(BUFFERS),
            send_buffer: Some(BUFFERS),
            memory: Some(16 << 30),
            maps: Some(65_530),
            huge_pages: Some("madvise".into()),
            processors: 8,
            sha256: "sha-ni",
            slow_hashing: false,
        }
    }

    const NEEDS: Needs =
        Needs { segment_bytes: 256 << 20, segments: 10, connections: 256, memory: 2 << 30, lanes: 1 << 30 };

    #[test]
    fn on_a_sound_machine_and_on_one_that_says_nothing_all_is_well() {
        let silent = Machine { wall: LEAST_TIME, processors: 1, sha256: "portable", ..Machine::default() };
        for machine in [sound(), silent] {
            for finding in findings(&machine, &NEEDS, Path::new("main")) {
                assert_eq!(finding.level, Level::Ok, "{finding:?}");
            }
        }
    }

    #[test]
    fn each_planted_fault_is_named_alone_with_what_mends_it() {
        type Plant = fn(&mut Machine);
        let faults: [(&str, Level, &str, Plant); 15] = [
            ("clock", Level::Fail, "timedatectl", |m| m.wall = 0),
            ("clock", Level::Fail, "timedatectl", |m| m.wall = MOST_TIME),
            ("clock", Level::Warn, "timedatectl", |m| m.clock_jump = -500),
            ("clock-sync", Level::Warn, "timedatectl", |m| m.synchronized = Some(false)),
            ("file-system", Level::Warn, "--data", |m| m.filesystem = Some("tmpfs".into())),
            ("file-system", Level::Fail, "--data", |m| m.filesystem = Some("nfs4".into())),
            ("file-system", Level::Warn, "volume", |m| m.filesystem = Some("overlay".into())),
            ("disk-space", Level::Fail, "mainstem prune", |m| m.disk_free = Some(100 << 20)),
            ("disk-space", Level::Warn, "mainstem prune", |m| m.disk_free = Some(3 << 30)),
            ("open-files", Level::Warn, "ulimit -n 1024", |m| m.open_files = Some(256)),
            ("udp-buffers", Level::Warn, "net.core.rmem_max=33554432", |m| m.receive_buffer = Some(212_992)),
            ("memory", Level::Fail, "cache.bytes", |m| m.memory = Some(1 << 30)),
            ("memory", Level::Warn, "cache.bytes", |m| m.memory = Some(2_300 << 20)),
            ("memory-maps", Level::Warn, "vm.max_map_count", |m| m.maps = Some(1_000)),
            ("processor", Level::Warn, "sha_ni", |m| m.slow_hashing = true),
        ];
        for (check, level, mend, plant) in faults {
            let mut machine = sound();
            plant(&mut machine);
            let found = findings(&machine, &NEEDS, Path::new("main"));
            let bad: Vec<_> = found.iter().filter(|finding| finding.level != Level::Ok).collect();
            let [bad] = bad[..] else { panic!("{check}: {bad:?}") };
            assert_eq!((bad.check, bad.level), (check, level), "{bad:?}");
            assert!(bad.mend.as_ref().unwrap().contains(mend) && bad.means.is_some(), "{bad:?}");
        }
    }
}
