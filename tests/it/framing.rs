//! Framing: each response is whole and its own, whatever else is on its connection.
use crate::support::{Program, Quiet, request};
use rustix::process::Signal;
use std::time::Duration;

const ROUTES: &str = r#"
[server]
workers = 1
client_request_timeout = "2s"
[app]
message = "here"
[app.routes."/slow"]
respond = { body = "slow", delay = "200ms" }
[app.routes."/none"]
respond = { status = 204 }
"#;

fn get(path: &str) -> Vec<u8> {
    request("GET", path, &[], b"")
}

#[test]
fn a_head_request_behind_a_slow_get_does_not_take_its_body() {
    let program = Program::serve(ROUTES);
    let mut conn = program.connect();
    conn.send(&[get("/slow"), request("HEAD", "/", &[], b"")].concat());
    assert_eq!(conn.answer().text(), "slow");
    let length = conn.answer_to_head();
    assert_eq!(length.header("content-length"), Some("4"), "of `here`");
    assert_eq!(conn.get("/").text(), "here");
}

#[test]
fn a_get_behind_a_slow_head_request_does_not_give_it_a_body() {
    let program = Program::serve(ROUTES);
    let mut conn = program.connect();
    conn.send(&[request("HEAD", "/slow", &[], b""), get("/")].concat());
    conn.answer_to_head();
    assert_eq!(conn.answer().text(), "here");
}

#[test]
fn what_is_sent_behind_connection_close_is_not_answered() {
    let program = Program::serve(ROUTES);
    let mut conn = program.connect();
    let last = request("GET", "/slow", &[("connection", "close")], b"");
    conn.send(&[last, get("/")].concat());
    let answer = conn.answer();
    assert_eq!((answer.text().as_str(), answer.closes()), ("slow", true));
    conn.closed();
}

#[test]
fn an_upgrade_that_is_not_taken_closes_and_says_so() {
    let program = Program::serve(ROUTES);
    let mut conn = program.connect();
    let offer = [
        ("connection", "Upgrade, HTTP2-Settings"),
        ("upgrade", "h2c"),
    ];
    conn.send(&request("GET", "/", &offer, b""));
    let answer = conn.answer();
    assert_eq!((answer.text().as_str(), answer.closes()), ("here", true));
    conn.closed();
}

#[test]
fn a_status_without_a_body_has_none_and_cannot_be_given_one() {
    let program = Program::serve(ROUTES);
    let mut conn = program.connect();
    for _ in 0..2 {
        assert_eq!(conn.get("/none").status, 204);
    }
    assert_eq!(conn.get("/").text(), "here");
    program.edit(&ROUTES.replace("status = 204", "status = 204, body = \"some\""));
    let (status, attempt) = program.reload();
    assert_eq!(status, 422);
    let message = attempt["errors"][0]["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("a status that comes with a body"),
        "{attempt:#}"
    );
}

#[test]
fn a_client_that_ends_its_lines_with_lf_alone_keeps_its_connection() {
    let program = Program::serve(ROUTES);
    let mut conn = program.connect();
    conn.send(b"GET / HTTP/1.1\nHost: a\n\n");
    assert_eq!(conn.answer().text(), "here");
    // Past the time for a head: it is idle, not late.
    assert_eq!(conn.quiet(Duration::from_millis(2_500)), Quiet::Open);
    assert_eq!(conn.get("/").text(), "here");
}

#[test]
fn a_head_that_arrived_while_the_program_was_suspended_is_in_time() {
    let program = Program::serve(ROUTES);
    let mut conn = program.connect();
    let whole = get("/");
    let (begin, end) = whole.split_at(9);
    conn.send(begin);
    program.wait_connections(1);
    program.suspend();
    conn.send(end);
    assert_eq!(conn.quiet(Duration::from_millis(2_200)), Quiet::Open);
    program.signal(Signal::CONT);
    assert_eq!(conn.answer().text(), "here");
}

#[test]
fn a_thousand_pipelined_requests_behind_a_slow_one_are_all_answered() {
    let program = Program::serve(ROUTES);
    let mut conn = program.connect();
    let mut many = get("/slow");
    for _ in 0..1_000 {
        many.extend(get("/"));
    }
    conn.send(&many);
    assert_eq!(conn.answer().text(), "slow");
    for _ in 0..1_000 {
        assert_eq!(conn.answer().text(), "here");
    }
}

#[test]
fn a_chunked_body_that_nobody_reads_does_not_hide_the_next_request() {
    let program = Program::serve(ROUTES);
    let mut conn = program.connect();
    let chunked = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = b"9\r\na\r\n\r\nbcde\r\n0\r\n\r\n";
    for _ in 0..3 {
        conn.send(&[&chunked[..], body].concat());
        let answer = conn.answer();
        assert_eq!((answer.text().as_str(), answer.closes()), ("here", false));
        assert_eq!(conn.get("/").text(), "here");
    }
}

#[test]
fn a_head_request_behind_a_chunked_post_does_not_take_its_answer_s_body() {
    let program = Program::serve(ROUTES);
    let mut conn = program.connect();
    let chunked = b"POST /slow HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = b"3\r\nabc\r\n0\r\n\r\n";
    conn.send(&[&chunked[..], body, &request("HEAD", "/", &[], b"")].concat());
    assert_eq!(conn.answer().text(), "slow");
    assert_eq!(conn.answer_to_head().header("content-length"), Some("4"));
    assert_eq!(conn.get("/").text(), "here");
}
