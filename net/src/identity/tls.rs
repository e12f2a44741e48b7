//! TLS 1.3 between two keys that know each other, and nothing else.
//!
//! Of a certificate only the subject public key counts. Its names, dates, issuer and own signature are read by
//! nobody: they could only repeat what the pin says already, and a clock that is wrong must not cut a node off. What
//! proves the identity is the CertificateVerify message: a signature over this very handshake, which rustls hands
//! to the verifiers below and which they check with webpki.
//!
//! Refused here is refused before any byte of a stream is read: the server has no keys for stream data until the
//! client's certificate and signature are accepted. A client, by the order of TLS 1.3, may regard the handshake as
//! done before it hears of the refusal; it then finds the connection closed when it first reads ([`refusal`]).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use engine::chain::NodeKey;
use quinn::{ConnectionError, TransportErrorCode};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring as provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    SignatureScheme,
};

use super::Identity;

/// The application protocol: the wire of `docs/protocol.md`, version 1.
pub const ALPN: &[u8] = b"mainstem/1";

/// The name that QUIC libraries want of a server. It is neither sent nor checked: the key is the name.
pub const SERVER_NAME: &str = "mainstem";

/// Which client keys a server lets in. Asked once per handshake, on the thread of the reactor: it must not block.
pub trait KnownKeys: Send + Sync + 'static {
    /// The registered key that `key` stands for at the moment, itself as a rule; `None` when it is not let in.
    fn identify(&self, key: &NodeKey) -> Option<NodeKey>;
}

/// Keys that stand for themselves.
impl<F: Fn(&NodeKey) -> bool + Send + Sync + 'static> KnownKeys for F {
    fn identify(&self, key: &NodeKey) -> Option<NodeKey> {
        self(key).then_some(*key)
    }
}

/// TLS of a server: shows `identity`, demands a client certificate, lets in the keys that `known` knows.
pub fn server_tls(identity: &Identity, known: Arc<dyn KnownKeys>) -> rustls::ServerConfig {
    Doorkeeper::new(identity, known).tls(Arc::default())
}

/// Makes the TLS of a server, for each handshake anew if need be: all that takes time is done already.
#[derive(Clone)]
pub(crate) struct Doorkeeper {
    known: Arc<dyn KnownKeys>,
    provider: Arc<CryptoProvider>,
    shown: Arc<SingleCertAndKey>,
}

/// The key that was turned away in a handshake, if one was and its holder had proven to hold it: anyone can show the
/// certificate of another. A connection that fails has no key to ask for.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway(Mutex<Option<NodeKey>>);

impl TurnedAway {
    fn set(&self, key: NodeKey) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    pub(crate) fn take(&self) -> Option<NodeKey> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Doorkeeper {
    pub(crate) fn new(identity: &Identity, known: Arc<dyn KnownKeys>) -> Self {
        let (certificate, key) = identity.certificate();
        let provider = crypto();
        let shown = CertifiedKey::from_der(vec![certificate], key.into(), &provider)
            .expect("our certificate carries our key");
        Self { known, provider, shown: Arc::new(shown.into()) }
    }

    pub(crate) fn tls(&self, turned_away: Arc<TurnedAway>) -> rustls::ServerConfig {
        let algorithms = self.provider.signature_verification_algorithms;
        let verifier = ClientVerifier { known: Arc::clone(&self.known), turned_away, algorithms };
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has a suite of TLS 1.3")
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::clone(&self.shown) as _);
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session skips the certificates and with them the pin: a revoked key would still get in. Handshakes
        // are rare here (connections live for days), so nothing is lost. Without resumption there is no 0-RTT either,
        // whose data could be replayed.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config
    }
}

/// TLS of a client: shows `identity` and talks to the holder of one of `servers` only. Several are one server that
/// is about to change its key, or has just done so.
pub fn client_tls(identity: &Identity, servers: &[NodeKey]) -> rustls::ClientConfig {
    let (certificate, key) = identity.certificate();
    let mut config = rustls::ClientConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has a suite of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier {
            expected: servers.to_vec(),
            algorithms: algorithms(),
        }))
        .with_client_auth_cert(vec![certificate], key.into())
        .expect("our certificate carries our key");
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

/// The key that the peer of an established connection has proven to hold.
///
/// `None` only while the handshake is under way.
pub fn peer_key(connection: &quinn::Connection) -> Option<NodeKey> {
    let certificates = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    certified_key(certificates.first()?).ok()
}

/// Why a peer did not accept us, or we did not accept it, in the handshake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The peer does not know our key.
    #[error("the peer refused our key: it is not registered there, or not any more")]
    KeyNotRegistered,
    /// The peer wants a certificate and got none.
    #[error("the peer refused us: it demands a certificate with our key")]
    NoCertificate,
    /// No common application protocol.
    #[error("the other end does not speak {}", String::from_utf8_lossy(ALPN))]
    OtherProtocol,
    /// We refused the peer.
    #[error("we refused the peer: {reason}")]
    ByUs {
        /// What our check of its key found.
        reason: String,
    },
    /// The peer refused us for another reason.
    #[error("the peer refused the handshake: {reason:?} (TLS alert {alert})")]
    ByPeer {
        /// The alert of RFC 8446 section 6.
        alert: u8,
        /// What the peer says: text of the other side, escaped and cut by whoever shows it.
        reason: String,
    },
}

