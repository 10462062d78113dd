//! Signals: what each does, sent with kill as an operator does.
use crate::support::{Program, Setup, eventually, request};
use rustix::process::Signal;
use serde_json::Value;
use std::{fs, os::unix::fs::symlink, process::Command};

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
fn xcpu_during_a_stop_exits_1_too() {
    let mut program = Program::serve(ROUTES);
    let mut conn = program.connect();
    conn.send(&request("GET", "/tick", &[], b""));
    program.wait_in_flight(1);
    program.signal(Signal::TERM);
    program.wait_log("SIGTERM");
    program.signal(Signal::XCPU);
    assert_eq!(conn.answer().text(), "tick");
    program.expect_exit(1);
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

/// What the command `signals` says of each signal.
fn table() -> Vec<Value> {
    let ran = Setup::empty().ask(&["signals", "--json"]);
    assert_eq!((ran.code, &*ran.err), (0, ""));
    serde_json::from_str(&ran.out).expect("a list in JSON")
}

fn text<'e>(entry: &'e Value, key: &str) -> &'e str {
    let text = entry[key].as_str();
    text.unwrap_or_else(|| panic!("no {key} in {entry}"))
}

fn number(entry: &Value) -> i32 {
    let number = entry["number"]
        .as_i64()
        .and_then(|number| number.try_into().ok());
    number.unwrap_or_else(|| panic!("no number in {entry}"))
}

/// Whether a mask of the process's status has a signal.
fn is_in(program: &Program, mask: &str, signal: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).expect("it is alive");
    let mask = status.lines().find_map(|line| line.strip_prefix(mask));
    let mask = mask.unwrap_or_else(|| panic!("no {mask:?} in {status}"));
    let mask = u64::from_str_radix(mask.trim(), 16).expect("a mask in hexadecimal digits");
    mask & 1 << (signal - 1) != 0
}

#[test]
fn the_table_is_what_the_kernel_says_of_the_process() {
    let mut program = Program::serve("[app]\nmessage = \"here\"\n");
    let table = table();
    for entry in &table {
        let signal = number(entry);
        let (caught, ignored) = match text(entry, "action") {
            "reload" | "stop" | "stop_failed" | "reopen_logs" | "upgrade" | "unhandled" => {
                (true, false)
            }
            "ignored" if text(entry, "signal") == "SIGPIPE" => (false, true),
            "ignored" => (true, false),
            "default" | "uncatchable" => (false, false),
            // Rust's runtime catches these two, to report stack overflows; nobody catches the others.
            "not_ours" => (
                ["SIGSEGV", "SIGBUS"].contains(&text(entry, "signal")),
                false,
            ),
            other => panic!("{other:?} in {entry}"),
        };
        let found = ["SigCgt:", "SigIgn:", "SigBlk:"].map(|mask| is_in(&program, mask, signal));
        assert_eq!(
            found,
            [caught, ignored, false],
            "caught, ignored, blocked: {entry}"
        );
    }
    for missing in [
        "SIGHUP", "SIGPOLL", "SIGXFSZ", "SIGSYS", "SIGTTOU", "SIGURG",
    ] {
        assert!(
            table.iter().any(|entry| text(entry, "signal") == missing),
            "{missing}"
        );
    }
    program.stop();
}

#[test]
fn each_signal_does_what_the_table_says() {
    let serve = || {
        Setup::new("[app]\nmessage = \"here\"\n")
            .shell("ulimit -c 0")
            .apart()
            .serve()
    };
    let mut program = serve();
    for entry in table() {
        let (name, action) = (text(&entry, "signal"), text(&entry, "action"));
        let signal = Signal::from_named_raw(number(&entry)).expect("a signal with a name");
        let by_default = text(&entry, "default");
        if program.has_ended() {
            program = serve();
        }
        let mark = program.mark();
        match (action, by_default) {
            ("reload", "Term") => {
                program.signal(signal);
                let attempt = program.wait_attempt(mark, "unchanged");
                assert!(attempt.text.contains(name), "{:?}", attempt.text);
            }
            ("stop" | "stop_failed", _) => {
                program.signal(signal);
                program.expect_exit(i32::from(action == "stop_failed"));
                wait_logged(&program, name);
            }
            ("reopen_logs", "Term") => {
                program.signal(signal);
                wait_logged(&program, name);
            }
            ("upgrade", "Term") => {
                program.signal(signal);
                wait_logged(&program, name);
                program.wait_successor(mark);
                program = serve();
            }
            ("unhandled", "Term") => assert_unhandled(&program, signal, name),
            ("ignored", _) | ("default", "Ign" | "Cont") => {
                program.signal(signal);
                assert_eq!(program.get("/").text(), "here", "after {name}");
            }
            ("default" | "uncatchable", "Stop") => {
                program.suspend_by(signal);
                program.signal(Signal::CONT);
                assert_eq!(program.get("/").text(), "here", "after {name}");
            }
            ("not_ours", "Core") => {
                if is_in(&program, "SigCgt:", number(&entry)) {
                    // Rust's handler lets go at the first one that is no stack overflow.
                    program.signal(signal);
                    eventually("the default action", || {
                        (!is_in(&program, "SigCgt:", number(&entry))).then_some(())
                    });
                }
                program.signal(signal);
                program.expect_exit(128 + number(&entry));
            }
            ("uncatchable", "Term") => {
                program.signal(signal);
                program.expect_exit(128 + number(&entry));
            }
            _ => panic!("{entry}"),
        }
    }
}

