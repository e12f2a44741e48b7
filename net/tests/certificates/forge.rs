//! Certificates, signatures and handshakes that no honest library makes.

use std::fmt;
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn_proto::transport_parameters::TransportParameters;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{DigitallySignedStruct, Error, SignatureAlgorithm, SignatureScheme};

/// What one side shows: certificates, and a signature over the handshake.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) pen: Pen,
}

/// Signs whatever it is given, with a scheme that the other side need not have offered.
#[derive(Clone)]
pub(crate) struct Pen {
    scheme: SignatureScheme,
    sign: Arc<Sign>,
}

/// A signature over a message.
type Sign = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

impl Pen {
    pub(crate) fn new(
        scheme: SignatureScheme,
        sign: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self { scheme, sign: Arc::new(sign) }
    }

    pub(crate) fn ed25519(seed: u8) -> Self {
        let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        Self::new(SignatureScheme::ED25519, move |message| pair.sign(message).as_ref().to_vec())
    }

    /// The key of a library, asked for a scheme of its own.
    pub(crate) fn of(key: &PrivateKeyDer<'_>, scheme: SignatureScheme) -> Self {
        let key = provider::sign::any_supported_type(key).unwrap();
        Self::new(scheme, move |message| key.choose_scheme(&[scheme]).unwrap().sign(message).unwrap())
    }

    /// The same signature, called one of another scheme.
    pub(crate) fn called(self, scheme: SignatureScheme) -> Self {
        Self { scheme, ..self }
    }

    /// The same signature with one bit changed.
    pub(crate) fn flipped(self) -> Self {
        let Self { scheme, sign } = self;
        Self::new(scheme, move |message| {
            let mut signature = sign(message);
            signature[40] ^= 1;
            signature
        })
    }
}

impl fmt::Debug for Pen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pen").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl SigningKey for Pen {
    fn choose_scheme(&self, _offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(self.clone()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for Pen {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok((self.sign)(message))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// A certificate of an ed25519 key, as ours are.
pub(crate) fn certificate(seed: u8) -> Vec<u8> {
    certificate_with(seed, |_| ())
}

pub(crate) fn certificate_with(seed: u8, set: impl FnOnce(&mut rcgen::CertificateParams)) -> Vec<u8> {
    let header =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let der = PrivatePkcs8KeyDer::from([&header[..], &[seed; 32]].concat());
    let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519).unwrap();
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    set(&mut params);
    params.self_signed(&key).unwrap().der().to_vec()
}

/// The certificate of the node `seed` with `new` in place of `old`, of the same length. Its own signature is then wrong,
/// which nobody reads.
pub(crate) fn patched(seed: u8, old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut der = certificate(seed);
    replace(&mut der, old, new);
    der
}

pub(crate) fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let at = bytes.windows(old.len()).position(|window| window == old).expect("it is there");
    bytes[at..at + old.len()].copy_from_slice(new);
}

impl Shown {
    /// What the node `seed` shows.
    pub(crate) fn of(seed: u8) -> Self {
        Self { certificates: vec![certificate(seed)], pen: Pen::ed25519(seed) }
    }

    /// Its signature beside any certificates.
    pub(crate) fn with(seed: u8, certificates: Vec<Vec<u8>>) -> Self {
        Self { certificates, pen: Pen::ed25519(seed) }
    }

    pub(crate) fn p256() -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
        let der = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let pen = Pen::of(&der, SignatureScheme::ECDSA_NISTP256_SHA256);
        Self { certificates: vec![certificate.der().to_vec()], pen }
    }

    /// A fixed key, since the libraries here make none of this kind.
    pub(crate) fn rsa() -> Self {
        let der = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("rsa_2048.pem")).unwrap();
        let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256).unwrap();
        let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
        let pen = Pen::of(&der.into(), SignatureScheme::RSA_PSS_SHA256);
        Self { certificates: vec![certificate.der().to_vec()], pen }
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        let certificates = self.certificates.iter().cloned().map(CertificateDer::from).collect();
        Arc::new(CertifiedKey::new(certificates, Arc::new(self.pen.clone())))
    }

    /// A client that shows this, and believes any server.
    pub(crate) fn client(&self) -> rustls::ClientConfig {
        self.client_with(provider::default_provider())
    }

    pub(crate) fn client_with(&self, provider: CryptoProvider) -> rustls::ClientConfig {
        let resolver = rustls::sign::SingleCertAndKey::from(CertifiedKey::clone(&self.certified()));
        finished(believer(provider).with_client_cert_resolver(Arc::new(resolver)))
    }

    /// A server that shows this, and believes any client.
    pub(crate) fn server(&self) -> rustls::ServerConfig {
        let mut config = rustls::ServerConfig::builder_with_provider(provider::default_provider().into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Fixed(self.certified())));
        config.alpn_protocols = vec![mainstem_net::identity::ALPN.to_vec()];
        config
    }
}

