//! Who does not get in: a matrix of faults of certificates and handshakes, each tried on a running server and each
//! refused before a session begins, and counted, while an honest node goes on. And the same from the other side: servers that the
//! client does not talk to.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

mod forge;
#[path = "../wire/support.rs"]
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use engine::chain::{ChainId, NodeKey};
use mainstem_net::control::{ClientMessage, Hello, Message, RefusalCode};
use mainstem_net::endpoint::{self, Bind, Limits};
use mainstem_net::identity::{ALPN, Refusal, refusal};
use mainstem_net::reactor::{Handle, Reactor};
use mainstem_net::server::{Counters, KeyChanges};
use quinn::{ConnectionError, TransportErrorCode};
use rustls::SignatureScheme;
use rustls::crypto::ring as provider;

use forge::{Pen, Shown, certificate, certificate_with, mangled, nobody, patched, quic, replace};
use support::{Main, World, identity, key, server_identity, side, start, wait_durable, wait_until};

const LONG: Duration = Duration::from_secs(30);

/// Seeds of the keys.
const HONEST: u8 = 1;
/// Registered, and abused by whoever may not use it.
const REGISTERED: u8 = 2;
/// Registered, and struck off.
const REVOKED: u8 = 4;
const STRANGER: u8 = 3;

// Alerts of RFC 8446 section 6.
const HANDSHAKE_FAILURE: u8 = 40;
const BAD_CERTIFICATE: u8 = 42;
const ILLEGAL_PARAMETER: u8 = 47;
const ACCESS_DENIED: u8 = 49;
const DECRYPT_ERROR: u8 = 51;
const PROTOCOL_VERSION: u8 = 70;
const CERTIFICATE_REQUIRED: u8 = 116;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// One way not to get in.
struct Fault {
    name: &'static str,
    config: quinn::ClientConfig,
    /// What the client hears.
    answer: Answer,
}

#[derive(Debug, PartialEq)]
enum Answer {
    /// A TLS alert.
    Alert(u8),
    /// Another version of QUIC.
    Version,
    /// An error of QUIC itself.
    Transport(TransportErrorCode),
    /// It got in.
    None,
}

fn fault(name: &'static str, shown: &Shown, alert: u8) -> Fault {
    Fault { name, config: quic(shown.client()), answer: Answer::Alert(alert) }
}

fn with_alpn(protocols: &[&[u8]]) -> quinn::ClientConfig {
    let mut tls = Shown::of(REGISTERED).client();
    tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    quic(tls)
}

fn offering(suite: rustls::SupportedCipherSuite) -> quinn::ClientConfig {
    let provider =
        rustls::crypto::CryptoProvider { cipher_suites: vec![suite], ..provider::default_provider() };
    quic(Shown::of(REGISTERED).client_with(provider))
}

/// The public key of RFC 8032's curve that anyone can sign for: the neutral element.
const NEUTRAL: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes
};

