//! Stopping: every request that reached the program is answered, whatever the clients do meanwhile.
use crate::support::{
    CEILING, Conn, Kind, Load, LoadBooks, LoadSetup, Program, Quiet, Response, StopReport, request,
};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const SLOW: &str = "[app.routes.\"/slow\"]\nrespond = { body = \"slow\", delay = \"500ms\" }\n";

fn settings(shutdown: &str, app: &str) -> String {
    format!("[server]\nworkers = 2\n[shutdown]\n{shutdown}\n[app]\nmessage = \"here\"\n{app}")
}

/// Starts, loads, stops by TERM in the middle of the load; both sides' books.
fn stop_under(load: LoadSetup, answers: u64) -> (LoadBooks, StopReport) {
    let mut program = Program::serve(&settings("linger = \"400ms\"", ""));
    let load = load.start(program.public());
    load.wait_answered(answers);
    load.expect_stop();
    let report = program.stop();
    let books = load.until_refused();
    report.assert_agrees(&books, 0);
    (books, report)
}

#[test]
fn no_request_is_lost_in_4_stops_with_clients_that_do_not_think() {
    for seed in 0..4 {
        stop_under(Load::kept_alive(64, 0).seed(seed), 2_000);
    }
}

#[test]
fn no_request_is_lost_in_4_stops_with_clients_that_think_5_ms() {
    for seed in 0..4 {
        stop_under(Load::kept_alive(64, 5).seed(seed), 1_000);
    }
}

#[test]
fn no_request_is_lost_in_4_stops_with_clients_that_think_150_ms() {
    for seed in 0..4 {
        let (books, _) = stop_under(Load::kept_alive(64, 150).seed(seed), 200);
        // Clients that think for less than the linger ask once more, and are told to go instead of closed on.
        assert!(books.closed_announced > 0, "{books:?}");
    }
}

#[test]
fn no_request_is_lost_in_4_stops_with_a_connection_a_request_and_pipelines() {
    for seed in 0..4 {
        let load = Load::of(16, Kind::PerRequest)
            .and(16, Kind::Pipelined(16))
            .and(16, Kind::KeptAlive(Duration::from_millis(20)));
        stop_under(load.seed(seed), 2_000);
    }
}

#[test]
fn no_request_is_lost_in_4_stops_with_bodies_sent_slowly() {
    for seed in 0..4 {
        let slow = Kind::Uploading(Duration::from_millis(20));
        stop_under(Load::of(16, slow).seed(seed), 200);
    }
}

#[test]
fn pipelined_requests_are_all_answered_on_a_stop() {
    let route = "[app.routes.\"/step\"]\nrespond = { body = \"step\", delay = \"20ms\" }\n";
    let mut program = Program::serve(&settings("", route));
    let mut conn = program.connect();
    conn.send(&request("GET", "/step", &[], b"").repeat(32));
    assert_eq!(conn.answer().text(), "step");
    program.signal(Signal::TERM);
    let answers: Vec<_> = (1..32).map(|_| conn.answer()).collect();
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 200 && answer.text() == "step")
    );
    assert!(
        answers.last().is_some_and(Response::closes),
        "the last answer says that it is the last"
    );
    conn.closed();
    program.expect_exit(0);
    assert_eq!(program.report().in_all.answered, 32);
}

#[test]
fn a_request_in_flight_is_answered_with_connection_close() {
    let mut program = Program::serve(&settings("", SLOW));
    let mut conn = program.connect();
    assert!(!conn.get("/").closes());
    program.wait_in_flight(0);
    conn.send(&request("GET", "/slow", &[], b""));
    program.wait_in_flight(1);
    program.signal(Signal::TERM);
    let answer = conn.answer();
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.closes()),
        (200, "slow", true)
    );
    conn.closed();
    program.expect_exit(0);
    let report = program.report();
    assert_eq!(
        (report.drained, report.aborted, report.cut),
        (1, 0, 0),
        "{report:?}"
    );
    assert_eq!(report.in_all.answered, 2);
}

/// Asks on until an answer announces the close that then comes: a worker may learn of a stop a moment
/// after the signal was sent. How many requests it took.
fn until_told(conn: &mut Conn, mut answer: Response) -> u64 {
    for asked in 1..=1_000 {
        assert_eq!(answer.status, 200);
        if answer.closes() {
            conn.closed();
            return asked;
        }
        answer = conn.get("/");
    }
    panic!("1,000 requests were answered after the stop, and none told the client to go");
}

#[test]
fn an_idle_connection_may_still_ask_while_it_lingers() {
    let mut program = Program::serve(&settings("linger = \"10s\"", ""));
    let mut asks = program.connect();
    assert!(!asks.get("/").closes());
    let mut fresh = program.connect();
    program.signal(Signal::TERM);
    program.wait_stopping();
    for conn in [&mut asks, &mut fresh] {
        let answer = conn.get("/");
        until_told(conn, answer);
    }
    // Nobody lingers any more: the program does not wait out its linger.
    program.expect_exit(0);
    assert!(program.report().seconds < 9.0);
}

