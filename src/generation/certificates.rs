//! Reads and checks the certificates and keys of listeners, and makes TLS configurations of them. `net`
//! does the handshakes.

use std::{collections::BTreeMap, io, sync::Arc};

use jiff::Timestamp;
use rustls::{
    Error as TlsError, ServerConfig,
    crypto::ring::{self, Ticketer},
    pki_types::PrivateKeyDer,
    server::NoServerSessionStorage,
};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::pem::{self, Chain, Facts};
use crate::settings::{Build, Diagnostic, Fault, Loaded, Tls};

/// The names of what is spoken behind a handshake, the preferred one first (RFC 7301). Whoever names
/// none speaks HTTP/1.
const ALPN: [&[u8]; 3] = [HTTP2, b"http/1.1", b"http/1.0"];

pub(crate) const HTTP2: &[u8] = b"h2";

/// What the listeners that speak TLS prove themselves by.
#[derive(Default)]
pub(crate) struct Certificates(BTreeMap<String, Certified>);

/// A certificate with its key, as handshakes use them.
#[derive(Clone)]
struct Certified {
    config: Arc<ServerConfig>,
    facts: Facts,
    /// Over the content of both files. Never shown: one of them is secret.
    sum: [u8; 32],
}

/// Which of a listener's two files is wrong, and how.
struct CertificateFault {
    file: &'static str,
    why: String,
    fault: Fault,
}

/// There is a warning from so many days before a certificate expires.
const SOON: i64 = 14;

impl Certificates {
    /// Reads them as the settings' files are read: their content counts as one of the settings. What
    /// is `served` and has not changed is taken over, so that clients may resume their sessions.
    ///
    /// # Errors
    /// Every file that is wrong, at its key.
    pub(crate) fn read(
        settings: &Loaded<()>,
        with: &Build,
        served: &Self,
    ) -> Result<Self, Vec<Diagnostic>> {
        let (mut certified, mut errors) = (BTreeMap::new(), Vec::new());
        for (name, listener) in &settings.tables.server.listeners {
            let Some(tls) = &listener.tls else {
                continue;
            };
            match Certified::read(tls, with, served) {
                Ok(read) => {
                    certified.insert(name.clone(), read);
                }
                Err(wrong) => errors.extend(wrong.into_iter().map(|wrong| {
                    let key = key_of(name, wrong.file);
                    settings.effective.diagnostic(wrong.fault, &key, &wrong.why)
                })),
            }
        }
        if errors.is_empty() {
            Ok(Self(certified))
        } else {
            Err(errors)
        }
    }

    /// What handshakes on the listener of this name use, where it speaks TLS.
    pub(crate) fn of(&self, listener: &str) -> Option<Arc<ServerConfig>> {
        // Usually there are none, and an accept costs only this check.
        let certified = self.0.get(listener)?;
        Some(certified.config.clone())
    }

    /// The facts of a listener's certificate.
    pub(crate) fn facts(&self, listener: &str) -> Option<&Facts> {
        Some(&self.0.get(listener)?.facts)
    }

    /// Adds a certificate's facts to a change of its file, where `key` names a listener's certificate.
    pub(crate) fn describe(&self, key: &str, file: &mut Json) {
        let mut listeners = self.0.iter();
        let found = listeners.find(|(name, _)| key_of(name, CERTIFICATE) == key);
        if let (Some((_, Certified { facts, .. })), Json::Object(file)) = (found, file)
            && let Ok(Json::Object(facts)) = serde_json::to_value(facts)
        {
            file.extend(facts);
        }
    }

    /// Warns of certificates that clients reject, or will soon.
    pub(crate) fn warnings(&self, settings: &Loaded<()>, now: Timestamp) -> Vec<Diagnostic> {
        let warnings = self.0.iter().filter_map(|(name, Certified { facts, .. })| {
            let (subject, expires) = (&facts.subject, facts.expires);
            let message = match facts.days_left(now) {
                _ if now < facts.begins => {
                    format!(
                        "the certificate `{subject}` is not valid before {}",
                        facts.begins
                    )
                }
                ..0 => format!("the certificate `{subject}` has expired at {expires}"),
                days @ 0..SOON => {
                    let plural = if days == 1 { "" } else { "s" };
                    format!(
                        "the certificate `{subject}` expires in {days} day{plural}, at {expires}"
                    )
                }
                _ => return None,
            };
            let key = key_of(name, CERTIFICATE);
            Some(
                settings
                    .effective
                    .diagnostic(Fault::Settings, &key, &message),
            )
        });
        warnings.collect()
    }
}

const CERTIFICATE: &str = "certificate";
const KEY: &str = "key";

