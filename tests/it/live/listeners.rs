//! Listeners come, go, move and change their names.
use super::{address, apply};
use crate::support::{
    Address, Conn, H2, H2Load, Kind, Load, Program, Setup, eventually, frames::RawH2, request,
};
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use std::{
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
};

const PUBLIC: &str = "[server.listeners.public]\naddress = \"127.0.0.1:0\"\n";

#[test]
fn a_listener_comes_and_goes() {
    let program = Program::serve(PUBLIC);
    let more = format!("{PUBLIC}[server.listeners.more]\naddress = \"127.0.0.1:0\"\n");
    let attempt = apply(&program, &more);
    assert_eq!(
        attempt["workers"],
        serde_json::json!({"confirmed": attempt["workers"]["total"], "total": attempt["workers"]["total"], "late": []})
    );
    let more = address(&program, "more").expect("it listens");
    program.wait_log(&format!("listening: more on {more}"));
    let mut kept = Conn::open(&more);
    assert_eq!(kept.get("/").status, 200);
    assert_eq!(address(&program, "public").as_ref(), Some(program.public()));

    apply(&program, PUBLIC);
    program.wait_log(&format!("closing: more on {more}"));
    assert!(Conn::dial(&more).is_err(), "it was reported closed");
    assert_eq!(address(&program, "more"), None);
    // Who was connected is told to go, with the answer that he gets.
    assert!(kept.get("/").closes());
    assert_eq!(program.get("/").status, 200);
}

#[test]
fn connections_of_a_listener_that_goes_linger_and_what_is_in_flight_is_answered() {
    let rest = "[shutdown]\nlinger = \"50ms\"\n\
                [app.routes.\"/slow\"]\nrespond = { body = \"slow\", delay = \"2s\" }\n";
    let both =
        format!("{PUBLIC}[server.listeners.more]\naddress = \"127.0.0.1:0\"\nh2c = true\n{rest}");
    let program = Program::serve(&both);
    let more = program.listener("more").clone();
    let (mut idle, mut busy) = (Conn::open(&more), Conn::open(&more));
    idle.get("/");
    busy.send(&request("GET", "/slow", &[], b""));
    let (mut http2, to) = (H2::open(&more), more.clone());
    assert_eq!(http2.get("/").status, 200);
    let streaming = std::thread::spawn(move || H2::open(&to).get("/slow").text());
    program.wait_in_flight(2);

    apply(&program, &format!("{PUBLIC}{rest}"));
    idle.closed();
    let answer = busy.answer();
    assert_eq!((answer.text().as_str(), answer.closes()), ("slow", true));
    assert_eq!(streaming.join().expect("no panic"), "slow");
    program.wait_connections(0);
    program.books().assert_balanced();
}

#[test]
fn a_client_of_http2_that_never_acknowledges_is_left_after_linger_where_its_listener_goes() {
    let rest = "[shutdown]\nlinger = \"50ms\"\n";
    let more = "[server.listeners.more]\naddress = \"127.0.0.1:0\"\nh2c = true\n";
    // `write_timeout` is longer than the test has patience.
    let program = Program::serve(&format!("{PUBLIC}{more}{rest}"));
    let mut raw = RawH2::open(program.listener("more"));
    raw.get(1, "/");
    raw.answered(1);
    apply(&program, &format!("{PUBLIC}{rest}"));
    raw.told_to_go();
    raw.rest();
}

