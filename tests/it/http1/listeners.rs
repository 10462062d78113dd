//! What a request is told of the listener that accepted it, and what TLS holds of its answer.
use super::Stand;
use crate::support::{Address, Conn, Identity, request};
use socket2::Socket;

/// A stand that has a listener with TLS too.
fn secure(more: &[(&str, &str)]) -> Stand {
    let identity = Identity::new();
    let files = tempfile::TempDir::new().expect("a temporary folder");
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| files.path().join(name));
    std::fs::write(&certificate, &identity.certificate).expect("written");
    std::fs::write(&key, &identity.key).expect("written");
    let [certificate, key] = [certificate, key].map(|path| path.display().to_string());
    let listener = [
        ("server.listeners.secure.address", "127.0.0.1:0"),
        ("server.listeners.secure.tls.certificate", &certificate),
        ("server.listeners.secure.tls.key", &key),
    ];
    Stand::open(&[&listener, more].concat())
}

#[test]
fn a_request_is_told_the_address_that_it_came_in_by() {
    let stand = secure(&[("server.listeners.inner.address", "127.0.0.1:0")]);
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

#[test]
fn a_host_that_the_target_names_is_the_one_that_handlers_see() {
    let stand = Stand::open(&[]);
    let mut conn = stand.connect();
    for version in ["1.1", "1.0"] {
        let head = format!("GET http://b:81/where HTTP/{version}\r\nHost: a\r\n\r\n");
        conn.send(head.as_bytes());
        let told = conn.answer().text();
        assert!(told.ends_with(" b:81"), "{told}");
    }
}

#[test]
fn a_response_that_tls_holds_is_answered_when_the_socket_has_it_whatever_follows() {
    // Of responses of some lengths, TLS holds the end where the client takes nothing, and nothing else is
    // to be written when the next one begins: of which, the system's buffers decide.
    let lengths = (10..50).map(|step| step * 4 * 1024);
    let held = lengths.filter(|length| is_held_and_answered(*length));
    assert!(held.count() > 0, "all was with the socket at once");
}

/// Whether a response of this length was held when the next one began. All are answered.
fn is_held_and_answered(length: usize) -> bool {
    // A new worker has no buffer that is larger than what was written to it.
    let stand = secure(&[]);
    let address = stand.running.address("secure").expect("it listens");
    let small = |socket: &Socket| {
        socket.set_recv_buffer_size(8 * 1024)?;
        // The buffer of the other side is small then, too.
        socket.set_tcp_mss(1024)
    };
    let mut conn = Conn::dial_with(&Address::from(address).tls(), small).expect("connect");
    let sized = request("GET", &format!("/sized/{length}"), &[], b"");
    conn.send(&[sized, request("GET", "/slow", &[], b"")].concat());
    // The worker has looked at both then, and has a buffer to spare.
    let mut other = stand.connect();
    for _ in 0..2 {
        assert_eq!(other.get("/").text(), "here");
    }
    let books = stand.books();
    let is_held = books.received == 4 && books.in_flight == 2;
    stand.gate.add_permits(1);
    // The next response has begun before this one is answered.
    assert_eq!(other.get("/").text(), "here");
    assert_eq!(conn.answer().body.len(), length);
    assert_eq!(conn.answer().text(), "slow");
    let books = stand.settled();
    assert_eq!((books.received, books.answered), (5, 5), "{books:?}");
    is_held
}
