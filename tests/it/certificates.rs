//! Certificates and keys that cannot be used, each named for what it is, and those that expire.

use crate::support::{Identity, Program, Setup, replace};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const TLS: &str = "[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
                   tls = { certificate = \"cert.pem\", key = \"key.pem\" }\n";

/// Starts on these files, which must be refused as settings; the log.
fn refused(certificate: &[u8], key: &[u8]) -> String {
    let setup = Setup::new(TLS)
        .file("cert.pem", certificate)
        .file("key.pem", key);
    let (code, log) = setup.run();
    assert_eq!(code, 78, "{log}");
    log
}

fn assert_says(log: &str, parts: &[&str]) {
    for part in parts {
        assert!(log.contains(part), "{part:?} is not in\n{log}");
    }
}

#[test]
fn a_certificate_or_key_that_cannot_be_used_is_named_for_what_it_is() {
    let Identity {
        certificate,
        key,
        der,
    } = Identity::new();
    let (cert, key) = (certificate.as_bytes(), key.as_bytes());
    let key_der = PrivateKeyDer::from_pem_slice(key).expect("a key");
    let encrypted_pkcs8 =
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let request = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
    let bom = |pem: &[u8]| [b"\xef\xbb\xbf", pem].concat();
    let at_certificate = "tls.certificate: expected certificates in PEM, found ";
    let at_key = "tls.key: expected a private key in PEM, found ";
    // PFX of RFC 7292: version 3, then what it holds.
    let pkcs12 = b"\x30\x82\x00\x05\x02\x01\x03\x30\x00";
    let cases: [(&[u8], &[u8], &[&str]); 13] = [
        (
            pkcs12,
            pkcs12,
            &[
                at_certificate,
                at_key,
                "found a PKCS#12 file: `openssl pkcs12 -nodes` writes it in PEM",
            ],
        ),
        (
            include_bytes!("certificates/rsa1024.pem"),
            include_bytes!("certificates/rsa1024.key"),
            &[
                "tls.key: expected an RSA key of 2048 to 8192 bits",
                "RSA of 1024 bits",
            ],
        ),
        (
            include_bytes!("certificates/p521.pem"),
            include_bytes!("certificates/p521.key"),
            &["tls.key: expected an RSA key", "ECDSA on P-521"],
        ),
        (
            cert,
            include_bytes!("certificates/encrypted.key"),
            &[at_key, "an encrypted one", "openssl pkey"],
        ),
        (cert, encrypted_pkcs8, &[at_key, "an encrypted one"]),
        (
            key,
            cert,
            &[
                at_certificate,
                at_key,
                "check that `certificate` and `key` are not swapped",
            ],
        ),
        (&bom(cert), key, &[at_certificate, "byte order mark"]),
        (cert, &bom(key), &[at_key, "byte order mark"]),
        (b"\xff\xfe-\0-\0", key, &[at_certificate, "UTF-16"]),
        (
            &der,
            key,
            &[
                at_certificate,
                "a certificate in DER",
                "openssl x509 -inform DER",
            ],
        ),
        (
            cert,
            key_der.secret_der(),
            &[at_key, "a private key in DER", "openssl pkey -inform DER"],
        ),
        (b"0\x82\x01\x00", key, &[at_certificate, "binary data"]),
        (
            request.as_bytes(),
            key,
            &[at_certificate, "`CERTIFICATE REQUEST`"],
        ),
    ];
    for (certificate, key, says) in cases {
        assert_says(&refused(certificate, key), says);
    }
}

/// A certificate of this name, signed by an authority of this name, with its key.
struct Issued {
    pem: String,
    authority: String,
    key: String,
}

fn issued() -> Issued {
    let named = |name: &str| {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        (params, KeyPair::generate().expect("a key"))
    };
    let (mut params, authority_key) = named("authority.example");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).expect("a certificate");
    let issuer = Issuer::new(params, authority_key);
    let (params, key) = named("own.example");
    let own = params.signed_by(&key, &issuer).expect("a certificate");
    Issued {
        pem: own.pem(),
        authority: authority.pem(),
        key: key.serialize_pem(),
    }
}

