//! Reloading: the walk, one generation per request, done means done, all or nothing.
use crate::support::{Conn, H2, Kind, Load, Program, eventually, request};
use rustix::process::Signal;
use serde_json::Value;
use std::time::Instant;

fn message(text: &str) -> String {
    format!("[server]\nworkers = 2\n[app]\nmessage = \"{text}\"\n")
}

fn connections(program: &Program, count: usize) -> Vec<Conn> {
    (0..count).map(|_| program.connect()).collect()
}

#[test]
fn after_an_edit_and_a_hup_every_connection_says_after() {
    let program = Program::serve(&message("Before"));
    let mut kept = connections(&program, 16);
    for conn in &mut kept {
        assert_eq!(conn.get("/").text(), "Before");
    }
    let mark = program.mark();
    program.edit(&message("After"));
    assert_eq!(
        program.get("/").text(),
        "Before",
        "an edit alone changes nothing"
    );
    program.signal(Signal::HUP);
    let attempt = program.wait_attempt(mark, "applied");
    for (what, mut conns) in [("kept alive", kept), ("new", connections(&program, 16))] {
        for conn in &mut conns {
            assert_eq!(conn.get("/").text(), "After", "{what}");
        }
    }
    for part in [
        "generation 2",
        "digest sha256:",
        "1 change",
        "app.message",
        "SIGHUP",
    ] {
        assert!(
            attempt.text.contains(part),
            "{part:?} is missing in {attempt:?}"
        );
    }
    let sender = format!("pid {}", std::process::id());
    assert!(
        attempt.text.contains(&sender),
        "{sender:?} is missing in {attempt:?}"
    );
}

#[test]
fn after_a_reload_each_idle_worker_lets_go_of_the_old_generation() {
    let program = Program::serve(&message("Before"));
    program.edit(&message("After"));
    program.reload_applied();
    eventually("both workers at generation 2", || {
        let status = program.status();
        let workers = status["workers"].as_array()?;
        assert_eq!(workers.len(), 2, "{status:#}");
        workers
            .iter()
            .all(|worker| worker["generation"] == 2)
            .then_some(())
    });
}

#[test]
fn a_post_tells_what_it_changed() {
    let program = Program::serve(&message("Before"));
    program.edit(&message("After"));
    let attempt = program.reload_applied();
    assert_eq!(attempt["generation"], 2, "{attempt:#}");
    assert_eq!(attempt["folded"], 0, "{attempt:#}");
    assert_eq!(attempt["errors"], Value::Array(Vec::new()), "{attempt:#}");
    assert_eq!(attempt["trigger"]["kind"], "http", "{attempt:#}");
    let change = &attempt["changes"][0];
    assert_eq!(
        (&change["key"], &change["from"], &change["to"]),
        (&"app.message".into(), &"Before".into(), &"After".into())
    );
    let origin = change["origin"].as_str().unwrap_or_default();
    assert!(origin.ends_with("default.toml:4:11"), "{attempt:#}");
    assert!(
        attempt["digest"]
            .as_str()
            .is_some_and(|digest| digest.starts_with("sha256:")),
        "{attempt:#}"
    );
    assert_eq!(
        attempt["workers"],
        serde_json::json!({"confirmed": 2, "total": 2, "late": []})
    );
    for key in ["attempt", "load_ms", "prepare_ms", "publish_ms"] {
        assert!(attempt[key].is_number(), "{key} in {attempt:#}");
    }
    assert!(
        attempt["at"].as_str().is_some_and(|at| at.ends_with('Z')),
        "{attempt:#}"
    );
    assert_eq!(program.status()["last_reload"], attempt);
}

#[test]
fn a_reload_without_a_change_is_unchanged_and_keeps_the_generation() {
    let program = Program::serve(&message("Same"));
    let before = program.status();
    program.edit(&format!("# a comment is no change\n{}", message("Same")));
    let (status, attempt) = program.reload();
    assert_eq!(
        (status, &attempt["outcome"], &attempt["generation"]),
        (200, &"unchanged".into(), &1.into())
    );
    assert_eq!(attempt["digest"], before["digest"]);
    assert_eq!(attempt["changes"], Value::Array(Vec::new()));
}

