//! Workers become more and fewer.
use super::apply;
use crate::support::{Conn, H2, H2Load, Kind, Load, Program, eventually, request};
use rustix::process::Signal;
use serde_json::Value;
use std::time::Duration;

fn settings(workers: usize, rest: &str) -> String {
    format!("[server]\nworkers = {workers}\n{rest}")
}

fn workers(program: &Program) -> Vec<Value> {
    let status = program.status();
    status["workers"].as_array().expect("a list").clone()
}

fn wait_workers(program: &Program, count: usize) {
    eventually("workers", || {
        (workers(program).len() == count).then_some(())
    });
}

#[test]
fn workers_become_more_and_fewer_under_load_and_nothing_is_lost() {
    let listeners = "[server.listeners.public]\naddress = \"127.0.0.1:0\"\nh2c = true\n\
                     [server.listeners.local]\naddress = \"unix:local.sock\"\n\
                     [shutdown]\nlinger = \"200ms\"\n[app]\nmessage = \"here\"\n";
    let settings = |workers| settings(workers, listeners);
    let mut program = Program::serve(&settings(2));
    let mix = |to| {
        Load::kept_alive(12, 5)
            .and(4, Kind::PerRequest)
            .and(2, Kind::Pipelined(4))
            .start(to)
    };
    let loads = [program.public(), program.listener("local")].map(mix);
    let uploads = Load::of(4, Kind::Uploading(Duration::from_millis(5)));
    let uploads = uploads.start(program.public());
    let http2 = H2Load::start(program.public(), (4, 4), "/", b"", b"here");
    for count in [1, 4, 3, 1, 2, 8, 1, 2] {
        for load in &loads {
            load.wait_answered(load.answered() + 200);
        }
        let attempt = apply(&program, &settings(count));
        assert_eq!(attempt["workers"]["total"], count);
        assert_eq!(attempt["workers"]["confirmed"], count);
    }
    let answered = http2.end();
    assert_eq!(answered.lost, 0, "{:#?}", answered.complaints);
    let uploads = uploads.stop();
    uploads.assert_nothing_lost();
    let mut all = answered.answered + uploads.sent;
    for load in loads {
        let books = load.stop();
        books.assert_nothing_lost();
        // HTTP/1 goes on at another worker: no client has noticed.
        assert_eq!(
            (books.closed_announced, books.closed_idle),
            (0, 0),
            "{books:?}"
        );
        all += books.sent;
    }
    wait_workers(&program, 2);
    let report = program.stop();
    report.in_all.assert_balanced();
    assert_eq!(report.in_all.answered, all, "also of workers that are gone");
}

#[test]
fn a_worker_that_goes_stays_as_long_as_its_last_connection() {
    let rest = "[shutdown]\nlinger = \"50ms\"\n[server.listeners.public]\n\
                address = \"127.0.0.1:0\"\nh2c = true\n\
                [app.routes.\"/slow\"]\nrespond = { body = \"slow\", delay = \"500ms\" }\n";
    let program = Program::serve(&settings(4, rest));
    let mut conns: Vec<Conn> = (0..32).map(|_| program.connect()).collect();
    for conn in &mut conns {
        conn.send(&request("GET", "/slow", &[], b""));
    }
    let mut http2: Vec<H2> = (0..8).map(|_| H2::open(program.public())).collect();
    for conn in &mut http2 {
        assert_eq!(conn.get("/").status, 200);
    }
    program.wait_in_flight(32);
    apply(&program, &settings(1, rest));
    program.wait_log("workers: changed from 4 to 1");
    assert_eq!(workers(&program)[0]["id"], 0);
    for conn in &mut conns {
        let answer = conn.answer();
        assert_eq!((answer.text().as_str(), answer.closes()), ("slow", false));
    }
    wait_workers(&program, 1);
    for conn in &mut conns {
        assert_eq!(conn.get("/").status, 200, "at the one that is left");
    }
    program.books().assert_balanced();

    apply(&program, &settings(2, rest));
    assert_eq!(workers(&program)[1]["id"], 4, "no number comes twice");
}

#[test]
fn threads_of_workers_that_go_are_used_again() {
    let program = Program::serve(&settings(4, ""));
    for count in [1, 4, 2, 3, 1, 4] {
        apply(&program, &settings(count, ""));
        wait_workers(&program, count);
    }
    let threads = std::fs::read_dir(format!("/proc/{}/task", program.id()));
    let threads = threads.expect("it lives").flatten().filter(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm"));
        name.is_ok_and(|name| name.starts_with("actix-rt"))
    });
    // The fifth is the admin API's.
    assert_eq!(threads.count(), 5);
}

/// Four workers become one while each has requests that take so long.
fn retiring(delay: &str) -> (Program, Vec<Conn>) {
    let rest =
        format!("[app.routes.\"/slow\"]\nrespond = {{ body = \"slow\", delay = \"{delay}\" }}\n");
    let program = Program::serve(&settings(4, &rest));
    let mut conns: Vec<Conn> = (0..16).map(|_| program.connect()).collect();
    for conn in &mut conns {
        conn.send(&request("GET", "/slow", &[], b""));
    }
    program.wait_in_flight(16);
    apply(&program, &settings(1, &rest));
    (program, conns)
}

#[test]
fn a_stop_waits_for_workers_that_go() {
    let (mut program, mut conns) = retiring("1s");
    program.signal(Signal::TERM);
    for conn in &mut conns {
        assert_eq!(conn.answer().text(), "slow");
    }
    program.expect_exit(0);
    assert_eq!(program.report().in_all.answered, 16);
}

#[test]
fn a_stop_now_cuts_what_workers_that_go_have() {
    let (mut program, _conns) = retiring("60s");
    program.post("/stop?now=true");
    program.expect_exit(3);
    assert_eq!(program.report().in_all.cut, 16);
}
