//! Upgrades that succeed: nothing is lost, and the new process is what was promised.
use crate::support::{
    Address, CEILING, Conn, H2Load, Kind, Load, Program, Setup, StopReport, eventually, install,
    replace_program,
};
use rustix::process::Signal;
use std::{fs, os::unix::net::UnixDatagram, path::Path, thread, time::Duration};

const BOTH: &str = "[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
                    [server.listeners.local]\naddress = \"unix:local.sock\"\n";

/// Upgrades by `POST /upgrade?wait=true`, which must succeed.
fn upgrade(program: &mut Program) -> u32 {
    let mark = program.mark();
    let answer = program.post("/upgrade?wait=true");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let pid = program.wait_successor(mark);
    assert_eq!(answer.json()["pid"], pid);
    pid
}

fn total(reports: &[StopReport]) -> (u64, u64, u64) {
    reports.iter().fold((0, 0, 0), |sum, report| {
        report.in_all.assert_balanced();
        let all = report.in_all;
        (sum.0 + all.answered, sum.1 + all.aborted, sum.2 + all.cut)
    })
}

#[test]
fn ten_upgrades_under_load_lose_nothing() {
    Program::adopt_successors();
    let both = BOTH.replace("0\"\n", "0\"\nh2c = true\n");
    let settings = format!("{both}[shutdown]\nlinger = \"400ms\"\n[app]\nmessage = \"here\"\n");
    let mut program = Program::serve(&settings);
    let load = |to: &Address| {
        Load::kept_alive(8, 20)
            .and(4, Kind::PerRequest)
            .and(2, Kind::Pipelined(4))
            .start(to)
    };
    let (tcp, unix) = (load(program.public()), load(program.listener("local")));
    let http2 = H2Load::start(program.public(), (2, 4), "/", b"", b"here");
    for round in 1..=10 {
        for load in [&tcp, &unix] {
            load.wait_answered(load.answered() + 200);
        }
        http2.wait_answered(round * 100);
        if round % 2 == 0 {
            upgrade(&mut program);
        } else {
            let mark = program.mark();
            program.signal(Signal::USR2);
            program.wait_successor(mark);
        }
        assert_eq!(program.status()["generation"], round + 1);
    }
    http2.wait_answered(1100);
    let (books, http2) = ([tcp.stop(), unix.stop()], http2.end());
    program.stop();
    for books in &books {
        books.assert_nothing_lost();
    }
    let reports = program.reports();
    assert_eq!(reports.len(), 11, "one report a process");
    assert_eq!(http2.lost, 0, "{:#?}", http2.complaints);
    let answered: u64 = books.iter().map(|books| books.answered).sum();
    let answered = answered + http2.answered;
    assert_eq!(total(&reports), (answered, 0, 0), "by both sides' books");
}

#[test]
fn the_new_process_serves_the_settings_of_now_and_counts_on() {
    Program::adopt_successors();
    let mut program = Program::serve("[app]\nmessage = \"one\"\n");
    let first = program.id();
    program.edit("[app]\nmessage = \"two\"\n");
    assert_eq!(program.reload_applied()["attempt"], 2);
    program.edit("[app]\nmessage = \"three\"\n");
    let public = program.public().clone();
    let second = upgrade(&mut program);
    assert_ne!(first, second);
    assert_eq!(program.public(), &public, "the port that was picked stays");
    assert_eq!(program.get("/").text(), "three");
    let status = program.status();
    assert_eq!(status["pid"], second);
    assert_eq!(
        (&status["generation"], &status["state"]),
        (&3.into(), &"serving".into())
    );
    assert_eq!(status["last_reload"]["attempt"], 3);
    let history = program.admin_ask("GET", "/history", &[]).json();
    let told = |place: usize| {
        let attempt = &history[place];
        (
            attempt["attempt"].clone(),
            attempt["changes"][0]["to"].clone(),
        )
    };
    assert_eq!(told(0), (3.into(), serde_json::Value::Null), "{history:#}");
    assert_eq!(told(1), (2.into(), "two".into()), "{history:#}");
    assert_eq!(told(2).0, 1, "{history:#}");
    assert_eq!(program.wait_first_exit(), 0);
    program.edit("[app]\nmessage = \"four\"\n");
    let attempt = program.reload_applied();
    assert_eq!(
        (&attempt["attempt"], &attempt["generation"]),
        (&4.into(), &4.into())
    );
    upgrade(&mut program);
    assert_eq!(program.wait_successor_exit(second), 0);
    assert_eq!(program.get("/").text(), "four");
    program.stop();
}

