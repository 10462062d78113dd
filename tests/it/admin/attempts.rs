//! Reloads with conditions, dry runs, rollbacks and the history of it all.
use super::TEXT;
use crate::support::{Conn, Program, request};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn edit(program: &Program, message: &str) {
    program.edit(&TEXT.replace("here", message));
}

/// `POST path`, its status and its answer.
fn post(program: &Program, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let answer = program.admin_ask("POST", path, headers);
    (answer.status, answer.json())
}

/// What was asked and what came of it, in short.
fn verdict(program: &Program, path: &str, headers: &[(&str, &str)]) -> (u16, String, u64) {
    let (status, attempt) = post(program, path, headers);
    let outcome = attempt["outcome"].as_str().unwrap_or_default().to_owned();
    (status, outcome, attempt["generation"].as_u64().unwrap_or(0))
}

fn tag(program: &Program) -> String {
    let status = program.status();
    format!("\"{}\"", status["digest"].as_str().expect("a digest"))
}

fn keys(value: &Value) -> BTreeSet<&str> {
    let object = value.as_object().unwrap_or_else(|| panic!("{value:#}"));
    object.keys().map(String::as_str).collect()
}

#[test]
fn every_answer_has_every_key() {
    let program = Program::serve(TEXT);
    edit(&program, "two");
    let dry = post(&program, "/reload?dry_run=true", &[]).1;
    let applied = post(&program, "/reload", &[]).1;
    let rolled_back = post(&program, "/rollback?generation=1", &[]).1;
    let not_kept = post(&program, "/rollback?generation=77", &[]).1;
    program.edit("[server]\nworkers = 999\n");
    let rejected = post(&program, "/reload", &[]).1;
    for attempt in [&dry, &applied, &rolled_back, &not_kept, &rejected] {
        let expected = [
            "attempt",
            "folded",
            "outcome",
            "generation",
            "digest",
            "changes",
            "changes_omitted",
            "shadowed",
            "errors",
            "trigger",
            "workers",
            "load_ms",
            "prepare_ms",
            "publish_ms",
            "rollback",
            "at",
        ];
        assert_eq!(keys(attempt), expected.into(), "{attempt:#}");
        let trigger = [
            "kind",
            "signal",
            "pid",
            "uid",
            "command",
            "peer",
            "paths",
            "paths_omitted",
        ];
        assert_eq!(keys(&attempt["trigger"]), trigger.into());
        let workers = ["confirmed", "total", "late"];
        assert_eq!(keys(&attempt["workers"]), workers.into());
        let at = attempt["at"].as_str().expect("a time");
        assert!(
            at.len() == "2026-01-31T12:00:00.123Z".len() && at.ends_with('Z'),
            "{at}"
        );
    }
    let change = json!({"key": "app.message", "from": "here", "to": "two",
        "origin": "settings/default.toml:4:11"});
    assert_eq!(applied["changes"], json!([change]));
    assert_eq!(rolled_back["trigger"]["kind"], "rollback");
    let error = &rejected["errors"][0];
    assert_eq!(keys(error), ["key", "message", "origin"].into());
    assert_eq!(error["origin"], "settings/default.toml:2:11");
}

#[test]
fn a_dry_run_tells_what_would_change_and_changes_nothing() {
    let program = Program::serve(TEXT);
    let before = program.status();
    let (status, same) = post(&program, "/reload?dry_run=true", &[]);
    assert_eq!((status, &same["outcome"]), (200, &"unchanged".into()));
    edit(&program, "two");
    for _ in 0..2 {
        let (status, dry) = post(&program, "/reload?dry_run=true", &[]);
        assert_eq!((status, &dry["outcome"]), (200, &"would_apply".into()));
        assert_eq!(dry["changes"][0]["to"], "two");
        assert_eq!(
            (&dry["generation"], &dry["digest"]),
            (&1.into(), &before["digest"])
        );
    }
    program.edit("[server]\nworkers = 2\n[app]\nmesage = \"wrong\"\n");
    let (status, dry) = post(&program, "/reload?dry_run=true", &[]);
    assert_eq!((status, &dry["outcome"]), (422, &"rejected".into()));
    assert_eq!(dry["errors"][0]["key"], "app.mesage");
    let after = program.status();
    for key in ["generation", "digest", "last_reload"] {
        assert_eq!(before[key], after[key], "a dry run is no reload: {key}");
    }
    assert_eq!(program.get("/").text(), "here");
    edit(&program, "two");
    assert_eq!(program.reload_applied()["generation"], 2);
}

