//! Ends of connections: GOAWAY on a stop and on idleness, and clients that do not keep to it.
use super::{LARGE, Shop, program, settings};
use crate::support::{
    Conn, H2, H2Load, Program, eventually,
    frames::{
        ACK, ANY_STREAM, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, NO_ERROR,
        PING, PREFACE, RST_STREAM, RawH2, WINDOW_UPDATE, get, post,
    },
};
use everup::StopMode;
use rustix::process::Signal;

const ROUTES: &str = "[app.routes.\"/slow\"]\nrespond = { body = \"slow\", delay = \"20ms\" }\n\
    [app.routes.\"/late\"]\nrespond = { body = \"late\", delay = \"400ms\" }\n\
    [app.routes.\"/never\"]\nrespond = { body = \"never\", delay = \"60s\" }\n";

/// The program with the routes above and these lines under `[shutdown]`.
fn stopping(shutdown: &str) -> Program {
    program("", &format!("{ROUTES}[shutdown]\n{shutdown}\n"))
}

/// The code of the last GOAWAY, and the last stream that it names.
fn last_goodbye(raw: &mut RawH2) -> Option<(u32, u32)> {
    let frames = raw.rest();
    frames.iter().rev().find_map(|frame| frame.goes_away())
}

#[test]
fn no_request_is_lost_in_6_stops_under_load() {
    for (path, answers) in [("/", 2_000), ("/slow", 500)].repeat(3) {
        let mut program = stopping("");
        let expected: &[u8] = if path == "/" { b"here" } else { b"slow" };
        let load = H2Load::start(program.public(), (8, 16), path, b"", expected);
        load.wait_answered(answers);
        let report = program.stop();
        let clients = load.until_refused();
        assert_eq!(clients.lost, 0, "{:#?}", clients.complaints);
        let all = report.in_all;
        assert_eq!(
            (all.received, all.answered),
            (clients.sent, clients.answered)
        );
        assert_eq!(report.cut + report.aborted, 0, "{report:?}");
    }
}

#[test]
fn no_request_is_lost_in_stops_under_uploads_and_downloads() {
    static BODY: [u8; 20_000] = [b'x'; 20_000];
    for (path, body, expected) in [
        ("/echo", &BODY[..], BODY.to_vec()),
        ("/large", &[], vec![b'x'; LARGE]),
    ] {
        let shop = Shop::open(&[]);
        let load = H2Load::start(&shop.address(), (4, 8), path, body, &expected);
        load.wait_answered(50);
        shop.running.control().stop(StopMode::Graceful);
        let clients = load.until_refused();
        assert_eq!(clients.lost, 0, "{path}: {:#?}", clients.complaints);
        let report = actix_web::rt::System::new().block_on(shop.running.finished());
        assert_eq!((report.cut, report.aborted), (0, 0), "{path}");
    }
}

#[test]
fn a_stop_says_goodbye_and_serves_what_is_sent_until_the_client_has_heard_it() {
    let mut program = stopping("");
    let mut raw = RawH2::open(program.public());
    raw.get(1, "/late");
    program.wait_in_flight(1);
    program.signal(Signal::TERM);
    let ping = raw.told_to_go();
    raw.get(3, "/");
    raw.answered(3);
    raw.pong(&ping);
    // Some clients send what they had begun when they read of it.
    raw.get(5, "/");
    raw.answered(5);
    raw.answered(1);
    assert_eq!(last_goodbye(&mut raw), Some((5, NO_ERROR)));
    program.expect_exit(0);
    let report = program.report();
    assert_eq!((report.in_all.answered, report.cut), (3, 0));
}

#[test]
fn idle_clients_that_have_heard_the_goodbye_hold_up_no_stop() {
    let mut program = stopping("linger = \"60s\"\ntimeout = \"120s\"");
    let mut conns: Vec<_> = (0..8).map(|_| RawH2::open(program.public())).collect();
    program.wait_connections(8);
    program.signal(Signal::TERM);
    for raw in &mut conns {
        let ping = raw.told_to_go();
        raw.pong(&ping);
        assert_eq!(last_goodbye(raw), Some((0, NO_ERROR)));
    }
    program.expect_exit(0);
    assert!(program.report().seconds < 15.0);
}

