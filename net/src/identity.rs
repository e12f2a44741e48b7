//! Who speaks: the ed25519 key of a node, its file, and TLS pinned to such keys.
//!
//! A node is its key. There is no authority, no name and no expiry: the registry of the main chain says which
//! [`NodeKey`] may speak for which chain, and whoever proves in the handshake that he holds the key is that node.
//! Certificates only carry the key, because that is what every QUIC library can send (raw public keys, RFC 7250,
//! would do, but most libraries of other languages lack them).
//!
//! # Key file
//! PKCS#8 in PEM, as RFC 8410 section 10.3 shows it and `openssl genpkey -algorithm ed25519` writes it. The form
//! with the public key in it (PKCS#8 version 2) is read too. The file belongs to its owner alone, mode 0600.

mod tls;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use engine::chain::NodeKey;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

pub use tls::{ALPN, KnownKeys, Refusal, SERVER_NAME, client_tls, peer_key, refusal, server_tls};
pub(crate) use tls::{Doorkeeper, TurnedAway};

/// The private key of a node.
#[derive(Clone)]
pub struct Identity {
    seed: [u8; 32],
    public: NodeKey,
}

impl Identity {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, IdentityError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| IdentityError::Randomness)?;
        Ok(Self::from_seed(seed))
    }

    /// The key of a 32-byte seed (RFC 8032 section 5.1.5). For keys derived from something else: simulations.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("every 32 bytes are an ed25519 seed");
        let public = pair.public_key().as_ref().try_into().expect("an ed25519 public key has 32 bytes");
        Self { seed, public: NodeKey(public) }
    }

    /// Makes a new key and writes it to `path`, which must not exist yet: a key is never overwritten.
    ///
    /// # Errors
    /// The file exists or cannot be written. A file that could not be written completely is removed again.
    pub fn create(path: &Path) -> Result<Self, IdentityError> {
        let identity = Self::generate()?;
        // create_new is O_EXCL: of two that race one wins, and no link laid beforehand is followed.
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => file,
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                return Err(IdentityError::Exists { path: path.into() });
            }
            Err(source) => return Err(IdentityError::Write { path: path.into(), source }),
        };
        file.write_all(identity.to_pem().as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| sync_directory_of(path))
            .map_err(|source| {
                // Ours, made a moment ago, and useless: half a key.
                let _ = std::fs::remove_file(path);
                IdentityError::Write { path: path.into(), source }
            })?;
        Ok(identity)
    }

    /// Reads the key file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, can be read by others than its owner, or holds no ed25519 private key.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let read = |source| IdentityError::Read { path: path.into(), source };
        let file = File::open(path).map_err(read)?;
        // Of the open file, not of the path, which may lead elsewhere by now.
        let metadata = file.metadata().map_err(read)?;
        if !metadata.is_file() {
            return Err(IdentityError::Format { path: path.into(), reason: "it is not a regular file" });
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Permissions { path: path.into(), mode });
        }
        let mut text = Vec::new();
        file.take(MAX_KEY_FILE_BYTES + 1).read_to_end(&mut text).map_err(read)?;
        Self::from_pem(&text).map_err(|reason| IdentityError::Format { path: path.into(), reason })
    }

    /// The public key: what others register, pin and see.
    pub fn public(&self) -> NodeKey {
        self.public
    }

    /// The form of a key file.
    fn to_pem(&self) -> String {
        format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", base64(&self.pkcs8()))
    }

    fn from_pem(text: &[u8]) -> Result<Self, &'static str> {
        if text.len() as u64 > MAX_KEY_FILE_BYTES {
            return Err("it is longer than any key file");
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|_| {
            "expected PKCS#8 in PEM, starting with -----BEGIN PRIVATE KEY----- (`mainstem keys new` makes one)"
        })?;
        let der = der.secret_pkcs8_der();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map_err(|_| "its PKCS#8 content is not an ed25519 private key")?;
        // In version 1 and 2 alike the seed follows 16 bytes of header; a file that lays it out otherwise would
        // give another public key here.
        der.get(PKCS8_HEADER.len()..PKCS8_HEADER.len() + 32)
            .and_then(|seed| seed.try_into().ok())
            .map(Self::from_seed)
            .filter(|identity| identity.public.0 == pair.public_key().as_ref())
            .ok_or("its PKCS#8 content is not laid out as RFC 8410 says")
    }

    /// PKCS#8 version 1 (RFC 8410 section 7): the form that everything else can read.
    fn pkcs8(&self) -> [u8; 48] {
        let mut der = [0; 48];
        der[..16].copy_from_slice(&PKCS8_HEADER);
        der[16..].copy_from_slice(&self.seed);
        der
    }

    /// The self-signed certificate that carries the public key, and the private key in the form TLS wants.
    fn certificate(&self) -> (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.pkcs8().to_vec());
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ED25519)
            .expect("our own PKCS#8 form is that of an ed25519 key");
        let certificate = rcgen::CertificateParams::new(vec![SERVER_NAME.to_owned()])
            .and_then(|params| params.self_signed(&pair))
            .expect("a fixed ASCII name and a valid key make a certificate");
        (certificate.into(), key)
    }

    /// A secret of this node that stays the same from start to start, one for each `purpose`.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.seed), purpose.as_bytes());
        tag.as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes")
    }
}

