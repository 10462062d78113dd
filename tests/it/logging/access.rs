//! The access log: a line per request, with what became of it.
use super::{change, logging, wait_in};
use crate::support::{Program, eventually, request};
use rustix::process::Signal;
use serde_json::Value;

const ROUTES: &str = "[server]\nworkers = 2\n[logging]\naccess = true\nformat = \"json\"\n\
    [app]\nmessage = \"here\"\n\
    [app.routes.\"/stuck\"]\nrespond = { body = \"never\", delay = \"60s\" }\n";

/// The access line of the request for this path.
fn line_of(program: &Program, path: &str) -> Value {
    let line = program.wait_line(path, |line| {
        line.contains("everup::access") && line.contains(&format!("\"path\":\"{path}\""))
    });
    serde_json::from_str(&line).expect("an object")
}

#[test]
fn a_request_that_was_answered_has_its_line() {
    let program = Program::serve(ROUTES);
    let mut conn = program.connect();
    assert_eq!(conn.get("/").text(), "here");
    let line = line_of(&program, "/");
    let peer = conn.local();
    for (field, expected) in [
        ("method", Value::from("GET")),
        ("status", 200.into()),
        ("bytes", 4.into()),
        ("peer", peer.as_str().into()),
        ("generation", 1.into()),
        ("end", "answered".into()),
        ("level", "INFO".into()),
    ] {
        assert_eq!(line[field], expected, "{field} of {line}");
    }
    assert!(line["duration_ms"].as_f64().expect("a number") > 0.0);

    // What was asked behind the path may be secret; the body of an answer to HEAD is not sent.
    conn.send(&request("HEAD", "/none?key=secret", &[], b""));
    assert_eq!(conn.answer_to_head().status, 404);
    let line = line_of(&program, "/none");
    assert_eq!((&line["status"], &line["bytes"]), (&404.into(), &0.into()));
    assert!(!program.log().contains("secret"));
}

#[test]
fn as_text_it_is_one_line_too() {
    let program = Program::serve(&logging("access = true"));
    let mut conn = program.connect();
    conn.get("/");
    let line = program.wait_log("everup::access: GET / 200 4 ");
    let end = format!("ms {} generation 1", conn.local());
    assert!(line.ends_with(&end), "{line}");
}

#[test]
fn what_is_aborted_and_what_is_cut_is_told_as_that() {
    let mut program = Program::serve(ROUTES);
    let mut cut = program.connect();
    cut.send(&request("GET", "/stuck", &[], b""));
    program.wait_in_flight(1);
    program.signal(Signal::TERM);
    program.wait_stopping();
    // A second stop counts half a second after the first.
    eventually("the program to cut", || {
        program.signal(Signal::INT);
        (program.count_log("stopping now") > 0).then_some(())
    });
    program.expect_exit(3);
    let line = line_of(&program, "/stuck");
    assert_eq!(line["end"], "cut");
    assert_eq!(
        (&line["status"], &line["bytes"]),
        (&Value::Null, &Value::Null)
    );

    let program = Program::serve(ROUTES);
    let mut aborted = program.connect();
    aborted.send(&request("GET", "/stuck", &[], b""));
    program.wait_in_flight(1);
    aborted.hang_up();
    let line = line_of(&program, "/stuck");
    assert_eq!(
        (&line["end"], &line["status"]),
        (&"aborted".into(), &Value::Null)
    );
}

#[test]
fn it_goes_on_and_off_by_reload_whatever_the_level() {
    let program = Program::serve(&logging("level = \"info\""));
    change(&program, "level = \"error\"\nfile = \"access.log\"");
    let mut conn = program.connect();
    conn.get("/before");
    change(
        &program,
        "level = \"error\"\nfile = \"access.log\"\naccess = true",
    );
    conn.get("/during");
    change(&program, "level = \"error\"\nfile = \"access.log\"");
    conn.get("/after");
    let line = wait_in(&program, "access.log", "GET /");
    assert!(line.contains("GET /during 404"), "{line}");
    change(
        &program,
        "level = \"error\"\nfile = \"access.log\"\naccess = true",
    );
    conn.get("/again");
    wait_in(&program, "access.log", "GET /again");
    let log = super::read(&program, "access.log");
    assert_eq!(log.lines().count(), 2, "{log}");
}
