//! Clients that close their end, or say goodbye, before all is answered; and answers that come before a
//! request is whole.
use super::{Shop, program};
use crate::support::{
    eventually,
    frames::{
        ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, NO_ERROR, RST_STREAM, RawH2, SETTINGS,
        WINDOW_UPDATE, fields, post,
    },
};
use std::collections::BTreeSet;

const LATE: &str = "[app.routes.\"/late\"]\nrespond = { body = \"late\", delay = \"300ms\" }\n";

/// Waits until these streams are answered, in whatever order.
fn answered(raw: &mut RawH2, streams: &[u32]) {
    let mut left: BTreeSet<u32> = streams.iter().copied().collect();
    while !left.is_empty() {
        let last = raw.until("end of a response", |frame| {
            assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
            frame.ends_stream()
        });
        left.remove(&last.stream);
    }
}

#[test]
fn a_client_that_says_goodbye_is_answered_what_it_has_asked() {
    let mut program = program("", LATE);
    let mut raw = RawH2::open(program.public());
    for stream in [1, 3] {
        raw.get(stream, "/late");
    }
    // The last stream is one of ours: there is none.
    raw.frame(GOAWAY, 0, 0, &[0; 8]);
    answered(&mut raw, &[1, 3]);
    raw.rest();
    let all = program.stop().in_all;
    assert_eq!((all.received, all.answered), (2, 2), "{all:?}");
}

#[test]
fn a_client_that_closes_its_end_is_answered_what_it_has_asked() {
    let mut program = program("", LATE);
    let mut raw = RawH2::open(program.public());
    for stream in [1, 3] {
        raw.get(stream, "/late");
    }
    raw.get(5, "/");
    raw.hang_up();
    answered(&mut raw, &[1, 3, 5]);
    raw.rest();
    program.wait_connections(0);
    let all = program.stop().in_all;
    assert_eq!((all.received, all.answered), (3, 3), "{all:?}");
}

#[test]
fn a_client_that_is_gone_altogether_ends_its_handlers() {
    let shop = Shop::open(&[]);
    let mut raw = shop.raw();
    raw.get(1, "/wait");
    shop.wait_in_flight(1);
    // With something unread its socket would be reset as it closes.
    let mut left = BTreeSet::from([(SETTINGS, 0), (SETTINGS, ACK), (WINDOW_UPDATE, 0)]);
    while !left.is_empty() {
        let frame = raw.read().expect("it goes on");
        left.remove(&(frame.kind, frame.flags));
    }
    drop(raw);
    eventually("the handler dropped", || {
        (shop.dropped() == 1).then_some(())
    });
    let books = shop.settled();
    assert_eq!((books.received, books.aborted), (1, 1), "{books:?}");
}

#[test]
fn a_body_that_a_client_does_not_complete_before_it_closes_its_end_is_an_error_to_its_reader() {
    let shop = Shop::open(&[]);
    let mut raw = shop.raw();
    raw.frame(HEADERS, END_HEADERS, 1, &post("/echo"));
    raw.frame(DATA, 0, 1, b"not all");
    shop.wait_in_flight(1);
    raw.hang_up();
    answered(&mut raw, &[1]);
    raw.rest();
    let books = shop.settled();
    assert_eq!((books.received, books.answered), (1, 1), "{books:?}");
}

#[test]
fn who_is_answered_before_the_body_is_sent_may_send_the_rest() {
    let shop = Shop::open(&[]);
    let mut raw = shop.raw();
    raw.frame(HEADERS, END_HEADERS, 1, &post("/early"));
    answered(&mut raw, &[1]);
    for _ in 0..3 {
        raw.frame(DATA, 0, 1, &[b'x'; 1_000]);
    }
    raw.frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &fields(&[("x-sum", "1")]),
    );
    raw.get(3, "/");
    answered(&mut raw, &[3]);
    let books = shop.settled();
    assert_eq!((books.received, books.answered), (2, 2), "{books:?}");
}

#[test]
fn what_nobody_reads_is_read_away_as_far_as_a_body_may_go() {
    let shop = Shop::open(&[("server.max_body", "10KiB")]);
    let mut raw = shop.raw();
    raw.frame(HEADERS, END_HEADERS, 1, &post("/early"));
    answered(&mut raw, &[1]);
    for _ in 0..11 {
        raw.frame(DATA, 0, 1, &[b'x'; 1_024]);
    }
    let reset = raw.until("reset", |frame| frame.kind == RST_STREAM);
    assert_eq!((reset.stream, reset.resets()), (1, Some(NO_ERROR)));
    raw.get(3, "/");
    answered(&mut raw, &[3]);
}
