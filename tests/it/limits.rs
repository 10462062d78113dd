//! Limits: connections beyond them wait, and nothing else suffers.
use crate::support::{
    Conn, Kind, Load, Program, Quiet, Setup, eventually,
    frames::{HEADERS, RawH2},
    request,
};
use std::{fs, time::Duration};

#[test]
fn the_third_client_of_two_waits_until_a_slot_is_free() {
    let mut program =
        Program::serve("[server]\nworkers = 1\nmax_connections = 2\n[app]\nmessage = \"here\"\n");
    let mut first = program.connect();
    let mut second = program.connect();
    first.get("/");
    second.get("/");
    let mut third = program.connect();
    third.send(&request("GET", "/", &[], b""));
    for _ in 0..50 {
        first.get("/");
        second.get("/");
    }
    assert_eq!(
        third.quiet(Duration::ZERO),
        Quiet::Open,
        "two connections are served, the third is not"
    );
    drop(first);
    assert_eq!(third.answer().text(), "here");
    second.get("/");
    drop((second, third));
    program.stop();
}

#[test]
fn a_client_that_waits_for_a_slot_does_not_hold_up_a_reload() {
    let program =
        Program::serve("[server]\nworkers = 1\nmax_connections = 1\n[app]\nmessage = \"before\"\n");
    let mut first = program.connect();
    first.get("/");
    let mut second = program.connect();
    second.send(&request("GET", "/", &[], b""));
    program.edit("[server]\nworkers = 1\nmax_connections = 1\n[app]\nmessage = \"after\"\n");
    program.reload_applied();
    assert_eq!(first.get("/").text(), "after");
    drop(first);
    assert_eq!(second.answer().text(), "after");
}

#[test]
fn with_more_clients_than_descriptors_it_serves_on_and_still_reloads() {
    let settings =
        |message: &str| format!("[server]\nworkers = 1\n[app]\nmessage = \"{message}\"\n");
    let mut program = Setup::new(&settings("before"))
        .shell("ulimit -n 64")
        .serve();
    let mut conns: Vec<_> = (0..120).map(|_| program.connect()).collect();
    for conn in &mut conns {
        conn.send(&request("GET", "/", &[], b""));
    }
    let mut rest = conns.split_off(1);
    let mut first = conns.pop().expect("there are 120");
    assert_eq!(first.answer().text(), "before");
    program.edit(&settings("after"));
    program.reload_applied();
    assert_eq!(program.status()["state"], "serving");
    assert_eq!(first.get("/").text(), "after");
    drop(first);
    // Those beyond the limit are answered as those before them go.
    for mut conn in rest.drain(..) {
        let answer = conn.answer();
        assert!(
            ["before", "after"].contains(&answer.text().as_str()),
            "{answer:?}"
        );
    }
    assert_eq!(program.get("/").text(), "after");
    program.stop();
}

#[test]
fn a_load_over_few_descriptors_loses_nothing() {
    let mut program = Setup::new("[server]\nworkers = 2\n[app]\nmessage = \"here\"\n")
        .shell("ulimit -n 64")
        .serve();
    let load = Load::of(100, Kind::PerRequest).start(program.public());
    load.wait_answered(1_000);
    assert_eq!(program.reload().0, 200);
    let books = load.stop();
    program.stop().assert_agrees(&books, 0);
}