#[test]
fn an_idle_connection_is_closed_when_its_linger_is_over() {
    let mut program = Program::serve(&settings("linger = \"300ms\"", ""));
    let mut conn = program.connect();
    conn.get("/");
    let begun = Instant::now();
    program.signal(Signal::TERM);
    conn.closed();
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "closed after {:?}",
        begun.elapsed()
    );
    program.expect_exit(0);
}

#[test]
fn without_connections_the_program_is_gone_at_once() {
    // Other tests share the processors: one stop in many that is not kept waiting tells enough.
    let is_quick = |_| Program::serve(&settings("", "")).stop().seconds < 0.05;
    assert!(
        (0..20).any(is_quick),
        "none of 20 drains took less than 50 ms"
    );
}

#[test]
fn connections_that_wait_for_a_slot_are_answered_on_a_stop() {
    let text = settings("linger = \"300ms\"", "")
        .replace("workers = 2", "workers = 1\nmax_connections = 1");
    let mut program = Program::serve(&text);
    let mut holds = program.connect();
    holds.get("/");
    let mut queued: Vec<_> = (0..8).map(|_| program.connect()).collect();
    for conn in &mut queued {
        conn.send(&request("GET", "/", &[], b""));
    }
    let mut asked = 1;
    program.signal(Signal::TERM);
    for conn in &mut queued {
        let answer = conn.answer();
        asked += until_told(conn, answer);
    }
    program.expect_exit(0);
    assert_eq!(program.report().in_all.answered, asked);
}

#[test]
fn connections_that_came_while_the_program_was_suspended_are_answered_on_a_stop() {
    let mut program = Program::serve(&settings("", ""));
    program.signal(Signal::STOP);
    let mut queued: Vec<_> = (0..50).map(|_| program.connect()).collect();
    for conn in &mut queued {
        conn.send(&request("GET", "/", &[], b""));
    }
    program.signal(Signal::TERM);
    program.signal(Signal::CONT);
    for conn in &mut queued {
        let answer = conn.answer();
        assert_eq!(answer.status, 200);
    }
    drop(queued);
    program.expect_exit(0);
    assert_eq!(program.report().in_all.answered, 50);
}

#[test]
fn a_head_received_by_half_is_completed_after_the_stop_began_and_answered() {
    let mut program = Program::serve(&settings("linger = \"200ms\"", ""));
    let mut idle = program.connect();
    idle.get("/");
    let mut first = program.connect();
    let mut second = program.connect();
    second.get("/");
    for conn in [&mut first, &mut second] {
        conn.send(b"GET / HTTP/1.1\r\nHo");
    }
    // An answer on another connection of each worker is no proof that the halves were read, the linger's end is.
    program.signal(Signal::TERM);
    idle.closed();
    for conn in [&mut first, &mut second] {
        conn.send(b"st: localhost\r\n\r\n");
        let answer = conn.answer();
        assert_eq!((answer.status, answer.closes()), (200, true));
        conn.closed();
    }
    program.expect_exit(0);
    assert_eq!(program.report().in_all.answered, 4);
}

#[test]
fn a_big_answer_that_is_read_slowly_comes_whole() {
    let size = 6_000_000;
    let big = "x".repeat(size);
    let mut program = Program::serve(&format!("[app]\nmessage = \"{big}\"\n"));
    let mut conn = Conn::dial_with(program.public(), |socket| {
        socket.set_recv_buffer_size(8 * 1024)
    })
    .expect("connect");
    conn.send(&request("GET", "/", &[], b""));
    assert_eq!(conn.quiet(CEILING), Quiet::Bytes);
    program.signal(Signal::TERM);
    program.wait_stopping();
    assert_eq!(conn.answer().body.len(), size);
    program.expect_exit(0);
    assert_eq!(program.report().in_all.answered, 1);
}

#[test]
fn at_the_deadline_what_is_in_flight_is_cut_by_name_and_the_exit_code_says_so() {
    let route = "[app.routes.\"/stuck/{name}\"]\nrespond = { body = \"never\", delay = \"30s\" }\n";
    let mut program = Program::serve(&settings("timeout = \"500ms\"", route));
    let mut conns: Vec<_> = (0..3).map(|_| program.connect()).collect();
    for (number, conn) in conns.iter_mut().enumerate() {
        conn.send(&request("GET", &format!("/stuck/{number}"), &[], b""));
    }
    program.wait_in_flight(3);
    let begun = Instant::now();
    program.signal(Signal::TERM);
    program.expect_exit(3);
    assert!(
        begun.elapsed() >= Duration::from_millis(500),
        "after {:?}",
        begun.elapsed()
    );
    for (number, conn) in conns.iter_mut().enumerate() {
        assert!(conn.read().is_err(), "cut, not answered");
        let (path, peer) = (format!("/stuck/{number}"), conn.local());
        program.wait_line(&format!("the cut of GET {path} from {peer}"), |line| {
            ["cut", "GET", &path, &peer]
                .iter()
                .all(|part| line.contains(part))
        });
    }
    let report = program.report();
    assert_eq!(
        (report.cut, report.in_all.cut, report.in_all.received),
        (3, 3, 3),
        "{report:?}"
    );
    report.in_all.assert_balanced();
}

