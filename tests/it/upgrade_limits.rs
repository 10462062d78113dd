//! Upgrades where descriptors are few: what does not fit into the new process stays in the old one.
use crate::support::{Conn, Program, Setup, eventually, replace_program};
use rustix::process::Signal;
use std::fmt::Write as _;

const ONE_WORKER: &str = "[server]\nworkers = 1\n[shutdown]\nlinger = \"30s\"\n";

/// Puts the real program in the place of the copy, with so few descriptors.
fn limit_next(program: &Program, descriptors: u32) {
    let real = env!("CARGO_BIN_EXE_everup");
    let script = format!("#!/bin/sh\nulimit -n {descriptors}\nexec {real} \"$@\"\n");
    replace_program(&program.home().join("everup"), &script);
}

/// So many connections that have been used and are idle.
fn idle(program: &Program, count: usize) -> Vec<Conn> {
    let mut conns: Vec<Conn> = (0..count).map(|_| program.connect()).collect();
    for conn in &mut conns {
        assert_eq!(conn.get("/").status, 200);
    }
    conns
}

/// Asks for one more answer on each, and drops those that end with it, since the old process has given it
/// and cannot pass them on.
fn ask(conns: &mut Vec<Conn>) {
    conns.retain_mut(|conn| {
        let answer = conn.get("/");
        assert_eq!(answer.status, 200);
        !answer.closes()
    });
}

#[test]
fn idle_connections_that_do_not_fit_into_the_new_process_are_answered_by_the_old_one() {
    Program::adopt_successors();
    let mut program = Setup::new(ONE_WORKER).copied().serve();
    let mut conns = idle(&program, 100);
    limit_next(&program, 64);
    let mark = program.mark();
    assert_eq!(program.post("/upgrade?wait=true").status, 200);
    program.wait_successor(mark);
    eventually("those that do not fit to stay", || {
        ask(&mut conns);
        (conns.len() < 100).then_some(())
    });
    ask(&mut conns);
    assert!(!conns.is_empty(), "none was passed on");
    drop(conns);
    assert_eq!(program.wait_first_exit(), 0);
    // Descriptors are left for what a reload opens.
    program.edit(&format!("{ONE_WORKER}[app]\nmessage = \"reloaded\"\n"));
    program.reload_applied();
    assert_eq!(program.get("/").text(), "reloaded");
    program.stop();
}

#[test]
fn an_upgrade_at_the_limit_of_descriptors_loses_no_connection() {
    Program::adopt_successors();
    let mut program = Setup::new(ONE_WORKER).shell("ulimit -n 128").serve();
    let most = program.status()["max_connections"].as_u64();
    let most = usize::try_from(most.expect("a number")).expect("small");
    let mut conns = idle(&program, most);
    let mark = program.mark();
    assert_eq!(program.post("/upgrade?wait=true").status, 200);
    program.wait_successor(mark);
    ask(&mut conns);
    ask(&mut conns);
    assert!(!conns.is_empty(), "none of {most} was passed on");
    drop(conns);
    assert_eq!(program.wait_first_exit(), 0);
    program.stop();
}

#[test]
fn sockets_that_do_not_fit_into_the_new_process_keep_the_old_one() {
    let mut settings = ONE_WORKER.to_owned();
    for number in 0..20 {
        let _ = write!(
            settings,
            "[server.listeners.l{number}]\naddress = \"127.0.0.1:0\"\n"
        );
    }
    settings.push_str("[server.listeners.public]\naddress = \"127.0.0.1:0\"\n");
    let mut program = Setup::new(&settings).copied().serve();
    let mut conns = idle(&program, 4);
    for descriptors in [6, 12, 20] {
        limit_next(&program, descriptors);
        let answer = program.post("/upgrade?wait=true");
        assert_eq!(answer.status, 422, "{}", answer.text());
        let reason = answer.text();
        assert!(reason.contains("limit of descriptors"), "{reason}");
        ask(&mut conns);
        assert_eq!(conns.len(), 4);
    }
    drop(conns);
    program.signal(Signal::TERM);
    program.expect_exit(0);
}
