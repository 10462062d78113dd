//! All or nothing: what cannot be applied whole changes nothing, and says where and why.
use crate::support::{Kind, Load, Program};
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::Signal,
};
use serde_json::Value;

const GOOD: &str = "[server]\nworkers = 2\n[app]\nmessage = \"Before\"\n";

/// The errors of an attempt as the log and the terminal show them: `origin: key: message`.
fn errors(attempt: &Value) -> String {
    let errors = attempt["errors"]
        .as_array()
        .unwrap_or_else(|| panic!("no errors in {attempt:#}"));
    let part = |error: &Value, key: &str| error[key].as_str().unwrap_or_default().to_owned();
    let lines = errors.iter().map(|error| {
        [
            part(error, "origin"),
            part(error, "key"),
            part(error, "message"),
        ]
        .join(": ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What is wrong, the text after [`GOOD`]'s addresses are added, and what the error must say.
struct Bad {
    what: &'static str,
    text: &'static str,
    says: &'static [&'static str],
}

const BAD: &[Bad] = &[
    Bad {
        what: "garbage",
        text: "[server]\nworkers = 2\n[app]\nmessage = = \"After\"\n",
        says: &["settings/default.toml:4:11"],
    },
    Bad {
        what: "half a file",
        text: "[server]\nworkers = 2\n[app]\nmessage = \"Aft",
        says: &["settings/default.toml:4:"],
    },
    Bad {
        what: "a key twice",
        text: "[server]\nworkers = 2\n[app]\nmessage = \"After\"\nmessage = \"again\"\n",
        says: &["settings/default.toml:5:1"],
    },
    Bad {
        what: "an unknown key",
        text: "[server]\nworkers = 2\nkeepalive = \"5s\"\n[app]\nmessage = \"After\"\n",
        says: &[
            "settings/default.toml:3:1: server.keepalive: unknown key (did you mean `keep_alive`?)",
        ],
    },
    Bad {
        what: "an unknown key of the service",
        text: "[server]\nworkers = 2\n[app]\nmesage = \"After\"\n",
        says: &["settings/default.toml:4:1: app.mesage: unknown key (did you mean `message`?)"],
    },
    Bad {
        what: "a text for a number",
        text: "[server]\nworkers = \"many\"\n[app]\nmessage = \"After\"\n",
        says: &[
            "settings/default.toml:2:11: server.workers: expected a number from 0 to 512, found \"many\"",
        ],
    },
    Bad {
        what: "a number out of range",
        text: "[server]\nworkers = 513\n[app]\nmessage = \"After\"\n",
        says: &[
            "settings/default.toml:2:11: server.workers: expected a number from 0 to 512, found",
        ],
    },
    Bad {
        what: "a list for a text",
        text: "[server]\nworkers = 2\n[app]\nmessage = [\"After\"]\n",
        says: &["settings/default.toml:4:11: app.message: expected"],
    },
    Bad {
        what: "no duration",
        text: "[server]\nworkers = 2\nkeep_alive = \"soon\"\n[app]\nmessage = \"After\"\n",
        says: &["settings/default.toml:3:14: server.keep_alive: expected"],
    },
    Bad {
        what: "two kinds of route in one",
        text: "[server]\nworkers = 2\n[app]\nmessage = \"After\"\n[app.routes.\"/a\"]\n\
               redirect = \"/b\"\nrespond = { body = \"c\" }\n",
        says: &["settings/default.toml:", "/a"],
    },
    Bad {
        what: "no status code",
        text: "[server]\nworkers = 2\n[app]\nmessage = \"After\"\n[app.routes.\"/a\"]\nrespond = { status = 99, body = \"c\" }\n",
        says: &["settings/default.toml:6:", "status"],
    },
    Bad {
        what: "no path of a route",
        text: "[server]\nworkers = 2\n[app]\nmessage = \"After\"\n[app.routes.\"/a/{open\"]\nrespond = { body = \"c\" }\n",
        says: &["settings/default.toml:5:", "/a/{open"],
    },
];

fn assert_rejected(program: &Program, what: &str, says: &[&str]) {
    let before = program.status();
    let mut kept = program.connect();
    assert_eq!(kept.get("/").text(), "Before", "{what}");
    let mark = program.mark();
    let (status, attempt) = program.reload();
    assert_eq!(
        (status, &attempt["outcome"]),
        (422, &"rejected".into()),
        "{what}: {attempt:#}"
    );
    let line = program.wait_attempt(mark, "rejected");
    let errors = errors(&attempt);
    for part in says {
        assert!(
            errors.contains(part),
            "{what}: {part:?} is not in\n{errors}"
        );
        assert!(
            line.text.contains(part),
            "{what}: {part:?} is not in the log's {line:?}"
        );
    }
    assert_eq!(kept.get("/").text(), "Before", "{what}");
    assert_eq!(program.get("/").text(), "Before", "{what}");
    let after = program.status();
    for key in ["generation", "digest", "state"] {
        assert_eq!(after[key], before[key], "{what}");
    }
    assert_eq!(
        attempt["generation"], before["generation"],
        "{what}: the one served"
    );
    assert_eq!(after["last_reload"]["outcome"], "rejected", "{what}");
    assert_eq!(after["last_reload"], attempt, "{what}");
}

fn assert_cleared(program: &Program, what: &str) {
    let generation = program.status()["generation"].clone();
    let (status, attempt) = program.reload();
    assert_eq!(
        (status, &attempt["outcome"]),
        (200, &"unchanged".into()),
        "back from {what}: {attempt:#}"
    );
    assert_eq!(attempt["generation"], generation, "back from {what}");
    let last = &program.status()["last_reload"];
    assert_eq!(
        (&last["outcome"], &last["errors"]),
        (&"unchanged".into(), &Value::Array(Vec::new())),
        "{last:#}"
    );
}

#[test]
fn a_bad_file_changes_nothing_says_where_and_the_good_one_clears_the_error() {
    let program = Program::serve(GOOD);
    for bad in BAD {
        // Half a file ends where it ends: nothing may be added to it.
        if bad.text.ends_with('\n') {
            program.edit(bad.text)
        } else {
            program.write("default.toml", bad.text)
        }
        assert_rejected(&program, bad.what, bad.says);
        program.edit(GOOD);
        assert_cleared(&program, bad.what);
    }
    program.edit(&GOOD.replace("Before", "After"));
    assert_eq!(program.reload_applied()["generation"], 2);
    assert_eq!(program.get("/").text(), "After");
}

#[test]
fn bytes_that_are_no_text_are_rejected() {
    let program = Program::serve(GOOD);
    program.write("default.toml", b"[app]\nmessage = \"\xff\xfe\"\n");
    assert_rejected(&program, "not UTF-8", &["settings/default.toml"]);
}

#[test]
fn a_file_that_became_empty_is_not_taken_for_the_defaults() {
    let program = Program::serve(GOOD);
    program.write("default.toml", "");
    assert_rejected(&program, "emptied", &["settings/default.toml", "empty"]);
    program.edit(GOOD);
    assert_cleared(&program, "emptied");
}

#[test]
fn a_fifo_in_place_of_the_file_is_rejected_not_waited_for() {
    let program = Program::serve(GOOD);
    let path = program.settings().join("default.toml");
    std::fs::remove_file(&path).expect("the settings are there");
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("make a FIFO");
    assert_rejected(&program, "a FIFO", &["settings/default.toml"]);
    program.edit(GOOD);
    assert_cleared(&program, "a FIFO");
}

#[test]
fn a_folder_in_place_of_the_file_is_rejected() {
    let program = Program::serve(GOOD);
    let path = program.settings().join("default.toml");
    std::fs::remove_file(&path).expect("the settings are there");
    std::fs::create_dir(&path).expect("make a folder");
    assert_rejected(&program, "a folder", &["settings/default.toml"]);
}

#[test]
fn a_bad_key_beside_good_ones_keeps_the_good_ones_out_too() {
    let program = Program::serve(GOOD);
    program.edit(
        "[server]\nworkers = 2\nwrite_timeout = \"soon\"\n[app]\nmessage = \"After\"\n\
         [app.routes.\"/new\"]\nrespond = { body = \"new\" }\n",
    );
    let says = ["settings/default.toml:3:17: server.write_timeout: expected"];
    assert_rejected(&program, "one bad key", &says);
    assert_eq!(program.get("/new").status, 404);
}

#[test]
fn all_errors_come_at_once() {
    let program = Program::serve(GOOD);
    program.edit("[server]\nworkers = \"many\"\nkeepalive = \"5s\"\nwrite_timeout = \"soon\"\n[app]\nmesage = \"After\"\n");
    let says = [
        "toml:2:11: server.workers",
        "toml:3:1: server.keepalive",
        "toml:4:17: server.write_timeout",
        "toml:6:1: app.mesage",
    ];
    assert_rejected(&program, "four errors", &says);
}

#[test]
fn a_hup_on_a_bad_file_says_why_on_one_line() {
    let program = Program::serve(GOOD);
    let mark = program.mark();
    program.edit("[server]\nworkers = \"many\"\n[app]\nmesage = \"After\"\n");
    program.signal(Signal::HUP);
    let line = program.wait_attempt(mark, "rejected");
    for part in [
        "SIGHUP",
        "default.toml:2:11: server.workers",
        "default.toml:4:1: app.mesage",
    ] {
        assert!(line.text.contains(part), "{part:?} is not in {line:?}");
    }
    assert_eq!(program.get("/").text(), "Before");
}

#[test]
fn rejected_reloads_under_load_are_seen_by_no_client() {
    let program = Program::serve(GOOD);
    let load = Load::kept_alive(8, 1)
        .and(4, Kind::PerRequest)
        .check(|answer| match answer.text() {
            text if text == "Before" => Ok(()),
            text => Err(format!("{} {text:?}", answer.status)),
        })
        .start(program.public());
    for round in 0..60 {
        program.edit(&BAD[round % BAD.len()].text.replace("Aft", "Never"));
        assert_eq!(program.reload().0, 422);
    }
    let books = load.stop();
    books.assert_nothing_lost();
    assert_eq!(program.status()["generation"], 1);
}
