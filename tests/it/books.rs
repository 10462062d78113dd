//! The books: received = answered + aborted + cut + in flight, at any moment, whatever the clients do.
use crate::support::{Kind, Load, Program, eventually, request};
use rustix::process::Signal;

const SLOW: &str = "[server]\nworkers = 2\n[app]\nmessage = \"here\"\n\
    [app.routes.\"/slow\"]\nrespond = { body = \"slow\", delay = \"300ms\" }\n";

#[test]
fn the_books_balance_during_a_load_and_agree_with_the_clients_after_it() {
    let mut program = Program::serve(SLOW);
    let load = Load::kept_alive(16, 3)
        .and(8, Kind::PerRequest)
        .and(4, Kind::Pipelined(8))
        .start(program.public());
    for step in 1..=20 {
        load.wait_answered(step * 100);
        program.books().assert_balanced();
    }
    let clients = load.stop();
    clients.assert_nothing_lost();
    let books = eventually("nothing in flight", || {
        Some(program.books()).filter(|books| books.in_flight == 0)
    });
    assert_eq!(
        (books.received, books.answered),
        (clients.sent, clients.answered),
        "{books:?}"
    );
    program.stop().assert_agrees(&clients, 0);
}

#[test]
fn slow_requests_are_in_flight_until_they_are_answered() {
    let program = Program::serve(SLOW);
    let mut conns: Vec<_> = (0..10).map(|_| program.connect()).collect();
    for conn in &mut conns {
        conn.send(&request("GET", "/slow", &[], b""));
    }
    program.wait_in_flight(10);
    program.books().assert_balanced();
    for conn in &mut conns {
        assert_eq!(conn.answer().text(), "slow");
    }
    // The client may hold an answer a moment before the books do.
    let books = eventually("nothing in flight", || {
        Some(program.books()).filter(|books| books.in_flight == 0)
    });
    assert_eq!((books.received, books.answered), (10, 10));
}

#[test]
fn a_client_that_hangs_up_in_a_slow_answer_is_an_aborted_request() {
    let mut program = Program::serve(SLOW);
    let mut conns: Vec<_> = (0..6).map(|_| program.connect()).collect();
    for conn in &mut conns {
        conn.send(&request("GET", "/slow", &[], b""));
    }
    program.wait_in_flight(6);
    for conn in conns.drain(..3) {
        conn.hang_up();
    }
    for conn in &mut conns {
        assert_eq!(conn.answer().text(), "slow");
    }
    let books = eventually("nothing in flight", || {
        Some(program.books()).filter(|books| books.in_flight == 0)
    });
    assert_eq!((books.received, books.answered, books.aborted), (6, 3, 3));
    drop(conns);
    let report = program.stop();
    assert_eq!(
        (
            report.in_all.answered,
            report.in_all.aborted,
            report.in_all.cut
        ),
        (3, 3, 0)
    );
}

#[test]
fn a_client_that_hangs_up_in_the_middle_of_a_big_answer_is_an_aborted_request() {
    // More than the sockets between hold: the last byte is never handed over.
    let big = "x".repeat(4_000_000);
    let program = Program::serve(&format!("[app]\nmessage = \"{big}\"\n"));
    let mut conn = program.connect();
    conn.send(&request("GET", "/", &[], b"").repeat(8));
    conn.skip(100_000);
    conn.hang_up();
    let books = eventually("nothing in flight", || {
        Some(program.books()).filter(|books| books.in_flight == 0)
    });
    books.assert_balanced();
    assert!(books.aborted >= 1, "{books:?}");
}

#[test]
fn the_books_balance_under_clients_that_hang_up() {
    let mut program = Program::serve(SLOW);
    let load = Load::kept_alive(8, 2).start(program.public());
    let mut sent = 0;
    for round in 0..60 {
        let mut conn = program.connect();
        let path = if round % 2 == 0 { "/" } else { "/slow" };
        if conn.write(&request("GET", path, &[], b"")).is_ok() {
            sent += 1;
        }
        match round % 3 {
            0 => conn.hang_up(),
            1 => drop(conn),
            _ => drop(conn.read()),
        }
        program.books().assert_balanced();
    }
    let clients = load.stop();
    clients.assert_nothing_lost();
    program.signal(Signal::TERM);
    program.expect_exit(0);
    let books = program.report().in_all;
    books.assert_balanced();
    assert_eq!((books.cut, books.in_flight), (0, 0), "{books:?}");
    assert!(
        books.answered >= clients.answered + 20,
        "every third of 60 read its answer: {books:?}"
    );
    // A reset can overtake its request, which then was never received.
    assert!(books.received <= clients.sent + sent, "{books:?}");
}

#[test]
fn what_is_no_whole_request_is_not_received() {
    let program = Program::serve(SLOW);
    let mut half = program.connect();
    half.send(b"GET / HTTP/1.1\r\nHost: a");
    half.hang_up();
    drop(program.connect());
    let mut malformed = program.connect();
    malformed.send(b"no request at all\r\n\r\n");
    let rest = String::from_utf8_lossy(&malformed.rest()).into_owned();
    assert!(rest.starts_with("HTTP/1.1 400"), "{rest:?}");
    program.get("/");
    program.wait_in_flight(0);
    let books = program.books();
    assert_eq!((books.received, books.answered), (1, 1), "{books:?}");
}
