//! TLS: what is spoken within it, certificates that change while they are served, stops and upgrades.
use crate::support::{
    Address, Conn, H2, H2Load, Identity, Kind, Load, Program, Quiet, Setup, eventually, replace,
    request, tls_client,
};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// The public listener within TLS, and these lines before it.
fn settings(more: &str) -> String {
    format!(
        "{more}\n[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
         tls = {{ certificate = \"cert.pem\", key = \"key.pem\" }}\n"
    )
}

const PLAIN: &str = "[server.listeners.public]\naddress = \"127.0.0.1:0\"\n";

fn setup(more: &str, identity: &Identity) -> Setup {
    Setup::new(&settings(more))
        .file("cert.pem", &identity.certificate)
        .file("key.pem", &identity.key)
}

fn serve(more: &str) -> (Program, Identity) {
    let identity = Identity::new();
    (setup(more, &identity).serve(), identity)
}

/// Puts a certificate in the place of the one that is served.
fn renew(program: &Program, identity: &Identity) {
    replace(&program.settings().join("cert.pem"), &identity.certificate);
    replace(&program.settings().join("key.pem"), &identity.key);
}

/// A connection, and the certificate that it met.
fn met(program: &Program) -> (Conn, Vec<u8>) {
    let conn = Conn::open(program.public());
    let conn = conn.secure(tls_client(&[])).expect("a handshake");
    let met = conn.tls().peer_certificates().expect("it shows one")[0].to_vec();
    (conn, met)
}

#[test]
fn http2_and_http1_are_chosen_by_alpn() {
    let (mut program, identity) = serve("[app]\nmessage = \"here\"");
    for (offered, agreed) in [
        (&[][..], None),
        (&[b"http/1.1".as_slice()], Some(b"http/1.1".as_slice())),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[b"http/1.0"], Some(b"http/1.0")),
    ] {
        let conn = Conn::open(program.public()).secure(tls_client(offered));
        let mut conn = conn.expect("a handshake");
        assert_eq!(conn.tls().alpn_protocol(), agreed);
        if agreed != Some(b"h2") {
            assert_eq!(conn.get("/").text(), "here");
        }
    }
    assert!(
        Conn::open(program.public())
            .secure(tls_client(&[b"spdy/1"]))
            .is_err()
    );
    let mut http2 = H2::open(&program.public().tls());
    assert_eq!(http2.get("/").text(), "here");
    assert_eq!(met(&program).1, identity.der);
    let listener = &program.status()["listeners"][0];
    assert_eq!(listener["tls"], true);
    assert_eq!(program.stop().in_all.answered, 4);
}

#[test]
fn who_agrees_on_http2_and_speaks_http1_gets_no_answer() {
    let (program, _) = serve("");
    let conn = Conn::open(program.public()).secure(tls_client(&[b"h2"]));
    let mut conn = conn.expect("a handshake");
    conn.send(&request("GET", "/", &[], b""));
    conn.ends_with_close_notify();
    assert_eq!(program.books().received, 0);
}

#[test]
fn a_connection_ends_with_close_notify() {
    let (program, _) = serve("[server]\nkeep_alive = \"1s\"");
    let mut conn = Conn::open(&program.public().tls());
    conn.get("/");
    conn.ends_with_close_notify();
    let mut conn = Conn::open(&program.public().tls());
    conn.send(&request("GET", "/", &[("Connection", "close")], b""));
    conn.answer();
    conn.ends_with_close_notify();
}

#[test]
fn a_client_that_sends_no_more_without_close_notify_is_answered() {
    let slow = "[app.routes.\"/slow\"]\nrespond = { body = \"slow\", delay = \"300ms\" }";
    let (mut program, _) = serve(slow);
    let mut conn = Conn::open(&program.public().tls());
    conn.send(&request("GET", "/slow", &[], b""));
    conn.half_close();
    assert_eq!(conn.answer().text(), "slow");
    conn.ends_with_close_notify();
    assert_eq!(program.stop().in_all.answered, 1);
}

#[test]
fn a_large_answer_is_whole_and_counted_when_the_socket_has_it() {
    let route = "[app.routes.\"/big\"]\nrespond = { body_file = \"big\" }";
    let identity = Identity::new();
    let big = "x".repeat(8 * 1024 * 1024);
    let mut program = setup(route, &identity).file("big", &big).serve();
    let mut slow = Conn::open(&program.public().tls());
    slow.send(&request("GET", "/big", &[], b""));
    program.wait_in_flight(1);
    assert_eq!(program.books().answered, 0);
    assert!(slow.answer().body == big.as_bytes());
    let mut http2 = H2::open(&program.public().tls());
    assert!(http2.get("/big").body == big.as_bytes());
    drop(http2);
    assert_eq!(program.stop().in_all.answered, 2);
}

#[test]
fn a_client_that_takes_nothing_is_left_after_write_timeout() {
    let more = "[server]\nwrite_timeout = \"300ms\"\n\
                [app.routes.\"/big\"]\nrespond = { body_file = \"big\" }";
    let big = "x".repeat(16 * 1024 * 1024);
    let mut program = setup(more, &Identity::new()).file("big", &big).serve();
    let mut conn = Conn::open(&program.public().tls());
    conn.send(&request("GET", "/big", &[], b""));
    eventually("it to be left", || {
        (program.books().aborted == 1).then_some(())
    });
    program.stop();
}

#[test]
fn sessions_are_resumed_as_long_as_the_certificate_stays() {
    let (program, _) = serve("[app]\nmessage = \"one\"");
    let client = tls_client(&[]);
    let resumes = || {
        let conn = Conn::open(program.public()).secure(client.clone());
        let mut conn = conn.expect("a handshake");
        // The ticket comes with the answer.
        conn.get("/");
        conn.tls().handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    };
    assert!(!resumes());
    assert!(resumes());
    program.edit(&settings("[app]\nmessage = \"two\""));
    program.reload_applied();
    assert!(resumes(), "nothing about the certificate has changed");
    renew(&program, &Identity::new());
    program.reload_applied();
    assert!(!resumes());
}

#[test]
fn a_certificate_is_renewed_under_load_and_nothing_is_lost() {
    let (mut program, first) = serve("[server]\nworkers = 2");
    let load = Load::kept_alive(4, 5)
        .and(4, Kind::PerRequest)
        .start(&program.public().tls());
    let http2 = H2Load::start(
        &program.public().tls(),
        (2, 4),
        "/",
        b"",
        b"Before hot reload",
    );
    let (mut old, was) = met(&program);
    assert_eq!(was, first.der);
    let mut digest = program.status()["digest"].clone();
    for _ in 0..5 {
        load.wait_answered(load.answered() + 50);
        let next = Identity::new();
        renew(&program, &next);
        let attempt = program.reload_applied();
        assert_ne!(attempt["digest"], digest);
        digest = attempt["digest"].clone();
        for _ in 0..4 {
            let (mut conn, met) = met(&program);
            assert_eq!(met, next.der);
            conn.get("/");
        }
        old.get("/");
        assert_eq!(program.reload().1["outcome"], "unchanged");
    }
    let (books, http2) = (load.stop(), http2.end());
    books.assert_nothing_lost();
    assert_eq!(
        (http2.lost, http2.redials),
        (0, 0),
        "{:#?}",
        http2.complaints
    );
    let report = program.stop();
    let answered = books.answered + http2.answered + 25;
    assert_eq!(
        (report.in_all.answered, report.in_all.aborted),
        (answered, 0)
    );
}

#[test]
fn what_cannot_be_served_is_rejected_at_its_key_and_changes_nothing() {
    let (program, first) = serve("");
    let other = Identity::new();
    let cases = [
        ("cert.pem", "", "certificate", "found none"),
        ("cert.pem", &other.key, "certificate", "not swapped"),
        (
            "cert.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
            "certificate",
            "no end",
        ),
        (
            "cert.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate",
            "certificate 1 of the file is malformed",
        ),
        (
            "cert.pem",
            &other.certificate,
            "key",
            "does not match the certificate",
        ),
        ("key.pem", "", "key", "found none"),
        ("key.pem", &other.certificate, "key", "not swapped"),
        (
            "key.pem",
            &other.key,
            "key",
            "does not match the certificate",
        ),
        (
            "key.pem",
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
            "key",
            "expected an RSA",
        ),
    ];
    for (file, content, key, reason) in cases {
        replace(&program.settings().join(file), content);
        let (status, attempt) = program.reload();
        assert_eq!(status, 422, "{attempt:#}");
        let error = &attempt["errors"][0];
        assert_eq!(error["key"], format!("server.listeners.public.tls.{key}"));
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(reason), "{message}");
        let origin = error["origin"].as_str().expect("a place");
        assert!(origin.contains("default.toml:4:"), "{origin}");
        assert_eq!(met(&program).1, first.der);
        renew(&program, &first);
    }
    std::fs::remove_file(program.settings().join("cert.pem")).expect("removed");
    std::fs::remove_file(program.settings().join("key.pem")).expect("removed");
    std::fs::create_dir(program.settings().join("key.pem")).expect("a folder");
    let (_, attempt) = program.reload();
    assert_eq!(
        attempt["errors"].as_array().map(Vec::len),
        Some(2),
        "both at once: {attempt:#}"
    );
    let log = program.log();
    assert!(
        !log.contains("c2VjcmV0") && !log.contains("secret\\"),
        "{log}"
    );
    std::fs::remove_dir(program.settings().join("key.pem")).expect("removed");
    renew(&program, &first);
    assert_eq!(program.reload().1["outcome"], "unchanged");
}

