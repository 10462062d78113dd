//! Bursts: no trigger is lost, every requester is answered, few attempts do it; all triggers are mirrors.
use crate::support::{Address, AttemptLine, Conn, Load, Program, eventually, request};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
};

fn message(text: &str) -> String {
    format!("[server]\nworkers = 2\n[app]\nmessage = \"{text}\"\n")
}

/// Asks for a reload and leaves the answer to be read.
fn ask(admin: &Address) -> Conn {
    let mut conn = Conn::open(admin);
    conn.send(&request("POST", "/reload", &[], b""));
    conn
}

/// Settings that take longer to load than a request to arrive.
fn long(text: &str) -> String {
    let route = |number| {
        format!("[app.routes.\"/{number}/{{name}}\"]\nrespond = {{ body = \"{{name}}\" }}\n")
    };
    let routes: String = (0..1_000).map(route).collect();
    message(text) + &routes
}

#[test]
fn of_200_posts_at_once_each_is_answered_and_the_last_content_is_served() {
    let program = Program::serve(&long("0"));
    let admin = program.admin();
    let mut early: Vec<_> = (0..100).map(|_| Conn::open(admin)).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            for conn in &mut early {
                conn.send(&request("POST", "/reload", &[], b""));
            }
        });
        for number in 1..=20 {
            program.edit(&long(&number.to_string()));
        }
        program.edit(&long("last"));
    });
    // These ask after the last edit: each answer must cover it. The program stands still until all
    // have asked, so that they do so at once.
    let mut late: Vec<_> = (0..100).map(|_| Conn::open(admin)).collect();
    program.signal(Signal::STOP);
    for conn in &mut late {
        conn.send(&request("POST", "/reload", &[], b""));
    }
    program.signal(Signal::CONT);
    let mut attempts = BTreeMap::<u64, (u64, Value)>::new();
    let mut of_late = BTreeSet::new();
    for (place, conn) in early.iter_mut().chain(&mut late).enumerate() {
        let answer = conn.answer();
        let attempt = answer.json();
        assert_eq!(answer.status, 200, "{attempt:#}");
        let number = attempt["attempt"].as_u64().expect("attempts are numbered");
        if place >= 100 {
            of_late.insert(number);
        }
        let (requesters, told) = attempts
            .entry(number)
            .or_insert_with(|| (0, attempt.clone()));
        *requesters += 1;
        assert_eq!(
            *told, attempt,
            "two requesters of one attempt are told the same"
        );
    }
    for (requesters, attempt) in attempts.values() {
        assert_eq!(
            attempt["folded"],
            requesters - 1,
            "each requester but one was folded: {attempt:#}"
        );
    }
    assert!(
        of_late.len() <= 20,
        "{} attempts for 100 who asked at once",
        of_late.len()
    );
    assert_eq!(program.get("/").text(), "last");
}

#[test]
fn each_asker_after_an_edit_is_answered_when_that_edit_is_served() {
    let program = Program::serve(&message("0"));
    for number in 1..=30 {
        let text = number.to_string();
        let mut before = ask(program.admin());
        program.edit(&message(&text));
        let mut after = ask(program.admin());
        after.answer();
        assert_eq!(
            program.get("/").text(),
            text,
            "an attempt under way at the edit must not answer for it"
        );
        before.answer();
    }
}

/// An attempt's facts: what differs between two triggers of the same change is left out.
fn facts(attempt: &Value) -> Value {
    let mut facts = attempt.clone();
    let map = facts.as_object_mut().expect("an attempt is an object");
    for key in [
        "attempt",
        "trigger",
        "at",
        "load_ms",
        "prepare_ms",
        "publish_ms",
        "generation",
    ] {
        assert!(map.remove(key).is_some(), "{key} is missing in {attempt:#}");
    }
    facts
}