#[expect(clippy::too_many_lines, reason = "a table")]
fn faults() -> Vec<Fault> {
    let good = certificate(REGISTERED);
    let public = key(REGISTERED).0;
    let shows = |certificate: Vec<u8>| Shown::with(REGISTERED, vec![certificate]);
    let alert = |name, config, alert| Fault { name, config, answer: Answer::Alert(alert) };
    // An extension that nobody knows, to make a certificate long.
    let long = |bytes: usize| {
        certificate_with(REGISTERED, |params| {
            let extension = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 1], vec![0; bytes]);
            params.custom_extensions.push(extension);
        })
    };
    let version_1_2 =
        |hello: &mut Vec<u8>| replace(hello, &[0, 0x2b, 0, 3, 2, 3, 4], &[0, 0x2b, 0, 3, 2, 3, 3]);
    let no_versions =
        |hello: &mut Vec<u8>| replace(hello, &[0, 0x2b, 0, 3, 2, 3, 4], &[0xfa, 0xfa, 0, 3, 2, 3, 4]);
    let other_group = |hello: &mut Vec<u8>| {
        // The key share, and the list of groups: X25519 is 0x001d there.
        while hello.windows(2).any(|pair| pair == [0x00, 0x1d]) {
            replace(hello, &[0x00, 0x1d], &[0x7a, 0x7a]);
        }
    };
    let noise = |hello: &mut Vec<u8>| hello.iter_mut().for_each(|byte| *byte ^= 0x5a);
    let draft = |version| {
        let mut config = quic(Shown::of(REGISTERED).client());
        config.version(version);
        config
    };
    vec![
        alert("no certificate", quic(nobody()), CERTIFICATE_REQUIRED),
        fault("an empty certificate", &shows(Vec::new()), BAD_CERTIFICATE),
        fault("a certificate of garbage", &shows(b"this is no DER at all, is it".to_vec()), BAD_CERTIFICATE),
        fault("a truncated certificate", &shows(good[..good.len() / 2].to_vec()), BAD_CERTIFICATE),
        fault("bytes after a certificate", &shows([&good[..], &[0; 3]].concat()), BAD_CERTIFICATE),
        Fault {
            name: "a certificate that is too long",
            config: quic(shows(long(70_000)).client()),
            answer: Answer::Transport(TransportErrorCode::PROTOCOL_VIOLATION),
        },
        fault("an RSA key", &Shown::rsa(), HANDSHAKE_FAILURE),
        fault("a P-256 key", &Shown::p256(), HANDSHAKE_FAILURE),
        fault(
            "the registered key, called one of X25519",
            &shows(patched(REGISTERED, &[0x2b, 0x65, 0x70, 0x03, 0x21], &[0x2b, 0x65, 0x6e, 0x03, 0x21])),
            HANDSHAKE_FAILURE,
        ),
        fault(
            "the registered key in a bit string with unused bits",
            &shows(patched(REGISTERED, &[0x65, 0x70, 0x03, 0x21, 0x00], &[0x65, 0x70, 0x03, 0x21, 0x01])),
            HANDSHAKE_FAILURE,
        ),
        fault(
            "the registered certificate, signed for by another key",
            &Shown { pen: Pen::ed25519(STRANGER), ..Shown::of(REGISTERED) },
            DECRYPT_ERROR,
        ),
        fault(
            "a signature with one bit changed",
            &Shown { pen: Pen::ed25519(REGISTERED).flipped(), ..Shown::of(REGISTERED) },
            DECRYPT_ERROR,
        ),
        fault(
            "a signature that is called one of RSA",
            &Shown {
                pen: Pen::ed25519(REGISTERED).called(SignatureScheme::RSA_PSS_SHA256),
                ..Shown::of(REGISTERED)
            },
            ILLEGAL_PARAMETER,
        ),
        fault(
            "a signature of no bytes",
            &Shown { pen: Pen::new(SignatureScheme::ED25519, |_| Vec::new()), ..Shown::of(REGISTERED) },
            DECRYPT_ERROR,
        ),
        fault("a key that is not registered", &Shown::of(STRANGER), ACCESS_DENIED),
        fault("a key that was struck off", &Shown::of(REVOKED), ACCESS_DENIED),
        fault(
            "a key that anyone can sign for",
            &Shown {
                certificates: vec![patched(REGISTERED, &public, &NEUTRAL)],
                pen: Pen::new(SignatureScheme::ED25519, |_| [NEUTRAL, [0; 32]].concat()),
            },
            ACCESS_DENIED,
        ),
        fault(
            "the certificate of a key that was struck off, signed for by another key",
            &Shown { pen: Pen::ed25519(STRANGER), ..Shown::of(REVOKED) },
            DECRYPT_ERROR,
        ),
        fault("a key that is no point", &shows(patched(REGISTERED, &public, &[0xff; 32])), DECRYPT_ERROR),
        fault(
            "the registered certificate behind another",
            &Shown::with(STRANGER, vec![certificate(STRANGER), good.clone()]),
            HANDSHAKE_FAILURE,
        ),
        fault(
            "the registered certificate before another",
            &Shown::with(REGISTERED, vec![good.clone(), certificate(STRANGER)]),
            HANDSHAKE_FAILURE,
        ),
        fault("a hundred certificates", &Shown::with(REGISTERED, vec![good.clone(); 100]), HANDSHAKE_FAILURE),
        alert("another protocol", with_alpn(&[b"mainstem/2"]), NO_APPLICATION_PROTOCOL),
        alert("HTTP/3", with_alpn(&[b"h3"]), NO_APPLICATION_PROTOCOL),
        alert("no protocol", with_alpn(&[]), NO_APPLICATION_PROTOCOL),
        alert(
            "only ChaCha20",
            offering(provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
            HANDSHAKE_FAILURE,
        ),
        alert("only AES-256", offering(provider::cipher_suite::TLS13_AES_256_GCM_SHA384), HANDSHAKE_FAILURE),
        alert("only TLS 1.2", mangled(Shown::of(REGISTERED).client(), version_1_2), PROTOCOL_VERSION),
        alert(
            "TLS of unknown version",
            mangled(Shown::of(REGISTERED).client(), no_versions),
            PROTOCOL_VERSION,
        ),
        alert("no group in common", mangled(Shown::of(REGISTERED).client(), other_group), HANDSHAKE_FAILURE),
        Fault {
            name: "a hello of noise",
            config: mangled(Shown::of(REGISTERED).client(), noise),
            answer: Answer::Transport(TransportErrorCode::PROTOCOL_VIOLATION),
        },
        Fault { name: "a draft of QUIC", config: draft(0xff00_001d), answer: Answer::Version },
        Fault { name: "the last draft of QUIC", config: draft(0xff00_0022), answer: Answer::Version },
    ]
}

