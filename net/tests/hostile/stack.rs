//! A QUIC stack that lies: quinn, with the frames of its packets changed before they are sealed.
//!
//! Whatever a real stack would send is possible so, and much that none would send: frames of any kind and content, in
//! packets that are authentic; gaps that are never filled; packets that are never acknowledged. The application opens a
//! stream, the *fuel*, and writes to it without end; each STREAM frame of it is replaced by what a [`Plan`] gives.
//! What the server says about limits is not heard.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use mainstem_net::identity::{Identity, client_tls};
use mainstem_net::reactor::Handle;
use quinn::crypto::rustls::QuicClientConfig;
use quinn_proto::coding::Codec;
use quinn_proto::crypto::{
    ClientConfig, CryptoError, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError, VarInt};

/// What a lying stack does with each packet of application data.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Gives the frames that stand in the place of one STREAM frame of the fuel.
    frames: Option<Arc<Mutex<Maker>>>,
    /// Acknowledges nothing.
    deaf: bool,
    /// How many bytes the server lets the connection send (MAX_DATA), for plans that keep to that.
    granted: Arc<AtomicU64>,
    /// The plan had nothing to send last time: the fuel need not burn so fast.
    idle: Arc<AtomicBool>,
}

/// Makes frames of at most so many bytes; the second number is what the server has granted the connection in all.
pub(crate) type Maker = dyn FnMut(usize, u64) -> Vec<u8> + Send;

impl Plan {
    pub(crate) fn frames(make: impl FnMut(usize, u64) -> Vec<u8> + Send + 'static) -> Self {
        Self {
            frames: Some(Arc::new(Mutex::new(make))),
            deaf: false,
            granted: Arc::default(),
            idle: Arc::default(),
        }
    }

    /// What the server has granted the connection so far, of a connection with this plan.
    pub(crate) fn granted(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.granted)
    }

    pub(crate) fn deaf() -> Self {
        Self { frames: None, deaf: true, granted: Arc::default(), idle: Arc::default() }
    }
}

/// QUIC of a client with the key of `identity` that does as `plan` says.
pub(crate) fn client(identity: &Identity, server: &Identity, plan: Plan) -> quinn::ClientConfig {
    let tls = client_tls(identity, &[server.public()]);
    let inner = Arc::new(QuicClientConfig::try_from(tls).unwrap());
    let mut config = quinn::ClientConfig::new(Arc::new(Liar { inner, plan }));
    let mut transport = quinn::TransportConfig::default();
    // The fuel is to flow whatever becomes of it.
    transport.send_window(64 << 20);
    config.transport_config(Arc::new(transport));
    config
}

/// What a plan gives that has nothing to send now: a PING.
pub(crate) const NOTHING: &[u8] = &[1];

/// The number of the fuel among the streams: high, so that plans have the low ones for themselves.
pub(crate) const FUEL: u64 = 40;

/// Opens the fuel of a connection whose stack lies as `plan` says, and burns it until the connection ends, some at a time.
pub(crate) async fn burn(
    handle: Handle,
    connection: quinn::Connection,
    plan: Plan,
) -> quinn::ConnectionError {
    let mut streams = Vec::new();
    while streams.last().is_none_or(|stream: &quinn::SendStream| stream.id().index() < FUEL) {
        match connection.open_uni().await {
            Ok(stream) => streams.push(stream),
            Err(error) => return error,
        }
    }
    let mut fuel = streams.pop().unwrap();
    let chunk = vec![0; 32 << 10];
    loop {
        let idle = plan.idle.load(Ordering::Relaxed);
        let (bytes, pause) = if idle { (1, 100) } else { (chunk.len(), 2) };
        if fuel.write_all(&chunk[..bytes]).await.is_err() {
            break;
        }
        handle.sleep(Duration::from_millis(pause)).await;
    }
    connection.closed().await
}

/// Of transport parameters (RFC 9000 section 18.2).
const INITIAL_MAX_DATA: u64 = 4;

struct Liar {
    inner: Arc<QuicClientConfig>,
    plan: Plan,
}

impl ClientConfig for Liar {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let inner = Arc::clone(&self.inner).start_session(version, server_name, params)?;
        Ok(Box::new(Lying { inner, plan: self.plan.clone(), keys: 0 }))
    }
}

struct Lying {
    inner: Box<dyn Session>,
    plan: Plan,
    /// How many sets of keys it has got: those of the handshake, then those of application data.
    keys: usize,
}