#[test]
fn force_prepares_anew_though_nothing_changed() {
    let program = Program::serve(TEXT);
    let digest = tag(&program);
    let applied = |number| (200, "applied".to_owned(), number);
    assert_eq!(
        verdict(&program, "/reload?force=false", &[]),
        (200, "unchanged".into(), 1)
    );
    assert_eq!(verdict(&program, "/reload?force=true", &[]), applied(2));
    let dry = verdict(&program, "/reload?force=true&dry_run=true", &[]);
    assert_eq!(dry, (200, "would_apply".into(), 2));
    assert_eq!(tag(&program), digest);
    let (_, attempt) = post(&program, "/reload?force=true", &[("If-Match", &digest)]);
    assert_eq!(attempt["changes"], json!([]));
    assert_eq!(
        (&attempt["outcome"], &attempt["generation"]),
        (&"applied".into(), &3.into())
    );
}

#[test]
fn a_reload_is_refused_where_another_digest_is_served() {
    let program = Program::serve(TEXT);
    let digest = tag(&program);
    edit(&program, "two");
    for other in ["\"sha256:0\"", &format!("W/{digest}")] {
        for path in ["/reload", "/reload?dry_run=true", "/rollback?generation=1"] {
            let refused = verdict(&program, path, &[("If-Match", other)]);
            assert_eq!(refused, (412, "rejected".into(), 1), "{path} with {other}");
        }
    }
    for wrong in ["sha256:0", "\"a", "\"a\" \"b\"", ""] {
        let answer = program.admin_ask("POST", "/reload", &[("If-Match", wrong)]);
        assert_eq!(answer.status, 400, "{wrong:?}: {}", answer.text());
    }
    let last = &program.status()["last_reload"];
    assert_eq!(last["attempt"], 1, "nothing was tried: {last:#}");
    for good in ["*", &digest, &format!("\"a\", W/\"b\", {digest}")] {
        let headers = [("If-Match", good)];
        let dry = verdict(&program, "/reload?dry_run=true", &headers);
        assert_eq!(dry, (200, "would_apply".into(), 1), "{good}");
    }
    assert_eq!(
        verdict(&program, "/reload", &[("If-Match", &digest)]).0,
        200
    );
    assert_eq!(program.get("/").text(), "two");
}

