//! Bulk transfer over loopback: how fast one QUIC connection (or several) of two reactors is.
//!
//! `cargo run --release -p mainstem-net --example bulk -- [seconds] [connections] [streams of each] [largest MTU]`
//!
//! The receiver discards what it reads. Printed are megabytes (10^6) per second at the receiver, and the processor
//! time that either reactor spent for each byte, which is less disturbed by a busy machine than the speed.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mainstem_net::endpoint::{Bind, Limits, client_config, connect, open, server_config};
use mainstem_net::identity::Identity;
use mainstem_net::reactor::{Handle, Reactor};
use quinn::{Connection, Endpoint};

const WRITE_BYTES: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = argument(&mut arguments, 3)?;
    let connections: usize = argument(&mut arguments, 1)?;
    let streams: u32 = argument(&mut arguments, 1)?;
    let max_mtu: u16 = argument(&mut arguments, Limits::default().max_mtu)?;

    let limits = Limits { data_streams: streams, max_mtu, ..Limits::default() };
    let (server, client) = (Identity::generate()?, Identity::generate()?);
    let receiving = Reactor::spawn_thread("receiver")?;
    let sending = Reactor::spawn_thread("sender")?;
    let loopback: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let listener = open(
        &receiving.handle(),
        &Bind::new(loopback),
        &server,
        Some(server_config(&server, Arc::new(|_: &_| true), &limits)?),
    )?;
    let address = listener.local_addr()?;
    let dialer = open(&sending.handle(), &Bind::new(loopback), &client, None)?;

    let received = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    drop(receiving.handle().spawn(serve(receiving.handle(), listener.clone(), received.clone())));
    for _ in 0..connections {
        let connecting = connect(&dialer, client_config(&client, server.public(), &limits)?, address)?;
        let (handle, done) = (sending.handle(), done.clone());
        drop(sending.handle().spawn(async move {
            match connecting.await {
                Ok(connection) => send(&handle, &connection, streams, &done),
                Err(error) => eprintln!("cannot connect: {error}"),
            }
        }));
    }

    // Slow start and MTU discovery are over by then.
    std::thread::sleep(Duration::from_millis(500));
    let sample = || (Instant::now(), received.load(Ordering::Relaxed), cpu("receiver"), cpu("sender"));
    let begin = sample();
    std::thread::sleep(Duration::from_secs(seconds));
    let end = sample();
    done.store(true, Ordering::Relaxed);

    let bytes = (end.1 - begin.1) as f64;
    let rate = bytes / (end.0 - begin.0).as_secs_f64() / 1e6;
    let cost = |from: Option<u64>, to: Option<u64>| match (from, to) {
        (Some(from), Some(to)) => format!("{:.2} ns/byte", (to - from) as f64 / bytes),
        _ => "unknown".to_owned(),
    };
    println!(
        "{connections} connections x {streams} streams, MTU up to {max_mtu}: {rate:.0} MB/s; processor: receiver {}, sender {}",
        cost(begin.2, end.2),
        cost(begin.3, end.3),
    );
    dialer.close(0_u32.into(), b"done");
    listener.close(0_u32.into(), b"done");
    drop((dialer, listener));
    sending.shutdown(Duration::from_secs(1));
    receiving.shutdown(Duration::from_secs(1));
    Ok(())
}

fn argument<T: FromStr<Err: Error + 'static>>(
    arguments: &mut impl Iterator<Item = String>,
    default: T,
) -> Result<T, Box<dyn Error>> {
    Ok(arguments.next().map(|text| text.parse()).transpose()?.unwrap_or(default))
}

async fn serve(reactor: Handle, listener: Endpoint, received: Arc<AtomicU64>) {
    while let Some(incoming) = listener.accept().await {
        let (handle, received) = (reactor.clone(), received.clone());
        drop(reactor.spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok(mut stream) = connection.accept_uni().await {
                let received = received.clone();
                drop(handle.spawn(async move {
                    while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
                        received.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
                    }
                }));
            }
        }));
    }
}

fn send(reactor: &Handle, connection: &Connection, streams: u32, done: &Arc<AtomicBool>) {
    for _ in 0..streams {
        let (connection, done) = (connection.clone(), done.clone());
        drop(reactor.spawn(async move {
            let Ok(mut stream) = connection.open_uni().await else { return };
            let data = bytes::Bytes::from(vec![7; WRITE_BYTES]);
            while !done.load(Ordering::Relaxed) {
                if stream.write_chunk(data.clone()).await.is_err() {
                    return;
                }
            }
        }));
    }
}

/// Nanoseconds that the thread of this name has run, where the system says so.
fn cpu(name: &str) -> Option<u64> {
    std::fs::read_dir("/proc/self/task").ok()?.flatten().find_map(|task| {
        let read = |file| std::fs::read_to_string(task.path().join(file)).ok();
        (read("comm")?.trim() == name).then_some(())?;
        read("schedstat")?.split(' ').next()?.parse().ok()
    })
}