#[test]
fn listeners_that_come_and_go_under_load_lose_nothing() {
    let both = |more: &str| {
        format!(
            "{PUBLIC}h2c = true\n{more}[shutdown]\nlinger = \"100ms\"\n[app]\nmessage = \"here\"\n"
        )
    };
    let more = both("[server.listeners.more]\naddress = \"127.0.0.1:0\"\n");
    let mut program = Program::serve(&more);
    let mix = |to: &Address| {
        Load::kept_alive(6, 5)
            .and(4, Kind::PerRequest)
            .and(2, Kind::Pipelined(4))
            .start(to)
    };
    let steady = mix(program.public());
    let http2 = H2Load::start(program.public(), (2, 4), "/", b"", b"here");
    let mut sent = 0;
    for round in 1..=10 {
        let going = mix(&address(&program, "more").expect("it listens"));
        going.wait_answered(200);
        going.expect_stop();
        apply(&program, &both(""));
        let books = going.until_refused();
        books.assert_nothing_lost();
        sent += books.sent;
        steady.wait_answered(round * 100);
        apply(&program, &more);
    }
    let (books, http2) = (steady.stop(), http2.end());
    books.assert_nothing_lost();
    assert_eq!(http2.lost, 0, "{:#?}", http2.complaints);
    let report = program.stop();
    report.in_all.assert_balanced();
    assert_eq!(
        report.in_all.answered,
        sent + books.sent + http2.answered,
        "also those of listeners that are gone"
    );
}

#[test]
fn an_address_is_served_on_under_another_name() {
    let named = |name: &str| {
        format!(
            "[server.listeners.{name}]\naddress = \"127.0.0.1:PORT\"\n\
             [server.listeners.local-{name}]\naddress = \"unix:local.sock\"\n"
        )
    };
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("it is bound").port().to_string();
    drop(free);
    let named = |name: &str| named(name).replace("PORT", &port);
    let mut program = Program::serve(&named("one"));
    let (tcp, unix) = (
        program.listener("one").clone(),
        program.listener("local-one").clone(),
    );
    let path = program.home().join("local.sock");
    let loads = [&tcp, &unix].map(|to| {
        let load = Load::kept_alive(6, 5).and(4, Kind::PerRequest);
        load.start(to)
    });
    let mut kept = Conn::open(&tcp);
    for (round, name) in ["two", "one", "two", "three"].into_iter().enumerate() {
        kept.get("/");
        apply(&program, &named(name));
        assert_eq!(address(&program, name).as_ref(), Some(&tcp));
        assert!(path.exists(), "the socket's file is the new one's");
        let answered = loads.each_ref().map(Load::answered);
        for (load, answered) in loads.iter().zip(answered) {
            load.wait_answered(answered + 50 * (round as u64 + 1));
        }
    }
    assert!(!kept.get("/").closes(), "it was never asked to go");
    for load in loads {
        let books = load.stop();
        books.assert_nothing_lost();
        assert_eq!((books.closed_announced, books.closed_idle), (0, 0));
    }
    program.stop();
    assert!(!path.exists(), "and it is removed by it");
}

#[test]
fn connections_of_a_listener_that_goes_under_a_later_name_are_told_to_close() {
    let rest = "[shutdown]\nlinger = \"50ms\"\n";
    let named = |name: &str, port: u16| {
        format!("[server.listeners.{name}]\naddress = \"127.0.0.1:{port}\"\n{rest}")
    };
    let program = Program::serve(&named("one", 0));
    let at = program.listener("one").clone();
    let mut conns = [Conn::open(&at), Conn::open(&at)];
    for conn in &mut conns {
        conn.get("/");
    }
    apply(&program, &named("two", at.port()));
    let [mut idle, mut kept] = conns;
    assert!(!kept.get("/").closes());
    apply(&program, &named("three", 0));
    idle.closed();
    kept.closed();
    assert!(Conn::dial(&at).is_err());
}

#[test]
fn an_address_that_overlaps_with_its_successor_is_served_all_the_time() {
    let mut program = Program::serve(PUBLIC);
    let public = program.public().clone();
    let port = public.port();
    let at = |ip: &str| PUBLIC.replace("127.0.0.1:0", &format!("{ip}:{port}"));
    let load = Load::kept_alive(4, 5)
        .and(4, Kind::PerRequest)
        .start(&public);
    for ip in ["0.0.0.0", "127.0.0.1", "[::]", "127.0.0.1", "0.0.0.0"] {
        load.wait_answered(load.answered() + 100);
        apply(&program, &at(ip));
        // Nobody else can take it: what was lent for the move was taken back.
        assert!(TcpListener::bind(("127.0.0.1", port)).is_err());
        if ip == "0.0.0.0" {
            let shares = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            shares.set_reuse_port(true).expect("a live socket");
            let it = SocketAddr::from(([127, 0, 0, 1], port));
            shares.bind(&it.into()).expect_err("nor who would share it");
        }
    }
    load.stop().assert_nothing_lost();
    program.stop();
}