impl fmt::Debug for Identity {
    /// The public key only: logs are not for secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A key is never overwritten.
    #[error("key file {} exists already; a key is never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner can read the private key.
    #[error(
        "key file {} can be read by others than its owner (mode {mode:04o}): run `chmod 600 {}`",
        path.display(), path.display()
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is no key.
    #[error("key file {} is not usable: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: &'static str,
    },
    /// The file cannot be read.
    #[error("key file {} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("key file {} cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No key can be made here.
    #[error("the system gives no random bytes")]
    Randomness,
}

/// PKCS#8 version 1 of an ed25519 key, up to its seed: SEQUENCE(46) { INTEGER 0, { OID 1.3.101.112 },
/// OCTET STRING(34) { OCTET STRING(32) {`.
const PKCS8_HEADER: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Generous: a key file has 119 bytes; a comment above the PEM block is allowed.
const MAX_KEY_FILE_BYTES: u64 = 16 * 1024;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// Base64 (RFC 4648 section 4) of the 48 bytes of a key: 64 digits, no padding, one line of PEM.
fn base64(bytes: &[u8; 48]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .as_chunks::<3>()
        .0
        .iter()
        .flat_map(|&[a, b, c]| {
            let group = u32::from_be_bytes([0, a, b, c]);
            [18, 12, 6, 0].map(|shift| char::from(DIGITS[(group >> shift & 63) as usize]))
        })
        .collect()
}

/// A new file outlives a crash only when its directory is synced as well.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &[u8], mode: u32) {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .unwrap()
            .write_all(text)
            .unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_created_key_is_private_and_loads_as_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let created = Identity::create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Identity::load(&path).unwrap().public(), created.public());
        assert!(!format!("{created:?}").contains(&format!("{:?}", created.seed)));
    }

    #[test]
    fn a_key_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let first = Identity::create(&path).unwrap();
        let error = Identity::create(&path).unwrap_err();
        assert!(matches!(&error, IdentityError::Exists { path: named } if *named == path), "{error}");
        assert_eq!(Identity::load(&path).unwrap().public(), first.public());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601, 0o777] {
            let path = dir.path().join(format!("{mode:o}.key"));
            write(&path, Identity::from_seed([7; 32]).to_pem().as_bytes(), mode);
            let text = Identity::load(&path).unwrap_err().to_string();
            assert!(text.contains(&format!("chmod 600 {}", path.display())), "{text}");
        }
    }

    #[test]
    fn garbage_is_refused_by_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let good = Identity::from_seed([7; 32]).to_pem();
        let x25519 = good.replace("K2Vw", "K2Vu"); // the OID of X25519, 1.3.101.110
        let certificate = good.replace("PRIVATE KEY", "CERTIFICATE");
        let garbage: [&[u8]; 7] = [
            b"",
            b"\0\xff\xfe",
            b"hello",
            certificate.as_bytes(),
            &good.as_bytes()[..60],
            x25519.as_bytes(),
            &vec![b'\n'; 1 << 20],
        ];
        assert_ne!(x25519, good);
        for (i, text) in garbage.iter().enumerate() {
            let path = dir.path().join(format!("{i}.key"));
            write(&path, text, 0o600);
            let error = Identity::load(&path).unwrap_err();
            assert!(matches!(error, IdentityError::Format { .. }), "{i}: {error}");
            assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
        }
        let missing = Identity::load(&dir.path().join("missing.key")).unwrap_err().to_string();
        assert!(missing.contains("missing.key"), "{missing}");
        assert!(matches!(
            Identity::load(dir.path()),
            Err(IdentityError::Format { .. } | IdentityError::Permissions { .. })
        ));
    }

    #[test]
    fn the_keys_of_rfc_8410_are_read() {
        // Section 10.3: the same key without and with its public key.
        let public = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        let version_1 = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
            -----END PRIVATE KEY-----\n";
        let identity = Identity::from_pem(version_1.as_bytes()).unwrap();
        assert_eq!(identity.public().to_string(), public);
        assert_eq!(identity.to_pem(), version_1);

        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        assert_eq!(der.as_ref().len(), 83);
        let padded: [u8; 96] = std::array::from_fn(|i| der.as_ref().get(i).copied().unwrap_or(0));
        let (a, b) = (padded[..48].try_into().unwrap(), padded[48..].try_into().unwrap());
        let body = format!("{}{}", base64(&a), base64(&b));
        // 83 bytes are 27 groups of three and two bytes more: three digits and a pad.
        let pem = format!("{PEM_BEGIN}\n{}=\n{PEM_END}\n", &body[..111]);
        let version_2 = Identity::from_pem(pem.as_bytes()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        assert_eq!(version_2.public().0, pair.public_key().as_ref());
    }
}