#[test]
fn during_the_delay_readiness_says_no_and_new_connections_are_served() {
    let mut program = Program::serve(&settings("delay = \"1500ms\"", ""));
    assert_eq!(program.readyz(), 200);
    let mut before = program.connect();
    before.get("/");
    let begun = Instant::now();
    program.signal(Signal::TERM);
    program.wait_stopping();
    assert_eq!(program.status()["state"], "draining");
    assert_eq!(program.admin_ask("GET", "/livez", &[]).status, 200);
    let mut later = program.connect();
    let in_time = |answer: Response| {
        assert_eq!(answer.status, 200);
        (begun.elapsed() < Duration::from_secs(1)).then_some(answer)
    };
    // A machine that was suspended for a second proves nothing about what comes before the delay's end.
    if let Some(answer) = in_time(later.get("/")) {
        assert!(
            !answer.closes(),
            "accepted after the stop was asked for: kept till the delay's end"
        );
    }
    assert!(
        before.get("/").closes(),
        "accepted before the stop: told to go"
    );
    before.closed();
    program.expect_exit(0);
    assert!(
        begun.elapsed() >= Duration::from_millis(1500),
        "after {:?}",
        begun.elapsed()
    );
    assert_eq!(program.report().in_all.answered, 3);
}

#[test]
fn a_load_over_a_delayed_stop_loses_nothing() {
    let mut program = Program::serve(&settings("delay = \"500ms\"\nlinger = \"400ms\"", ""));
    let load = Load::kept_alive(24, 20)
        .and(8, Kind::PerRequest)
        .and(4, Kind::Pipelined(8))
        .start(program.public());
    load.wait_answered(500);
    load.expect_stop();
    let report = program.stop();
    report.assert_agrees(&load.until_refused(), 0);
}

#[test]
fn post_stop_is_the_graceful_stop() {
    let mut program = Program::serve(&settings("", SLOW));
    let mut conn = program.connect();
    conn.send(&request("GET", "/slow", &[], b""));
    program.wait_in_flight(1);
    assert_eq!(program.post("/stop").status, 202);
    assert_eq!(conn.answer().text(), "slow");
    program.expect_exit(0);
    assert_eq!(program.report().drained, 1);
}

#[test]
fn post_stop_now_cuts_and_exits_3_or_0_where_nothing_was_in_flight() {
    let route = "[app.routes.\"/stuck\"]\nrespond = { body = \"never\", delay = \"30s\" }\n";
    for busy in [true, false] {
        let mut program = Program::serve(&settings("linger = \"30s\"", route));
        let mut conn = program.connect();
        conn.get("/");
        program.wait_in_flight(0);
        if busy {
            conn.send(&request("GET", "/stuck", &[], b""));
            program.wait_in_flight(1);
        }
        assert_eq!(program.post("/stop?now=true").status, 202);
        program.expect_exit(if busy { 3 } else { 0 });
        assert_eq!(program.report().cut, u64::from(busy));
        program.report().in_all.assert_balanced();
    }
}

#[test]
fn a_reload_asked_for_after_a_stop_is_503_and_rejected() {
    let mut program = Program::serve(&settings("", SLOW));
    let mut conn = program.connect();
    conn.send(&request("GET", "/slow", &[], b""));
    program.wait_in_flight(1);
    program.signal(Signal::TERM);
    program.wait_stopping();
    program.edit(&settings("", SLOW).replace("here", "never"));
    let (status, attempt) = program.reload();
    assert_eq!(
        (status, &attempt["outcome"]),
        (503, &"rejected".into()),
        "{attempt:#}"
    );
    assert_eq!(conn.answer().text(), "slow");
    program.expect_exit(0);
}

#[test]
fn pipelined_requests_are_answered_where_nothing_lingers() {
    let mut program = Program::serve(&settings("linger = \"0s\"", SLOW));
    let mut conn = program.connect();
    let slow = request("GET", "/slow", &[], b"");
    conn.send(&[&slow[..], &slow, &slow].concat());
    program.wait_in_flight(1);
    program.signal(Signal::TERM);
    for _ in 0..3 {
        assert_eq!(conn.answer().text(), "slow");
    }
    program.expect_exit(0);
    assert_eq!(program.report().in_all.answered, 3);
}
