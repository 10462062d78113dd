//! Workers that are blocked while listeners or workers change: they are late, and said to be.
use super::{Stand, wait};
use crate::support::{Address, Conn, request};
use everup::StopMode;

const SOON: &str = "reload.timeout = \"2s\"";

fn post_reload(stand: &Stand) -> (u16, serde_json::Value) {
    let mut admin = stand.admin();
    admin.send(&request("POST", "/reload", &[], b""));
    let answer = admin.answer();
    (answer.status, answer.json())
}

fn listener(stand: &Stand, name: &str) -> Option<Address> {
    Address::of_listener(&stand.status(), name)
}

#[test]
fn a_worker_that_has_not_taken_up_a_listener_is_named_and_takes_it_up_later() {
    let stand = Stand::open("before", SOON);
    let mut blocked = stand.block();
    let more = format!("{SOON}\nserver.listeners.more.address = \"127.0.0.1:0\"");
    stand.edit("after", "", &more);
    let (status, attempt) = post_reload(&stand);
    assert_eq!((status, &attempt["outcome"]), (202, &"applied".into()));
    let late = serde_json::json!({"confirmed": 0, "total": 1, "late": [0]});
    assert_eq!(attempt["workers"], late);

    let more = listener(&stand, "more").expect("it listens");
    let mut waits = Conn::open(&more);
    waits.send(&request("GET", "/", &[], b""));
    stand.gate.open();
    assert_eq!(waits.answer().text(), "after");
    assert_eq!(blocked.answer().text(), "passed");
    assert_eq!(blocked.get("/").text(), "after");
}

#[test]
fn a_listener_that_goes_answers_what_it_has_also_after_its_worker_was_late() {
    let more = format!("{SOON}\nserver.listeners.more.address = \"127.0.0.1:0\"");
    let stand = Stand::open("before", &more);
    let more = listener(&stand, "more").expect("it listens");
    let mut blocked = stand.block();
    // It reaches the listening socket, which nobody accepts from now.
    let mut waits = Conn::open(&more);
    waits.send(&request("GET", "/", &[], b""));
    stand.edit("after", "", SOON);
    assert_eq!(post_reload(&stand).0, 202);
    stand.gate.open();
    let answer = waits.answer();
    assert_eq!((answer.text().as_str(), answer.closes()), ("after", true));
    assert_eq!(blocked.answer().text(), "passed");
}

#[test]
fn workers_that_are_added_serve_while_the_first_is_blocked() {
    let stand = Stand::open("before", SOON);
    let mut blocked = stand.block();
    let text = super::text("after", "", SOON).replace("workers = 1", "workers = 3");
    crate::support::replace(&stand.folder.path().join("default.toml"), text);
    let (status, attempt) = post_reload(&stand);
    let late = serde_json::json!({"confirmed": 2, "total": 3, "late": [0]});
    assert_eq!((status, &attempt["workers"]), (202, &late));
    assert_eq!(stand.get("/").text(), "after");
    assert_eq!(stand.status()["workers"].as_array().map(Vec::len), Some(3));
    stand.gate.open();
    assert_eq!(blocked.answer().text(), "passed");
    stand.running.control().stop(StopMode::Graceful);
    let report = wait(stand.running.finished());
    assert_eq!((report.aborted, report.cut), (0, 0));
}
