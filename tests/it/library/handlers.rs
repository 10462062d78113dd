//! What an author's handlers see, and what becomes of those that fail.
use super::{Stand, wait};
use crate::support::{Address, Conn, H2, Identity, Quiet, eventually, request, tls_client};
use everup::StopMode;
use std::time::{Duration, Instant};

#[test]
fn a_handler_that_panics_costs_its_own_request_a_500_and_nothing_else() {
    let stand = Stand::open("here", "");
    let mut conn = stand.connect();
    assert_eq!(conn.get("/").text(), "here");
    for _ in 0..3 {
        assert_eq!(conn.get("/panic").status, 500);
        assert_eq!(
            conn.get("/").text(),
            "here",
            "the same connection, the same worker"
        );
    }
    conn.send(
        &[
            request("GET", "/panic", &[], b""),
            request("GET", "/", &[], b""),
        ]
        .concat(),
    );
    assert_eq!(
        (conn.answer().status, conn.answer().text().as_str()),
        (500, "here")
    );
    let books = stand.settled();
    assert_eq!((books.received, books.answered), (9, 9), "{books:?}");
    stand.change("after");
    assert_eq!(conn.get("/").text(), "after");
    drop(conn);
    stand.running.control().stop(StopMode::Graceful);
    let report = wait(stand.running.finished());
    assert_eq!((report.aborted, report.cut), (0, 0));
}

#[test]
fn live_of_something_that_is_neither_settings_nor_state_is_a_500_that_says_so() {
    let stand = Stand::open("here", "");
    let mut conn = stand.connect();
    let answer = conn.get("/wrong");
    assert_eq!(answer.status, 500);
    assert_eq!(conn.get("/").text(), "here");
}

/// A listener beside `public` that speaks TLS, and where its files are.
fn secure() -> (String, tempfile::TempDir) {
    let identity = Identity::new();
    let files = tempfile::TempDir::new().expect("a temporary folder");
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| files.path().join(name));
    std::fs::write(&certificate, &identity.certificate).expect("written");
    std::fs::write(&key, &identity.key).expect("written");
    let settings = format!(
        "server.listeners.secure = {{ address = \"127.0.0.1:0\", \
         tls = {{ certificate = {certificate:?}, key = {key:?} }} }}\n"
    );
    (settings, files)
}

fn secure_address(stand: &Stand) -> Address {
    let address = stand.running.address("secure").expect("it listens");
    Address::from(address).tls()
}

#[test]
fn the_scheme_is_true_on_listeners_with_and_without_tls() {
    let (settings, _files) = secure();
    let stand = Stand::open("here", &settings);
    let secure = secure_address(&stand);
    for _ in 0..2 {
        assert_eq!(stand.get("/scheme").text(), "http");
        assert_eq!(Conn::open(&secure).get("/scheme").text(), "https");
    }
    // Whatever the client says.
    for said in ["http", "https"] {
        let request = http::Request::get(format!("{said}://localhost/scheme")).body(());
        let answer = H2::open(&secure).ask(request.expect("a request"), b"");
        assert_eq!(answer.text(), "https");
    }
}

#[test]
fn within_tls_too_what_came_while_a_handler_blocked_the_thread_in_a_drain_is_answered() {
    let (settings, _files) = secure();
    let linger = Duration::from_millis(300);
    let stand = Stand::open("here", &format!("{settings}shutdown.linger = \"300ms\""));
    let secure = secure_address(&stand);
    let mut busy = Conn::open(&secure);
    let mut idle = Conn::open(&secure);
    assert_eq!(idle.get("/").text(), "here");
    busy.send(&request("GET", "/drain/gate", &[], b""));
    eventually("a request in flight", || {
        (stand.status()["requests"]["in_flight"] == 1).then_some(())
    });
    stand.running.control().stop(StopMode::Graceful);
    stand.gate.wait_for(1);
    let blocked = Instant::now();
    busy.send(&request("GET", "/", &[], b""));
    idle.send(&request("GET", "/", &[], b""));
    eventually("the linger to be over", || {
        (blocked.elapsed() > 2 * linger).then_some(())
    });
    stand.gate.open();
    assert_eq!(busy.answer().text(), "passed");
    for conn in [&mut busy, &mut idle] {
        let last = conn.answer();
        assert_eq!((last.text().as_str(), last.closes()), ("here", true));
        conn.ends_with_close_notify();
    }
    let report = wait(stand.running.finished());
    assert_eq!((report.answered, report.aborted, report.cut), (3, 0, 0));
}