#[test]
fn the_way_back_to_old_content_is_a_new_generation_with_the_old_digest() {
    let program = Program::serve(&message("one"));
    let first = program.status()["digest"].clone();
    program.edit(&message("two"));
    let second = program.reload_applied();
    assert_ne!(second["digest"], first);
    program.edit(&message("one"));
    let third = program.reload_applied();
    assert_eq!(
        (&third["digest"], &third["generation"]),
        (&first, &3.into())
    );
    assert_eq!(program.get("/").text(), "one");
}

/// A route whose body and header carry the same number.
fn numbered(number: u64, delay: &str) -> String {
    format!(
        "[server]\nworkers = 2\n[app]\nmessage = \"{number}\"\n[app.routes.\"/pair\"]\n\
         respond = {{ status = 200, body = \"{number}\", headers = {{ \"x-number\" = \"{number}\" }}, delay = \"{delay}\" }}\n"
    )
}

#[test]
fn a_slow_answer_begun_before_a_reload_ends_as_the_old_generation_says() {
    let program = Program::serve(&numbered(1, "300ms"));
    let mut slow: Vec<_> = connections(&program, 8);
    for conn in &mut slow {
        conn.send(&request("GET", "/pair", &[], b""));
    }
    program.wait_in_flight(8);
    program.edit(&numbered(2, "0s"));
    program.reload_applied();
    let new = program.get("/pair");
    assert_eq!(
        (new.text().as_str(), new.header("x-number")),
        ("2", Some("2"))
    );
    for conn in &mut slow {
        let old = conn.answer();
        assert_eq!(old.text(), "1");
        assert_eq!(old.header("x-number"), Some("1"));
        let next = conn.get("/pair");
        assert_eq!(next.text(), "2", "the next request on the same connection");
    }
}

#[test]
fn body_and_headers_are_of_one_generation_while_the_settings_change() {
    let program = Program::serve(&numbered(1, "0s"));
    let load = Load::kept_alive(12, 1)
        .and(4, Kind::PerRequest)
        .and(4, Kind::Pipelined(8))
        .path("/pair")
        .check(|answer| {
            let text = answer.text();
            let same = answer.header("x-number") == Some(&text);
            if same {
                Ok(())
            } else {
                Err(format!("torn: {answer:?}"))
            }
        })
        .start(program.public());
    for number in 2..=60 {
        program.edit(&numbered(number, "0s"));
        let attempt = program.reload_applied();
        assert_eq!(attempt["generation"], number);
    }
    let books = load.stop();
    books.assert_nothing_lost();
    assert_eq!(
        books.closed_announced, 0,
        "a reload closes no connection: {books:?}"
    );
}

#[test]
fn once_a_post_is_answered_no_connection_says_the_old_message() {
    let program = Program::serve(&message("0"));
    let mut kept = connections(&program, 24);
    for number in 1..=20 {
        let text = number.to_string();
        program.edit(&message(&text));
        program.reload_applied();
        for conn in &mut kept {
            assert_eq!(conn.get("/").text(), text, "kept alive");
        }
        for conn in &mut connections(&program, 24) {
            assert_eq!(conn.get("/").text(), text, "new");
        }
    }
}

#[test]
fn over_300_reloads_no_answer_is_older_than_the_reload_reported_before_its_request() {
    let program = Program::serve(&message("0"));
    let load = Load::kept_alive(12, 2)
        .and(2, Kind::PerRequest)
        .and(2, Kind::Pipelined(4))
        .recorded()
        .start(program.public());
    let mut reported = vec![(Instant::now(), 0)];
    for number in 1..=300_u64 {
        program.edit(&message(&number.to_string()));
        program.reload_applied();
        reported.push((Instant::now(), number));
    }
    let last = load.answered();
    load.wait_answered(last + 100);
    let books = load.stop();
    books.assert_nothing_lost();
    for record in &books.records {
        let newest = reported
            .partition_point(|(at, _)| *at <= record.sent)
            .saturating_sub(1);
        let (at, least) = reported[newest];
        let found: u64 = record.body.parse().expect("the body is a number");
        assert!(
            found >= least,
            "{found} was served to a request sent {:?} after {least} was reported, answered {:?} after",
            record.sent.duration_since(at),
            record.answered.duration_since(at)
        );
    }
    assert!(books.records.iter().any(|record| record.body == "300"));
}

