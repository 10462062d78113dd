//! Socket activation: listeners on sockets that the service manager holds and passes.
use crate::support::{Address, Conn, Kind, Load, Program, Setup};
use rustix::process::Signal;
use std::{
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixListener,
    },
};

const WEB: &str = "[server.listeners.public]\naddress = \"systemd:web\"\n";

/// A socket that the test holds as the manager would.
fn tcp() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

fn clone(socket: &TcpListener) -> OwnedFd {
    let cloned = socket.as_fd().try_clone_to_owned();
    cloned.expect("a descriptor")
}

fn address(socket: &TcpListener) -> Address {
    Address::Tcp(socket.local_addr().expect("it is bound"))
}

/// Starts on `WEB` and this socket.
fn serve(socket: &TcpListener) -> Program {
    let setup = Setup::new(WEB).passed([clone(socket)]);
    setup.env("LISTEN_FDNAMES", "web").serve()
}

#[test]
fn it_serves_what_was_passed_and_tells_the_real_addresses() {
    let both = format!("{WEB}[server.listeners.local]\naddress = \"systemd:local.socket\"\n");
    let setup = Setup::new(&both);
    let path = setup.home().join("manager.sock");
    let (web, local) = (tcp(), UnixListener::bind(&path).expect("it is free"));
    let passed = [clone(&web), local.into()];
    let setup = setup.passed(passed);
    let mut program = setup.env("LISTEN_FDNAMES", "web:local.socket").serve();

    assert_eq!(program.public(), &address(&web));
    assert_eq!(program.get("/").status, 200);
    let unix = Address::Unix(path.clone());
    assert_eq!(program.listener("local"), &unix);
    assert_eq!(Conn::open(&unix).get("/").status, 200);
    assert_eq!(program.reload().1["outcome"], "unchanged");
    program.stop();
    assert!(path.exists(), "the file is the manager's");
}

#[test]
fn what_is_queued_when_it_stops_is_served_by_the_next() {
    let web = tcp();
    let mut first = serve(&web);
    assert_eq!(first.get("/").status, 200);
    let load = Load::of(4, Kind::PerRequest).start(first.public());
    load.wait_answered(100);
    for _ in 0..5 {
        first.stop();
        // Nobody accepts it now, and nobody refuses it.
        let queued = TcpStream::connect(web.local_addr().expect("it is bound"));
        queued.expect("the manager's socket listens");
        first = serve(&web);
        load.wait_answered(load.answered() + 100);
    }
    load.stop().assert_nothing_lost();
    first.stop();
}

#[test]
fn a_new_process_gets_all_that_was_passed() {
    Program::adopt_successors();
    let (web, other) = (tcp(), tcp());
    let setup = Setup::new(WEB).passed([clone(&web), clone(&other)]);
    let mut program = setup.env("LISTEN_FDNAMES", "web:other").serve();
    program.wait_log("no listener uses: other");
    let mut kept = program.connect();
    assert_eq!(kept.get("/").status, 200);

    let upgrade = |program: &mut Program| {
        let mark = program.mark();
        program.signal(Signal::USR2);
        program.wait_successor(mark);
    };
    // A third process still finds what the second did not ask for.
    upgrade(&mut program);
    assert_eq!(program.public(), &address(&web));
    assert_eq!(kept.get("/").status, 200);
    program.edit(&WEB.replace("web", "other"));
    upgrade(&mut program);
    assert_eq!(program.public(), &address(&other));
    assert_eq!(program.get("/").status, 200);
    program.edit(&WEB.replace("public", "renamed"));
    upgrade(&mut program);
    assert_eq!(program.listener("renamed"), &address(&web));
    assert_eq!(Conn::open(&address(&web)).get("/").status, 200);
    program.stop();
    let still = TcpStream::connect(web.local_addr().expect("it is bound"));
    still.expect("no process has shut the manager's socket");
}

#[test]
fn a_socket_that_was_not_passed_is_a_fault_of_the_settings_at_its_place() {
    let refused = |setup: Setup, why: &str| {
        let (code, log) = setup.run();
        assert_eq!(code, 78, "{log}");
        let place = "settings/default.toml:2:11: server.listeners.public.address: cannot listen on \
                     systemd:web: ";
        let line = format!("{place}{why}");
        assert!(log.contains(&line), "{line}\n{log}");
    };
    refused(Setup::new(WEB), "the service manager passed no socket");
    let named = |names: &str, passed: Vec<OwnedFd>| {
        let setup = Setup::new(WEB).passed(passed);
        setup.env("LISTEN_FDNAMES", names)
    };
    let one = || vec![tcp().into()];
    refused(
        named("a", one()),
        "no socket of this name was passed; passed were `a`",
    );
    refused(
        named("", one()),
        "no socket of this name was passed; passed were `unknown`",
    );
    let two = vec![tcp().into(), tcp().into()];
    refused(named("web:web", two), "more than one socket of this name");
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    refused(
        named("web", vec![datagrams.into()]),
        "what was passed is no",
    );
    let connected = TcpStream::connect(tcp().local_addr().expect("bound"));
    let connected = connected.expect("it listens");
    refused(
        named("web", vec![connected.into()]),
        "the socket that was passed does not listen",
    );
    let file = fs::File::open("/dev/null").expect("a file");
    refused(named("web", vec![file.into()]), "what was passed is no");
}

#[test]
fn what_was_passed_to_another_process_or_never_is_not_taken() {
    for told in [
        "LISTEN_PID=1 LISTEN_FDS=1",
        "LISTEN_PID=$$ LISTEN_FDS=2147483647",
        "LISTEN_PID=$$ LISTEN_FDS=-1",
        "LISTEN_PID=x LISTEN_FDS=1",
    ] {
        let setup = Setup::new(WEB).shell(&format!("export LISTEN_FDNAMES=web {told}"));
        let (code, log) = setup.run();
        assert_eq!(code, 78, "{told}: {log}");
        assert!(log.contains("passed no socket"), "{told}: {log}");
    }
    // More than there are.
    let setup = Setup::new(WEB).passed([tcp()]);
    let setup = setup.shell("export LISTEN_FDS=9 LISTEN_FDNAMES=web");
    assert_eq!(setup.serve().get("/").status, 200);
}

#[test]
fn a_socket_without_a_name_takes_none_of_the_others() {
    let (nameless, web) = (tcp(), tcp());
    let setup = Setup::new(WEB).passed([clone(&nameless), clone(&web)]);
    let program = setup.env("LISTEN_FDNAMES", ":web").serve();
    assert_eq!(program.public(), &address(&web));
}

#[test]
fn two_listeners_on_one_passed_socket_are_a_mistake() {
    let settings = format!("{WEB}[server.listeners.second]\naddress = \"systemd:web\"\n");
    let (code, log) = Setup::new(&settings).run();
    assert_eq!(code, 78, "{log}");
    assert!(
        log.contains("systemd:web is the address of server.listeners.public"),
        "{log}"
    );
}