/// Tries to get in, and to say what a node says once it is in; gives how it ended.
async fn try_it(
    handle: Handle,
    endpoint: quinn::Endpoint,
    config: quinn::ClientConfig,
    main: Address,
) -> Answer {
    let attempt = async {
        let connection = match endpoint::connect(&endpoint, config, main).unwrap().await {
            // By the order of TLS 1.3 the client is done before the server has looked at what it shows.
            Ok(connection) => connection,
            Err(error) => return error,
        };
        // It may be closed already; if it is not, nothing of this is read.
        if let Ok((mut control, _)) = connection.open_bi().await {
            let _ = control.write_all(&hello()).await;
        }
        connection.closed().await
    };
    let error = handle.timeout(LONG, attempt).await.expect("it is answered");
    match &error {
        ConnectionError::VersionMismatch => Answer::Version,
        ConnectionError::ConnectionClosed(close) => match u64::from(close.error_code) {
            crypto @ 0x100..=0x1ff => Answer::Alert(crypto as u8),
            _ => Answer::Transport(close.error_code),
        },
        ConnectionError::ApplicationClosed(_) => Answer::None,
        other => panic!("{other}"),
    }
}

type Address = std::net::SocketAddr;

/// A server with an honest node, and a reactor with an endpoint to try the faults from.
struct Scene {
    main: Main,
    world: World,
    made: u64,
    _honest: mainstem_net::client::Client,
    reactor: Reactor,
    endpoint: quinn::Endpoint,
}

impl Scene {
    fn new() -> Self {
        let sides = [
            side(u32::from(HONEST), &[&identity(HONEST)]),
            side(u32::from(REGISTERED), &[&identity(REGISTERED), &identity(REVOKED)]),
        ];
        let main = Main::start(&sides, 64);
        let world = World::new(&[u32::from(HONEST)], 0);
        let (honest, _) = start(main.client(&identity(HONEST)), &world);
        wait_until("the honest node is there", || main.server.peers().len() == 1);
        let reactor = Reactor::spawn_thread("hostile").unwrap();
        // As a peer has it, which offers all versions of QUIC that quinn knows.
        let socket = Bind::new(([127, 0, 0, 1], 0).into()).socket().unwrap();
        let config = quinn::EndpointConfig::default();
        let endpoint = quinn::Endpoint::new(config, None, socket, Arc::new(reactor.handle())).unwrap();
        Self { main, world, made: 0, _honest: honest, reactor, endpoint }
    }

    /// The honest chain goes on.
    fn goes_on(&mut self) {
        self.made += 10;
        let made = self.made;
        self.world.change(u32::from(HONEST), |side| side.made = made);
        wait_durable(&self.main, u32::from(HONEST), made);
    }

    fn counters(&self) -> Counters {
        self.main.server.peer_list().counters()
    }

    fn answer(&self, config: quinn::ClientConfig) -> Answer {
        let handle = self.reactor.handle();
        let attempt = try_it(handle.clone(), self.endpoint.clone(), config, self.main.addr());
        handle.block_on(attempt).unwrap()
    }
}