#[test]
fn of_two_who_saw_the_same_settings_one_is_told_that_they_changed() {
    let program = Program::serve(TEXT);
    let digest = tag(&program);
    edit(&program, "two");
    let mut conns: Vec<Conn> = (0..2).map(|_| Conn::open(program.admin())).collect();
    for conn in &mut conns {
        conn.send(&request("POST", "/reload", &[("If-Match", &digest)], b""));
    }
    let mut statuses: Vec<u16> = conns.iter_mut().map(|conn| conn.answer().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
}

#[test]
fn a_rollback_serves_what_was_and_stays_until_the_settings_change_or_a_reload_is_forced() {
    let program = Program::serve(TEXT);
    let digest = tag(&program);
    edit(&program, "two");
    program.reload_applied();
    let (status, back) = post(&program, "/rollback?generation=1", &[]);
    assert_eq!((status, &back["outcome"]), (200, &"applied".into()));
    assert_eq!(back["generation"], 3, "it is a new generation");
    assert_eq!(back["changes"][0]["to"], "here");
    assert_eq!(tag(&program), digest);
    assert_eq!(program.get("/").text(), "here");
    let again = verdict(&program, "/rollback?generation=3", &[]);
    assert_eq!(again, (200, "unchanged".into(), 3), "it is what is served");
    assert_eq!(back["rollback"], json!({"generation": 1, "undone": false}));
    let (_, same) = post(&program, "/reload", &[]);
    let found = (&same["outcome"], &same["rollback"]);
    assert_eq!(found, (&"unchanged".into(), &back["rollback"]));
    assert_eq!(program.get("/").text(), "here");
    let undone = json!({"generation": 1, "undone": true});
    let (_, dry) = post(&program, "/reload?force=true&dry_run=true", &[]);
    let found = (&dry["outcome"], &dry["rollback"]);
    assert_eq!(found, (&"would_apply".into(), &undone));
    let (_, forced) = post(&program, "/reload?force=true", &[]);
    assert_eq!(forced["generation"], 4, "the files say otherwise");
    assert_eq!(forced["rollback"], undone);
    program.wait_log("undoes the rollback to generation 1");
    assert_eq!(program.get("/").text(), "two");
    let (_, next) = post(&program, "/reload", &[]);
    assert_eq!(next["rollback"], Value::Null, "it is over");
    assert_eq!(verdict(&program, "/reload", &[]).1, "unchanged");
    for (path, status) in [
        ("/rollback?generation=9", 404),
        ("/rollback?generation=0", 404),
        ("/rollback", 400),
        ("/rollback?generation=x", 400),
        ("/rollback?generation=-1", 400),
        ("/rollback?generation=1&dry_run=true", 400),
    ] {
        assert_eq!(program.post(path).status, status, "{path}");
    }
    let wrong = program.post("/rollback?generation=x").text();
    assert!(
        wrong.contains("expected `generation` to be a number"),
        "{wrong}"
    );
    assert_eq!(program.status()["generation"], 4);
}

#[test]
fn a_file_that_was_emptied_is_refused_after_a_rollback_too() {
    let program = Program::serve(TEXT);
    program.write("local.toml", "[app]\nmessage = \"local\"\n");
    program.reload_applied();
    assert_eq!(
        verdict(&program, "/rollback?generation=1", &[]).1,
        "applied"
    );
    program.write("local.toml", "");
    let (status, attempt) = post(&program, "/reload", &[]);
    assert_eq!(status, 422, "{attempt:#}");
    let file = program.settings().join("local.toml").display().to_string();
    assert_eq!(attempt["errors"][0]["origin"], file);
}

#[test]
fn so_many_generations_are_kept_as_the_settings_say() {
    let text = |history: u32, message: &str| {
        format!(
            "[reload]\nhistory = {history}\n{}",
            TEXT.replace("here", message)
        )
    };
    let program = Program::serve(&text(2, "1"));
    for number in 2..=4 {
        program.edit(&text(2, &number.to_string()));
        program.reload_applied();
    }
    assert_eq!(program.post("/rollback?generation=1").status, 404);
    assert_eq!(
        verdict(&program, "/rollback?generation=2", &[]),
        (200, "applied".into(), 5)
    );
    assert_eq!(program.get("/").text(), "2");
    program.edit(&text(0, "none"));
    program.reload_applied();
    for number in 1..=5 {
        let path = format!("/rollback?generation={number}");
        assert_eq!(program.post(&path).status, 404, "{path}");
    }
    program.edit(&text(1001, "too many"));
    let (status, attempt) = program.reload();
    assert_eq!(
        (status, &attempt["errors"][0]["key"]),
        (422, &"reload.history".into())
    );
}

#[test]
fn of_large_generations_fewer_are_kept_but_always_the_one_before() {
    let program = Program::serve(TEXT);
    let comment = format!("# {}\n", "-".repeat(3 * 1024 * 1024));
    for number in 2..=5 {
        program.edit(&(TEXT.replace("here", &number.to_string()) + &comment));
        program.reload_applied();
    }
    // 2 to 4 are kept, by their number, but have 9 MiB.
    assert_eq!(program.post("/rollback?generation=2").status, 404);
    assert_eq!(program.post("/rollback?generation=1").status, 404);
    assert_eq!(
        verdict(&program, "/rollback?generation=3", &[]),
        (200, "applied".into(), 6)
    );
    program.write("page", "-".repeat(9 * 1024 * 1024));
    let page = "[app.routes.\"/page\"]\nrespond.body_file = \"page\"\n";
    for message in ["seven", "eight"] {
        program.edit(&(TEXT.replace("here", message) + page));
        program.reload_applied();
    }
    // What the settings' files hold is not kept.
    assert_eq!(program.post("/rollback?generation=6").status, 200);
    assert_eq!(program.post("/rollback?generation=7").status, 200);
}

#[test]
fn the_history_tells_each_answer_newest_first() {
    let program = Program::serve(TEXT);
    let mut answers = Vec::new();
    for (message, path) in [
        ("two", "/reload?dry_run=true"),
        ("two", "/reload"),
        ("two", "/rollback?generation=1"),
        ("two", "/rollback?generation=8"),
        ("three", "/reload"),
    ] {
        edit(&program, message);
        answers.push(post(&program, path, &[]).1);
    }
    answers.reverse();
    let history = program.admin_ask("GET", "/history", &[]).json();
    let history = history.as_array().expect("a list");
    assert_eq!(history[..5], answers);
    assert_eq!(
        (history.len(), &history[5]["trigger"]["kind"]),
        (6, &"start".into())
    );
    for _ in 0..120 {
        program.reload();
    }
    let history = program.admin_ask("GET", "/history", &[]).json();
    let numbers: Vec<_> = history
        .as_array()
        .expect("a list")
        .iter()
        .map(|a| &a["attempt"])
        .collect();
    assert_eq!(
        (numbers.len(), numbers[0], numbers[99]),
        (100, &126.into(), &27.into())
    );
}

#[test]
fn a_long_value_is_told_by_its_beginning() {
    let program = Program::serve(TEXT);
    edit(&program, &"ü".repeat(100_000));
    let attempt = program.reload_applied();
    let to = attempt["changes"][0]["to"].as_str().expect("a text");
    assert!(to.len() < 1100 && to.ends_with("… (200000 bytes)"), "{to}");
    assert_eq!(program.status()["last_reload"]["changes"][0]["to"], to);
    assert_eq!(program.get("/").body.len(), 200_000);
}

#[test]
fn of_very_many_changes_the_first_are_told_and_the_rest_counted() {
    let program = Program::serve(TEXT);
    let routes: String = (0..1200)
        .map(|number| format!("[app.routes.\"/{number:04}\"]\nredirect = \"/\"\n"))
        .collect();
    program.edit(&format!("{TEXT}{routes}"));
    let dry = post(&program, "/reload?dry_run=true", &[]).1;
    let applied = program.reload_applied();
    let back = post(&program, "/rollback?generation=1", &[]).1;
    for attempt in [&dry, &applied, &back] {
        let told = attempt["changes"].as_array().expect("a list");
        assert_eq!(
            (told.len(), &attempt["changes_omitted"]),
            (1000, &200.into())
        );
        assert_eq!(told[999]["key"], "app.routes.\"/0999\".redirect");
    }
    assert_eq!(program.status()["last_reload"], back);
    program.wait_log("generation 3, digest");
    assert_eq!(
        program.count_log(", 1200 changes (app.routes.\"/0000\".redirect, "),
        3
    );
}

#[test]
fn a_query_that_is_not_known_is_400() {
    let program = Program::serve(TEXT);
    for (method, path) in [
        ("POST", "/reload?dryrun=true"),
        ("POST", "/reload?dry_run=true&dry_run=true"),
        ("POST", "/reload?dry_run=yes"),
        ("POST", "/reload?force"),
        ("POST", "/stop?nw=true"),
        ("GET", "/config?origins=true"),
        ("GET", "/history?x=1"),
        ("GET", "/status?x=1"),
    ] {
        let answer = program.admin_ask(method, path, &[]);
        assert_eq!(answer.status, 400, "{method} {path}");
        assert!(answer.json()["error"].is_string(), "{method} {path}");
    }
    assert_eq!(program.status()["last_reload"]["attempt"], 1);
}