#[test]
fn more_workers_than_descriptors_are_rejected_and_a_dry_run_says_so_too() {
    let workers = |count: usize| format!("[server]\nworkers = {count}\n");
    let program = Setup::new(&workers(1)).shell("ulimit -n 64").serve();
    program.edit(&workers(32));
    for path in ["/reload?dry_run=true", "/reload"] {
        let answer = program.post(path);
        let attempt = answer.json();
        let errors = attempt["errors"].to_string();
        assert_eq!(answer.status, 422, "{attempt:#}");
        assert!(
            errors.contains("64 descriptors are not enough for 32 workers"),
            "{errors}"
        );
    }
    assert_eq!(
        program.status()["workers"].as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn without_a_thread_to_be_had_each_request_for_a_change_gets_its_true_outcome() {
    let settings = |workers: u32, message: &str| {
        format!(
            "[server]\nworkers = {workers}\n[app]\nmessage = \"{message}\"\n\
             [app.routes.\"/files/{{path}}*\"]\nfiles = \"public\"\n"
        )
    };
    let setup = Setup::new(&settings(1, "before"));
    let public = setup.settings().join("public");
    fs::create_dir(&public).expect("a folder");
    fs::write(public.join("a.txt"), "a").expect("a file");
    let mut program = setup.unprivileged().serve();
    program.limit("--nproc=1:");

    program.edit(&settings(1, "after"));
    program.reload_applied();
    assert_eq!(program.get("/").text(), "after");
    for path in ["/config", "/status", "/history"] {
        let answer = program.admin_ask("GET", path, &[]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json();
    }
    assert_eq!(program.get("/files/a.txt").status, 503);
    program.edit(&settings(4, "more"));
    let (status, attempt) = program.reload();
    assert_eq!(status, 422, "{attempt:#}");
    let errors = attempt["errors"].to_string();
    assert!(errors.contains("cannot start 3 workers"), "{errors}");
    assert_eq!(program.get("/").text(), "after");

    program.limit("--nproc=10000:");
    eventually("threads to be had again", || {
        (program.get("/files/a.txt").status == 200).then_some(())
    });
    program.reload_applied();
    assert_eq!(program.get("/").text(), "more");
    program.stop();
}

#[test]
fn idle_connections_at_the_limit_of_descriptors_give_their_places_to_others() {
    let settings = "[server]\nworkers = 1\nwrite_timeout = \"1s\"\n\
                    [server.listeners.public]\naddress = \"127.0.0.1:0\"\nh2c = true\n\
                    [app]\nmessage = \"here\"\n";
    let mut program = Setup::new(settings).shell("ulimit -n 64").serve();
    let capped = program.wait_log("limited each worker to ");
    assert!(
        capped.contains(" INFO ") && capped.contains("the process may open 64 files"),
        "{capped}"
    );
    let mut busy = program.connect();
    assert_eq!(busy.get("/").text(), "here");
    // More than there is room for, of both kinds; these say no word on being told to go.
    let idle: Vec<_> = (0..8)
        .map(|_| {
            (
                program.connect(),
                program.connect(),
                RawH2::open(program.public()),
            )
        })
        .collect();
    let mut new = program.connect();
    new.send(&request("GET", "/", &[], b""));
    eventually("an answer to the new one", || {
        // One that asks all the time keeps its place.
        assert_eq!(busy.get("/").text(), "here");
        (new.quiet(Duration::ZERO) == Quiet::Bytes).then_some(())
    });
    assert_eq!(new.answer().text(), "here");
    drop(idle);
    program.stop();
}

/// A program with few descriptors, and `/files/large`.
fn with_few_descriptors() -> Program {
    let setup = Setup::new(
        "[server]\nworkers = 1\n[server.listeners.public]\naddress = \"127.0.0.1:0\"\nh2c = true\n\
         [app]\nmessage = \"here\"\n[app.routes.\"/files/{path}*\"]\nfiles = \"public\"\n",
    );
    let public = setup.settings().join("public");
    fs::create_dir(&public).expect("a folder");
    let large = fs::File::create(public.join("large")).expect("a file");
    large.set_len(64 << 20).expect("a sparse file");
    setup.shell("ulimit -n 256").serve()
}

/// While clients take nothing of their downloads: others are served, and so is the admin API.
fn assert_serves(program: &Program) {
    program.wait_log("files open for clients that are slow to take them");
    assert_eq!(program.get("/files/large").status, 503);
    for _ in 0..20 {
        assert_eq!(program.get("/").text(), "here");
    }
    assert_eq!(program.status()["state"], "serving");
    program.edit("[server]\nworkers = 1\n[app]\nmessage = \"here\"\n");
    assert_eq!(program.post("/reload?dry_run=true").status, 200);
}

#[test]
fn streams_that_stall_in_large_files_leave_descriptors_for_others_and_the_admin_api() {
    let program = with_few_descriptors();
    let mut stalled: Vec<_> = (0..8).map(|_| RawH2::open(program.public())).collect();
    for raw in &mut stalled {
        for stream in 0..50 {
            raw.get(2 * stream + 1, "/files/large");
        }
    }
    for raw in &mut stalled {
        for _ in 0..50 {
            raw.until("an answer", |frame| frame.kind == HEADERS);
        }
    }
    assert_serves(&program);
    drop(stalled);
    eventually("files to be served again", || {
        let mut conn = program.connect();
        conn.send(&request("GET", "/files/large", &[], b""));
        (conn.bytes(12) == b"HTTP/1.1 200").then_some(())
    });
}

#[test]
fn http1_downloads_that_stall_leave_descriptors_for_others_and_the_admin_api() {
    let program = with_few_descriptors();
    let mut stalled: Vec<Conn> = (0..100).map(|_| program.connect()).collect();
    for (number, conn) in stalled.iter_mut().enumerate() {
        let range = [("range", "bytes=1-")];
        let headers: &[_] = if number % 2 == 0 { &[] } else { &range };
        conn.send(&request("GET", "/files/large", headers, b""));
    }
    let begun = stalled.iter_mut().map(|conn| conn.bytes(12));
    let begun = begun
        .filter(|line| line.starts_with(b"HTTP/1.1 20"))
        .count();
    assert!((10..60).contains(&begun), "{begun} downloads of 100");
    assert_serves(&program);
}
