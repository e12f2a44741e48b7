//! The limit: the same datagrams without QUIC, as many as GSO and GRO take at once.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;
use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use rustix::event::{PollFd, PollFlags, poll};

use crate::child::Counts;
use crate::spec::{Tuning, loopback};

/// What quinn puts into one send at most.
const SEGMENTS: usize = 10;

/// What GRO puts into one receive at most.
const RECEIVE_BYTES: usize = 64 << 10;

pub(crate) fn receive(tuning: &Tuning, counts: &Arc<Counts>) -> Result<SocketAddr> {
    let socket = tuning.bind(loopback()).socket()?;
    let state = UdpSocketState::new((&socket).into())?;
    let address = socket.local_addr()?;
    let counts = counts.clone();
    std::thread::Builder::new().name("udp".to_owned()).spawn(move || {
        let mut buffers = vec![0; RECEIVE_BYTES * BATCH_SIZE];
        loop {
            let mut slices: Vec<_> =
                buffers.chunks_mut(RECEIVE_BYTES).map(std::io::IoSliceMut::new).collect();
            let mut metas = [RecvMeta::default(); BATCH_SIZE];
            match state.recv((&socket).into(), &mut slices, &mut metas) {
                Ok(received) => {
                    let bytes: usize = metas[..received].iter().map(|meta| meta.len).sum();
                    counts.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                }
                Err(_) => wait(&socket, PollFlags::IN),
            }
        }
    })?;
    Ok(address)
}

pub(crate) fn send(tuning: &Tuning, to: SocketAddr) -> Result<()> {
    let socket = tuning.bind(loopback()).socket()?;
    let state = UdpSocketState::new((&socket).into())?;
    let size = usize::from(tuning.max_mtu);
    let segments = state.max_gso_segments().min(SEGMENTS);
    std::thread::Builder::new().name("udp".to_owned()).spawn(move || {
        let contents = vec![7; size * segments];
        loop {
            let transmit = Transmit {
                destination: to,
                ecn: None,
                contents: &contents,
                segment_size: (segments > 1).then_some(size),
                src_ip: None,
            };
            if state.try_send((&socket).into(), &transmit).is_err() {
                wait(&socket, PollFlags::OUT);
            }
        }
    })?;
    Ok(())
}

fn wait(socket: &UdpSocket, what: PollFlags) {
    // Woken early or by a signal, the caller tries again.
    let _ = poll(&mut [PollFd::new(socket, what)], None);
}