/// A client that shows nothing.
pub(crate) fn nobody() -> rustls::ClientConfig {
    finished(believer(provider::default_provider()).with_no_client_auth())
}

fn finished(mut config: rustls::ClientConfig) -> rustls::ClientConfig {
    config.alpn_protocols = vec![mainstem_net::identity::ALPN.to_vec()];
    config
}

fn believer(
    provider: CryptoProvider,
) -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert> {
    rustls::ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
}

#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// QUIC of a client with any TLS: its packets begin as RFC 9001 wants it, whatever suites it offers.
pub(crate) fn quic(tls: rustls::ClientConfig) -> quinn::ClientConfig {
    quinn::ClientConfig::new(Arc::new(crypto(tls)))
}

/// The same, with `edit` applied to the first message, the ClientHello, when it is sent.
pub(crate) fn mangled(tls: rustls::ClientConfig, edit: fn(&mut Vec<u8>)) -> quinn::ClientConfig {
    quinn::ClientConfig::new(Arc::new(Mangle { inner: Arc::new(crypto(tls)), edit }))
}

fn crypto(tls: rustls::ClientConfig) -> QuicClientConfig {
    let suite = provider::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    QuicClientConfig::with_initial(Arc::new(tls), suite.quic_suite().unwrap()).unwrap()
}

struct Mangle {
    inner: Arc<QuicClientConfig>,
    edit: fn(&mut Vec<u8>),
}

impl quinn_proto::crypto::ClientConfig for Mangle {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn quinn_proto::crypto::Session>, quinn_proto::ConnectError> {
        let inner = Arc::clone(&self.inner).start_session(version, server_name, params)?;
        Ok(Box::new(Mangled { inner, edit: Some(self.edit) }))
    }
}

struct Mangled {
    inner: Box<dyn quinn_proto::crypto::Session>,
    edit: Option<fn(&mut Vec<u8>)>,
}

impl quinn_proto::crypto::Session for Mangled {
    fn initial_keys(
        &self,
        id: &quinn_proto::ConnectionId,
        side: quinn_proto::Side,
    ) -> quinn_proto::crypto::Keys {
        self.inner.initial_keys(id, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn std::any::Any>> {
        self.inner.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn std::any::Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(
        &self,
    ) -> Option<(Box<dyn quinn_proto::crypto::HeaderKey>, Box<dyn quinn_proto::crypto::PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, quinn_proto::TransportError> {
        self.inner.read_handshake(bytes)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, quinn_proto::TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<quinn_proto::crypto::Keys> {
        let keys = self.inner.write_handshake(out);
        if let Some(edit) = self.edit.take() {
            edit(out);
        }
        keys
    }

    fn next_1rtt_keys(
        &mut self,
    ) -> Option<quinn_proto::crypto::KeyPair<Box<dyn quinn_proto::crypto::PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, id: &quinn_proto::ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(id, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), quinn_proto::crypto::ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}
