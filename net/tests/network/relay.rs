//! A bad network: a relay between one UDP server and its clients, which loses, delays, reorders, repeats, spoils, cuts
//! and throttles what passes, each direction by itself.
//!
//! ```text
//!   client ──> front socket ──> fate, rate, delay ──> a socket of its own for each client ──> server
//!          <──              <──                   <──                                     <──
//! ```
//!
//! What happens to the n-th datagram of a direction follows from the seed, the direction and n alone: a run that
//! failed meets the same fates again, whatever the machine does meanwhile. One thread; times are kept to the
//! millisecond.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, Socket, Type};

/// The UDP payload that passes where the path's MTU is 1280 bytes, under the headers of IPv4.
pub(crate) const PAYLOAD_OF_1280: usize = 1_280 - 20 - 8;

/// What one direction does to datagrams. By default: nothing.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// Of all datagrams, how many vanish: 0 to 1. The same unit below.
    pub(crate) loss: f64,
    /// How many come twice.
    pub(crate) duplicate: f64,
    /// How many come with one bit changed.
    pub(crate) corrupt: f64,
    /// How many are held back by `held`, so that later ones overtake them.
    pub(crate) reorder: f64,
    /// See `reorder`.
    pub(crate) held: Duration,
    /// How long each takes at least.
    pub(crate) delay: Duration,
    /// Up to so much longer; nothing overtakes for it.
    pub(crate) jitter: Duration,
    /// Longer UDP payloads vanish.
    pub(crate) max_payload: usize,
    /// UDP payload that passes in a second.
    pub(crate) bytes_per_second: f64,
    /// What waits for its turn at that rate; what comes on top vanishes.
    pub(crate) queue: Duration,
    /// Nothing passes.
    pub(crate) cut: bool,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicate: 0.0,
            corrupt: 0.0,
            reorder: 0.0,
            held: Duration::ZERO,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            max_payload: usize::MAX,
            bytes_per_second: f64::INFINITY,
            queue: Duration::from_millis(100),
            cut: false,
        }
    }
}

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From a client to the server.
    Up,
    /// From the server to a client.
    Down,
}

/// What has happened in one direction, in datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) came: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) corrupted: u64,
    pub(crate) held: u64,
    pub(crate) too_long: u64,
    /// No room in the queue, of ours or of the system.
    pub(crate) overflowed: u64,
    pub(crate) cut: u64,
    /// Sent on; a repeated one twice.
    pub(crate) went: u64,
}

/// A running relay. Dropping it ends it.
pub(crate) struct Relay {
    addr: SocketAddr,
    orders: mpsc::Sender<Order>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

type Order = Box<dyn FnOnce(&mut Worker) + Send>;

impl Relay {
    /// Starts one before `upstream`, with the same `path` both ways, on a free port of `bind`.
    pub(crate) fn start(seed: u64, bind: SocketAddr, upstream: SocketAddr, path: &Path) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mut front = socket(bind)?;
        let addr = front.local_addr()?;
        poll.registry().register(&mut front, FRONT, Interest::READABLE)?;
        let (orders, inbox) = mpsc::channel();
        let wire = |way| Wire::new(seed, way, path.clone());
        let worker = Worker {
            poll,
            front,
            flows: Vec::new(),
            opened: 0,
            upstream,
            wires: [wire(Way::Up), wire(Way::Down)],
            queue: BinaryHeap::new(),
            queued_bytes: 0,
            queued: 0,
            buffer: vec![0; 1 << 16],
            stopped: false,
        };
        let thread = std::thread::Builder::new().name("relay".into()).spawn(move || worker.run(&inbox))?;
        Ok(Self { addr, orders, waker, thread: Some(thread) })
    }

    /// Where clients find the server now.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes one direction, from the next datagram on.
    pub(crate) fn change(&self, way: Way, change: impl FnOnce(&mut Path) + Send + 'static) {
        self.order(move |worker| change(&mut worker.wires[way as usize].path));
    }

    /// Cuts both directions, or heals them. What was on its way when it was cut is lost.
    pub(crate) fn cut(&self, cut: bool) {
        self.change(Way::Up, move |path| path.cut = cut);
        self.change(Way::Down, move |path| path.cut = cut);
    }

    /// As a NAT that has forgotten: the server sees every client at a new port.
    pub(crate) fn rebind(&self) {
        self.order(Worker::rebind);
    }

    /// As a name that points elsewhere: what clients send goes to another server.
    pub(crate) fn set_upstream(&self, upstream: SocketAddr) {
        self.order(move |worker| worker.upstream = upstream);
    }

    /// What has happened so far in one direction.
    pub(crate) fn counts(&self, way: Way) -> Counts {
        self.order(move |worker| worker.wires[way as usize].counts)
    }

