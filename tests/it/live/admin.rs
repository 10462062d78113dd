//! The admin API moves, goes and comes.
use crate::support::{Address, Conn, Program, Response, eventually, request};
use rustix::process::Signal;
use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

fn at(address: &str) -> String {
    format!("[admin]\naddress = \"{address}\"\n")
}

fn free_port() -> Address {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    Address::Tcp(free.local_addr().expect("it is bound"))
}

fn ask_to_reload(admin: &Address) -> Response {
    let mut conn = Conn::open(admin);
    conn.send(&request("POST", "/reload", &[], b""));
    conn.answer()
}

#[test]
fn the_admin_api_moves_and_who_asked_for_it_gets_the_answer() {
    let program = Program::serve(&at("127.0.0.1:0"));
    let mut requester = Conn::open(program.admin());
    let mut idle = Conn::open(program.admin());
    idle.get("/livez");
    program.edit(&at("unix:admin.sock"));
    requester.send(&request("POST", "/reload", &[], b""));
    let answer = requester.answer();
    assert_eq!(answer.json()["outcome"], "applied", "{}", answer.text());
    assert!(answer.closes());
    idle.closed();
    assert!(Conn::dial(program.admin()).is_err());
    let path = program.home().join("admin.sock");
    let mode = fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let moved = Address::Unix(path.clone());
    assert_eq!(Conn::open(&moved).get("/status").json()["generation"], 2);

    let back = free_port();
    program.edit(&at(&back.to_string()));
    let answer = ask_to_reload(&moved);
    assert_eq!(answer.json()["outcome"], "applied", "{}", answer.text());
    assert!(!path.exists());
    assert_eq!(Conn::open(&back).get("/status").json()["generation"], 3);
}

#[test]
fn the_admin_api_goes_and_comes() {
    let mut program = Program::serve(&at("127.0.0.1:0"));
    let mark = program.mark();
    program.edit(&at(""));
    let answer = ask_to_reload(program.admin());
    assert_eq!(answer.json()["outcome"], "applied", "{}", answer.text());
    eventually("the end of its listener", || {
        Conn::dial(program.admin()).is_err().then_some(())
    });
    program.wait_after(mark, "closing: the admin API on");
    let mark = program.mark();
    let back = free_port();
    program.edit(&at(&back.to_string()));
    program.signal(Signal::HUP);
    program.wait_after(mark, "reload 3 applied");
    assert_eq!(Conn::open(&back).get("/readyz").status, 200);
    program.signal(Signal::TERM);
    program.expect_exit(0);
}

#[test]
fn the_admin_api_and_a_listener_exchange_their_ports_but_not_their_paths() {
    let both = |public: &str, admin: &str| {
        format!(
            "[server.listeners.public]\naddress = \"{public}\"\n{}",
            at(admin)
        )
    };
    let program = Program::serve(&both("127.0.0.1:0", "127.0.0.1:0"));
    let (public, admin) = (program.public().clone(), program.admin().clone());
    program.edit(&both(&admin.to_string(), &public.to_string()));
    program.reload_applied();
    assert_eq!(Conn::open(&public).get("/livez").status, 200);
    assert_eq!(Conn::open(&admin).get("/").text(), "Before hot reload");

    // A path's mode says who may connect: it is not passed from one to the other.
    let program = Program::serve(&both("unix:a.sock", "unix:b.sock"));
    program.edit(&both("unix:b.sock", "unix:a.sock"));
    let (status, attempt) = program.reload();
    assert_eq!(status, 422, "{attempt:#}");
    let message = attempt["errors"][0]["message"].as_str().expect("a text");
    assert!(
        message.contains("until a reload closes that listener"),
        "{message}"
    );
    assert_eq!(program.get("/").text(), "Before hot reload");
}
