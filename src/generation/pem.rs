//! Reads certificates and private keys from PEM files, and names what a file holds instead of them.

use jiff::Timestamp;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error as PemError, PemObject as _},
};
use serde::Serialize;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521},
    prelude::FromDer as _,
    public_key::PublicKey,
    time::ASN1Time,
};

/// Bytes of a certificate and its chain at the most: clients accept no more.
const CHAIN: usize = 64 * 1024;

/// Characters of a subject that are shown.
const SUBJECT: usize = 200;

/// What people need to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Facts {
    /// Its distinguished name; where that is empty, the names that it is for.
    pub(crate) subject: String,
    /// In hexadecimal.
    pub(crate) serial: String,
    #[serde(skip)]
    pub(crate) begins: Timestamp,
    pub(crate) expires: Timestamp,
}

/// Certificates of a file, the server's own first.
pub(crate) struct Chain {
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// Of the first one.
    pub(crate) facts: Facts,
}

impl Chain {
    /// Reads the server's own certificate, then those that vouch for it.
    ///
    /// # Errors
    /// What is wrong, without a byte of the content.
    pub(crate) fn read(pem: &[u8]) -> Result<Self, String> {
        let expected = "expected certificates in PEM";
        ensure_no_mark(pem).map_err(|found| format!("{expected}, {found}"))?;
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let certificates =
            certificates.map_err(|error| format!("{expected}: {}", malformed(&error)))?;
        let size: usize = certificates
            .iter()
            .map(|certificate| certificate.len())
            .sum();
        if size > CHAIN {
            return Err(format!(
                "expected certificates of at most {CHAIN} bytes, found {size}"
            ));
        }
        for (index, certificate) in certificates.iter().enumerate() {
            // What the parser says of it is not for an operator.
            parse(certificate).map_err(|_| {
                format!(
                    "{expected}, found that certificate {} of the file is malformed",
                    index + 1
                )
            })?;
        }
        let Some(first) = certificates.first() else {
            return Err(format!("{expected}, {}", instead(pem, Wanted::Certificate)));
        };
        let facts = Facts::of(&parse(first)?);
        Ok(Self {
            certificates,
            facts,
        })
    }

    /// What kind of key the server's own certificate is for.
    pub(crate) fn kind_of_key(&self) -> String {
        let first = self.certificates.first().and_then(|it| parse(it).ok());
        first.map_or_else(
            || "unknown".to_owned(),
            |certificate| kind_of_key(&certificate),
        )
    }

    /// Which certificate has this public key (SubjectPublicKeyInfo), by its place in the file.
    pub(crate) fn position(&self, public_key: &[u8]) -> Option<usize> {
        let has_it = |certificate: &CertificateDer<'_>| {
            parse(certificate).is_ok_and(|it| it.public_key().raw == public_key)
        };
        self.certificates.iter().position(has_it)
    }
}

/// Reads a private key.
///
/// # Errors
/// What is wrong, without a byte of the content.
pub(crate) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let expected = "expected a private key in PEM";
    ensure_no_mark(pem).map_err(|found| format!("{expected}, {found}"))?;
    if is_encrypted(pem) {
        return Err(format!(
            "{expected}, found an encrypted one: `openssl pkey` writes it without its passphrase"
        ));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemError::NoItemsFound => format!("{expected}, {}", instead(pem, Wanted::Key)),
        other => format!("{expected}: {}", malformed(&other)),
    })
}

/// Whether a file has a private key, whatever else is in it.
pub(crate) fn has_private_key(pem: &[u8]) -> bool {
    labels(pem).iter().any(|label| label.ends_with(PRIVATE_KEY))
}

/// Whether a file has a certificate, whatever else is in it.
pub(crate) fn has_certificate(pem: &[u8]) -> bool {
    labels(pem).iter().any(|label| label == CERTIFICATE)
}

impl Facts {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self {
            subject: subject(certificate),
            serial: certificate.raw_serial_as_string(),
            begins: timestamp(validity.not_before),
            expires: timestamp(validity.not_after),
        }
    }

    /// Whole days until it expires; negative afterwards.
    pub(crate) fn days_left(&self, now: Timestamp) -> i64 {
        let left = self.expires.as_second() - now.as_second();
        left.div_euclid(24 * 60 * 60)
    }
}

fn timestamp(time: ASN1Time) -> Timestamp {
    let second = time.timestamp();
    let limit = if second < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Timestamp::from_second(second).unwrap_or(limit)
}