#[test]
fn an_idle_client_that_never_acknowledges_the_goodbye_is_left_after_linger() {
    let mut program = stopping("linger = \"200ms\"\ntimeout = \"120s\"");
    let mut raw = RawH2::open(program.public());
    raw.get(1, "/");
    raw.answered(1);
    program.signal(Signal::TERM);
    raw.told_to_go();
    assert_eq!(last_goodbye(&mut raw), Some((1, NO_ERROR)));
    program.expect_exit(0);
    assert!(program.report().seconds < 15.0);
}

#[test]
fn a_client_that_never_acknowledges_and_goes_on_asking_is_cut_by_name_at_the_deadline() {
    let mut program = stopping("timeout = \"700ms\"");
    let mut raw = RawH2::open(program.public());
    raw.get(1, "/never");
    program.wait_in_flight(1);
    program.signal(Signal::TERM);
    raw.told_to_go();
    raw.get(3, "/");
    raw.answered(3);
    raw.get(5, "/never");
    raw.rest();
    program.expect_exit(3);
    let report = program.report();
    assert_eq!((report.in_all.answered, report.cut), (1, 2));
    program.wait_line("the name of what was cut", |line| {
        line.contains("GET") && line.contains("/never") && line.contains("cut")
    });
}

#[test]
fn half_a_preface_at_a_stop_is_no_request_and_holds_it_up_no_longer_than_half_a_head() {
    let mut program = program(
        "client_request_timeout = \"400ms\"",
        "[shutdown]\ntimeout = \"60s\"",
    );
    let mut half = Conn::open(program.public());
    half.send(&PREFACE[..10]);
    program.wait_connections(1);
    program.signal(Signal::TERM);
    half.rest();
    program.expect_exit(0);
    let report = program.report();
    assert_eq!(report.in_all.received, 0);
    assert!(report.seconds < 15.0, "{report:?}");
}

#[test]
fn half_a_head_at_a_stop_may_still_be_completed() {
    let mut program = stopping("");
    let mut raw = RawH2::open(program.public());
    raw.get(1, "/");
    raw.answered(1);
    let block = get("/late");
    raw.frame(HEADERS, END_STREAM, 3, &block[..10]);
    program.signal(Signal::TERM);
    let ping = raw.told_to_go();
    raw.frame(CONTINUATION, END_HEADERS, 3, &block[10..]);
    raw.pong(&ping);
    raw.answered(3);
    assert_eq!(last_goodbye(&mut raw), Some((3, NO_ERROR)));
    program.expect_exit(0);
    assert_eq!(program.report().in_all.answered, 2);
}

#[test]
fn half_a_head_that_is_never_completed_holds_up_no_stop() {
    let mut program = program(
        "client_request_timeout = \"400ms\"",
        "[shutdown]\ntimeout = \"60s\"",
    );
    let mut raw = RawH2::open(program.public());
    raw.frame(HEADERS, END_STREAM, 1, &get("/")[..10]);
    program.wait_connections(1);
    program.signal(Signal::TERM);
    raw.rest();
    program.expect_exit(0);
    let report = program.report();
    assert_eq!(report.in_all.received, 0);
    assert!(report.seconds < 15.0, "{report:?}");
}

#[test]
fn a_body_under_way_at_a_stop_is_received_and_answered() {
    let shop = Shop::open(&[]);
    let mut raw = shop.raw();
    raw.frame(HEADERS, END_HEADERS, 1, &post("/echo"));
    raw.frame(DATA, 0, 1, b"before, ");
    shop.wait_in_flight(1);
    shop.running.control().stop(StopMode::Graceful);
    let ping = raw.told_to_go();
    raw.pong(&ping);
    raw.frame(DATA, END_STREAM, 1, b"after");
    let echoed = raw.until("DATA", |frame| frame.kind == DATA);
    assert_eq!(echoed.payload, b"before, after");
    raw.rest();
    let report = actix_web::rt::System::new().block_on(shop.running.finished());
    assert_eq!((report.answered, report.cut, report.aborted), (1, 0, 0));
}