#[test]
fn what_is_in_flight_is_answered_by_the_process_that_received_it_and_the_connection_goes_on() {
    Program::adopt_successors();
    let slow = "[app.routes.\"/slow\"]\nrespond = { body = \"slow\", delay = \"700ms\" }\n";
    let mut program = Program::serve(slow);
    let mut conn = program.connect();
    conn.send(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    program.wait_in_flight(1);
    upgrade(&mut program);
    let answer = conn.answer();
    assert_eq!((answer.text().as_str(), answer.closes()), ("slow", false));
    assert_eq!(program.wait_first_exit(), 0);
    assert_eq!(program.report().in_all.answered, 1);
    assert_eq!(conn.get("/").status, 200);
    assert_eq!(program.stop().in_all.answered, 1);
}

#[test]
fn an_idle_connection_goes_on_in_the_new_process() {
    Program::adopt_successors();
    let settings = |message: &str| {
        format!("{BOTH}[shutdown]\nlinger = \"30s\"\n[app]\nmessage = \"{message}\"\n")
    };
    let mut program = Program::serve(&settings("one"));
    let mut used = [program.connect(), Conn::open(program.listener("local"))];
    let mut unused = [program.connect(), Conn::open(program.listener("local"))];
    for conn in &mut used {
        assert_eq!(conn.get("/").text(), "one");
    }
    program.wait_open(4);
    for (ended, message) in [(1, "two"), (2, "three")] {
        program.edit(&settings(message));
        upgrade(&mut program);
        // Nothing is left behind to linger for.
        eventually("the old process to end", || {
            (program.reports().len() == ended).then_some(())
        });
        for conn in used.iter_mut().chain(&mut unused) {
            let answer = conn.get("/");
            assert_eq!((answer.text().as_str(), answer.closes()), (message, false));
        }
    }
    program.wait_open(4);
    assert_eq!(program.books().answered, 4);
    drop((used, unused));
    program.stop();
}

#[test]
fn a_head_that_has_begun_is_completed_where_it_began() {
    Program::adopt_successors();
    let mut program = Program::serve("[shutdown]\nlinger = \"30s\"\n");
    let mut conn = program.connect();
    conn.get("/");
    conn.send(b"GET / HTTP/1.1\r\nHo");
    // Its first bytes have been read when a later connection of each worker has been answered.
    let mut idle: Vec<Conn> = (0..8).map(|_| program.connect()).collect();
    for conn in &mut idle {
        conn.get("/");
    }
    upgrade(&mut program);
    conn.send(b"st: localhost\r\n\r\n");
    assert_eq!(conn.answer().status, 200);
    assert_eq!(conn.get("/").status, 200);
    drop((conn, idle));
    program.stop();
}

#[test]
fn many_idle_connections_go_on_in_the_new_process() {
    Program::adopt_successors();
    let mut program = Program::serve("[shutdown]\nlinger = \"30s\"\n");
    let mut conns: Vec<Conn> = (0..600).map(|_| program.connect()).collect();
    for conn in &mut conns {
        conn.get("/");
    }
    upgrade(&mut program);
    assert_eq!(program.wait_first_exit(), 0);
    for conn in &mut conns {
        assert_eq!(conn.get("/").status, 200);
    }
    program.wait_open(600);
    drop(conns);
    program.stop();
}

#[test]
fn what_the_old_process_cuts_its_exit_code_tells() {
    Program::adopt_successors();
    let stuck = "[shutdown]\ntimeout = \"300ms\"\n\
                 [app.routes.\"/stuck\"]\nrespond = { body = \"never\", delay = \"30s\" }\n";
    let mut program = Program::serve(stuck);
    let mut conn = program.connect();
    conn.send(b"GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n");
    program.wait_in_flight(1);
    let successor = upgrade(&mut program);
    assert_eq!(program.wait_first_exit(), 3);
    assert_eq!(program.get("/").status, 200);
    program.signal(Signal::TERM);
    assert_eq!(program.wait_successor_exit(successor), 0);
}

#[test]
fn it_has_the_same_arguments_environment_directory_and_standard_input() {
    Program::adopt_successors();
    let setup = Setup::new("").env("SOMETHING", "else");
    fs::write(setup.home().join("input"), "").expect("a file");
    let mut program = setup.shell("exec < input").serve();
    let of = |pid: u32, what: &str| format!("/proc/{pid}/{what}");
    let read = |pid: u32| {
        let files = ["cmdline", "environ"].map(|what| fs::read(of(pid, what)).expect("it lives"));
        let links = ["cwd", "fd/0"].map(|what| fs::read_link(of(pid, what)).expect("it lives"));
        (files, links)
    };
    let before = read(program.id());
    assert!(before.1[1].ends_with("input"));
    let successor = upgrade(&mut program);
    assert_eq!(read(successor), before);
    program.stop();
}

#[test]
fn the_program_is_found_as_the_shell_found_it() {
    Program::adopt_successors();
    let setup = Setup::new("").copied();
    let home = setup.home();
    let path = format!("/nowhere:{}:/usr/bin:/bin", home.display());
    let mut program = setup.program("everup").env("PATH", path).shell(":").serve();
    let told = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).expect("it lives");
    assert_eq!(told(program.id()), home.join("everup"));
    let old = home.join("everup.old");
    fs::rename(home.join("everup"), &old).expect("rename the program");
    install(&old, &home.join("everup"));
    let successor = upgrade(&mut program);
    assert_eq!(
        told(successor),
        home.join("everup"),
        "not the one that was renamed"
    );
    program.stop();
}

