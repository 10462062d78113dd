//! Many upgrades, one after the other under one load.

use std::time::Duration;

use crate::support::{H2Load, Kind, Load, Program};

/// Of each count of workers.
const UPGRADES: u64 = 17;

fn upgrades_under(workers: u32) {
    Program::adopt_successors();
    let mut program = Program::serve(&format!(
        "[server]\nworkers = {workers}\n\
         [server.listeners.public]\naddress = \"127.0.0.1:0\"\nh2c = true\n\
         [server.listeners.local]\naddress = \"unix:local.sock\"\n\
         [shutdown]\nlinger = \"400ms\"\n[app]\nmessage = \"here\"\n"
    ));
    let tcp = Load::kept_alive(16, 40)
        .and(4, Kind::PerRequest)
        .and(2, Kind::Pipelined(8))
        .and(2, Kind::Uploading(Duration::from_millis(20)))
        .start(program.public());
    let unix = Load::kept_alive(8, 20).start(program.listener("local"));
    let http2 = H2Load::start(program.public(), (2, 8), "/", b"", b"here");
    for round in 1..=UPGRADES {
        for load in [&tcp, &unix] {
            load.wait_answered(load.answered() + 100);
        }
        http2.wait_answered(round * 20);
        let mark = program.mark();
        let answer = program.post("/upgrade?wait=true");
        assert_eq!(answer.status, 200, "{}", answer.text());
        program.wait_successor(mark);
    }
    let (mut books, http2) = (tcp.stop(), http2.end());
    books.add(unix.stop());
    program.stop();
    assert_eq!(http2.lost, 0, "{:#?}", http2.complaints);
    books.assert_nothing_lost();
    let reports = program.reports();
    assert_eq!(reports.len() as u64, UPGRADES + 1, "one report a process");
    let mut answered = 0;
    for report in reports {
        report.in_all.assert_balanced();
        assert_eq!(
            (report.in_all.aborted, report.in_all.cut),
            (0, 0),
            "{report:?}"
        );
        answered += report.in_all.answered;
    }
    assert_eq!(
        answered,
        books.answered + http2.answered,
        "all processes' books, and the clients'"
    );
}

#[test]
fn no_request_is_lost_in_17_upgrades_of_1_worker() {
    upgrades_under(1);
}

#[test]
fn no_request_is_lost_in_17_upgrades_of_2_workers() {
    upgrades_under(2);
}

#[test]
fn no_request_is_lost_in_17_upgrades_of_8_workers() {
    upgrades_under(8);
}