/// The key of one of a listener's two files.
fn key_of(listener: &str, file: &str) -> String {
    format!("server.listeners.{listener}.tls.{file}")
}

impl Certified {
    fn read(tls: &Tls, with: &Build, served: &Certificates) -> Result<Self, Vec<CertificateFault>> {
        let certificate = if tls.certificate == tls.key {
            with.read_secret(&tls.certificate)
        } else {
            with.read(&tls.certificate)
        };
        let certificate = certificate.map_err(|error| unreadable(CERTIFICATE, &error));
        let key = with.read_secret(&tls.key);
        let key = key.map_err(|error| unreadable(KEY, &error));
        let (certificate, key) = both(certificate, key)?;

        let sum = Sha256::new()
            // With its length, no certificate can pass for a key's beginning.
            .chain_update(certificate.len().to_le_bytes())
            .chain_update(&certificate)
            .chain_update(&key)
            .finalize()
            .into();
        if let Some(same) = served.0.values().find(|known| known.sum == sum) {
            return Ok(same.clone());
        }
        let has_both = pem::has_private_key(&certificate) && pem::has_certificate(&certificate);
        if has_both && tls.certificate != tls.key {
            // What the certificate's file holds is no secret: it is in the digest that is shown.
            let why = "the file holds a private key too: name it as `key` as well".to_owned();
            return Err(vec![CertificateFault::certificate(why)]);
        }
        let chain = Chain::read(&certificate).map_err(CertificateFault::certificate);
        let (chain, key) = both(chain, pem::private_key(&key).map_err(CertificateFault::key))?;
        let config = Arc::new(config(&chain, key).map_err(|wrong| vec![wrong])?);
        let facts = chain.facts;
        Ok(Self { config, facts, sum })
    }
}

impl CertificateFault {
    fn certificate(why: String) -> Self {
        Self::of(CERTIFICATE, why)
    }

    fn key(why: String) -> Self {
        Self::of(KEY, why)
    }

    fn of(file: &'static str, why: String) -> Self {
        let fault = Fault::Settings;
        Self { file, why, fault }
    }
}

/// Both, or all that is wrong with either.
fn both<A, B>(
    one: Result<A, CertificateFault>,
    other: Result<B, CertificateFault>,
) -> Result<(A, B), Vec<CertificateFault>> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (one, other) => Err([one.err(), other.err()].into_iter().flatten().collect()),
    }
}

fn unreadable(file: &'static str, error: &io::Error) -> CertificateFault {
    CertificateFault {
        file,
        why: error.to_string(),
        fault: Fault::of(error),
    }
}

fn config(chain: &Chain, key: PrivateKeyDer<'static>) -> Result<ServerConfig, CertificateFault> {
    let provider = ring::default_provider();
    let unsupported = |_| {
        CertificateFault::key(format!(
            "expected an RSA key of 2048 to 8192 bits, an ECDSA key on P-256 or P-384, or an Ed25519 \
             key, found another (the certificate's is {})",
            chain.kind_of_key()
        ))
    };
    let loaded = provider.key_provider.load_private_key(key.clone_key());
    let loaded = loaded.map_err(unsupported)?;
    if let Some(public_key) = loaded.public_key() {
        check_match(chain, &public_key)?;
    }
    let builder = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need")
        .with_no_client_auth();
    let config = builder.with_single_cert(chain.certificates.clone(), key);
    let mut config = config.map_err(|error| match error {
        TlsError::InconsistentKeys(_) => CertificateFault::key(format!("{MISMATCH}: {ORDER}")),
        error => CertificateFault::certificate(format!("the certificate cannot be used: {error}")),
    })?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    // What clients bring back to resume a session, they keep: nothing is kept here, and no lock is
    // shared.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new().map_err(|error| {
        CertificateFault::key(format!("cannot make keys for sessions: {error}"))
    })?;
    Ok(config)
}

const MISMATCH: &str = "the private key does not match the certificate";

/// What is wrong most often where a key and a certificate do not match.
const ORDER: &str = "check that the server's own certificate comes first in the file";

/// Checks that the private key belongs to the first certificate.
fn check_match(chain: &Chain, public_key: &[u8]) -> Result<(), CertificateFault> {
    let first = &chain.facts.subject;
    match chain.position(public_key) {
        Some(0) => Ok(()),
        Some(index) => Err(CertificateFault::certificate(format!(
            "{MISMATCH} `{first}` but the file's certificate {}: {ORDER}",
            index + 1
        ))),
        None => Err(CertificateFault::key(format!(
            "{MISMATCH} `{first}`: {ORDER}"
        ))),
    }
}