#[test]
fn a_certificate_and_its_key_may_be_in_one_file_that_no_digest_shows() {
    let identity = Identity::new();
    let one = settings("").replace("cert.pem", "key.pem");
    let both = |identity: &Identity| format!("{}{}", identity.key, identity.certificate);
    let program = Setup::new(&one).file("key.pem", both(&identity)).serve();
    assert_eq!(met(&program).1, identity.der);
    let digest = program.status()["digest"].clone();
    let next = Identity::new();
    replace(&program.settings().join("key.pem"), both(&next));
    assert_eq!(program.reload_applied()["digest"], digest);
    assert_eq!(met(&program).1, next.der);
}

#[test]
fn tls_comes_and_goes_by_reload_and_connections_of_before_go_on() {
    let identity = Identity::new();
    let mut program = Setup::new(PLAIN)
        .file("cert.pem", &identity.certificate)
        .file("key.pem", &identity.key)
        .serve();
    let mut plain = program.connect();
    plain.get("/");
    program.edit(&settings(""));
    program.reload_applied();
    assert_eq!(program.status()["listeners"][0]["tls"], true);
    let mut secure = Conn::open(&program.public().tls());
    secure.get("/");
    assert_eq!(plain.get("/").status, 200);
    program.edit(PLAIN);
    program.reload_applied();
    assert_eq!(program.status()["listeners"][0]["tls"], false);
    assert_eq!(program.connect().get("/").status, 200);
    assert_eq!((secure.get("/").status, plain.get("/").status), (200, 200));
    program.stop();
}