#[test]
fn a_hup_and_a_post_have_the_same_outcome() {
    let program = Program::serve(&message("Before"));
    let mut mark = program.mark();
    let mut by_hup = |outcome: &str| {
        program.signal(Signal::HUP);
        program.wait_attempt(mark, outcome);
        mark = program.mark();
        let attempt = program.status()["last_reload"].clone();
        let trigger = &attempt["trigger"];
        assert_eq!(
            (&trigger["kind"], &trigger["signal"]),
            (&"signal".into(), &"SIGHUP".into()),
            "{attempt:#}"
        );
        assert_eq!(trigger["pid"], std::process::id(), "{attempt:#}");
        assert_eq!(
            trigger["uid"],
            rustix::process::getuid().as_raw(),
            "{attempt:#}"
        );
        assert!(trigger["command"].is_string(), "{attempt:#}");
        attempt
    };
    program.edit(&message("After"));
    let hup = by_hup("applied");
    program.edit(&message("Before"));
    program.reload_applied();
    program.edit(&message("After"));
    let (_, post) = program.reload();
    assert_eq!(facts(&hup), facts(&post), "applied");

    let hup = by_hup("unchanged");
    let (_, post) = program.reload();
    assert_eq!(facts(&hup), facts(&post), "unchanged");

    program.edit("[server]\nworkers = \"many\"\n");
    let hup = by_hup("rejected");
    let (_, post) = program.reload();
    assert_eq!(facts(&hup), facts(&post), "rejected");
}

#[test]
fn a_client_that_hangs_up_on_its_post_does_not_cancel_the_reload() {
    // Over TCP without a token nobody could say any more whose request it was.
    let admin = "[admin]\naddress = \"unix:admin.sock\"\n";
    let settings = |text: &str| message(text) + admin;
    let program = Program::serve(&settings("0"));
    for number in 1..=20 {
        let text = number.to_string();
        let mark = program.mark();
        program.edit(&settings(&text));
        drop(ask(program.admin()));
        let attempt = program.wait_attempt(mark, "applied");
        assert!(attempt.number > 0);
        assert_eq!(program.get("/").text(), text);
    }
}

#[test]
fn after_10000_hups_the_last_content_is_served_and_the_log_has_one_line_an_attempt() {
    let program = Program::serve(&message("0"));
    let load = Load::kept_alive(4, 2).start(program.public());
    let mark = program.mark();
    for number in 1..=10_000 {
        if number % 100 == 0 {
            program.edit(&message(&number.to_string()));
        }
        program.signal(Signal::HUP);
    }
    eventually("the last content", || {
        (program.get("/").text() == "10000").then_some(())
    });
    load.stop().assert_nothing_lost();
    // The burst's attempts are over when one more is.
    let (_, fence) = program.reload();
    let fence = fence["attempt"].as_u64().expect("attempts are numbered");
    program.wait_line("the last attempt's line", |line| {
        AttemptLine::parse(line).is_some_and(|attempt| attempt.number == fence)
    });
    let attempts = program.attempts();
    let numbers: BTreeSet<_> = attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers.len(), attempts.len(), "one line an attempt");
    assert!(
        attempts.is_sorted_by_key(|attempt| attempt.number),
        "in their order"
    );
    for attempt in &attempts {
        assert!(
            ["applied", "unchanged"].contains(&attempt.outcome.as_str()),
            "{attempt:?}"
        );
    }
    let asked: u64 = attempts.iter().map(|attempt| attempt.folded() + 1).sum();
    assert!(
        asked <= 10_001,
        "{asked} requests counted for 10,000 signals and a POST"
    );
    for line in program.log().lines().skip(mark) {
        let attempt = AttemptLine::parse(line).is_some();
        assert!(
            attempt || !line.contains("SIGHUP"),
            "a HUP is named in its attempt's line and nowhere else, but: {line}"
        );
    }
}

#[test]
fn hups_and_posts_together_end_with_the_last_content() {
    let program = Program::serve(&message("0"));
    for round in 1..=10 {
        let mut requesters = Vec::new();
        for number in 0..10 {
            program.edit(&message(&format!("{round}.{number}")));
            program.signal(Signal::HUP);
            requesters.push(ask(program.admin()));
        }
        for conn in &mut requesters {
            assert_eq!(conn.answer().status, 200);
        }
        assert_eq!(program.get("/").text(), format!("{round}.9"));
    }
}
