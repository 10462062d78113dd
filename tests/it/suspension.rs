//! A suspended process: it logs the time, and deadlines move by it.
//!
//! Time passes here because standing still for over a second is what is tested.
use crate::support::{Program, Quiet, eventually, request};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Longer than every time that the settings below give.
const SUSPENSION: Duration = Duration::from_millis(4600);

/// Stops the process for that long. Nobody could wait for an event: nothing happens.
fn suspend(program: &Program) {
    program.suspend();
    let begun = Instant::now();
    eventually("the suspension to be over", || {
        (begun.elapsed() >= SUSPENSION).then_some(())
    });
    program.signal(Signal::CONT);
}

#[test]
fn clocks_of_connections_move_by_the_time_that_the_process_was_suspended() {
    let program = Program::serve(
        "[server]\nworkers = 1\nclient_request_timeout = \"4s\"\nkeep_alive = \"4s\"\n\
         body_timeout = \"4s\"\n[app]\nmessage = \"here\"\n",
    );
    let mut idle = program.connect();
    idle.get("/");
    let mut head = program.connect();
    head.send(b"GET / HTTP/1.1\r\nHos");
    let mut body = program.connect();
    body.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1");
    program.wait_connections(3);
    suspend(&program);
    let line = program.wait_log("suspended for ");
    let seconds: f64 = line
        .split_once("suspended for ")
        .and_then(|(_, rest)| rest.split_once(" s "))
        .and_then(|(seconds, _)| seconds.parse().ok())
        .unwrap_or_else(|| panic!("no time in {line:?}"));
    assert!(seconds >= 4.5, "{line:?}");
    // Each goes on as if nothing had been.
    head.send(b"t: a\r\n\r\n");
    assert_eq!(head.answer().text(), "here");
    body.send(b"2");
    assert_eq!(body.answer().text(), "here");
    assert_eq!(idle.get("/").text(), "here");
}

#[test]
fn a_stop_s_deadline_moves_by_the_time_that_the_process_was_suspended() {
    let mut program = Program::serve(
        "[server]\nworkers = 1\n[shutdown]\ntimeout = \"4s\"\n\
         [app.routes.\"/stuck\"]\nrespond = { body = \"never\", delay = \"60s\" }\n",
    );
    let mut stuck = program.connect();
    stuck.send(&request("GET", "/stuck", &[], b""));
    program.wait_in_flight(1);
    program.signal(Signal::TERM);
    program.wait_stopping();
    suspend(&program);
    program.wait_log("suspended for ");
    assert_eq!(
        stuck.quiet(Duration::from_millis(1)),
        Quiet::Open,
        "its deadline has moved"
    );
    program.expect_exit(3);
    let report = program.report();
    assert!(
        report.seconds >= 4.0 + 4.5,
        "the deadline did not move: {report:?}"
    );
}