#[test]
fn clients_that_shake_no_hands_cost_only_themselves() {
    let (mut program, _) = serve("[server]\nworkers = 1\ntls_handshake_timeout = \"2s\"");
    let begun = Instant::now();
    let mut silent = program.connect();
    let mut half = program.connect();
    // A record of 512 bytes, of which most are missing: a ClientHello that does not go on.
    half.send(&[22, 3, 1, 2, 0, 1, 0]);
    let mut plain = program.connect();
    plain.send(&request("GET", "/", &[], b""));
    let mut garbage = program.connect();
    garbage.send(&[0xff; 300]);
    plain.rest();
    garbage.rest();
    assert_eq!(Conn::open(&program.public().tls()).get("/").status, 200);
    silent.closed();
    half.closed();
    assert!(begun.elapsed() >= Duration::from_secs(2));
    program.wait_connections(0);
    let report = program.stop();
    assert_eq!((report.in_all.received, report.in_all.answered), (1, 1));
}

#[test]
fn a_record_that_stays_half_is_a_head_that_stays_half() {
    let (program, _) = serve("[server]\nclient_request_timeout = \"300ms\"");
    let mut conn = Conn::open(&program.public().tls());
    conn.get("/");
    conn.send_beneath(&[23, 3, 3, 0, 100, 1, 2, 3]);
    assert_eq!(conn.answer().status, 408);
    conn.ends_with_close_notify();
}

#[test]
fn stops_under_load_lose_nothing() {
    for seed in 0..3 {
        let (mut program, _) = serve("[server]\nworkers = 2\n[shutdown]\nlinger = \"400ms\"");
        let to = program.public().tls();
        let load = Load::kept_alive(16, 20)
            .and(8, Kind::PerRequest)
            .and(2, Kind::Pipelined(8))
            .and(4, Kind::Uploading(Duration::from_millis(20)))
            .seed(seed)
            .start(&to);
        let http2 = H2Load::start(&to, (2, 4), "/", b"", b"Before hot reload");
        load.wait_answered(300);
        http2.wait_answered(50);
        load.expect_stop();
        let report = program.stop();
        let (books, http2) = (load.until_refused(), http2.until_refused());
        assert_eq!(http2.lost, 0, "{:#?}", http2.complaints);
        report.assert_agrees(&books, http2.answered);
    }
}

#[test]
fn a_handshake_under_way_at_a_stop_is_finished_and_its_request_answered() {
    let (mut program, _) = serve("[shutdown]\nlinger = \"10s\"");
    let mut waits = program.connect();
    program.wait_connections(1);
    program.signal(Signal::TERM);
    program.wait_stopping();
    waits = waits.secure(tls_client(&[])).expect("a handshake");
    let answer = waits.get("/");
    assert_eq!((answer.status, answer.closes()), (200, true));
    waits.ends_with_close_notify();
    program.expect_exit(0);
    assert_eq!(program.report().in_all.answered, 1);
}