#[test]
fn a_stack_overflow_is_reported_by_rust_s_runtime() {
    // No thread has room to run on so small a stack.
    let (code, log) = Setup::new("[app]\nmessage = \"here\"\n")
        .env("RUST_MIN_STACK", "16384")
        .shell("ulimit -c 0")
        .run();
    assert_eq!(code, 128 + Signal::ABORT.as_raw(), "{log}");
    assert!(log.contains("has overflowed its stack"), "{log}");
}

#[test]
fn it_serves_and_stops_under_valgrind() {
    let found = Command::new("valgrind").arg("--version").output();
    if !found.is_ok_and(|found| found.status.success()) {
        eprintln!("skipped: valgrind is not installed");
        return;
    }
    let mut program = Setup::new("[server]\nworkers = 1\n[app]\nmessage = \"here\"\n")
        .shell("exec valgrind -q --tool=none \"$0\" \"$@\"")
        .serve();
    assert_eq!(program.get("/").text(), "here");
    let mark = program.mark();
    program.signal(Signal::HUP);
    program.wait_attempt(mark, "unchanged");
    program.stop();
}

/// A source that never reads the same twice: a start that reads it does not come to an end.
const RESTLESS: &str = "/proc/sys/kernel/random/uuid";

/// A program that is starting, its handlers in place.
fn starting() -> Program {
    let setup = Setup::new("[app]\nmessage = \"here\"\n");
    symlink(RESTLESS, setup.settings().join("local.toml")).expect("a link");
    let program = setup.spawn();
    eventually("its handlers", || {
        is_in(&program, "SigCgt:", Signal::TERM.as_raw()).then_some(())
    });
    program
}

#[test]
fn a_stop_ends_a_start_that_hangs_at_once_with_0() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let mut program = starting();
        program.signal(signal);
        program.expect_exit(0);
        assert_eq!(program.count_log("serving: "), 0);
    }
}

#[test]
fn a_reload_during_the_start_waits_for_it() {
    let mut program = starting();
    program.signal(Signal::HUP);
    program.write("local.toml", "[app]\nmessage = \"there\"\n");
    program.wait_serving();
    let attempt = program.wait_attempt(0, "unchanged");
    assert!(attempt.text.contains("SIGHUP"), "{:?}", attempt.text);
    assert_eq!(program.get("/").text(), "there");
    program.stop();
}

#[test]
fn an_attempt_s_line_names_five_senders_and_says_that_there_are_more() {
    let mut program = starting();
    // Many more than five: signals that wait to be heard at one moment are one.
    for _ in 0..40 {
        let kill = format!("kill -HUP {}", program.id());
        let sent = Command::new("sh").args(["-c", &kill]).status();
        assert!(sent.expect("a shell").success());
    }
    program.write("local.toml", "[app]\nmessage = \"there\"\n");
    program.wait_serving();
    let attempt = program.wait_attempt(0, "unchanged");
    assert_eq!(attempt.text.matches(" from pid ").count(), 5, "{attempt:?}");
    assert!(attempt.text.contains(" and more, folded "), "{attempt:?}");
    program.stop();
}

#[test]
fn a_start_that_cannot_end_in_time_is_a_failure() {
    let mut program = starting();
    program.expect_exit(1);
    program.wait_log("cannot start");
}

#[test]
fn signals_that_were_blocked_at_start_are_handled_all_the_same() {
    let mut program = Setup::new("[app]\nmessage = \"here\"\n")
        .shell("exec env --block-signal \"$0\" \"$@\"")
        .serve();
    let mark = program.mark();
    program.signal(Signal::HUP);
    program.wait_attempt(mark, "unchanged");
    program.stop();
}