/// The refusal behind a connection error, if it is one of the handshake's.
pub fn refusal(error: &ConnectionError) -> Option<Refusal> {
    let alert_of = |code: TransportErrorCode| {
        let code = u64::from(code);
        // RFC 9001 section 4.8: a TLS alert is CRYPTO_ERROR, 0x0100, plus the alert.
        (code & !0xff == 0x100).then_some(code as u8)
    };
    match error {
        ConnectionError::ConnectionClosed(close) => Some(match alert_of(close.error_code)? {
            ACCESS_DENIED => Refusal::KeyNotRegistered,
            CERTIFICATE_REQUIRED => Refusal::NoCertificate,
            NO_APPLICATION_PROTOCOL => Refusal::OtherProtocol,
            alert => {
                let reason = &close.reason[..close.reason.len().min(MAX_REASON_BYTES)];
                Refusal::ByPeer { alert, reason: String::from_utf8_lossy(reason).into_owned() }
            }
        }),
        ConnectionError::TransportError(error) => Some(if alert_of(error.code)? == NO_APPLICATION_PROTOCOL {
            Refusal::OtherProtocol
        } else {
            let reason = error.reason.strip_prefix("other error: ").unwrap_or(&error.reason);
            Refusal::ByUs { reason: reason.to_owned() }
        }),
        _ => None,
    }
}

/// Lets in the clients whose key is known. That is asked when they have proven to hold it: who is turned away may then
/// be named. TLS 1.3 has no client certificate without a CertificateVerify, but in resumed sessions, which there are
/// none of.
struct ClientVerifier {
    known: Arc<dyn KnownKeys>,
    turned_away: Arc<TurnedAway>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        sole_key(end_entity, intermediates).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let valid = verify_ed25519(message, cert, dss, &self.algorithms)?;
        let key = certified_key(cert)?;
        if self.known.identify(&key).is_some() {
            Ok(valid)
        } else {
            self.turned_away.set(key);
            // Becomes the alert access_denied, which [`refusal`] reads as such.
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVerifier").finish_non_exhaustive()
    }
}

/// Accepts one server.
#[derive(Debug)]
struct ServerVerifier {
    expected: Vec<NodeKey>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = sole_key(end_entity, intermediates)?;
        if self.expected.contains(&presented) {
            Ok(ServerCertVerified::assertion())
        } else {
            let expected: Vec<_> = self.expected.iter().map(NodeKey::to_string).collect();
            Err(other(PinError::OtherKey { presented, expected: expected.join(" or ") }))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_ed25519(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// What is wrong with a certificate.
#[derive(Debug, thiserror::Error)]
enum PinError {
    #[error("its key is {presented}, expected {expected}")]
    OtherKey { presented: NodeKey, expected: String },
    #[error("its certificate carries no ed25519 key")]
    OtherAlgorithm,
    #[error("it sent a chain of {count} certificates, expected one, self-signed")]
    Chain { count: usize },
}

/// The key of a peer that sent exactly one certificate.
fn sole_key(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<NodeKey, Error> {
    if intermediates.is_empty() {
        certified_key(end_entity)
    } else {
        Err(other(PinError::Chain { count: 1 + intermediates.len() }))
    }
}

/// The ed25519 key that a certificate carries.
fn certified_key(certificate: &CertificateDer<'_>) -> Result<NodeKey, Error> {
    let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let key = spki.strip_prefix(&SPKI_HEADER).and_then(|key| key.try_into().ok());
    key.map(NodeKey).ok_or_else(|| other(PinError::OtherAlgorithm))
}

fn verify_ed25519(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    if dss.scheme != SignatureScheme::ED25519 {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    verify_tls13_signature(message, cert, dss, algorithms)
}

fn other(error: PinError) -> Error {
    Error::Other(OtherError(Arc::new(error)))
}

fn only_tls13() -> Error {
    PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()
}

/// One suite and one group: AES-128-GCM is what QUIC demands of everyone (RFC 9001 section 5.2) and by far the
/// fastest here, X25519 is what everyone has.
fn crypto() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![provider::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![provider::kx_group::X25519],
        ..provider::default_provider()
    })
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider::default_provider().signature_verification_algorithms
}

/// SubjectPublicKeyInfo of an ed25519 key up to the key (RFC 8410 section 4): SEQUENCE(42) { { OID 1.3.101.112 },
/// BIT STRING(33), no unused bits.
const SPKI_HEADER: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

// Alerts of RFC 8446 section 6 and RFC 7301.
const ACCESS_DENIED: u8 = 49;
const CERTIFICATE_REQUIRED: u8 = 116;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Of a peer's own words no more than this is kept.
const MAX_REASON_BYTES: usize = 256;
