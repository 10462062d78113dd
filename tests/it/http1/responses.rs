//! Responses: how they are framed for whom, and what becomes of those that fail.
use super::{LARGE, Stand};
use crate::support::request;

#[test]
fn an_old_client_gets_no_chunks() {
    let stand = Stand::open(&[]);
    for also in ["", "Connection: keep-alive\r\n"] {
        let mut conn = stand.connect();
        conn.send(format!("GET /flow HTTP/1.0\r\n{also}\r\n").as_bytes());
        let answer = conn.answer();
        assert_eq!(answer.header("transfer-encoding"), None);
        assert_eq!((answer.text().as_str(), answer.closes()), ("abcdef", true));
    }
    let mut conn = stand.connect();
    for _ in 0..2 {
        conn.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = conn.answer();
        assert_eq!(answer.header("connection"), Some("keep-alive"));
        assert_eq!(answer.text(), "here");
    }
}

#[test]
fn the_body_of_an_answer_to_head_is_not_made() {
    let stand = Stand::open(&[]);
    let mut conn = stand.connect();
    conn.send(&request("HEAD", "/endless", &[], b""));
    let head = conn.answer_to_head();
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(conn.get("/").text(), "here");
}

#[test]
fn a_response_that_fails_midway_is_not_taken_for_whole() {
    let stand = Stand::open(&[]);
    for path in ["/fails", "/short"] {
        let mut conn = stand.connect();
        conn.send(&request("GET", path, &[], b"").repeat(2));
        assert!(conn.read().is_err(), "{path}");
    }
    let books = stand.settled();
    assert_eq!((books.received, books.aborted), (2, 2), "{books:?}");
}

#[test]
fn a_status_that_ends_no_request_becomes_an_error() {
    let stand = Stand::open(&[]);
    let mut conn = stand.connect();
    assert_eq!(conn.get("/early").status, 500);
    assert_eq!(conn.get("/").text(), "here");
}

#[test]
fn a_get_before_a_head_keeps_its_body_whatever_ends_their_lines() {
    let stand = Stand::open(&[]);
    let mut conn = stand.connect();
    conn.send(
        b"GET /slow HTTP/1.1\nHost: a\n\nHEAD / HTTP/1.1\nHost: a\n\nGET / HTTP/1.1\nHost: a\n\n",
    );
    stand.answer_slow(1);
    assert_eq!(conn.answer().text(), "slow");
    assert_eq!(conn.answer_to_head().header("content-length"), Some("4"));
    assert_eq!(conn.answer().text(), "here");
}

#[test]
fn large_answers_come_whole_one_after_the_other() {
    let stand = Stand::open(&[]);
    let mut conn = stand.connect();
    conn.send(&request("GET", "/large", &[], b"").repeat(3));
    for _ in 0..3 {
        let answer = conn.answer();
        assert_eq!(answer.body.len(), LARGE);
        assert!(answer.body.iter().all(|byte| *byte == b'x'));
    }
    assert_eq!(conn.get("/").text(), "here");
}