#[test]
fn an_intermediate_before_the_servers_own_certificate_is_told_with_the_order() {
    let Issued {
        pem,
        authority,
        key,
    } = issued();
    let log = refused(format!("{authority}{pem}").as_bytes(), key.as_bytes());
    assert_says(
        &log,
        &[
            "tls.certificate: the private key does not match the certificate",
            "authority.example",
            "but the file's certificate 2: check that the server's own certificate comes first in the file",
        ],
    );
    let log = refused(authority.as_bytes(), key.as_bytes());
    assert_says(
        &log,
        &[
            "tls.key: the private key does not match the certificate",
            "authority.example",
            "check that the server's own certificate comes first in the file",
        ],
    );
    let program = Setup::new(TLS)
        .file("cert.pem", format!("{pem}{authority}"))
        .file("key.pem", &key)
        .serve();
    assert_eq!(listed(&program)["subject"], "CN=own.example");
}

/// The certificate of the public listener as `/status` lists it.
fn listed(program: &Program) -> serde_json::Value {
    program.status()["listeners"][0]["certificates"][0].clone()
}

/// A certificate with its key that is valid from one day to another, each so many days from today.
fn valid(from: i64, until: i64) -> Identity {
    let today = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is later");
    let day = |days: i64| {
        // An hour more, so that the test may take one.
        let hours = u64::try_from(days * 24 + 1 + 365 * 24).expect("within a year of today");
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        date_time_ymd(1970, 1, 1) + (today + Duration::from_secs(hours * 60 * 60) - year)
    };
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    (params.not_before, params.not_after) = (day(from), day(until));
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    Identity {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        der: certificate.der().to_vec(),
    }
}

#[test]
fn a_certificate_that_expires_soon_or_has_is_a_warning_in_log_and_status() {
    let long = Identity::new();
    let program = Setup::new(TLS)
        .file("cert.pem", &long.certificate)
        .file("key.pem", &long.key)
        .serve();
    assert_eq!(
        program.status()["warnings"].as_array().map(Vec::len),
        Some(0)
    );
    for (from, until, says) in [
        (-30, -1, Some("has expired at")),
        (-30, 10, Some("expires in 10 days, at")),
        (-30, 1, Some("expires in 1 day, at")),
        (-30, 20, None),
        (1, 30, Some("is not valid before")),
    ] {
        let identity = valid(from, until);
        replace(&program.settings().join("cert.pem"), &identity.certificate);
        replace(&program.settings().join("key.pem"), &identity.key);
        let mark = program.mark();
        program.reload_applied();
        assert_eq!(listed(&program)["days_left"], until);
        let warnings = &program.status()["warnings"];
        let Some(says) = says else {
            assert_eq!(warnings.as_array().map(Vec::len), Some(0), "{warnings:#}");
            continue;
        };
        assert_eq!(
            warnings[0]["key"],
            "server.listeners.public.tls.certificate"
        );
        assert_eq!(warnings[0]["origin"], "settings/default.toml:3:23");
        let message = warnings[0]["message"].as_str().expect("text");
        assert!(message.contains(says), "{message}");
        let line = program.wait_after(mark, says);
        assert!(line.contains("WARN"), "{line}");
    }
}

#[test]
fn check_warns_of_an_expired_certificate_and_passes() {
    let identity = valid(-30, -1);
    let ran = Setup::new(TLS)
        .file("cert.pem", &identity.certificate)
        .file("key.pem", &identity.key)
        .ask(&["check"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_says(
        &ran.err,
        &["warning: settings/default.toml:3:23", "has expired at"],
    );
}

#[test]
fn a_key_under_a_directory_that_is_served_is_rejected_and_one_beside_h2c_too() {
    let keys = "[app.routes.\"/{path}*\"]\nfiles = \"public\"\n[server.listeners.public]\n\
                address = \"127.0.0.1:0\"\n\
                tls = { certificate = \"cert.pem\", key = \"public/key.pem\" }\n";
    let identity = Identity::new();
    let setup = Setup::new(keys).file("cert.pem", &identity.certificate);
    std::fs::create_dir(setup.settings().join("public")).expect("a folder");
    let setup = setup.file("public/key.pem", &identity.key);
    let (code, log) = setup.run();
    assert_ne!(code, 0);
    assert!(log.contains("holds the secret"), "{log}");
    let both = TLS.replace("tls =", "h2c = true\ntls =");
    let (code, log) = Setup::new(&both).run();
    assert_eq!(code, 78, "{log}");
    assert!(log.contains("`h2c` is HTTP/2 without TLS"), "{log}");
}
