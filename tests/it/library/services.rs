//! A service in this process: alone, beside another, with its worker blocked.
use super::{Shop, Stand, reload, wait};
use crate::support::{Conn, eventually, request};
use actix_web::{App, web};
use everup::{Service, Sources, StopMode};

#[test]
fn two_services_in_one_process_reload_and_stop_alone() {
    let one = Stand::open("one", "");
    let two = Stand::open("two", "");
    assert_ne!(one.address(), two.address());
    one.change("one again");
    assert_eq!(
        (one.get("/").text().as_str(), two.get("/").text().as_str()),
        ("one again", "two")
    );
    two.change("two again");
    two.change("two once more");
    assert_eq!(
        (&one.status()["generation"], &two.status()["generation"]),
        (&2.into(), &3.into())
    );
    assert_eq!(one.status()["service"], "shop");

    let address = one.address();
    let control = one.running.control();
    control.stop(StopMode::Graceful);
    let report = wait(one.running.finished());
    assert_eq!((report.aborted, report.cut), (0, 0));
    assert!(Conn::dial(&address).is_err(), "its listener is closed");
    assert_eq!(two.get("/").text(), "two once more", "the other serves on");
    two.change("two alone");
    assert_eq!(two.get("/").text(), "two alone");
}

#[test]
fn a_service_starts_on_settings_given_by_code() {
    let sources = Sources::builtin()
        .set("server.listeners.public.address", "127.0.0.1:0")
        .set("admin.address", "127.0.0.1:0")
        .set("server.workers", "1")
        .set("app.message", "by code");
    let service = Service::<Shop>::new(|| App::new().route("/", web::get().to(super::say)));
    let running = service
        .start(sources)
        .unwrap_or_else(|_| panic!("the service does not start"));
    let address = running.address("public").expect("it listens").into();
    assert_eq!(Conn::open(&address).get("/").text(), "by code");
    assert!(running.admin_address().is_some());
    assert_eq!(running.address("other"), None);
    assert_eq!(reload(&running.control())["outcome"], "unchanged");
    running.control().stop(StopMode::Graceful);
    wait(running.finished());
}

#[test]
fn settings_that_cannot_be_served_are_told_and_nothing_starts() {
    let sources = Sources::builtin()
        .set("server.listeners.public.address", "127.0.0.1:0")
        .set("admin.address", "127.0.0.1:0")
        .set("server.workers", "many");
    let service = Service::<Shop>::new(|| App::new().route("/", web::get().to(super::say)));
    assert_eq!(
        service.start(sources).err().map(|found| found.len()),
        Some(1)
    );
}

#[test]
fn a_port_in_use_is_told_to_the_author() {
    let first = Stand::open("first", "");
    let sources = Sources::builtin()
        .set(
            "server.listeners.public.address",
            &first.address().to_string(),
        )
        .set("admin.address", "127.0.0.1:0");
    let service = Service::<Shop>::new(|| App::new().route("/", web::get().to(super::say)));
    assert!(service.start(sources).is_err());
    assert_eq!(first.get("/").text(), "first");
}

#[test]
fn a_worker_that_was_blocked_serves_nothing_older_than_the_reload_reported_meanwhile() {
    let stand = Stand::open("before", "");
    let mut pipelined = stand.connect();
    let mut kept = stand.connect();
    assert_eq!(kept.get("/").text(), "before");
    pipelined.send(&request("GET", "/gate", &[], b""));
    stand.gate.wait_for(1);
    // The only worker hangs in a handler: the reload is reported all the same.
    stand.change("after");
    let mut new = stand.connect();
    for conn in [&mut pipelined, &mut kept, &mut new] {
        conn.send(&request("GET", "/", &[], b"").repeat(200));
    }
    stand.gate.open();
    assert_eq!(pipelined.answer().text(), "passed");
    for (what, conn) in [
        ("pipelined", &mut pipelined),
        ("kept alive", &mut kept),
        ("new", &mut new),
    ] {
        for number in 0..200 {
            assert_eq!(conn.answer().text(), "after", "{what}, request {number}");
        }
    }
}

#[test]
fn what_hangs_in_a_blocked_worker_is_in_the_status() {
    let stand = Stand::open("here", "");
    let mut conn = stand.block();
    assert_eq!(stand.status()["requests"]["in_flight"], 1);
    stand.gate.open();
    assert_eq!(conn.answer().text(), "passed");
    eventually("nothing in flight", || {
        (stand.status()["requests"]["in_flight"] == 0).then_some(())
    });
}

#[test]
fn connections_whose_worker_is_blocked_to_the_end_are_counted_and_told() {
    let stand = Stand::open("here", "shutdown.timeout = \"300ms\"");
    let (mut hangs, mut waits) = (stand.connect(), stand.connect());
    for conn in [&mut hangs, &mut waits] {
        conn.get("/");
    }
    stand.settled();
    hangs.send(&request("GET", "/gate", &[], b""));
    stand.gate.wait_for(1);
    waits.send(&request("GET", "/", &[], b""));
    stand.running.control().stop(StopMode::Graceful);
    let report = wait(stand.running.finished());
    assert_eq!((report.cut, report.abandoned), (1, 1), "{report:?}");
    stand.gate.open();
}

#[test]
fn requests_that_waited_to_be_accepted_to_the_end_are_counted_and_told() {
    let stand = Stand::open("here", "shutdown.timeout = \"300ms\"");
    let _hangs = stand.block();
    // Nobody accepts these; one has nothing to say.
    let mut waiting: Vec<_> = (0..3).map(|_| stand.connect()).collect();
    for conn in &mut waiting[1..] {
        conn.send(&request("GET", "/", &[], b""));
    }
    stand.running.control().stop(StopMode::Graceful);
    let report = wait(stand.running.finished());
    assert_eq!((report.cut, report.abandoned), (1, 2), "{report:?}");
    stand.gate.open();
}

#[test]
fn a_stop_now_cuts_and_reports_it() {
    let stand = Stand::open("here", "shutdown.timeout = \"60s\"");
    let mut conn = stand.connect();
    conn.send(&request("GET", "/", &[], b""));
    conn.answer();
    stand.settled();
    let held = hold_in_flight(&stand);
    stand.running.control().stop(StopMode::Now);
    let report = wait(stand.running.finished());
    assert_eq!(report.cut, 1);
    drop(held);
}

/// A request whose body never ends: in flight until it is cut.
fn hold_in_flight(stand: &Stand) -> Conn {
    let mut conn = stand.connect();
    conn.send(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc");
    eventually("a request in flight", || {
        (stand.status()["requests"]["in_flight"] == 1).then_some(())
    });
    conn
}
