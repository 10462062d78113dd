//! The examples that stream, as their users run them: neither loses anything over a stop.
use crate::support::{Books, Conn, H2, eventually, replace, request, start_h2c};
use everup::{Running, Service, Settings, Sources, StopMode};
use std::time::Duration;

// Its `main` is for those who run it.
#[allow(dead_code)]
#[path = "../../examples/sse.rs"]
mod sse;
#[allow(dead_code)]
#[path = "../../examples/websocket.rs"]
mod websocket;

/// Starts an example; a stop that waits for its deadline fails the test.
fn start<S: Settings>(service: Service<S>, more: &[(&str, &str)]) -> Running {
    start_h2c(service, &[&[("shutdown.timeout", "120s")], more].concat())
}

fn stop_answers_all(running: Running, answered: u64) {
    let report = actix_web::rt::System::new().block_on(running.finished());
    assert_eq!(
        (report.answered, report.aborted, report.cut),
        (answered, 0, 0)
    );
}

#[test]
fn event_streams_say_goodbye_and_end_whole_on_both_protocols() {
    let running = start(sse::service(), &[("app.every_ms", "5")]);
    let address = running.address("public").expect("it listens").into();
    let mut one = Conn::open(&address);
    one.send(&request("GET", "/events", &[], b""));
    assert!(one.bytes(12).starts_with(b"HTTP/1.1 200"));
    let two = std::thread::spawn(move || H2::open(&address).get("/events").text());
    eventually("both streams", || {
        (Books::of_running(&running).in_flight == 2).then_some(())
    });
    let mut begun = Vec::new();
    while !begun.ends_with(b"data: 2\n\n") {
        begun.extend(one.bytes(1));
    }
    running.control().stop(StopMode::Graceful);
    let said = String::from_utf8(one.rest()).expect("text");
    assert!(said.contains("retry: 2000\nevent: goodbye\n"), "{said}");
    assert!(said.ends_with("0\r\n\r\n"), "the last chunk: {said:?}");
    let said = two.join().expect("no panic");
    assert!(
        said.ends_with("\n\n") && said.contains("event: goodbye"),
        "{said}"
    );
    stop_answers_all(running, 2);
}

/// A text from a client, masked by nothing.
fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("short");
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

fn websocket(running: &Running) -> Conn {
    let mut conn = Conn::open(&running.address("public").expect("it listens").into());
    let headers = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    conn.send(&request("GET", "/echo", &headers, b""));
    assert_eq!(conn.answer().status, 101);
    conn
}

fn say_hello(conns: &mut [Conn]) {
    for conn in conns {
        conn.send(&text("hello"));
        assert_eq!(conn.bytes(16), b"\x81\x0eyou said hello");
    }
}

/// A close frame: its length, 1001.
const AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

#[test]
fn websockets_are_closed_with_1001_and_lose_nothing_that_was_sent() {
    let running = start(websocket::service(), &[("app.prefix", "you said ")]);
    let mut conns: Vec<_> = (0..4).map(|_| websocket(&running)).collect();
    say_hello(&mut conns);
    running.control().stop(StopMode::Graceful);
    for conn in &mut conns {
        assert_eq!(conn.bytes(4), AWAY);
        // A client that still talks, and one that waits: both see a clean end.
        let _late = conn.write(&text("late"));
        conn.closed();
    }
    stop_answers_all(running, 4);
}

#[test]
fn a_websocket_outlives_its_worker_and_hears_of_the_stop_that_comes_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("default.toml");
    let settings = |workers: usize| {
        let text = format!(
            "[server]\nworkers = {workers}\n[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
             [admin]\naddress = \"\"\n[app]\nprefix = \"you said \"\n"
        );
        replace(&file, text);
    };
    settings(4);
    let running = websocket::service().start(Sources::at(folder.path()));
    let running = running.unwrap_or_else(|_| panic!("the service does not start"));
    let mut conns: Vec<_> = (0..16).map(|_| websocket(&running)).collect();
    settings(1);
    let control = running.control();
    let attempt = actix_web::rt::System::new().block_on(control.reload());
    let attempt = attempt.expect("it is answered");
    assert_eq!(attempt.workers.total, 1);
    say_hello(&mut conns);
    running.control().stop(StopMode::Graceful);
    for conn in &mut conns {
        assert_eq!(conn.bytes(4), AWAY);
        conn.closed();
    }
    stop_answers_all(running, 16);
}

#[test]
fn a_silent_websocket_outlives_the_times_of_requests() {
    let times = [
        ("server.keep_alive", "100ms"),
        ("server.client_request_timeout", "100ms"),
        ("server.body_timeout", "100ms"),
        ("server.write_timeout", "100ms"),
    ];
    let running = start(websocket::service(), &times);
    let mut conn = websocket(&running);
    conn.quiet(Duration::from_millis(600));
    conn.send(&text("still here"));
    assert_eq!(conn.bytes(12), b"\x81\x0astill here");
    // The client closes: 1000, answered likewise.
    conn.send(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]);
    assert_eq!(conn.bytes(4), [0x88, 2, 0x03, 0xe8]);
    conn.closed();
    running.control().stop(StopMode::Graceful);
    stop_answers_all(running, 0);
}