#[test]
fn a_listener_that_moves_is_bound_anew_and_the_old_address_is_closed() {
    Program::adopt_successors();
    let mut program = Program::serve(BOTH);
    let (old_tcp, old_unix) = (program.public().clone(), program.listener("local").clone());
    let moved = "[server.listeners.renamed]\naddress = \"unix:local.sock\"\n\
                 [server.listeners.public]\naddress = \"127.0.0.2:0\"\n";
    program.edit(moved);
    upgrade(&mut program);
    assert_ne!(program.public(), &old_tcp);
    assert_eq!(program.get("/").status, 200);
    assert_eq!(program.wait_first_exit(), 0);
    assert!(
        Conn::dial(&old_tcp).is_err(),
        "nobody listens there any more"
    );
    assert_eq!(program.listener("renamed"), &old_unix);
    assert_eq!(Conn::open(&old_unix).get("/").status, 200);
    program.stop();
    let Address::Unix(path) = old_unix else {
        panic!("it is a path");
    };
    assert!(!path.exists(), "removed by the last that had it");
}

#[test]
fn an_address_that_overlaps_the_old_one_is_taken_over_without_a_loss() {
    Program::adopt_successors();
    let mut program = Program::serve("");
    let port = program.public().port();
    let load = Load::kept_alive(4, 20).and(2, Kind::PerRequest);
    let load = load.start(program.public());
    for ip in ["0.0.0.0", "127.0.0.1", "[::]", "127.0.0.1"] {
        load.wait_answered(load.answered() + 200);
        let address = format!("{ip}:{port}");
        program.edit(&format!(
            "[server.listeners.public]\naddress = \"{address}\"\n[shutdown]\nlinger = \"400ms\"\n"
        ));
        upgrade(&mut program);
        assert_eq!(program.status()["listeners"][0]["address"], address);
    }
    load.wait_answered(load.answered() + 200);
    load.stop().assert_nothing_lost();
    program.stop();
}

