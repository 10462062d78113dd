//! Unix sockets for the service: their files, and that nothing is lost over them.
use crate::support::{Conn, Kind, Load, Program, Setup, eventually, request};
use rustix::process::Signal;
use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    fs::{self, File},
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

const LOCAL: &str = "[server.listeners.public]\naddress = \"unix:local.sock\"\n";

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777
}

/// Ends a listener of another program, which leaves its file, and waits until nobody answers there: a child
/// that another test starts holds the listener until it runs its own program.
fn abandon(listener: UnixListener, path: &Path) {
    drop(listener);
    eventually("nobody to answer", || UnixStream::connect(path).err());
}

#[test]
fn it_serves_over_a_unix_socket_and_removes_it_at_the_end() {
    let mut program = Program::serve(LOCAL);
    let path = program.home().join("local.sock");
    assert_eq!(mode(&path), 0o666);
    assert_eq!(
        program.status()["listeners"][0]["address"],
        "unix:local.sock"
    );
    let mut conn = program.connect();
    assert_eq!(conn.get("/").status, 200);
    conn.get("/");
    assert_eq!(program.stop().in_all.answered, 2);
    assert!(!path.exists());
}

#[test]
fn a_relative_path_starts_at_the_runtime_directory() {
    let setup = Setup::new(LOCAL);
    let directory = setup.home().join("run");
    fs::create_dir(&directory).expect("a folder");
    let mut program = setup.env("RUNTIME_DIRECTORY", &directory).serve();
    let path = directory.join("local.sock");
    let address = format!("unix:{}", path.display());
    assert_eq!(program.status()["listeners"][0]["address"], address);
    assert_eq!(program.get("/").status, 200);
    program.stop();
    assert!(!path.exists());
}

#[test]
fn a_socket_that_nobody_answers_is_replaced_and_one_that_somebody_answers_is_not() {
    let setup = Setup::new(LOCAL);
    let path = setup.home().join("local.sock");
    let others = UnixListener::bind(&path).expect("it is free");
    let (code, log) = setup.run();
    assert_eq!(code, 1, "{log}");
    assert!(
        log.contains("cannot listen on unix:local.sock: another process answers"),
        "{log}"
    );

    drop(others);
    let setup = Setup::new(LOCAL);
    let path = setup.home().join("local.sock");
    abandon(UnixListener::bind(&path).expect("it is free"), &path);
    assert!(path.exists(), "nobody answers, but it is there");
    let mut program = setup.serve();
    assert_eq!(program.get("/").status, 200);
    program.stop();

    let setup = Setup::new(LOCAL);
    fs::write(setup.home().join("local.sock"), "precious").expect("a file");
    let home = setup.home();
    let (code, log) = setup.run();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("not a socket"), "{log}");
    assert!(!home.join("local.sock").exists() || log.contains("not a socket"));
}

#[test]
fn a_socket_that_somebody_else_has_put_there_is_left() {
    let mut program = Program::serve(LOCAL);
    let path = program.home().join("local.sock");
    fs::remove_file(&path).expect("it is there");
    let _others = UnixListener::bind(&path).expect("it is free");
    program.signal(Signal::TERM);
    program.expect_exit(0);
    assert!(path.exists(), "it is not ours to remove");
}

#[test]
fn a_killed_program_hinders_no_next_start() {
    let mut program = Program::serve(LOCAL);
    program.signal(Signal::KILL);
    program.wait_exit();
    let path = program.home().join("local.sock");
    assert!(path.exists(), "nobody could remove it");
    let local = LOCAL.replace("local.sock", &path.display().to_string());
    let mut next = Program::serve(&local);
    assert_eq!(next.get("/").status, 200);
    next.stop();
}

#[test]
fn of_many_that_start_at_once_on_one_path_one_serves() {
    for _ in 0..5 {
        let first = Setup::new(LOCAL);
        let path = first.home().join("local.sock");
        abandon(
            UnixListener::bind(&path).expect("abandoned by somebody"),
            &path,
        );
        let local = LOCAL.replace("local.sock", &path.display().to_string());
        let mut starts: Vec<Program> = (0..4).map(|_| Setup::new(&local).spawn()).collect();
        let mut serving = Vec::new();
        for (number, program) in starts.iter_mut().enumerate() {
            match program.next_to_serve(0) {
                Some(_) => serving.push(number),
                None => program.expect_exit(1),
            }
        }
        let [winner] = serving[..] else {
            panic!("{} of 4 serve", serving.len());
        };
        let winner = &mut starts[winner];
        winner.wait_serving();
        assert_eq!(winner.get("/").status, 200);
        winner.stop();
        assert!(!path.exists());
    }
}

#[test]
fn a_stop_under_load_answers_all_that_has_connected() {
    let settings = "[server.listeners.public]\naddress = \"unix:local.sock\"\n\
                    [shutdown]\nlinger = \"400ms\"\n";
    let mut program = Program::serve(settings);
    let load = Load::kept_alive(12, 20)
        .and(12, Kind::PerRequest)
        .and(2, Kind::Pipelined(8))
        .start(program.public());
    load.wait_answered(1000);
    load.expect_stop();
    let report = program.stop();
    report.assert_agrees(&load.until_refused(), 0);
}