#[test]
fn no_fault_of_certificate_or_handshake_gets_in_and_honest_nodes_go_on() {
    let mut scene = Scene::new();
    let faults = faults();
    assert!(faults.len() >= 12);
    scene.main.keys.set(KeyChanges { revoked: [key(REVOKED)].into(), ..KeyChanges::default() });
    let mut wrong = Vec::new();
    for Fault { name, config, answer } in faults {
        let before = scene.counters();
        let got = scene.answer(config);
        // Of another version of QUIC nothing is begun.
        let failed = before.handshakes_failed + u64::from(answer != Answer::Version);
        // A client hears of it a moment before the server has written it down.
        wait_until(&format!("it is counted: {name}"), || scene.counters().handshakes_failed >= failed);
        assert_eq!(scene.counters().handshakes_failed, failed, "{name}");
        if got != answer {
            wrong.push(format!("{name}: {got:?} instead of {answer:?}"));
        }
        scene.goes_on();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Sessions are numbered: of all of them not one has had one.
    let (_second, _) =
        start(scene.main.client(&identity(REGISTERED)), &World::new(&[u32::from(REGISTERED)], 1));
    wait_durable(&scene.main, u32::from(REGISTERED), 1);
    let sessions: Vec<_> = scene.main.server.peers().iter().map(|peer| peer.session).collect();
    assert_eq!(sessions, [1, 2]);
    // Two keys are those of nobody: the stranger's, and the one that anyone can sign for. Whoever shows the certificate
    // of a key that is not his is not taken for its holder.
    let counters = scene.counters();
    assert_eq!((counters.handshakes_unknown_key, counters.handshakes_revoked_key), (2, 1));
    let refusals = scene.main.server.peer_list().refusals();
    let of = |seed| refusals.iter().find(|refusal| refusal.key == key(seed)).map(|refusal| refusal.code);
    assert_eq!(of(STRANGER), Some(RefusalCode::UnknownKey));
    assert_eq!(of(REVOKED), Some(RefusalCode::Revoked));
    let revoked = refusals.iter().find(|refusal| refusal.key == key(REVOKED)).unwrap();
    assert_eq!(revoked.count, 1, "once it was its holder");
}

/// The matrix would prove nothing if these tools could not get in at all.
#[test]
fn the_same_tools_get_in_when_nothing_is_at_fault_whatever_name_and_dates_say() {
    let scene = Scene::new();
    let day = |params: &mut rcgen::CertificateParams, year| {
        params.not_before = rcgen::date_time_ymd(year, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 2);
    };
    let certificates = [
        certificate(REGISTERED),
        certificate_with(REGISTERED, |params| day(params, 2001)),
        certificate_with(REGISTERED, |params| day(params, 2900)),
        certificate_with(REGISTERED, |params| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName("elsewhere.example".try_into().unwrap())];
        }),
    ];
    for certificate in certificates {
        let config = quic(Shown::with(REGISTERED, vec![certificate]).client());
        let connecting = endpoint::connect(&scene.endpoint, config, scene.main.addr()).unwrap();
        let handle = scene.reactor.handle();
        let connection = handle.block_on(connecting).unwrap().unwrap();
        let control = handle.block_on(welcomed(connection.clone())).unwrap();
        // The honest node may come before or after it.
        let is_in = || scene.main.server.peers().iter().any(|peer| peer.key == key(REGISTERED));
        assert!(is_in());
        drop(control);
        connection.close(0_u32.into(), b"done");
        wait_until("it is gone", || !is_in());
    }
}

/// Says hello, and waits for the answer. Gives the control stream: the session ends with it.
async fn welcomed(connection: quinn::Connection) -> (quinn::SendStream, quinn::RecvStream) {
    let (mut control, mut answer) = connection.open_bi().await.unwrap();
    control.write_all(&hello()).await.unwrap();
    let mut byte = [0];
    answer.read_exact(&mut byte).await.unwrap();
    assert_eq!(byte, [0x81], "a welcome");
    (control, answer)
}

fn hello() -> Vec<u8> {
    let mut hello = Vec::new();
    let chains = vec![ChainId(u32::from(REGISTERED))];
    ClientMessage::Hello(Hello { software: "tried".into(), chains }).encode(&mut hello);
    hello
}

/// A resumed session would not show its certificate again, and its early data could be replayed.
#[test]
fn no_session_is_resumed_and_no_data_comes_early() {
    let scene = Scene::new();
    // Willing to resume, as rustls is by default.
    let mut tls = Shown::of(REGISTERED).client();
    tls.enable_early_data = true;
    let config = quic(tls);
    for _ in 0..3 {
        let connecting = endpoint::connect(&scene.endpoint, config.clone(), scene.main.addr()).unwrap();
        let connecting = connecting.into_0rtt().map(|_| ()).expect_err("there is nothing to resume");
        let handle = scene.reactor.handle();
        let connection = handle.block_on(connecting).unwrap().unwrap();
        // A ticket would have come before the welcome.
        handle.block_on(welcomed(connection.clone())).unwrap();
        connection.close(0_u32.into(), b"done");
    }
    // So a key that is struck off does not get in by what it was once.
    scene.main.keys.set(KeyChanges { revoked: [key(REGISTERED)].into(), ..KeyChanges::default() });
    assert_eq!(scene.answer(config), Answer::Alert(ACCESS_DENIED));
}