#[test]
fn an_address_that_overlaps_is_not_shared_after_an_upgrade_that_failed() {
    let mut program = Setup::new("").copied().serve();
    let (home, port) = (program.home(), program.public().port());
    // One that binds, listens, and then fails for its pid file.
    let real = env!("CARGO_BIN_EXE_everup");
    let script = format!("#!/bin/sh\nexec {real} \"$@\" --pid-file settings\n");
    replace_program(&home.join("everup"), &script);
    program.edit(&format!(
        "[server.listeners.public]\naddress = \"0.0.0.0:{port}\"\n"
    ));
    assert_eq!(program.post("/upgrade?wait=true").status, 422);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let other = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let other = other.expect("a socket");
    other.set_reuse_port(true).expect("a live socket");
    let bound = other.bind(&address.into());
    assert!(bound.is_err(), "another program may take what it serves");
    assert_eq!(program.get("/").status, 200);
    program.stop();
}

#[test]
fn a_socket_whose_file_was_removed_is_made_anew_by_an_upgrade() {
    Program::adopt_successors();
    let mut program = Program::serve(BOTH);
    let path = program.home().join("local.sock");
    fs::remove_file(&path).expect("it is there");
    upgrade(&mut program);
    assert_eq!(Conn::open(program.listener("local")).get("/").status, 200);
    assert_eq!(program.wait_first_exit(), 0);
    assert_eq!(Conn::open(program.listener("local")).get("/").status, 200);
    program.stop();
    assert!(!path.exists());
}

#[test]
fn a_stop_right_after_an_upgrade_stops_the_new_process() {
    Program::adopt_successors();
    let mut program = Program::serve(BOTH);
    upgrade(&mut program);
    program.signal(Signal::TERM);
    program.expect_exit(0);
    assert_eq!(program.reports().len(), 2, "one report a process");
    assert!(!program.home().join("local.sock").exists());
}

#[test]
fn the_service_manager_is_told_of_the_new_main_process_once() {
    Program::adopt_successors();
    let setup = Setup::new("");
    let socket = setup.home().join("notify");
    let manager = UnixDatagram::bind(&socket).expect("it is free");
    manager
        .set_read_timeout(Some(CEILING))
        .expect("a live socket");
    let mut program = setup.env("NOTIFY_SOCKET", socket).serve();
    let successor = upgrade(&mut program);
    assert_eq!(program.wait_first_exit(), 0);
    let mut told = [0; 256];
    let length = manager.recv(&mut told).expect("it was told");
    assert_eq!(&told[..length], format!("MAINPID={successor}\n").as_bytes());
    manager.set_nonblocking(true).expect("a live socket");
    assert!(
        manager.recv(&mut told).is_err(),
        "the old process says nothing more"
    );
    program.stop();
}

/// A program that waits for a file before it becomes the real one.
fn slow_program(home: &Path) {
    let real = env!("CARGO_BIN_EXE_everup");
    let script = format!(
        "#!/bin/sh\necho $$ > waiting\nwhile [ ! -e go ]; do sleep 0.01; done\nexec {real} \"$@\"\n"
    );
    replace_program(&home.join("everup"), &script);
}

/// The process that waits for the file.
fn waiting(home: &Path) -> u32 {
    eventually("the new process to wait", || {
        fs::read_to_string(home.join("waiting"))
            .ok()?
            .trim()
            .parse()
            .ok()
    })
}

