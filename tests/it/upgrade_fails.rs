//! Upgrades that do not succeed: the old process serves on, and says why.
use crate::support::{Conn, Program, Setup, eventually, replace_program};
use rustix::process::Signal;
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

/// Asks for an upgrade, which must fail; the reason.
fn refused(program: &Program) -> String {
    let answer = program.post("/upgrade?wait=true");
    assert_eq!(answer.status, 422, "{}", answer.text());
    let reason = answer.json()["error"]
        .as_str()
        .expect("a reason")
        .to_owned();
    program.wait_line(&reason, |line| {
        line.contains(&format!("not upgraded: {reason}"))
    });
    let status = program.status();
    assert_eq!(
        (&status["pid"], &status["state"]),
        (&program.id().into(), &"serving".into())
    );
    assert_eq!(program.readyz(), 200);
    assert_eq!(program.get("/").status, 200);
    reason
}

/// Upgrades, which must succeed, and stops.
fn upgrades_after_all(mut program: Program) {
    let mark = program.mark();
    assert_eq!(program.post("/upgrade?wait=true").status, 200);
    program.wait_successor(mark);
    assert_eq!(program.get("/").status, 200);
    program.stop();
}

/// A process that has been ended and reaped.
fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

const UNIX: &str = "[reload]\ntimeout = \"1s\"\n\
                    [server.listeners.public]\naddress = \"unix:public.sock\"\n\
                    [app]\nmessage = \"one\"\n";

#[test]
fn settings_that_are_wrong_keep_the_old_process_and_the_reason_has_their_place() {
    let program = Program::serve(UNIX);
    program.write("default.toml", UNIX.replace("\"one\"", "1"));
    let reason = refused(&program);
    assert!(
        reason.contains("default.toml:6:11: app.message: expected"),
        "{reason}"
    );
    assert!(program.home().join("public.sock").exists());
    program.edit(UNIX);
    upgrades_after_all(program);
}

#[test]
fn a_pid_file_that_cannot_be_written_keeps_the_old_process() {
    let setup = Setup::new(UNIX).arg("--pid-file").arg("everup.pid");
    let program = setup.serve();
    let path = program.home().join("everup.pid");
    // A file beside it can be written, and cannot take its place.
    eventually("the pid file", || fs::remove_file(&path).ok());
    fs::create_dir(&path).expect("a folder");
    for _ in 0..5 {
        let reason = refused(&program);
        assert!(reason.contains("ended before it was ready"), "{reason}");
    }
    fs::remove_dir(&path).expect("it is empty");
    upgrades_after_all(program);
}

#[test]
fn an_address_in_use_keeps_the_old_process() {
    let other = Program::serve("");
    let program = Program::serve(UNIX);
    program.edit(&UNIX.replace("unix:public.sock", &other.public().to_string()));
    let reason = refused(&program);
    assert!(reason.contains("cannot listen on 127.0.0.1"), "{reason}");
    program.edit(UNIX);
    upgrades_after_all(program);
}

#[test]
fn a_program_that_is_replaced_removed_or_broken_keeps_the_old_process() {
    let program = Setup::new(UNIX).copied().serve();
    let path = program.home().join("everup");
    let kept = program.home().join("kept");
    fs::rename(&path, &kept).expect("rename the program");
    let reason = refused(&program);
    assert!(
        reason.contains(&format!("cannot start {}", path.display())),
        "{reason}"
    );

    replace_program(&path, "#!/bin/sh\nexit 7\n");
    let reason = refused(&program);
    assert!(
        reason.contains("ended before it was ready: exit status: 7"),
        "{reason}"
    );

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("our own file");
    let reason = refused(&program);
    assert!(reason.contains("ermission denied"), "{reason}");

    replace_program(&path, "#!/bin/sh\nkill -SEGV $$\n");
    let reason = refused(&program);
    assert!(reason.contains("signal: 11"), "{reason}");

    replace_program(&path, "#!/bin/sh\necho $$ > other\nexec sleep 600\n");
    let reason = refused(&program);
    assert!(
        reason.contains("was not ready within `reload.timeout`"),
        "{reason}"
    );
    let other = fs::read_to_string(program.home().join("other")).expect("it ran");
    let other: u32 = other.trim().parse().expect("a pid");
    eventually("the other program to be gone", || {
        is_gone(other).then_some(())
    });

    // One that closes its standard input at once, and one that reads all of it.
    for deaf in ["exec sleep 600 < /dev/null", "exec cat"] {
        replace_program(&path, &format!("#!/bin/sh\n{deaf} > /dev/null\n"));
        let reason = refused(&program);
        assert!(
            reason.contains("was not ready within `reload.timeout`"),
            "{reason}"
        );
    }

    fs::rename(&kept, &path).expect("rename it back");
    upgrades_after_all(program);
}

/// Starts an upgrade to a program that never gets ready; its pid.
fn hanging(program: &Program) -> u32 {
    let script = "#!/bin/sh\necho $$ > waiting\nexec sleep 600\n";
    replace_program(&program.home().join("everup"), script);
    program.signal(Signal::USR2);
    let pid = eventually("the new process to hang", || {
        let waiting = fs::read_to_string(program.home().join("waiting"));
        waiting.ok()?.trim().parse().ok()
    });
    assert_eq!(program.status()["state"], "upgrading");
    pid
}

