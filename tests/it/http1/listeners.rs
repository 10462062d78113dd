//! What a request is told of the listener that accepted it.
use super::Stand;
use crate::support::{Address, Conn, Identity};

#[test]
fn a_request_is_told_the_address_that_it_came_in_by() {
    let identity = Identity::new();
    let files = tempfile::TempDir::new().expect("a temporary folder");
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| files.path().join(name));
    std::fs::write(&certificate, &identity.certificate).expect("written");
    std::fs::write(&key, &identity.key).expect("written");
    let [certificate, key] = [certificate, key].map(|path| path.display().to_string());
    let stand = Stand::open(&[
        ("server.listeners.inner.address", "127.0.0.1:0"),
        ("server.listeners.secure.address", "127.0.0.1:0"),
        ("server.listeners.secure.tls.certificate", &certificate),
        ("server.listeners.secure.tls.key", &key),
    ]);
    for name in ["public", "inner", "secure"] {
        let address = stand.running.address(name).expect("it listens");
        let (to, is_secure) = match name {
            "secure" => (Address::from(address).tls(), true),
            _ => (Address::from(address), false),
        };
        let mut conn = Conn::open(&to);
        assert_eq!(
            conn.get("/where").text(),
            format!("{address} {is_secure} localhost"),
            "{name}"
        );
        let mut old = Conn::open(&to);
        old.send(b"GET /where HTTP/1.0\r\n\r\n");
        let told = format!("{address} {is_secure} {address}");
        assert_eq!(old.answer().text(), told, "{name}");
    }
}