#[test]
fn a_reload_asked_for_meanwhile_is_carried_out_by_the_new_process() {
    Program::adopt_successors();
    let mut program = Setup::new("[app]\nmessage = \"one\"\n").copied().serve();
    let (home, mark) = (program.home(), program.mark());
    slow_program(&home);
    program.signal(Signal::USR2);
    waiting(&home);
    assert_eq!(program.status()["state"], "upgrading");
    assert_eq!(program.readyz(), 200);
    assert_eq!(program.get("/").text(), "one");
    let mut asking = Conn::open(program.admin());
    asking.send(b"POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // What is asked later is answered later: the reload has been taken note of.
    program.status();
    program.edit("[app]\nmessage = \"two\"\n");
    fs::write(home.join("go"), "").expect("a file");
    let successor = program.wait_successor(mark);
    let answer = asking.answer();
    let attempt = answer.json();
    // The start may have read the settings before or after they were changed.
    assert_eq!(answer.status, 200, "{attempt:#}");
    assert!(["applied", "unchanged"].contains(&attempt["outcome"].as_str().unwrap_or_default()));
    assert_eq!(attempt["attempt"], 3, "the new process's second");
    assert_eq!(program.get("/").text(), "two");
    assert_eq!(program.id(), successor);
    program.stop();
}

#[test]
fn the_old_process_killed_meanwhile_leaves_the_new_one_serving() {
    Program::adopt_successors();
    let mut program = Setup::new(BOTH).copied().serve();
    let home = program.home();
    slow_program(&home);
    program.signal(Signal::USR2);
    let successor = waiting(&home);
    program.signal(Signal::KILL);
    assert_eq!(program.wait_first_exit(), 128 + 9);
    // Nobody accepts, and yet nobody is refused: the sockets are the new process's already.
    let mut early = [program.connect(), Conn::open(program.listener("local"))];
    fs::write(home.join("go"), "").expect("a file");
    program.adopt(successor);
    program.wait_serving();
    for conn in &mut early {
        assert_eq!(conn.get("/").status, 200);
    }
    program.signal(Signal::TERM);
    assert_eq!(program.wait_successor_exit(successor), 0);
    assert!(!home.join("local.sock").exists(), "all was its own");
}

#[test]
fn both_killed_meanwhile_leave_the_addresses_free() {
    let mut program = Setup::new(BOTH).copied().serve();
    let home = program.home();
    let port = program.public().port();
    slow_program(&home);
    program.signal(Signal::USR2);
    let successor = waiting(&home);
    program.signal(Signal::KILL);
    assert_eq!(program.wait_first_exit(), 128 + 9);
    program.adopt(successor);
    program.signal(Signal::KILL);
    program.wait_exit();
    serves_again(port, &home);
}

#[test]
fn killed_at_any_moment_one_of_them_serves_or_the_addresses_are_free() {
    Program::adopt_successors();
    // Moments spread over the few milliseconds that an upgrade takes; none has to be met.
    for moment in (0..12).map(|step| Duration::from_micros(step * 1500)) {
        let mut program = Program::serve(BOTH);
        let (home, port, mark) = (program.home(), program.public().port(), program.mark());
        program.signal(Signal::USR2);
        program.wait_log("upgrade: starting a new process");
        thread::sleep(moment);
        program.signal(Signal::KILL);
        let code = program.wait_first_exit();
        assert!([0, 128 + 9].contains(&code), "exit code {code}");
        if let Some(successor) = program.next_to_serve(mark) {
            program.adopt(successor);
            program.wait_serving();
            assert_eq!(program.get("/").status, 200);
            assert_eq!(Conn::open(program.listener("local")).get("/").status, 200);
            program.signal(Signal::KILL);
        }
        program.wait_exit();
        serves_again(port, &home);
    }
}

/// The next start gets the same addresses.
fn serves_again(port: u16, home: &Path) {
    let settings = format!(
        "[server.listeners.public]\naddress = \"127.0.0.1:{port}\"\n\
         [server.listeners.local]\naddress = \"unix:{}\"\n",
        home.join("local.sock").display()
    );
    let mut next = Program::serve(&settings);
    assert_eq!(next.get("/").status, 200);
    assert_eq!(Conn::open(next.listener("local")).get("/").status, 200);
    next.stop();
}