#[test]
fn clients_that_say_nothing_hold_a_stop_no_longer_than_they_may() {
    let more = "[server]\ntls_handshake_timeout = \"3s\"\n[shutdown]\nlinger = \"200ms\"";
    let (mut program, _) = serve(more);
    let mut silent = program.connect();
    let mut half = program.connect();
    half.send(&[22, 3, 1, 2, 0, 1, 0]);
    let mut idle = Conn::open(&program.public().tls());
    program.wait_connections(3);
    let report = program.stop();
    assert!(report.seconds < 10.0, "{report:?}");
    silent.closed();
    half.closed();
    idle.ends_with_close_notify();
}

#[test]
fn upgrades_under_load_lose_nothing_with_tls_in_both_or_in_one_of_the_two() {
    Program::adopt_successors();
    let (mut program, identity) = serve("[shutdown]\nlinger = \"400ms\"");
    let to = program.public().tls();
    let load = Load::kept_alive(8, 20).and(4, Kind::PerRequest).start(&to);
    let http2 = H2Load::start(&to, (2, 4), "/", b"", b"Before hot reload");
    for round in 1..=3 {
        load.wait_answered(load.answered() + 100);
        http2.wait_answered(round * 50);
        upgrade(&mut program);
    }
    let (books, http2) = (load.stop(), http2.end());
    books.assert_nothing_lost();
    assert_eq!(http2.lost, 0, "{:#?}", http2.complaints);
    assert_eq!(met(&program).1, identity.der);

    // Then the next process speaks in the clear, and the one after that does not.
    program.edit(&format!("{PLAIN}[shutdown]\nlinger = \"400ms\"\n"));
    let (mut secure, _) = met(&program);
    upgrade(&mut program);
    assert_eq!(secure.get("/").status, 200);
    secure.ends_with_close_notify();
    let mut plain = program.connect();
    plain.get("/");
    program.edit(&settings("[shutdown]\nlinger = \"400ms\""));
    upgrade(&mut program);
    eventually("the old processes to end", || {
        (program.reports().len() == 5).then_some(())
    });
    assert_eq!(plain.get("/").status, 200, "it was in the clear, and is");
    assert_eq!(met(&program).1, identity.der);
    assert_eq!(plain.quiet(Duration::ZERO), Quiet::Open);
    program.stop();
    let reports = program.reports();
    let answered: u64 = reports.iter().map(|report| report.in_all.answered).sum();
    let aborted: u64 = reports.iter().map(|report| report.in_all.aborted).sum();
    assert_eq!(
        (answered, aborted),
        (books.answered + http2.answered + 3, 0)
    );
}

#[test]
fn workers_and_names_that_change_under_load_lose_nothing_in_tls() {
    let rest =
        |workers: usize| format!("[server]\nworkers = {workers}\n[shutdown]\nlinger = \"200ms\"");
    let (mut program, _) = serve(&rest(2));
    let port = program.public().port();
    let to = program.public().tls();
    let load = Load::kept_alive(8, 20).and(4, Kind::PerRequest).start(&to);
    let http2 = H2Load::start(&to, (4, 4), "/", b"", b"Before hot reload");
    for (workers, name) in [(1, "public"), (3, "other"), (2, "public"), (1, "third")] {
        load.wait_answered(load.answered() + 100);
        let settings =
            settings(&rest(workers)).replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
        program.edit(&settings.replace("listeners.public", &format!("listeners.{name}")));
        program.reload_applied();
    }
    load.wait_answered(load.answered() + 100);
    let (books, http2) = (load.stop(), http2.end());
    books.assert_nothing_lost();
    assert_eq!(http2.lost, 0, "{:#?}", http2.complaints);
    let report = program.stop();
    assert_eq!(
        (report.in_all.answered, report.in_all.aborted),
        (books.answered + http2.answered, 0)
    );
}

fn upgrade(program: &mut Program) {
    let mark = program.mark();
    let answer = program.post("/upgrade?wait=true");
    assert_eq!(answer.status, 200, "{}", answer.text());
    program.wait_successor(mark);
}

#[test]
fn a_socket_with_a_path_speaks_tls_too() {
    let identity = Identity::new();
    let unix = settings("").replace("127.0.0.1:0", "unix:public.sock");
    let program = Setup::new(&unix)
        .file("cert.pem", &identity.certificate)
        .file("key.pem", &identity.key)
        .serve();
    assert!(matches!(program.public(), Address::Unix(_)));
    let (mut conn, met) = met(&program);
    assert_eq!((conn.get("/").status, met), (200, identity.der));
}