fn subject(certificate: &X509Certificate<'_>) -> String {
    let subject = certificate.subject().to_string();
    let names = || {
        let names = certificate.subject_alternative_name().ok().flatten()?;
        let names = names
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(*name),
                _ => None,
            });
        Some(names.collect::<Vec<_>>().join(", "))
    };
    let shown = match subject.is_empty() {
        true => names().unwrap_or_default(),
        false => subject,
    };
    shown
        .chars()
        .take(SUBJECT)
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

fn parse<'c>(certificate: &'c CertificateDer<'_>) -> Result<X509Certificate<'c>, String> {
    let parsed = X509Certificate::from_der(certificate);
    parsed
        .map(|(_, certificate)| certificate)
        .map_err(|error| error.to_string())
}

fn kind_of_key(certificate: &X509Certificate<'_>) -> String {
    let key = certificate.public_key();
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA of {} bits", rsa.key_size()),
        Ok(PublicKey::EC(_)) => {
            let parameters = key.algorithm.parameters.as_ref();
            let curve = parameters.and_then(|curve| curve.as_oid().ok());
            let named = [
                (OID_EC_P256, "P-256"),
                (OID_NIST_EC_P384, "P-384"),
                (OID_NIST_EC_P521, "P-521"),
            ];
            let known = named.iter().find(|(oid, _)| Some(oid) == curve.as_ref());
            let name = known.map_or("another curve", |(_, name)| name);
            format!("ECDSA on {name}")
        }
        Ok(PublicKey::DSA(_)) => "DSA".to_owned(),
        _ => format!("of algorithm {}", key.algorithm.algorithm),
    }
}

/// What a file was to hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Certificate,
    Key,
}

const CERTIFICATE: &str = "CERTIFICATE";
const PRIVATE_KEY: &str = "PRIVATE KEY";

/// Names what a file holds instead of what was wanted.
fn instead(content: &[u8], wanted: Wanted) -> String {
    let is_swapped = match wanted {
        Wanted::Certificate => has_private_key(content),
        Wanted::Key => has_certificate(content),
    };
    if is_swapped {
        let found = match wanted {
            Wanted::Certificate => "a private key",
            Wanted::Key => "a certificate",
        };
        return format!("found {found}: check that `certificate` and `key` are not swapped");
    }
    if let Some(label) = labels(content).first() {
        return format!("found `{label}`");
    }
    // A DER sequence.
    if content.first() == Some(&0x30) {
        let is_key = PrivateKeyDer::try_from(content).is_ok();
        let is_certificate = X509Certificate::from_der(content).is_ok();
        if is_pkcs12(content) {
            return "found a PKCS#12 file: `openssl pkcs12 -nodes` writes it in PEM".to_owned();
        }
        return match (is_certificate, is_key) {
            (true, _) => "found a certificate in DER: `openssl x509 -inform DER` writes it in PEM",
            (_, true) => "found a private key in DER: `openssl pkey -inform DER` writes it in PEM",
            _ => "found binary data, such as DER",
        }
        .to_owned();
    }
    let is_empty = content.iter().all(u8::is_ascii_whitespace);
    let found = if is_empty {
        "found none: the file is empty"
    } else {
        "found none"
    };
    found.to_owned()
}

/// Whether a DER sequence begins with version 3, as PFX does (RFC 7292) and no private key.
fn is_pkcs12(der: &[u8]) -> bool {
    let length = match der.get(1) {
        Some(long @ 0x81..) => usize::from(long & 0x7f),
        _ => 0,
    };
    let content = der.get(2 + length..);
    content.is_some_and(|content| content.starts_with(&[0x02, 0x01, 0x03]))
}

/// Fails where a byte order mark precedes the first section. The parser would skip that section, and
/// take the next one, an intermediate certificate, for the server's own.
fn ensure_no_mark(content: &[u8]) -> Result<(), &'static str> {
    if content.starts_with(&[0xef, 0xbb, 0xbf]) {
        return Err("found a byte order mark (BOM) at the beginning: save it as UTF-8 without BOM");
    }
    if content.starts_with(&[0xff, 0xfe]) || content.starts_with(&[0xfe, 0xff]) {
        return Err("found UTF-16: save it as UTF-8 without BOM");
    }
    Ok(())
}

/// PKCS#8, and the older form that OpenSSL writes.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// What each section of a PEM file says that it is.
fn labels(pem: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(pem);
    let label = |line: &str| {
        let label = line
            .trim()
            .strip_prefix("-----BEGIN ")?
            .strip_suffix("-----")?;
        Some(label.chars().take(SUBJECT).collect())
    };
    text.lines().filter_map(label).collect()
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
