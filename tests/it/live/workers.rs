//! Workers become more and fewer.
use super::apply;
use crate::support::{Address, Conn, H2, H2Load, Kind, Load, Program, eventually, request};
use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, SockFilter, Socket, Type};
use std::{thread, time::Duration};

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
    program.wait_log("1 workers instead of 4");
    assert_eq!(workers(&program)[0]["id"], 0);
    for conn in &mut conns {
        let answer = conn.answer();
        assert_eq!((answer.text().as_str(), answer.closes()), ("slow", false));
    }
    wait_workers(&program, 1);
    for conn in &mut conns {
        assert_eq!(conn.get("/").status, 200, "at the one that is left");
    }
    let threads = std::fs::read_dir(format!("/proc/{}/task", program.id())).expect("it lives");
    let named = threads.flatten().filter(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm"));
        name.is_ok_and(|name| name.starts_with("actix-rt"))
    });
    // The admin API's is the other.
    assert_eq!(named.count(), 2);
    program.books().assert_balanced();

    apply(&program, &settings(2, rest));
    assert_eq!(workers(&program)[1]["id"], 4, "no number comes twice");
}

/// A client whose handshake with this address stands still until the kernel repeats its answer, a second
/// after the client's first word.
fn shakes_hands_later(to: &Address) -> Socket {
    let Address::Tcp(to) = to else {
        panic!("a handshake is TCP's")
    };
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let nothing = SockFilter::new(0x06, 0, 0, 0);
    client.attach_filter(&[nothing]).expect("a filter");
    client.set_nonblocking(true).expect("a live socket");
    client.connect(&(*to).into()).expect_err("nobody answers");
    client.detach_filter().expect("it has one");
    client.set_nonblocking(false).expect("a live socket");
    client
}

#[test]
fn a_worker_that_goes_with_a_listener_answers_who_connects_to_it_last() {
    let settings = |workers: usize, more: &str| {
        let rest = format!(
            "max_connections = 1\n[server.listeners.public]\naddress = \"127.0.0.1:0\"\n{more}\
             [app.routes.\"/slow\"]\nrespond = {{ body = \"slow\", delay = \"500ms\" }}\n"
        );
        self::settings(workers, &rest)
    };
    let more = "[server.listeners.more]\naddress = \"127.0.0.1:0\"\n";
    let mut program = Program::serve(&settings(2, more));
    // The first worker has it, or will: then only the other has room.
    let mut public = program.connect();
    assert_eq!(public.get("/").status, 200);
    let late = shakes_hands_later(program.listener("more"));
    // The program waits for it a second at the most; half of that is left for a machine that is busy.
    assert_eq!(public.get("/slow").text(), "slow");
    let connecting = thread::spawn(move || {
        let mut late = Conn::over(late).expect("a live socket");
        late.send(&request("GET", "/slow", &[], b""));
        late.answer().text()
    });
    apply(&program, &settings(1, ""));
    assert_eq!(connecting.join().expect("no panic"), "slow");
    assert_eq!(public.get("/").status, 200);
    wait_workers(&program, 1);
    let report = program.stop();
    report.in_all.assert_balanced();
    assert_eq!(report.in_all.answered, 4, "also of the worker that went");
}

#[test]
fn a_stop_waits_for_workers_that_go() {
    let rest = "[app.routes.\"/slow\"]\nrespond = { body = \"slow\", delay = \"500ms\" }\n";
    let mut program = Program::serve(&settings(4, rest));
    let mut conns: Vec<Conn> = (0..16).map(|_| program.connect()).collect();
    for conn in &mut conns {
        conn.send(&request("GET", "/slow", &[], b""));
    }
    program.wait_in_flight(16);
    apply(&program, &settings(1, rest));
    program.signal(Signal::TERM);
    for conn in &mut conns {
        let answer = conn.answer();
        assert_eq!((answer.text().as_str(), answer.closes()), ("slow", true));
    }
    program.expect_exit(0);
    assert_eq!(program.report().in_all.answered, 16);
}

#[test]
fn a_stop_now_cuts_what_workers_that_go_have() {
    let rest = "[app.routes.\"/slow\"]\nrespond = { body = \"slow\", delay = \"60s\" }\n";
    let mut program = Program::serve(&settings(4, rest));
    let mut conns: Vec<Conn> = (0..16).map(|_| program.connect()).collect();
    for conn in &mut conns {
        conn.send(&request("GET", "/slow", &[], b""));
    }
    program.wait_in_flight(16);
    apply(&program, &settings(1, rest));
    program.post("/stop?now=true");
    program.expect_exit(3);
    assert_eq!(program.report().in_all.cut, 16);
}