#[test]
fn handlers_hear_of_the_drain() {
    let shop = Shop::open(&[]);
    let mut raw = shop.raw();
    raw.get(1, "/drain");
    shop.wait_in_flight(1);
    shop.running.control().stop(StopMode::Graceful);
    let ping = raw.told_to_go();
    raw.pong(&ping);
    let said = raw.until("DATA", |frame| frame.kind == DATA);
    assert_eq!(said.payload, b"drained");
    raw.rest();
    let report = actix_web::rt::System::new().block_on(shop.running.finished());
    assert_eq!((report.answered, report.cut, report.aborted), (1, 0, 0));
}

#[test]
fn with_a_delay_connections_of_before_are_told_at_once_and_later_ones_at_its_end() {
    let mut program = stopping("delay = \"1500ms\"");
    let mut before = RawH2::open(program.public());
    before.get(1, "/");
    before.answered(1);
    program.signal(Signal::TERM);
    let ping = before.told_to_go();
    before.pong(&ping);
    assert_eq!(last_goodbye(&mut before), Some((1, NO_ERROR)));
    let mut later = RawH2::open(program.public());
    later.get(1, "/");
    let first = later.until("answer or GOAWAY", |frame| {
        frame.kind == GOAWAY || frame.ends_stream()
    });
    assert_eq!(first.stream, 1, "answered before it is told to go");
    let ping = later.told_to_go();
    later.pong(&ping);
    later.rest();
    program.expect_exit(0);
    assert_eq!(program.report().in_all.answered, 2);
}

#[test]
fn an_idle_connection_is_told_to_go_after_keep_alive() {
    let program = program("keep_alive = \"300ms\"", "");
    let mut raw = RawH2::open(program.public());
    raw.get(1, "/");
    raw.answered(1);
    let ping = raw.told_to_go();
    // What is sent before it is acknowledged is served.
    raw.get(3, "/");
    raw.answered(3);
    raw.pong(&ping);
    assert_eq!(last_goodbye(&mut raw), Some((3, NO_ERROR)));
}

#[test]
fn a_silent_client_is_asked_whether_it_is_there_while_it_waits() {
    let shop = Shop::open(&[
        ("server.keep_alive", "200ms"),
        ("server.write_timeout", "400ms"),
    ]);
    let mut alive = shop.raw();
    alive.get(1, "/wait");
    for _ in 0..4 {
        let ping = alive.until("PING", |frame| frame.kind == PING && frame.flags & ACK == 0);
        alive.pong(&ping.payload);
    }
    assert_eq!((shop.dropped(), shop.books().in_flight), (0, 1));
    // From here on it is as good as dead.
    let frames = alive.rest();
    assert!(frames.iter().any(|frame| frame.kind == PING), "{frames:?}");
    eventually("the handler dropped", || {
        (shop.dropped() == 1).then_some(())
    });
    assert_eq!(shop.settled().aborted, 1);
}

#[test]
fn a_stream_whose_client_takes_nothing_is_reset_and_others_go_on() {
    let shop = Shop::open(&[("server.write_timeout", "300ms")]);
    let mut raw = shop.raw();
    // The connection's window is opened wide, the stream's is not.
    raw.frame(WINDOW_UPDATE, 0, 0, &(ANY_STREAM / 2).to_be_bytes());
    raw.get(1, "/large");
    let reset = raw.until("reset", |frame| frame.kind == RST_STREAM);
    assert_eq!(reset.stream, 1);
    raw.get(3, "/");
    raw.answered(3);
    let books = shop.settled();
    assert_eq!((books.answered, books.aborted), (1, 1), "{books:?}");
}

#[test]
fn a_client_of_both_kinds_sees_its_connection_through_a_reload_of_the_times() {
    let program = program("keep_alive = \"60s\"", "");
    let mut raw = RawH2::open(program.public());
    raw.get(1, "/");
    raw.answered(1);
    let mut other = H2::open(program.public());
    assert_eq!(other.get("/").text(), "here");
    program.edit(&settings("keep_alive = \"200ms\"", "here", ""));
    program.reload_applied();
    raw.told_to_go();
}