#[test]
fn a_handshake_that_began_while_a_handler_blocked_the_thread_is_finished_in_a_drain_without_linger()
{
    let (settings, _files) = secure();
    let stand = Stand::open("here", &format!("{settings}shutdown.linger = \"0s\""));
    let secure = secure_address(&stand);
    let shy = Conn::open(&Address::Tcp(
        stand.running.address("secure").expect("it listens"),
    ));
    let mut busy = Conn::open(&secure);
    busy.send(&request("GET", "/gate", &[], b""));
    stand.gate.wait_for(1);
    stand.running.control().stop(StopMode::Graceful);
    eventually("the stop to begin", || {
        (stand.status()["state"] == "draining").then_some(())
    });
    let mut shy = shy.greet(tls_client(&[])).expect("it is accepted");
    stand.gate.open();
    assert_eq!(busy.answer().text(), "passed");
    shy.ends_with_close_notify();
    let report = wait(stand.running.finished());
    assert_eq!((report.answered, report.aborted, report.cut), (1, 0, 0));
}

#[test]
fn settings_and_state_are_of_one_generation() {
    let stand = Stand::open("a", "");
    let mut conn = stand.connect();
    assert_eq!(conn.get("/sign").text(), "1 a [a]");
    stand.change("b");
    assert_eq!(conn.get("/sign").text(), "2 b [b]");
}

#[test]
fn a_handler_sees_the_drain_and_its_deadline() {
    let stand = Stand::open("here", "");
    let mut conn = stand.connect();
    conn.send(&request("GET", "/drain", &[], b""));
    eventually("a request in flight", || {
        (stand.status()["requests"]["in_flight"] == 1).then_some(())
    });
    let control = stand.running.control();
    control.stop(StopMode::Graceful);
    let answer = conn.answer();
    assert_eq!(
        answer.text(),
        "deadline before false, ahead true, after true"
    );
    assert!(answer.closes());
    let report = wait(stand.running.finished());
    assert_eq!((report.answered, report.aborted, report.cut), (1, 0, 0));
}

#[test]
fn a_request_that_came_while_a_handler_blocked_the_thread_in_a_drain_is_answered() {
    let stand = Stand::open("here", "");
    let mut conn = stand.connect();
    conn.send(&request("GET", "/drain/gate", &[], b""));
    eventually("a request in flight", || {
        (stand.status()["requests"]["in_flight"] == 1).then_some(())
    });
    stand.running.control().stop(StopMode::Graceful);
    stand.gate.wait_for(1);
    // It lies in the socket before the first answer is made.
    conn.send(&request("GET", "/", &[], b""));
    stand.gate.open();
    assert_eq!(conn.answer().text(), "passed");
    let last = conn.answer();
    assert_eq!((last.text().as_str(), last.closes()), ("here", true));
    let report = wait(stand.running.finished());
    assert_eq!((report.answered, report.aborted, report.cut), (2, 0, 0));
}

#[test]
fn a_body_that_stalls_is_408_though_the_handler_waits_for_it() {
    let stand = Stand::open("here", "");
    let mut conn = stand.connect();
    conn.send(&request("POST", "/echo", &[], b"whole"));
    assert_eq!(conn.answer().text(), "whole");

    let stand = Stand::open("here", "server.body_timeout = \"300ms\"");
    let mut conn = stand.connect();
    conn.send(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(conn.answer().status, 408);
    conn.rest();
    let books = stand.settled();
    assert_eq!(
        (books.received, books.answered, books.aborted),
        (1, 1, 0),
        "{books:?}"
    );
}

#[test]
fn a_body_that_comes_in_pieces_is_waited_for_piece_by_piece() {
    let stand = Stand::open("here", "server.body_timeout = \"1s\"");
    let mut conn = stand.connect();
    let begun = Instant::now();
    conn.send(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        let waited = Instant::now();
        let quiet = conn.quiet(Duration::from_millis(150));
        if waited.elapsed() > Duration::from_millis(500) {
            return; // a machine that stands still proves nothing about the timer
        }
        assert_eq!(quiet, Quiet::Open);
        conn.send(b"x");
    }
    assert_eq!(conn.answer().text(), "xxxxxxxxxx");
    assert!(
        begun.elapsed() > Duration::from_secs(1),
        "longer in all than between two pieces"
    );
}