impl Session for Lying {
    fn initial_keys(&self, id: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(id, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        self.inner.read_handshake(bytes)
    }

    /// As if the server set no limits.
    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(heard) = self.inner.transport_parameters()? else { return Ok(None) };
        if self.plan.frames.is_none() {
            return Ok(Some(heard));
        }
        let mut bytes = Vec::new();
        heard.write(&mut bytes);
        let mut changed = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let id = VarInt::decode(&mut rest).unwrap();
            let length = VarInt::decode(&mut rest).unwrap().into_inner() as usize;
            let (mut value, after) = rest.split_at(length);
            rest = after;
            if id.into_inner() == INITIAL_MAX_DATA {
                let granted = VarInt::decode(&mut value).unwrap().into_inner();
                self.plan.granted.store(granted, Ordering::Relaxed);
            }
            // initial_max_data, those of streams, and how many streams there may be.
            let value = match id.into_inner() {
                4..=7 => varint(1 << 40),
                8 | 9 => varint(1 << 20),
                _ => value.to_vec(),
            };
            changed.extend(varint(id.into_inner()));
            changed.extend(varint(value.len() as u64));
            changed.extend(value);
        }
        Ok(Some(TransportParameters::read(Side::Client, &mut &changed[..]).unwrap()))
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        let mut keys = self.inner.write_handshake(out)?;
        self.keys += 1;
        if self.keys == 2 {
            keys.packet.local = Box::new(Forging { sealed: keys.packet.local, plan: self.plan.clone() });
            keys.packet.remote = Box::new(Forging { sealed: keys.packet.remote, plan: self.plan.clone() });
        }
        Some(keys)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let mut keys = self.inner.next_1rtt_keys()?;
        keys.local = Box::new(Forging { sealed: keys.local, plan: self.plan.clone() });
        keys.remote = Box::new(Forging { sealed: keys.remote, plan: self.plan.clone() });
        Some(keys)
    }

    fn is_valid_retry(&self, id: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(id, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}

/// Changes the frames of each packet before it seals it.
struct Forging {
    sealed: Box<dyn PacketKey>,
    plan: Plan,
}

impl PacketKey for Forging {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        let end = buf.len() - self.sealed.tag_len();
        forge(&mut buf[header_len..end], &self.plan);
        self.sealed.encrypt(packet, buf, header_len);
    }

    fn decrypt(&self, packet: u64, header: &[u8], payload: &mut BytesMut) -> Result<(), CryptoError> {
        self.sealed.decrypt(packet, header, payload)?;
        let mut rest = &payload[..];
        while !rest.is_empty() {
            let (kind, length) = frame(rest);
            if let Kind::MaxData(granted) = kind {
                self.plan.granted.fetch_max(granted, Ordering::Relaxed);
            }
            rest = &rest[length..];
        }
        Ok(())
    }

    fn tag_len(&self) -> usize {
        self.sealed.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.sealed.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.sealed.integrity_limit()
    }
}

fn forge(payload: &mut [u8], plan: &Plan) {
    let mut at = 0;
    while at < payload.len() {
        let (kind, length) = frame(&payload[at..]);
        let region = &mut payload[at..at + length];
        match kind {
            Kind::Ack if plan.deaf => region.fill(0),
            Kind::Stream(id) if id == 4 * FUEL + 2 => {
                if let Some(make) = &plan.frames {
                    let granted = plan.granted.load(Ordering::Relaxed);
                    let frames = (make.lock().unwrap())(region.len(), granted);
                    assert!(frames.len() <= region.len(), "the frames of a plan fit");
                    plan.idle.store(frames == NOTHING, Ordering::Relaxed);
                    region[..frames.len()].copy_from_slice(&frames);
                    // PADDING.
                    region[frames.len()..].fill(0);
                }
            }
            // Streams below the fuel were opened for their numbers only, and nothing is ever sent on them.
            Kind::Ack | Kind::Stream(_) | Kind::MaxData(_) | Kind::Other => {}
        }
        at += length;
    }
}

enum Kind {
    Ack,
    Stream(u64),
    MaxData(u64),
    Other,
}

/// Kind and length of the frame that `bytes` begin with (RFC 9000 section 19): of those that quinn sends.
fn frame(bytes: &[u8]) -> (Kind, usize) {
    let mut rest = bytes;
    let next = |rest: &mut &[u8]| VarInt::decode(rest).unwrap().into_inner();
    let kind = next(&mut rest);
    let fields = match kind {
        0x00 | 0x01 | 0x1e | 0x1f => 0,
        0x02 | 0x03 => {
            next(&mut rest);
            next(&mut rest);
            let ranges = next(&mut rest);
            1 + 2 * ranges + if kind == 3 { 3 } else { 0 }
        }
        0x04 | 0xaf => 3 + u64::from(kind == 0xaf),
        0x05 | 0x11 | 0x15 => 2,
        0x10 => {
            let granted = next(&mut rest);
            return (Kind::MaxData(granted), bytes.len() - rest.len());
        }
        0x12 | 0x13 | 0x14 | 0x16 | 0x17 | 0x19 => 1,
        0x08..=0x0f => {
            let id = next(&mut rest);
            if kind & 4 != 0 {
                next(&mut rest);
            }
            let data = if kind & 2 != 0 { next(&mut rest) as usize } else { rest.len() };
            return (Kind::Stream(id), bytes.len() - rest.len() + data);
        }
        0x18 => {
            next(&mut rest);
            next(&mut rest);
            let id = usize::from(rest[0]);
            return (Kind::Other, bytes.len() - rest.len() + 1 + id + 16);
        }
        0x1a | 0x1b => return (Kind::Other, 9),
        // Crypto, close: nothing of interest comes behind.
        _ => return (Kind::Other, bytes.len()),
    };
    for _ in 0..fields {
        next(&mut rest);
    }
    let kind = if matches!(kind, 2 | 3) { Kind::Ack } else { Kind::Other };
    (kind, bytes.len() - rest.len())
}

/// A variable-length integer (RFC 9000 section 16).
pub(crate) fn varint(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    VarInt::from_u64(value).unwrap().encode(&mut out);
    out
}

/// A STREAM frame.
pub(crate) fn stream(id: u64, offset: u64, data: &[u8]) -> Vec<u8> {
    [vec![0x0e], varint(id), varint(offset), varint(data.len() as u64), data.to_vec()].concat()
}

/// The id of the client's unidirectional stream with this number.
pub(crate) fn uni(number: u64) -> u64 {
    4 * number + 2
}