    /// Has the relay's thread do something, and waits until it has.
    fn order<T: Send + 'static>(&self, order: impl FnOnce(&mut Worker) -> T + Send + 'static) -> T {
        let (done, wait) = mpsc::channel();
        let order: Order = Box::new(move |worker| {
            // Nobody waits any more only if it panicked.
            let _ = done.send(order(worker));
        });
        self.orders.send(order).expect("the relay runs as long as this");
        self.waker.wake().expect("an eventfd takes a wake-up");
        wait.recv().expect("the relay answers every order")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.orders.send(Box::new(|worker: &mut Worker| worker.stopped = true)).is_ok() {
            let _ = self.waker.wake();
        }
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the relay's thread panicked");
        }
    }
}

/// What happens to one datagram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fate {
    pub(crate) lost: bool,
    pub(crate) duplicated: bool,
    pub(crate) held: bool,
    /// Which bit is changed, modulo the number of bits.
    pub(crate) corrupted: Option<u64>,
    /// Of the path's jitter, how much: 0 to 1.
    pub(crate) jitter: f64,
}

impl Fate {
    /// Of the `number`-th datagram of a direction. Always draws the same numbers, so that one fault of a path does not
    /// move the others.
    pub(crate) fn of(seed: u64, way: Way, number: u64, path: &Path) -> Self {
        let mut random = Random(Random(seed ^ ((way as u64) << 63)).next().wrapping_add(number));
        random = Random(random.next());
        let mut chance = |probability: f64| random.unit() < probability;
        let (lost, duplicated, held) = (chance(path.loss), chance(path.duplicate), chance(path.reorder));
        let corrupted = chance(path.corrupt);
        let (jitter, bit) = (random.unit(), random.next());
        Self { lost, duplicated, held, corrupted: corrupted.then_some(bit), jitter }
    }
}

/// SplitMix64 (Steele, Lea, Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// One direction.
struct Wire {
    seed: u64,
    way: Way,
    path: Path,
    counts: Counts,
    /// When its rate lets the next one pass.
    free_at: Instant,
    /// When the last one that was not held back is due: none overtakes it.
    last_due: Instant,
}

impl Wire {
    fn new(seed: u64, way: Way, path: Path) -> Self {
        let now = Instant::now();
        Self { seed, way, path, counts: Counts::default(), free_at: now, last_due: now }
    }