#[test]
fn an_address_is_divided_among_several_and_made_one_again() {
    let all = PUBLIC.replace("127.0.0.1:0", "0.0.0.0:0");
    let program = Program::serve(&all);
    let port = program.public().port();
    let several = format!(
        "[server.listeners.one]\naddress = \"127.0.0.1:{port}\"\n\
         [server.listeners.two]\naddress = \"127.0.0.2:{port}\"\n"
    );
    for settings in [several, all.replace(":0", &format!(":{port}"))] {
        apply(&program, &settings);
        for ip in [[127, 0, 0, 1], [127, 0, 0, 2]] {
            let address = SocketAddr::from((ip, port));
            assert_eq!(Conn::open(&Address::Tcp(address)).get("/").status, 200);
            assert!(TcpListener::bind(address).is_err());
        }
    }
}

#[test]
fn two_listeners_exchange_their_addresses() {
    let both = |one: &str, two: &str| {
        format!(
            "[server.listeners.one]\naddress = \"{one}\"\n\
             [server.listeners.two]\naddress = \"{two}\"\nprobes = \"/-/\"\n"
        )
    };
    let program = Program::serve(&both("127.0.0.1:0", "127.0.0.1:0"));
    let (one, two) = (
        program.listener("one").clone(),
        program.listener("two").clone(),
    );
    let is_two = |at| Conn::open(at).get("/-/readyz").status == 200;
    assert!(!is_two(&one) && is_two(&two));
    apply(&program, &both(&two.to_string(), &one.to_string()));
    assert!(is_two(&one) && !is_two(&two));
    assert_eq!(address(&program, "one"), Some(two));
}

#[test]
fn what_cannot_be_opened_changes_nothing() {
    let program = Program::serve(PUBLIC);
    let mut kept = program.connect();
    kept.get("/");
    let others = TcpListener::bind("127.0.0.1:0").expect("a port");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = others.local_addr().expect("it is bound");
    let good = free.local_addr().expect("it is bound");
    drop(free);
    program.edit(&format!(
        "[server]\nworkers = 3\n[server.listeners.bad]\naddress = \"{taken}\"\n\
         [server.listeners.good]\naddress = \"{good}\"\n[app]\nmessage = \"changed\"\n"
    ));
    let (status, attempt) = program.reload();
    assert_eq!((status, &attempt["outcome"]), (422, &"rejected".into()));
    let error = &attempt["errors"][0];
    assert_eq!(error["key"], "server.listeners.bad.address");
    assert_eq!(error["origin"], "settings/default.toml:4:11");
    let message = error["message"].as_str().expect("a text");
    assert!(message.contains("in use"), "{message}");
    assert!(Conn::dial(&Address::Tcp(good)).is_err());
    assert_eq!(address(&program, "good"), None);
    assert!(!kept.get("/").closes());
    assert_eq!(program.get("/").text(), "Before hot reload");

    drop(others);
    program.reload_applied();
    for name in ["bad", "good"] {
        let address = address(&program, name).expect("it listens");
        assert_eq!(Conn::open(&address).get("/").text(), "changed");
    }
    assert!(Conn::dial(program.public()).is_err());
}

#[test]
fn of_many_that_cannot_be_opened_20_are_told() {
    let program = Program::serve(PUBLIC);
    let listener = |n| format!("[server.listeners.l{n}]\naddress = \"unix:gone/{n}.sock\"\n");
    program.edit(&(0..25).map(listener).collect::<String>());
    let (status, attempt) = program.reload();
    let errors = attempt["errors"].as_array().expect("a list");
    assert_eq!((status, errors.len()), (422, 21));
    assert_eq!(
        errors[19]["message"],
        "cannot listen on unix:gone/4.sock: no such file or directory"
    );
    assert_eq!(errors[20]["message"], "and more");
}