/// What a server may show that is not ours.
fn impostors() -> Vec<(&'static str, rustls::ServerConfig)> {
    let seed = 0xee;
    assert_eq!(key(seed), server_identity().public());
    let good = certificate(seed);
    let public = key(seed).0;
    let shows = |certificate: Vec<u8>| Shown::with(seed, vec![certificate]).server();
    let other_protocol = {
        let mut config = Shown::of(seed).server();
        config.alpn_protocols = vec![b"mainstem/2".to_vec()];
        config
    };
    let no_protocol = {
        let mut config = Shown::of(seed).server();
        config.alpn_protocols.clear();
        config
    };
    vec![
        ("another key", Shown::of(STRANGER).server()),
        ("an RSA key", Shown::rsa().server()),
        ("a P-256 key", Shown::p256().server()),
        ("a certificate of garbage", shows(b"this is no DER at all, is it".to_vec())),
        ("a truncated certificate", shows(good[..good.len() / 2].to_vec())),
        ("no certificate in the list", Shown::with(seed, Vec::new()).server()),
        (
            "its certificate, signed for by another",
            Shown { pen: Pen::ed25519(STRANGER), ..Shown::of(seed) }.server(),
        ),
        (
            "a signature with one bit changed",
            Shown { pen: Pen::ed25519(seed).flipped(), ..Shown::of(seed) }.server(),
        ),
        (
            "a signature that is called one of P-256",
            Shown {
                pen: Pen::ed25519(seed).called(SignatureScheme::ECDSA_NISTP256_SHA256),
                ..Shown::of(seed)
            }
            .server(),
        ),
        (
            "its key, called one of X25519",
            shows(patched(seed, &[0x65, 0x70, 0x03, 0x21], &[0x65, 0x6e, 0x03, 0x21])),
        ),
        ("a key that anyone can sign for", {
            let pen = Pen::new(SignatureScheme::ED25519, |_| [NEUTRAL, [0; 32]].concat());
            Shown { certificates: vec![patched(seed, &public, &NEUTRAL)], pen }.server()
        }),
        (
            "its certificate behind another",
            Shown::with(STRANGER, vec![certificate(STRANGER), good.clone()]).server(),
        ),
        ("its certificate before another", Shown::with(seed, vec![good, certificate(STRANGER)]).server()),
        ("another protocol", other_protocol),
        ("no protocol", no_protocol),
    ]
}

#[test]
fn the_client_talks_to_no_server_that_cannot_show_the_key() {
    let reactor = Reactor::spawn_thread("impostor").unwrap();
    let handle = reactor.handle();
    for (name, tls) in impostors() {
        let quic = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
        let quic = quinn::ServerConfig::with_crypto(Arc::new(quic));
        let bind = Bind::new(([127, 0, 0, 1], 0).into());
        let server = endpoint::open(&handle, &bind, &identity(STRANGER), Some(quic)).unwrap();
        let address = server.local_addr().unwrap();
        let accepted = handle.spawn(async move { server.accept().await.unwrap().await.map(|_| ()) });
        let client = endpoint::open(&handle, &bind, &identity(HONEST), None).unwrap();
        let config =
            endpoint::client_config(&identity(HONEST), server_identity().public(), &Limits::default())
                .unwrap();
        let connecting = endpoint::connect(&client, config, address).unwrap();
        let error = handle.block_on(connecting).unwrap().expect_err(name);
        let at_server = accepted.wait().unwrap().expect_err(name);
        // rustls has no alert for a list without certificates, and quinn closes for "a protocol violation".
        if name != "no certificate in the list" {
            assert!(refusal(&error).is_some(), "{name}: {error}");
            assert!(refusal(&at_server).is_some(), "{name}: {at_server}");
        }
        if let Some(Refusal::ByUs { reason }) = refusal(&error)
            && name == "another key"
        {
            let (got, expected): (NodeKey, NodeKey) = (key(STRANGER), server_identity().public());
            assert!(reason.contains(&got.to_string()) && reason.contains(&expected.to_string()), "{reason}");
        }
    }
    assert_eq!(ALPN, b"mainstem/1");
}
