//! Requests' bodies: their limits, who asks for them, and what becomes of those that nobody reads.
use super::Stand;
use crate::support::{Address, Conn, Quiet, request};
use std::time::Duration;

#[test]
fn limits_hold_whatever_the_headers_say() {
    let stand = Stand::open(&[
        ("server.max_body", "1KiB"),
        ("server.body_timeout", "300ms"),
    ]);
    let upgrade = "Connection: upgrade\r\n";
    for path in ["/", "/echo"] {
        for also in ["", upgrade, "Connection: upgrade\r\nUpgrade: h2c\r\n"] {
            let mut conn = stand.connect();
            let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{also}");
            conn.send(format!("{head}Content-Length: 5000\r\n\r\n").as_bytes());
            let answer = conn.answer();
            assert_eq!(
                (answer.status, answer.closes()),
                (413, true),
                "{path} {also:?}"
            );
            conn.closed();
        }
    }
    for also in ["", upgrade] {
        let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\n{also}");
        let mut chunked = stand.connect();
        let chunk = format!("500\r\n{}\r\n", "x".repeat(0x500));
        chunked.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}").as_bytes());
        assert_eq!(chunked.answer().status, 413, "{also:?}");
        chunked.closed();
        let mut stalled = stand.connect();
        stalled.send(format!("{head}Content-Length: 50\r\n\r\nabc").as_bytes());
        assert_eq!(stalled.answer().status, 408, "{also:?}");
        stalled.closed();
    }
    let books = stand.settled();
    assert_eq!((books.received, books.answered), (10, 10), "{books:?}");
}

#[test]
fn a_body_that_nobody_reads_keeps_its_connection_where_it_is_small() {
    let stand = Stand::open(&[]);
    let mut conn = stand.connect();
    for _ in 0..3 {
        conn.send(&request("POST", "/", &[], &[b'x'; 200]));
        let answer = conn.answer();
        assert_eq!((answer.text().as_str(), answer.closes()), ("here", false));
    }
    // The answer comes before the body does.
    conn.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n");
    assert_eq!(conn.answer().text(), "here");
    conn.send(&[b'x'; 40_000]);
    assert_eq!(conn.get("/").text(), "here");
    // So much is not waited for.
    conn.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n");
    let last = conn.answer();
    assert_eq!((last.text().as_str(), last.closes()), ("here", true));
    conn.closed();
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on_when_its_body_is_read() {
    let stand = Stand::open(&[("server.max_body", "1KiB")]);
    let mut conn = stand.connect();
    let head = |path: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    for _ in 0..2 {
        conn.send(head("/echo", 3).as_bytes());
        assert_eq!(conn.answer().status, 100);
        conn.send(b"abc");
        assert_eq!(conn.answer().text(), "abc");
    }
    conn.send(head("/echo", 5000).as_bytes());
    assert_eq!(conn.answer().status, 413);
    conn.closed();
    let mut unread = stand.connect();
    unread.send(head("/", 3).as_bytes());
    let answer = unread.answer();
    assert_eq!((answer.text().as_str(), answer.closes()), ("here", true));
    unread.closed();
}

#[test]
fn who_sends_a_body_or_takes_a_response_too_slowly_is_ended() {
    let stand = Stand::open(&[
        ("server.min_rate", "1MB"),
        ("server.min_rate_grace", "300ms"),
    ]);
    let mut sends = stand.connect();
    sends.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n");
    while sends.quiet(Duration::from_millis(20)) == Quiet::Open {
        sends.send(b"x");
    }
    let answer = sends.answer();
    assert_eq!((answer.status, answer.closes()), (408, true));
    let address = stand.running.address("public").expect("it listens").into();
    let mut takes =
        Conn::dial_with(&address, |socket| socket.set_recv_buffer_size(8 * 1024)).expect("connect");
    takes.send(&request("GET", "/large", &[], b"").repeat(4));
    let books = stand.settled();
    assert!(books.aborted >= 1, "{books:?}");
    // Where there is nothing to be sent or taken, nobody is too slow.
    let mut waits = stand.connect();
    waits.send(b"GET /quiet HTTP/1.1\r\nHost: a\r\n\r\n");
    waits.answer_to_head();
    assert_eq!(waits.quiet(Duration::from_secs(1)), Quiet::Open);
}

#[test]
fn a_body_is_sent_back_while_it_arrives() {
    let stand = Stand::open(&[]);
    let mut conn = stand.connect();
    conn.send(
        b"POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    );
    let head = conn.answer_to_head();
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(conn.bytes(8), b"3\r\nabc\r\n");
    assert_eq!(conn.quiet(Duration::from_millis(50)), Quiet::Open);
    conn.send(b"2\r\nde\r\n0\r\n\r\n");
    assert_eq!(conn.bytes(12), b"2\r\nde\r\n0\r\n\r\n");
    assert_eq!(conn.get("/").text(), "here");
}

#[test]
fn a_client_that_sends_no_more_is_answered() {
    let stand = Stand::open(&[]);
    let mut conn = stand.connect();
    conn.send(
        &[
            request("GET", "/slow", &[], b""),
            request("GET", "/", &[], b""),
        ]
        .concat(),
    );
    conn.half_close();
    stand.answer_slow(1);
    assert_eq!(conn.answer().text(), "slow");
    assert_eq!(conn.answer().text(), "here");
    conn.closed();
    let mut amid = stand.connect();
    amid.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc");
    amid.half_close();
    assert_eq!(amid.answer().status, 400);
    amid.closed();
}

#[test]
fn a_response_may_be_taken_slowly_while_a_task_waits_for_the_request_s_body() {
    let folder = tempfile::tempdir().expect("a folder");
    // What such a socket takes does not grow.
    let path = folder.path().join("socket");
    let listener = format!("unix:{}", path.display());
    let stand = Stand::open(&[
        ("server.body_timeout", "1s"),
        ("server.listeners.local.address", &listener),
    ]);
    let keeps = b"POST /keeps HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    let in_flight = || stand.books().in_flight;
    let sized = |length: usize| request("GET", &format!("/sized/{length}"), &[], b"");
    // Behind how many responses, each of which is written before the next is made, the socket is full: the
    // system's buffers decide.
    let is_held = |count: usize| {
        let mut conn = Conn::open(&Address::Unix(path.clone()));
        conn.send(&[&sized(33_000).repeat(count)[..], &sized(31_000), keeps].concat());
        for _ in 0..3 {
            assert_eq!(stand.connect().get("/").text(), "here");
        }
        let may_be_held = in_flight() == 2;
        stand.gate.add_permits(1);
        if may_be_held {
            // When this is out of time, so would the body be that the task has waited for.
            let mut other = stand.connect();
            other.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
            assert_eq!(other.answer().status, 408);
        }
        let is_held = in_flight() == 2;
        for _ in 0..count {
            assert_eq!(conn.answer().body.len(), 33_000);
        }
        assert_eq!(conn.answer().body.len(), 31_000);
        assert_eq!(conn.answer().text(), "kept");
        is_held
    };
    let is_ever_held = (0..100).any(is_held);
    assert!(is_ever_held, "all was with the socket at once");
}

#[test]
fn a_handler_that_skips_errors_of_a_body_comes_to_its_end() {
    let stand = Stand::open(&[]);
    let mut conn = stand.connect();
    conn.send(b"POST /skips HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc");
    conn.half_close();
    assert_eq!(conn.answer().text(), "1");
    conn.closed();
    assert_eq!(stand.connect().get("/").text(), "here");
}