#[test]
fn what_waits_in_the_queue_of_a_busy_service_is_answered() {
    let slow = format!(
        "{LOCAL}[server]\nworkers = 1\nmax_connections = 1\n\
         [app.routes.\"/slow\"]\nrespond = {{ body = \"slow\", delay = \"500ms\" }}\n"
    );
    let mut program = Program::serve(&slow);
    let mut first = program.connect();
    first.send(&request("GET", "/slow", &[], b""));
    program.wait_in_flight(1);
    let mut queued: Vec<Conn> = (0..8).map(|_| program.connect()).collect();
    for conn in &mut queued {
        conn.send(&request("GET", "/", &[], b""));
    }
    program.signal(Signal::TERM);
    assert_eq!(first.answer().text(), "slow");
    for conn in &mut queued {
        assert_eq!(conn.answer().status, 200);
    }
    program.expect_exit(0);
    assert_eq!(program.report().in_all.answered, 9);
}

#[test]
fn a_socket_whose_file_was_removed_is_made_anew_by_a_reload_and_its_connections_go_on() {
    let mut program = Program::serve(LOCAL);
    let path = program.home().join("local.sock");
    let mut conn = program.connect();
    assert_eq!(conn.get("/").status, 200);
    for reload in ["/reload", "/reload?force=true"] {
        fs::remove_file(&path).expect("it is there");
        let would = program.post("/reload?dry_run=true").json();
        assert_eq!(would["outcome"], "would_apply", "{would:#}");
        assert!(!path.exists(), "a dry run makes nothing");
        let (mark, answer) = (program.mark(), program.post(reload).json());
        assert_eq!(answer["outcome"], "applied", "{answer:#}");
        let change = &answer["changes"][0];
        assert_eq!(change["key"], "server.listeners.public.address");
        assert_eq!(change["from"], "unix:local.sock (its file was gone)");
        assert_eq!(change["to"], "unix:local.sock");
        program.wait_after(mark, "the file of unix:local.sock was removed");
        assert_eq!(mode(&path), 0o666);
        assert_eq!(program.get("/").status, 200);
        let answer = conn.get("/");
        assert_eq!((answer.status, answer.closes()), (200, false));
        assert_eq!(program.reload().1["outcome"], "unchanged");
    }
    // It forces nothing else: settings that are all gone are not applied.
    fs::remove_file(&path).expect("it is there");
    program.write("default.toml", "");
    assert_eq!(program.reload().0, 422);
    program.edit(LOCAL);
    program.reload_applied();
    // Another program's, which has ended since.
    fs::remove_file(&path).expect("it is there");
    abandon(UnixListener::bind(&path).expect("it is free"), &path);
    program.reload_applied();
    assert_eq!(program.get("/").status, 200);
    // Another program's, which answers.
    fs::remove_file(&path).expect("it is there");
    let others = UnixListener::bind(&path).expect("it is free");
    let (status, answer) = program.reload();
    assert_eq!(status, 422, "{answer:#}");
    assert!(
        answer.to_string().contains("another process answers"),
        "{answer:#}"
    );
    abandon(others, &path);
    program.reload_applied();
    drop(conn);
    program.stop();
    assert!(!path.exists());
}

#[test]
fn an_admin_socket_whose_file_was_removed_is_made_anew_by_sighup() {
    let settings = "[admin]\naddress = \"unix:admin.sock\"\n";
    let mut program = Program::serve(settings);
    let path = program.home().join("admin.sock");
    let mark = program.mark();
    fs::remove_file(&path).expect("it is there");
    program.signal(Signal::HUP);
    program.wait_attempt(mark, "applied");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(program.status()["generation"], 2);
    program.stop();
    assert!(!path.exists());
}

#[test]
fn a_lock_that_somebody_holds_on_the_directory_hinders_neither_start_nor_reload_nor_stop() {
    let setup = Setup::new(LOCAL);
    let directory = File::open(setup.home()).expect("a folder");
    directory.lock().expect("nobody else has it");
    let mut program = setup.serve();
    assert_eq!(program.get("/").status, 200);
    program.edit(&format!(
        "{LOCAL}[server.listeners.second]\naddress = \"unix:second.sock\"\n"
    ));
    program.reload_applied();
    let home = program.home();
    assert!(home.join("second.sock").exists());
    program.stop();
    let left: Vec<_> = fs::read_dir(home).expect("a folder").flatten().collect();
    assert_eq!(left.len(), 1, "only the settings are left: {left:?}");
}

/// Begins to connect; `None` where it was refused at once.
fn dial(address: SocketAddr) -> Option<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("a live socket");
    match socket.connect(&SockAddr::from(address)) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => None,
        _ if socket.take_error().expect("a live socket").is_some() => None,
        _ => Some(socket),
    }
}

#[test]
fn while_another_process_takes_the_path_the_service_answers_and_what_fails_then_has_let_nobody_in()
{
    let mut program = Program::serve(LOCAL);
    // Another of our user's processes, which has stopped amid its start.
    let lock = program.home().join(".second.sock.everup-lock");
    let lock = File::create(lock).expect("a file");
    lock.lock().expect("nobody else has it");
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("it is bound");
    drop(free);
    let both = format!(
        "{LOCAL}[server.listeners.second]\naddress = \"unix:second.sock\"\n\
         [server.listeners.tcp]\naddress = \"{address}\"\n"
    );
    program.edit(&both);
    let mut asking = Conn::open(program.admin());
    asking.send(&request("POST", "/reload", &[], b""));
    let client = eventually("the new port to be listened at", || dial(address));
    assert_eq!(program.get("/").status, 200);
    assert_eq!(program.status()["generation"], 1, "it answers meanwhile");
    let answer = asking.answer();
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("another process is about to take"));
    assert!(client.peer_addr().is_err(), "it was connected, and reset");
    eventually("the client to be refused", || {
        let error = client.take_error().expect("a live socket")?;
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        Some(())
    });
    drop(lock);
    program.reload_applied();
    assert!(dial(address).is_some());
    program.stop();
}