/// With time enough for the test to act before the new process is given up.
fn patient() -> Program {
    Setup::new(&UNIX.replace("1s", "60s")).copied().serve()
}

fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a pid"), signal).expect("it lives");
}

#[test]
fn a_second_one_while_one_is_under_way_is_told_so() {
    let program = patient();
    let hung = hanging(&program);
    let answer = program.post("/upgrade?wait=true");
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (422, Some("an upgrade is under way"))
    );
    assert_eq!(program.post("/upgrade").status, 202);
    kill(hung, Signal::KILL);
    program.wait_log(&format!("not upgraded: pid {hung}"));
}

#[test]
fn a_new_process_that_is_told_to_stop_or_killed_leaves_the_old_one_serving() {
    let program = patient();
    for (signal, number) in [(Signal::TERM, 15), (Signal::KILL, 9)] {
        let mark = program.mark();
        let hung = hanging(&program);
        kill(hung, signal);
        let line = program.wait_after(mark, "not upgraded: ");
        assert!(line.contains(&format!("signal: {number}")), "{line}");
        assert_eq!(program.get("/").status, 200);
        fs::remove_file(program.home().join("waiting")).expect("it was written");
    }
}

#[test]
fn a_stop_ends_the_new_process_and_then_this_one() {
    let mut program = patient();
    let hung = hanging(&program);
    let mut asking = Conn::open(program.admin());
    asking.send(b"POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n");
    program.status();
    program.signal(Signal::TERM);
    assert_eq!(asking.answer().status, 503);
    program.expect_exit(0);
    program.wait_log("not upgraded: stopping");
    eventually("the new process to be gone", || is_gone(hung).then_some(()));
    assert!(!program.home().join("public.sock").exists());
}

#[test]
fn a_reload_asked_for_meanwhile_is_carried_out_by_the_old_process_after_all() {
    let program = patient();
    let hung = hanging(&program);
    let mut asking = Conn::open(program.admin());
    asking.send(b"POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n");
    program.status();
    program.edit(&UNIX.replace("1s", "60s").replace("one", "two"));
    kill(hung, Signal::KILL);
    let answer = asking.answer();
    assert_eq!(
        (answer.status, &answer.json()["outcome"]),
        (200, &"applied".into())
    );
    assert_eq!(program.get("/").text(), "two");
}

#[test]
fn during_a_stop_it_is_refused_with_503() {
    let slow = "[app.routes.\"/slow\"]\nrespond = { body = \"slow\", delay = \"1s\" }\n";
    let mut program = Program::serve(slow);
    let mut conn = program.connect();
    conn.send(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    program.wait_in_flight(1);
    program.signal(Signal::TERM);
    program.wait_stopping();
    for path in ["/upgrade?wait=true", "/upgrade"] {
        let answer = program.post(path);
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (503, Some("stopping"))
        );
    }
    assert_eq!(conn.answer().text(), "slow");
    program.expect_exit(0);
}

#[test]
fn as_pid_1_it_is_refused() {
    let can = Command::new("unshare")
        .args(["--pid", "--fork", "true"])
        .status();
    if !can.is_ok_and(|can| can.success()) {
        return eprintln!("skipped: no PID namespace can be made here");
    }
    let script = "exec unshare --pid --fork --kill-child \"$0\" \"$@\"";
    let mut program = Setup::new(UNIX).shell(script).spawn();
    program.wait_serving_as(1);
    let answer = program.post("/upgrade?wait=true");
    let reason = answer.json()["error"]
        .as_str()
        .expect("a reason")
        .to_owned();
    assert_eq!(answer.status, 422);
    assert!(reason.contains("as PID 1"), "{reason}");
    assert_eq!(program.get("/").status, 200);
    assert_eq!(program.post("/stop").status, 202);
    program.expect_exit(0);
}

#[test]
fn a_reload_waits_for_an_old_process_that_stands_still_and_says_so_where_that_takes_too_long() {
    Program::adopt_successors();
    let mut program = Setup::new(UNIX).copied().serve();
    let path = program.home().join("everup");
    let kept = program.home().join("kept");
    fs::rename(&path, &kept).expect("rename the program");
    let script = format!(
        "#!/bin/sh\nkill -STOP $PPID\nexec {} \"$@\"\n",
        kept.display()
    );
    replace_program(&path, &script);
    let (old, mark) = (program.id(), program.mark());
    program.signal(Signal::USR2);
    let successor = program
        .next_to_serve(mark)
        .expect("it serves beside the old one");
    program.adopt(successor);
    program.edit(&format!("{UNIX}[server]\nworkers = 3\n"));
    for path in ["/reload?dry_run=true", "/reload"] {
        let attempt = program.post(path).json();
        assert_eq!(attempt["outcome"], "rejected");
        assert_eq!(
            attempt["errors"][0]["message"],
            "the process before has not let go within `reload.timeout`"
        );
    }
    kill(old, Signal::KILL);
    program.reload_applied();
    assert_eq!(program.get("/").status, 200);
    program.signal(Signal::TERM);
    assert_eq!(program.wait_successor_exit(successor), 0);
}
