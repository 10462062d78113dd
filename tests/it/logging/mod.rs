//! The log: where its lines go, what they look like, and what they never do to a request.
mod access;
mod files;
mod stalled;

use crate::support::{Program, eventually};
use serde_json::Value;
use std::{fs, path::PathBuf};

/// A file of the folder that the program works in.
fn path(program: &Program, name: &str) -> PathBuf {
    let home = program.settings();
    home.parent().expect("a folder in a folder").join(name)
}

/// What a file of that folder holds; nothing where it is not there.
fn read(program: &Program, name: &str) -> String {
    fs::read(path(program, name)).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8(bytes).expect("a log is UTF-8"),
    )
}

/// Waits for a line with this text in a file.
fn wait_in(program: &Program, name: &str, text: &str) -> String {
    eventually(&format!("{text:?} in {name}"), || {
        let log = read(program, name);
        log.lines()
            .find(|line| line.contains(text))
            .map(str::to_owned)
    })
}

/// The settings of a program with one worker and this table `[logging]`.
fn logging(table: &str) -> String {
    format!("[server]\nworkers = 1\n[logging]\n{table}\n[app]\nmessage = \"here\"\n")
}

/// A reload to this table `[logging]`; it must be applied.
fn change(program: &Program, table: &str) {
    program.edit(&logging(table));
    program.reload_applied();
}

#[test]
fn levels_change_by_reload_for_all_and_for_one_target() {
    let program = Program::serve(&logging("level = \"warn\"\ntargets.\"everup\" = \"info\""));
    program.wait_log("serving: ");
    change(&program, "level = \"warn\"");
    change(
        &program,
        "level = \"info\"\ntargets.\"everup::config\" = \"warn\"",
    );
    change(
        &program,
        "level = \"error\"\ntargets.\"everup::config\" = \"info\"",
    );
    change(
        &program,
        "level = \"info\"\ntargets.\"everup::log\" = \"off\"",
    );
    // The attempt that changes them is itself told by the new levels.
    program.wait_log("reload 5 applied");
    for (attempt, is_told) in [(2, 0), (3, 0), (4, 1), (5, 1)] {
        let told = program.count_log(&format!("reload {attempt} applied"));
        assert_eq!(told, is_told, "reload {attempt}");
    }
}

#[test]
fn json_gives_an_object_a_line() {
    let mut program = Program::serve(&logging("format = \"json\""));
    change(&program, "format = \"json\"\naccess = true");
    assert_eq!(program.get("/").status, 200);
    let mark = program.mark();
    program.edit("[app]\nno = 1\n");
    assert_eq!(program.reload().0, 422);
    program.wait_attempt(mark, "rejected");
    program.stop();
    let log = program.log();
    // Before settings are read there is no format.
    let objects = log.lines().skip_while(|line| !line.starts_with('{'));
    let mut levels = Vec::new();
    for line in objects {
        let object: Value = serde_json::from_str(line).expect(line);
        let time = object["time"].as_str().expect("a time");
        let time: jiff::Timestamp = time.parse().expect("RFC 3339");
        assert!(time > jiff::Timestamp::UNIX_EPOCH);
        assert!(object["time"].as_str().expect("a time").ends_with('Z'));
        assert!(
            object["target"]
                .as_str()
                .expect("a target")
                .starts_with("everup")
        );
        assert!(!object["message"].as_str().expect("a message").is_empty());
        levels.push(object["level"].as_str().expect("a level").to_owned());
    }
    assert!(levels.iter().any(|level| level == "INFO"), "{log}");
    assert!(levels.iter().any(|level| level == "ERROR"), "{log}");
}

#[test]
fn control_characters_of_settings_do_not_reach_the_log() {
    let program = Program::serve(&logging("level = \"info\""));
    change(&program, "file = \"everup.log\"");
    program.edit("[app]\n\"a\\u001b[2J\\r\\nb\\u007f\\u009b\" = 1\n");
    assert_eq!(program.reload().0, 422);
    let line = wait_in(&program, "everup.log", "rejected");
    assert!(line.contains("a\\u001b[2J\\r\\nb"), "{line:?}");
    let log = read(&program, "everup.log");
    assert!(
        log.chars()
            .all(|letter| letter == '\n' || !letter.is_control()),
        "{log:?}"
    );
}