#[test]
fn a_dry_run_binds_and_does_not_listen() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = free.local_addr().expect("it is bound");
    let program = Program::serve(PUBLIC);
    let path = program.home().join("more.sock");
    program.edit(&format!(
        "{PUBLIC}[server.listeners.more]\naddress = \"{at}\"\n\
         [server.listeners.local]\naddress = \"unix:more.sock\"\n"
    ));
    let dry = || program.post("/reload?dry_run=true");
    let answer = dry();
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("in use"), "{}", answer.text());
    drop(free);
    assert_eq!(dry().json()["outcome"], "would_apply");
    assert!(Conn::dial(&Address::Tcp(at)).is_err());
    assert!(UnixStream::connect(&path).is_err());
    let left = std::fs::read_dir(program.home()).expect("a folder");
    let left: Vec<_> = left.flatten().map(|file| file.file_name()).collect();
    assert_eq!(left, ["settings"], "no draft of the socket is left");
    TcpListener::bind(at).expect("nobody holds it");
}

#[test]
fn a_rollback_opens_what_was_closed() {
    let program = Program::serve(PUBLIC);
    let first = program.public().clone();
    apply(&program, &PUBLIC.replace("public", "other"));
    assert!(Conn::dial(&first).is_err());
    let answer = program.post("/rollback?generation=1");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let public = address(&program, "public").expect("it listens again");
    assert_eq!(Conn::open(&public).get("/").status, 200);
    assert_eq!(address(&program, "other"), None);
}

#[test]
fn a_stop_right_after_a_listener_went_serves_what_it_had() {
    let rest = "[app.routes.\"/slow\"]\nrespond = { body = \"slow\", delay = \"300ms\" }\n";
    let more = format!("{PUBLIC}[server.listeners.more]\naddress = \"127.0.0.1:0\"\n{rest}");
    let mut program = Program::serve(&more);
    let more = program.listener("more").clone();
    let load = Load::kept_alive(8, 2)
        .and(4, Kind::PerRequest)
        .path("/slow")
        .start(&more);
    load.wait_answered(8);
    load.expect_stop();
    apply(&program, &format!("{PUBLIC}{rest}"));
    program.signal(Signal::TERM);
    let books = load.until_refused();
    program.expect_exit(0);
    books.assert_nothing_lost();
    assert_eq!(program.report().in_all.answered, books.sent);
}

#[test]
fn a_reload_in_the_new_process_changes_listeners_too() {
    Program::adopt_successors();
    let both = format!("{PUBLIC}[server.listeners.local]\naddress = \"unix:local.sock\"\n");
    let mut program = Program::serve(&both);
    let path = program.home().join("local.sock");
    let mark = program.mark();
    program.signal(Signal::USR2);
    program.wait_successor(mark);
    apply(&program, &both.replace("local]", "renamed]"));
    assert!(path.exists());
    apply(&program, PUBLIC);
    assert!(!path.exists(), "the file of the listener that went");
    assert_eq!(program.get("/").status, 200);
    program.stop();
}

#[test]
fn a_socket_that_was_passed_can_be_let_go_of_and_taken_again() {
    let web = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = Address::Tcp(web.local_addr().expect("it is bound"));
    let passed = format!("{PUBLIC}[server.listeners.web]\naddress = \"systemd:web\"\n");
    let setup = Setup::new(&passed).passed([web.try_clone().expect("a descriptor")]);
    let program = setup.env("LISTEN_FDNAMES", "web").serve();
    for _ in 0..3 {
        assert_eq!(Conn::open(&at).get("/").status, 200);
        apply(&program, PUBLIC);
        // It waits for whoever takes the socket next.
        let mut waits = Conn::open(&at);
        waits.send(&request("GET", "/", &[], b""));
        apply(&program, &passed);
        assert_eq!(waits.answer().status, 200);
    }
    eventually("no connection", || {
        (program.books().in_flight == 0).then_some(())
    });
}