    /// When a datagram is due, and whether twice. May change it.
    fn pass(&mut self, datagram: &mut [u8], now: Instant) -> Option<(Instant, bool)> {
        let (path, counts) = (&self.path, &mut self.counts);
        let fate = Fate::of(self.seed, self.way, counts.came, path);
        counts.came += 1;
        let gone = [
            (path.cut, &mut counts.cut),
            (datagram.len() > path.max_payload, &mut counts.too_long),
            (fate.lost, &mut counts.lost),
        ];
        if let Some((_, count)) = gone.into_iter().find(|(gone, _)| *gone) {
            *count += 1;
            return None;
        }
        let mut due = now;
        if path.bytes_per_second.is_finite() {
            due = due.max(self.free_at);
            if due - now > path.queue {
                counts.overflowed += 1;
                return None;
            }
            self.free_at = due + Duration::from_secs_f64(datagram.len() as f64 / path.bytes_per_second);
        }
        due = (due + path.delay + path.jitter.mul_f64(fate.jitter)).max(self.last_due);
        if fate.held {
            counts.held += 1;
            due += path.held;
        } else {
            self.last_due = due;
        }
        if let (Some(bit), false) = (fate.corrupted, datagram.is_empty()) {
            counts.corrupted += 1;
            let bit = bit % (8 * datagram.len() as u64);
            datagram[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        counts.duplicated += u64::from(fate.duplicated);
        Some((due, fate.duplicated))
    }
}

/// One client, and the socket that stands for it before the server.
struct Flow {
    number: u64,
    client: SocketAddr,
    socket: UdpSocket,
}

struct Waiting {
    way: Way,
    flow: u64,
    datagram: Box<[u8]>,
}

struct Worker {
    poll: Poll,
    front: UdpSocket,
    flows: Vec<Flow>,
    opened: u64,
    upstream: SocketAddr,
    wires: [Wire; 2],
    /// By the time when it is due, then in order of arrival.
    queue: BinaryHeap<Reverse<(Instant, u64, Ordered<Waiting>)>>,
    queued_bytes: usize,
    queued: u64,
    buffer: Vec<u8>,
    stopped: bool,
}

impl Worker {
    fn run(mut self, inbox: &mpsc::Receiver<Order>) {
        let mut events = Events::with_capacity(64);
        loop {
            inbox.try_iter().for_each(|order| order(&mut self));
            if self.stopped {
                return;
            }
            let mut idle = !self.read_front();
            for place in 0..self.flows.len() {
                idle &= !self.read_flow(place);
            }
            self.send_due(Instant::now());
            if idle {
                let next = self.queue.peek().map(|Reverse((due, _, _))| *due);
                let pause = next.map(|due| due.saturating_duration_since(Instant::now()));
                match self.poll.poll(&mut events, pause) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => panic!("poll: {error}"),
                    _ => {}
                }
            }
        }
    }

    /// Takes some of what clients have sent. Whether there was any.
    fn read_front(&mut self) -> bool {
        let mut any = false;
        for _ in 0..TURN {
            let Some((length, client)) = received(self.front.recv_from(&mut self.buffer)) else { break };
            any = true;
            if let Some(flow) = self.flow_of(client) {
                self.take(Way::Up, flow, length);
            }
        }
        any
    }

    fn read_flow(&mut self, place: usize) -> bool {
        let mut any = false;
        for _ in 0..TURN {
            let flow = &self.flows[place];
            let Some((length, from)) = received(flow.socket.recv_from(&mut self.buffer)) else { break };
            any = true;
            // Another one may have been the server before: it is no longer heard.
            if from == self.upstream {
                self.take(Way::Down, flow.number, length);
            }
        }
        any
    }

    fn take(&mut self, way: Way, flow: u64, length: usize) {
        let now = Instant::now();
        let wire = &mut self.wires[way as usize];
        let Some((due, twice)) = wire.pass(&mut self.buffer[..length], now) else { return };
        for _ in 0..=u8::from(twice) {
            if due <= now && self.queue.is_empty() {
                self.send(way, flow, None, length);
            } else if self.queued_bytes + length > MAX_QUEUED {
                self.wires[way as usize].counts.overflowed += 1;
            } else {
                let datagram = self.buffer[..length].into();
                self.queued += 1;
                self.queued_bytes += length;
                self.queue.push(Reverse((due, self.queued, Ordered(Waiting { way, flow, datagram }))));
            }
        }
    }

    fn send_due(&mut self, now: Instant) {
        while self.queue.peek().is_some_and(|Reverse((due, _, _))| *due <= now) {
            let Some(Reverse((_, _, Ordered(waiting)))) = self.queue.pop() else { return };
            let length = waiting.datagram.len();
            self.queued_bytes -= length;
            if self.wires[waiting.way as usize].path.cut {
                self.wires[waiting.way as usize].counts.cut += 1;
            } else {
                self.send(waiting.way, waiting.flow, Some(&waiting.datagram), length);
            }
        }
    }

    /// Sends a datagram, or the first `length` bytes of the buffer.
    fn send(&mut self, way: Way, flow: u64, datagram: Option<&[u8]>, length: usize) {
        let datagram = datagram.unwrap_or(&self.buffer[..length]);
        let Some(flow) = self.flows.iter().find(|one| one.number == flow) else { return };
        let sent = match way {
            Way::Up => flow.socket.send_to(datagram, self.upstream),
            Way::Down => self.front.send_to(datagram, flow.client),
        };
        // What the system does not take is lost, as on any network.
        let counts = &mut self.wires[way as usize].counts;
        *if sent.is_ok() { &mut counts.went } else { &mut counts.overflowed } += 1;
    }

    /// The number of the flow that a client has; a new one for a new client.
    fn flow_of(&mut self, client: SocketAddr) -> Option<u64> {
        if let Some(flow) = self.flows.iter().find(|flow| flow.client == client) {
            return Some(flow.number);
        }
        if self.flows.len() == MAX_FLOWS {
            self.flows.remove(0);
        }
        let number = self.opened;
        let socket = self.open()?;
        self.flows.push(Flow { number, client, socket });
        Some(number)
    }

    fn open(&mut self) -> Option<UdpSocket> {
        let any = match self.upstream.ip() {
            ip if ip.is_loopback() => SocketAddr::new(ip, 0),
            ip if ip.is_ipv6() => (Ipv6Addr::UNSPECIFIED, 0).into(),
            _ => (Ipv4Addr::UNSPECIFIED, 0).into(),
        };
        let mut socket = socket(any).ok()?;
        self.opened += 1;
        let token = Token(FIRST_FLOW + self.opened as usize);
        self.poll.registry().register(&mut socket, token, Interest::READABLE).ok()?;
        Some(socket)
    }

    fn rebind(&mut self) {
        for place in 0..self.flows.len() {
            if let Some(socket) = self.open() {
                self.flows[place].socket = socket;
            }
        }
    }
}

/// Compares equal to all others, so that a queue is ordered by what stands before it alone.
struct Ordered<T>(T);

impl<T> PartialEq for Ordered<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Ordered<T> {}

impl<T> PartialOrd for Ordered<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ordered<T> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// What was received. Errors other than "nothing there" are of datagrams sent before that nobody took (ICMP); they say
/// nothing of this socket.
fn received(result: io::Result<(usize, SocketAddr)>) -> Option<(usize, SocketAddr)> {
    result.ok()
}

fn socket(bind: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(bind), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // As much as the system grants: what the relay loses for want of room was not asked for.
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&bind.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

const WAKER: Token = Token(0);
const FRONT: Token = Token(1);
const FIRST_FLOW: usize = 2;

/// Datagrams taken from one socket before the next one has its turn.
const TURN: usize = 32;

/// Clients at a time; one more takes the place of the oldest.
const MAX_FLOWS: usize = 64;

/// Bytes on their way. What comes on top is lost.
const MAX_QUEUED: usize = 64 << 20;

const SOCKET_BUFFER: usize = 4 << 20;
