//! What anybody can send to the port, who has no key at all: it is thrown away, and answered with less than it was.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use crate::scene::Scene;
use crate::slow::first_datagrams;

/// Noise that is the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 32) as u8).collect()
    }
}

/// Sends `datagrams` from one address, and counts what comes back.
fn send(scene: &Scene, datagrams: impl Iterator<Item = Vec<u8>>) -> (usize, usize) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(scene.main.addr()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let (mut sent, mut back) = (0, 0);
    let mut buffer = [0; 4_096];
    let mut collect = |back: &mut usize| {
        while let Ok(bytes) = socket.recv(&mut buffer) {
            *back += bytes;
        }
    };
    for datagram in datagrams {
        // A full buffer is as good as a datagram that was lost.
        sent += socket.send(&datagram).unwrap_or(0);
        collect(&mut back);
    }
    std::thread::sleep(Duration::from_millis(200));
    collect(&mut back);
    (sent, back)
}

#[test]
fn noise_is_thrown_away() {
    let scene = Scene::new(|_| ());
    let before = scene.counters();
    let mut noise = Noise(0x5eed);
    let datagrams = (0..4_000).map(|number| {
        let length = noise.next() as usize % 1_500;
        let mut bytes = noise.bytes(length);
        // Half of them claim to be of QUIC 1, and every kind of packet.
        if number % 2 == 0 && length > 5 {
            bytes[0] |= 0xc0;
            bytes[1..5].copy_from_slice(&1_u32.to_be_bytes());
        }
        bytes
    });
    let (sent, back) = send(&scene, datagrams);
    assert!(back < 3 * sent, "{back} bytes came back for {sent}");
    assert_eq!(scene.counters().sessions_opened, before.sessions_opened);
    scene.calm();
}

#[test]
fn other_versions_are_told_the_right_one_and_cost_nothing() {
    let scene = Scene::new(|_| ());
    let before = scene.counters();
    let mut noise = Noise(0xfeed);
    let datagrams = (0..2_000).map(|_| {
        let mut bytes = noise.bytes(1_200);
        bytes[0] |= 0xc0;
        // Any version but 0, which negotiates, and 1.
        bytes[1] |= 0x40;
        (bytes[5], bytes[14]) = (8, 8);
        bytes
    });
    let (sent, back) = send(&scene, datagrams);
    assert!(back > 0, "versions are negotiated");
    assert!(10 * back < sent, "{back} bytes came back for {sent}");
    assert_eq!(scene.counters().handshakes_started, before.handshakes_started);
    scene.calm();
}

#[test]
fn first_packets_that_are_cut_changed_or_repeated_get_nobody_in() {
    let scene = Scene::new(|config| config.hello_timeout = Duration::from_millis(300));
    let before = scene.counters();
    let first = first_datagrams(&scene).remove(0);
    let mut noise = Noise(0xbead);
    let cut = (1..first.len()).step_by(7).map(|length| first[..length].to_vec());
    let flipped = (0..first.len() * 8).step_by(11).map(|bit| {
        let mut bytes = first.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    let torn = (0..500).map(|_| {
        let mut bytes = first.clone();
        let at = noise.next() as usize % bytes.len();
        bytes.truncate(at);
        bytes.extend(noise.bytes(1_200_usize.saturating_sub(at)));
        bytes
    });
    let repeated = std::iter::repeat_n(first.clone(), 500);
    let (sent, back) = send(&scene, cut.chain(flipped).chain(torn).chain(repeated));
    assert!(back < 3 * sent, "{back} bytes came back for {sent}");
    assert_eq!(scene.counters().sessions_opened, before.sessions_opened);
    scene.calm();
}
