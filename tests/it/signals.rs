//! Signals: what each does, sent with kill as an operator does.
use crate::support::{Program, Setup, eventually, request};
use rustix::process::Signal;

const ROUTES: &str = "[server]\nworkers = 2\n[shutdown]\nlinger = \"30s\"\n[app]\nmessage = \"here\"\n\
    [app.routes.\"/tick\"]\nrespond = { body = \"tick\", delay = \"900ms\" }\n\
    [app.routes.\"/stuck/{name}\"]\nrespond = { body = \"never\", delay = \"30s\" }\n";

/// Waits for a line that names the signal as sent by this process.
fn wait_logged(program: &Program, signal: &str) -> String {
    let sender = format!("pid {}", std::process::id());
    program.wait_line(&format!("{signal} and {sender}"), |line| {
        line.contains(signal) && line.contains(&sender)
    })
}

#[test]
fn term_int_and_quit_stop_and_exit_0() {
    for (signal, name) in [
        (Signal::TERM, "SIGTERM"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
    ] {
        let mut program = Program::serve("[app]\nmessage = \"here\"\n");
        assert_eq!(program.get("/").text(), "here");
        program.signal(signal);
        program.expect_exit(0);
        wait_logged(&program, name);
        assert_eq!(program.report().in_all.answered, 1);
    }
}

#[test]
fn after_kill_9_it_starts_again_at_once_on_the_same_port() {
    let mut program = Program::serve("[app]\nmessage = \"first\"\n");
    let mut kept: Vec<_> = (0..8).map(|_| program.connect()).collect();
    for conn in &mut kept {
        conn.get("/");
    }
    program.signal(Signal::KILL);
    assert_eq!(program.wait_exit(), 128 + 9);
    let settings = format!(
        "[server.listeners.public]\naddress = \"{}\"\n[admin]\naddress = \"{}\"\n[app]\nmessage = \"second\"\n",
        program.public(),
        program.admin()
    );
    let again = Program::serve(&settings);
    assert_eq!(again.public(), program.public());
    assert_eq!(again.get("/").text(), "second");
}

#[test]
fn after_a_stop_it_starts_again_at_once_on_the_same_port() {
    let mut program = Program::serve("[shutdown]\nlinger = \"50ms\"\n[app]\nmessage = \"0\"\n");
    for round in 1..=5 {
        let mut kept: Vec<_> = (0..8).map(|_| program.connect()).collect();
        for conn in &mut kept {
            conn.get("/");
        }
        program.stop();
        let public = program.public().clone();
        let settings = format!(
            "[server.listeners.public]\naddress = \"{public}\"\n[shutdown]\nlinger = \"50ms\"\n[app]\nmessage = \"{round}\"\n"
        );
        program = Program::serve(&settings);
        assert_eq!(program.get("/").text(), round.to_string());
    }
}

#[test]
fn term_again_is_logged_and_does_nothing_more() {
    let mut program = Program::serve(ROUTES);
    let mut conn = program.connect();
    conn.send(&request("GET", "/tick", &[], b""));
    program.wait_in_flight(1);
    program.signal(Signal::TERM);
    program.wait_stopping();
    let first = program.count_log("SIGTERM");
    program.signal(Signal::TERM);
    eventually("the second SIGTERM in the log", || {
        (program.count_log("SIGTERM") > first).then_some(())
    });
    assert_eq!(conn.answer().text(), "tick");
    program.expect_exit(0);
}

#[test]
fn int_again_after_half_a_second_cuts_by_name_and_exits_3() {
    for (again, name) in [(Signal::INT, "SIGINT"), (Signal::QUIT, "SIGQUIT")] {
        let mut program = Program::serve(ROUTES);
        let mut stuck = program.connect();
        stuck.send(&request("GET", "/stuck/a", &[], b""));
        let mut other = program.connect();
        other.send(&request("GET", "/stuck/b", &[], b""));
        program.wait_in_flight(2);
        let mut clock = program.connect();
        program.signal(Signal::TERM);
        program.wait_stopping();
        // The answer comes more than 500 ms after the stop began.
        assert_eq!(clock.get("/tick").text(), "tick");
        program.wait_in_flight(2);
        program.signal(again);
        program.expect_exit(3);
        wait_logged(&program, name);
        for (path, conn) in [("/stuck/a", &stuck), ("/stuck/b", &other)] {
            let peer = conn.local();
            let line = program.wait_line(&format!("the cut of GET {path} from {peer}"), |line| {
                ["cut", "GET", path, &peer]
                    .iter()
                    .all(|part| line.contains(part))
            });
            let age = line.split([' ', ',', '(', ')']).any(|word| {
                let number = word.trim_end_matches(|unit: char| unit.is_alphabetic());
                !number.is_empty() && number.parse::<f64>().is_ok()
            });
            assert!(age, "no age in {line:?}");
        }
        let report = program.report();
        assert_eq!((report.cut, report.drained), (2, 1), "{report:?}");
        report.in_all.assert_balanced();
    }
}

#[test]
fn int_again_with_nothing_in_flight_exits_0_at_once() {
    let mut program = Program::serve(ROUTES);
    let mut idle = program.connect();
    idle.get("/");
    let mut clock = program.connect();
    program.signal(Signal::INT);
    program.wait_stopping();
    assert_eq!(clock.get("/tick").text(), "tick");
    program.wait_in_flight(0);
    program.signal(Signal::INT);
    idle.closed();
    program.expect_exit(0);
    assert!(
        program.report().seconds < 25.0,
        "the linger of 30 s was not waited out"
    );
}

#[test]
fn a_key_that_bounces_is_one_stop() {
    let mut program = Program::serve(ROUTES);
    let mut conn = program.connect();
    conn.send(&request("GET", "/tick", &[], b""));
    program.wait_in_flight(1);
    for _ in 0..3 {
        program.signal(Signal::INT);
    }
    assert_eq!(conn.answer().text(), "tick");
    program.expect_exit(0);
}

/// Sends it, and finds it logged as unhandled and nothing changed.
fn assert_unhandled(program: &Program, signal: Signal, name: &str) {
    program.signal(signal);
    program.wait_line(&format!("{name} as unhandled"), |line| {
        line.contains(name) && line.contains("unhandled")
    });
    assert_eq!(program.get("/").text(), "here");
    let status = program.status();
    assert_eq!(
        (&status["state"], &status["generation"]),
        (&"serving".into(), &1.into()),
        "after {name}"
    );
}

#[test]
fn usr1_is_logged_as_unhandled_and_nothing_else_happens() {
    let mut program = Program::serve("[app]\nmessage = \"here\"\n");
    assert_unhandled(&program, Signal::USR1, "SIGUSR1");
    program.stop();
}

#[test]
fn timer_signals_are_logged_as_unhandled_and_nothing_else_happens() {
    let mut program = Program::serve("[app]\nmessage = \"here\"\n");
    for (signal, name) in [
        (Signal::ALARM, "SIGALRM"),
        (Signal::VTALARM, "SIGVTALRM"),
        (Signal::PROF, "SIGPROF"),
        (Signal::IO, "SIGPOLL"),
    ] {
        assert_unhandled(&program, signal, name);
    }
    program.stop();
}

#[test]
fn signals_that_mean_nothing_here_change_nothing() {
    let mut program = Program::serve("[app]\nmessage = \"here\"\n");
    for signal in [
        Signal::PIPE,
        Signal::CHILD,
        Signal::URG,
        Signal::WINCH,
        Signal::CONT,
    ] {
        program.signal(signal);
        assert_eq!(program.get("/").text(), "here", "after {signal:?}");
    }
    program.stop();
}

#[test]
fn xfsz_is_ignored() {
    let mut program = Program::serve("[app]\nmessage = \"here\"\n");
    program.signal(Signal::XFSZ);
    assert_eq!(program.get("/").text(), "here");
    program.stop();
}

#[test]
fn xcpu_stops_gracefully_and_exits_1() {
    let mut program = Program::serve(ROUTES);
    let mut conn = program.connect();
    conn.send(&request("GET", "/tick", &[], b""));
    program.wait_in_flight(1);
    program.signal(Signal::XCPU);
    assert_eq!(conn.answer().text(), "tick");
    program.expect_exit(1);
    assert_eq!(program.report().cut, 0);
}

#[test]
fn signals_that_the_shell_ignored_are_handled_all_the_same() {
    for signal in [Signal::INT, Signal::QUIT, Signal::TERM] {
        let mut program = Setup::new("[app]\nmessage = \"here\"\n")
            .shell("trap '' INT QUIT TERM HUP")
            .serve();
        let mark = program.mark();
        program.edit("[app]\nmessage = \"there\"\n");
        program.signal(Signal::HUP);
        program.wait_attempt(mark, "applied");
        program.signal(signal);
        program.expect_exit(0);
    }
}

#[test]
fn a_program_that_was_stopped_and_continued_serves_on() {
    let mut program = Program::serve("[app]\nmessage = \"here\"\n");
    let mut conn = program.connect();
    conn.get("/");
    program.signal(Signal::STOP);
    conn.send(&request("GET", "/", &[], b""));
    program.signal(Signal::HUP);
    program.signal(Signal::CONT);
    assert_eq!(conn.answer().text(), "here");
    program.wait_attempt(0, "unchanged");
    drop(conn);
    program.stop();
}
