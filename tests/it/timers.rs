//! Timers: what a client may take its time over, and what becomes of it after that.
use crate::support::{Conn, Program, Quiet, eventually, request};
use std::time::{Duration, Instant};

/// Settings with these lines under `[server]`.
fn server(lines: &str) -> String {
    format!("[server]\nworkers = 1\n{lines}\n[app]\nmessage = \"here\"\n")
}

#[test]
fn an_idle_connection_is_closed_after_keep_alive_and_no_sooner() {
    let program = Program::serve(&server("keep_alive = \"300ms\""));
    let mut conn = program.connect();
    for _ in 0..3 {
        let begun = Instant::now();
        // Asks well within the time: the connection stays.
        assert_eq!(conn.get("/").text(), "here");
        if conn.quiet(Duration::from_millis(50)) != Quiet::Open {
            assert!(
                begun.elapsed() >= Duration::from_millis(300),
                "closed after {:?}",
                begun.elapsed()
            );
            conn = program.connect();
        }
    }
    let begun = Instant::now();
    conn.get("/");
    conn.closed();
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "closed after {:?}",
        begun.elapsed()
    );
}

#[test]
fn a_connection_that_never_says_a_word_is_closed_after_keep_alive_too() {
    let program = Program::serve(&server(
        "keep_alive = \"300ms\"\nclient_request_timeout = \"60s\"",
    ));
    let begun = Instant::now();
    program.connect().closed();
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "closed after {:?}",
        begun.elapsed()
    );
}

#[test]
fn a_changed_keep_alive_holds_for_connections_that_are_open() {
    let program = Program::serve(&server("keep_alive = \"60s\""));
    let mut conn = program.connect();
    conn.get("/");
    program.edit(&server("keep_alive = \"200ms\""));
    program.reload_applied();
    conn.get("/");
    conn.closed();
}

/// Sends a head byte by byte, one each 50 ms that the server says nothing; when it was answered, and how.
fn trickle(conn: &mut Conn) -> (Duration, u16) {
    let begun = Instant::now();
    let head = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}",
        "x".repeat(300)
    );
    for byte in head.as_bytes() {
        if conn.quiet(Duration::from_millis(50)) != Quiet::Open || conn.write(&[*byte]).is_err() {
            break;
        }
    }
    (begun.elapsed(), conn.answer().status)
}

#[test]
fn a_first_head_that_trickles_is_408_in_time() {
    let program = Program::serve(&server("client_request_timeout = \"600ms\""));
    let mut conn = program.connect();
    let (after, status) = trickle(&mut conn);
    assert_eq!(status, 408);
    assert!(
        (Duration::from_millis(600)..Duration::from_secs(8)).contains(&after),
        "after {after:?}"
    );
    conn.rest();
    assert_eq!(program.get("/").text(), "here");
    assert_eq!(
        program.books().received,
        1,
        "a head never completed was not received"
    );
}

#[test]
fn a_second_head_that_trickles_is_408_in_time() {
    let program = Program::serve(&server("client_request_timeout = \"600ms\""));
    let mut conn = program.connect();
    for _ in 0..2 {
        assert_eq!(conn.get("/").text(), "here");
    }
    let (after, status) = trickle(&mut conn);
    assert_eq!(status, 408);
    assert!(
        (Duration::from_millis(600)..Duration::from_secs(8)).contains(&after),
        "after {after:?}"
    );
    conn.rest();
    assert_eq!(program.books().received, 2);
}

#[test]
fn a_head_that_stops_halfway_is_408() {
    let program = Program::serve(&server("client_request_timeout = \"300ms\""));
    for seconds in [false, true] {
        let mut conn = program.connect();
        if seconds {
            conn.get("/");
        }
        conn.send(b"GET / HTTP/1.1\r\nHos");
        assert_eq!(conn.answer().status, 408, "as second head: {seconds}");
        conn.rest();
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off_after_write_timeout() {
    // More than the sockets between hold.
    let (size, count) = (3_000_000, 8);
    let text = format!(
        "[server]\nworkers = 1\nwrite_timeout = \"500ms\"\n[app]\nmessage = \"{}\"\n",
        "x".repeat(size)
    );
    let program = Program::serve(&text);
    let mut conn = Conn::dial_with(program.public(), |socket| {
        socket.set_recv_buffer_size(8 * 1024)
    })
    .expect("connect");
    conn.send(&request("GET", "/", &[], b"").repeat(count));
    let books = eventually("the write timeout", || {
        Some(program.books()).filter(|books| books.aborted > 0 && books.in_flight == 0)
    });
    books.assert_balanced();
    assert!(
        conn.rest().len() < size * count,
        "it was cut off before the end"
    );
    program.get("/");
}
