//! The certificates and keys that the settings name for listeners: read, checked, and made into what a
//! handshake needs. The handshake itself is `server`'s.

use std::{collections::BTreeMap, io, sync::Arc};

use rustls::{
    Error as TlsError, InconsistentKeys, ServerConfig,
    crypto::ring::{self, Ticketer},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{Error as PemError, PemObject as _},
    },
    server::{NoServerSessionStorage, ParsedCertificate},
};
use sha2::{Digest as _, Sha256};

use crate::{
    server::ALPN,
    settings::{Build, Diagnostic, Fault, Loaded, Tls},
};

/// What the listeners that speak TLS prove themselves by.
#[derive(Default)]
pub(crate) struct Certificates(BTreeMap<String, Certified>);

/// A certificate with its key, as handshakes use them.
#[derive(Clone)]
struct Certified {
    config: Arc<ServerConfig>,
    /// Over the content of both files. Never shown: one of them is secret.
    sum: [u8; 32],
}

/// Which of a listener's two files is wrong, and how.
struct Wrong {
    file: &'static str,
    why: String,
}

/// Bytes that a certificate has at the most, with those that vouch for it: what clients take.
const CHAIN: usize = 64 * 1024;

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
                Err(wrong) => errors.extend(wrong.into_iter().map(|Wrong { file, why }| {
                    let key = format!("server.listeners.{name}.tls.{file}");
                    settings.effective.diagnostic(Fault::Settings, &key, &why)
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
        // Mostly there are none: then this is all that an accept pays.
        let certified = self.0.get(listener)?;
        Some(certified.config.clone())
    }
}

impl Certified {
    fn read(tls: &Tls, with: &Build, served: &Certificates) -> Result<Self, Vec<Wrong>> {
        let certificate = if tls.certificate == tls.key {
            with.read_secret(&tls.certificate)
        } else {
            with.read(&tls.certificate)
        };
        let certificate = certificate.map_err(|error| unreadable("certificate", &error));
        let key = with.read_secret(&tls.key);
        let key = key.map_err(|error| unreadable("key", &error));
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
        let has_key = PrivateKeyDer::from_pem_slice(&certificate).is_ok();
        if has_key && tls.certificate != tls.key {
            // What the certificate's file holds is no secret: it is in the digest that is shown.
            let why = "the file holds a private key too: name it as `key` as well".to_owned();
            return Err(vec![Wrong::certificate(why)]);
        }
        let (chain, key) = both(chain(&certificate), private_key(&key))?;
        let config = Arc::new(config(chain, key).map_err(|wrong| vec![wrong])?);
        Ok(Self { config, sum })
    }
}

impl Wrong {
    fn certificate(why: String) -> Self {
        let file = "certificate";
        Self { file, why }
    }

    fn key(why: String) -> Self {
        let file = "key";
        Self { file, why }
    }
}

/// Both, or all that is wrong with either.
fn both<A, B>(one: Result<A, Wrong>, other: Result<B, Wrong>) -> Result<(A, B), Vec<Wrong>> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (one, other) => Err([one.err(), other.err()].into_iter().flatten().collect()),
    }
}

fn unreadable(file: &'static str, error: &io::Error) -> Wrong {
    let why = format!("cannot read the {file}: {error}");
    Wrong { file, why }
}

/// The certificate, then those that vouch for it.
fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| {
        let why = format!("expected certificates in PEM: {}", malformed(&error));
        Wrong::certificate(why)
    })?;
    if chain.is_empty() {
        let why = "expected a certificate in PEM, found none".to_owned();
        return Err(Wrong::certificate(why));
    }
    let size: usize = chain.iter().map(|certificate| certificate.len()).sum();
    if size > CHAIN {
        let why = format!("expected certificates of at most {CHAIN} bytes, found {size}");
        return Err(Wrong::certificate(why));
    }
    for (place, certificate) in chain.iter().enumerate() {
        ParsedCertificate::try_from(certificate).map_err(|error| {
            let why = format!("certificate {} of the file is none: {error}", place + 1);
            Wrong::certificate(why)
        })?;
    }
    Ok(chain)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Wrong> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        Wrong::key(match error {
            PemError::NoItemsFound => {
                "expected a private key in PEM, not encrypted, found none".to_owned()
            }
            other => format!("expected a private key in PEM: {}", malformed(&other)),
        })
    })
}

/// What is wrong with a file's form, without a byte of its content.
fn malformed(error: &PemError) -> &'static str {
    match error {
        PemError::MissingSectionEnd { .. } => "a section has no end",
        PemError::IllegalSectionStart { .. } => "a section's first line is malformed",
        PemError::Base64Decode(_) => "a section is not base64",
        _ => "malformed",
    }
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Wrong> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need")
        .with_no_client_auth();
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|error| match error {
        TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            Wrong::key("the key is not the certificate's".to_owned())
        }
        TlsError::InvalidCertificate(error) => {
            Wrong::certificate(format!("the certificate is none: {error}"))
        }
        _ => Wrong::key(
            "expected an RSA, an ECDSA (P-256, P-384) or an Ed25519 key, found another".to_owned(),
        ),
    })?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    // What clients bring back to resume a session, they keep: nothing is kept here, and no lock is
    // shared.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new()
        .map_err(|error| Wrong::key(format!("cannot make keys for sessions: {error}")))?;
    Ok(config)
}
