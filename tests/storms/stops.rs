//! Many graceful stops, each in the middle of a load, over the kinds of clients and answers.

use std::time::Duration;

use crate::support::{H2Load, Kind, Load, LoadBooks, LoadSetup, Program};

/// Of each count of workers.
const STOPS: u64 = 67;

/// An answer that takes its time and one that fills more than a socket's buffers.
fn settings(workers: u32) -> String {
    let large = "x".repeat(2_000_000);
    format!(
        "[server]\nworkers = {workers}\n\
         [server.listeners.public]\naddress = \"127.0.0.1:0\"\nh2c = true\n\
         [shutdown]\nlinger = \"400ms\"\n[app]\nmessage = \"here\"\n\
         routes.\"/slow\".respond = {{ body = \"slow\", delay = \"30ms\" }}\n\
         routes.\"/large\".respond = {{ body = \"{large}\" }}\n"
    )
}

/// The HTTP/1 clients of one stop, all at once.
fn clients(seed: u64) -> Vec<LoadSetup> {
    let think = [0, 5, 150, 290][seed as usize % 4];
    vec![
        Load::kept_alive(32, think).seed(seed),
        Load::of(8, Kind::PerRequest)
            .and(4, Kind::Pipelined(16))
            .and(4, Kind::Uploading(Duration::from_millis(20)))
            .seed(seed + 1_000),
        Load::kept_alive(8, 20).path("/slow").seed(seed + 2_000),
        Load::kept_alive(2, 20).path("/large").seed(seed + 3_000),
    ]
}

fn stop_under(workers: u32, seed: u64) {
    let mut program = Program::serve(&settings(workers));
    let public = program.public().clone();
    let loads: Vec<Load> = clients(seed)
        .into_iter()
        .map(|load| load.start(&public))
        .collect();
    let http2 = H2Load::start(&public, (4, 8), "/slow", b"", b"slow");
    http2.wait_answered(20);
    for load in &loads {
        load.wait_answered(20);
        load.expect_stop();
    }
    let report = program.stop();
    let mut books = LoadBooks::default();
    for load in loads {
        books.add(load.until_refused());
    }
    let http2 = http2.until_refused();
    assert_eq!(http2.lost, 0, "{:#?}", http2.complaints);
    report.assert_agrees(&books, http2.answered);
}

fn stops_under(workers: u32) {
    for seed in 0..STOPS {
        stop_under(workers, seed);
    }
}

#[test]
fn no_request_is_lost_in_67_stops_of_1_worker() {
    stops_under(1);
}

#[test]
fn no_request_is_lost_in_67_stops_of_2_workers() {
    stops_under(2);
}

#[test]
fn no_request_is_lost_in_67_stops_of_8_workers() {
    stops_under(8);
}
