//! Many reloads that change workers, names and addresses, one after the other under one load.

use std::time::Duration;

use crate::support::{H2Load, Kind, Load, Program};

const CHANGES: usize = 100;

/// The settings of a round: workers, the listeners' names, the addresses that overlap.
fn settings(round: usize, port: u16) -> String {
    let workers = [2, 1, 8, 3, 1, 4][round % 6];
    let name = ["public", "other"][round % 2];
    let ip = ["127.0.0.1", "127.0.0.1", "0.0.0.0"][round % 3];
    let more = match round % 5 {
        0 => "",
        _ => "[server.listeners.more]\naddress = \"127.0.0.1:0\"\n",
    };
    format!(
        "[server]\nworkers = {workers}\n\
         [server.listeners.{name}]\naddress = \"{ip}:{port}\"\nh2c = true\n\
         [server.listeners.local-{name}]\naddress = \"unix:local.sock\"\n{more}\
         [shutdown]\nlinger = \"400ms\"\n[app]\nmessage = \"here\"\n"
    )
}

#[test]
fn no_request_is_lost_in_100_changes_of_listeners_and_workers() {
    let mut program = Program::serve(&settings(0, 0));
    let to = program.public().clone();
    let tcp = Load::kept_alive(16, 40)
        .and(4, Kind::PerRequest)
        .and(2, Kind::Pipelined(8))
        .and(2, Kind::Uploading(Duration::from_millis(20)))
        .start(&to);
    let unix = Load::kept_alive(8, 20)
        .and(2, Kind::PerRequest)
        .start(program.listener("local-public"));
    let http2 = H2Load::start(&to, (2, 8), "/", b"", b"here");
    for round in 1..=CHANGES {
        for load in [&tcp, &unix] {
            load.wait_answered(load.answered() + 50);
        }
        http2.wait_answered(round as u64 * 20);
        program.edit(&settings(round, to.port()));
        program.reload_applied();
    }
    let (mut books, http2) = (tcp.stop(), http2.end());
    books.add(unix.stop());
    let report = program.stop();
    assert_eq!(http2.lost, 0, "{:#?}", http2.complaints);
    report.assert_agrees(&books, http2.answered);
}