#[test]
fn over_hups_no_answer_is_older_than_the_log_line_before_its_request() {
    let program = Program::serve(&message("0"));
    let mut kept = connections(&program, 8);
    for number in 1..=50 {
        let text = number.to_string();
        let mark = program.mark();
        program.edit(&message(&text));
        program.signal(Signal::HUP);
        program.wait_attempt(mark, "applied");
        for conn in &mut kept {
            assert_eq!(conn.get("/").text(), text);
        }
    }
}

#[test]
fn new_routes_are_live_on_a_kept_connection() {
    let program = Program::serve("[app]\nmessage = \"one\"\n");
    let mut kept = program.connect();
    assert_eq!(kept.get("/hello/ann").status, 404);
    program.edit(
        "[app]\nmessage = \"two\"\n[app.routes.\"/hello/{name}\"]\n\
         respond = { status = 201, body = \"Hello, {name}! {other}\", headers = { \"x-to\" = \"{name}\" } }\n",
    );
    program.reload_applied();
    let hello = kept.get("/hello/ann");
    assert_eq!(
        (hello.status, hello.text().as_str()),
        (201, "Hello, ann! {other}")
    );
    assert_eq!(hello.header("x-to"), Some("ann"));
    program.edit("[app]\nmessage = \"two\"\n");
    program.reload_applied();
    assert_eq!(kept.get("/hello/ann").status, 404);
}

#[test]
fn all_askers_see_generations_grow_one_by_one() {
    let program = Program::serve(&message("0"));
    let mut seen = Vec::new();
    for number in 1..=10 {
        program.edit(&message(&number.to_string()));
        let attempt = program.reload_applied();
        seen.push((attempt["attempt"].as_u64(), attempt["generation"].as_u64()));
    }
    for pair in seen.windows(2) {
        assert_eq!(
            pair[1].0,
            pair[0].0.map(|number| number + 1),
            "attempts: {seen:?}"
        );
        assert_eq!(
            pair[1].1,
            pair[0].1.map(|number| number + 1),
            "generations: {seen:?}"
        );
    }
}

#[test]
fn each_response_tells_the_generation_that_answered_where_a_header_is_named() {
    let named = |header: &str, message: &str| {
        format!(
            "[server]\ngeneration_header = \"{header}\"\n[server.listeners.public]\n\
             address = \"127.0.0.1:0\"\nh2c = true\nprobes = \"/-/\"\n[app]\nmessage = \"{message}\"\n"
        )
    };
    let program = Program::serve(&named("x-config-generation", "one"));
    let (mut one, mut two) = (program.connect(), H2::open(program.public()));
    let mut expect = |header: &str, generation: Option<&str>| {
        for path in ["/", "/none", "/-/livez"] {
            assert_eq!(one.get(path).header(header), generation, "{path}");
            assert_eq!(two.get(path).header(header), generation, "{path} of HTTP/2");
        }
    };
    expect("x-config-generation", Some("1"));
    program.edit(&named("X-Other", "one"));
    program.reload_applied();
    expect("x-other", Some("2"));
    expect("x-config-generation", None);
    program.edit(&named("", "one"));
    program.reload_applied();
    expect("x-other", None);
    for wrong in ["a b", "Content-Length", "transfer-encoding"] {
        program.edit(&named(wrong, "one"));
        let (status, attempt) = program.reload();
        assert_eq!(status, 422, "{attempt:#}");
        assert_eq!(attempt["errors"][0]["key"], "server.generation_header");
    }
}
