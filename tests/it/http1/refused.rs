//! What is refused is to be seen: in the access log, and in the status.
use crate::support::{Conn, Identity, Program, Setup, eventually};
use serde_json::Value;

const SETTINGS: &str = "[server]\nworkers = 1\nclient_request_timeout = \"300ms\"\n\
    [logging]\naccess = true\nformat = \"json\"\n[app]\nmessage = \"here\"\n";

fn refused(program: &Program) -> Value {
    let status = program.status();
    let listeners = status["listeners"].as_array().expect("a list").clone();
    listeners[0]["refused"].clone()
}

fn line(program: &Program, peer: &str) -> Value {
    let line = program.wait_line(&format!("the line of {peer}"), |line| {
        line.contains("everup::access") && line.contains(&format!("\"peer\":\"{peer}\""))
    });
    serde_json::from_str(&line).expect("an object")
}

#[test]
fn what_is_refused_has_a_line_and_is_counted_and_is_no_request() {
    let program = Program::serve(SETTINGS);
    let cases: [(&[u8], u16, &str); 5] = [
        (b"no request at all\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHos", 408, "timeout"),
        (
            b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            501,
            "not_implemented",
        ),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version"),
        (&[b'x'; 140_000], 414, "too_large"),
    ];
    for (sent, status, reason) in cases {
        let mut conn = program.connect();
        // It may be refused before all of it is sent.
        let _ = conn.write(sent);
        let answer = conn.answer();
        assert_eq!((answer.status, answer.closes()), (status, true));
        let line = line(&program, &conn.local());
        for (field, expected) in [
            ("end", Value::from("refused")),
            ("reason", reason.into()),
            ("status", status.into()),
            ("method", Value::Null),
            ("path", Value::Null),
        ] {
            assert_eq!(line[field], expected, "{field} of {line}");
        }
        assert_eq!(refused(&program)[reason], 1, "{reason}");
    }
    assert_eq!(program.books().received, 0);
}

#[test]
fn as_text_what_is_refused_is_one_line_too() {
    let program = Program::serve(&SETTINGS.replace("json", "text"));
    let mut conn = program.connect();
    conn.send(b"garbage\r\n\r\n");
    conn.rest();
    let peer = conn.local();
    program.wait_log(&format!("- - 400 0 - {peer} refused bad_request"));
}

#[test]
fn a_handshake_that_fails_is_counted_and_one_that_nobody_began_is_not() {
    let identity = Identity::new();
    let settings = "[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
                    tls = { certificate = \"cert.pem\", key = \"key.pem\" }\n";
    let program = Setup::new(settings)
        .file("cert.pem", &identity.certificate)
        .file("key.pem", &identity.key)
        .serve();
    drop(Conn::open(program.public()));
    let mut plain = Conn::open(program.public());
    plain.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    plain.rest();
    let count = eventually("the handshake to fail", || {
        refused(&program)["tls"].as_u64().filter(|count| *count > 0)
    });
    assert_eq!(count, 1);
    assert_eq!(program.books().received, 0);
}
