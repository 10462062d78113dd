//! Watching: a changed file asks for a reload by itself, where `reload.watch` says so.
use crate::support::{Program, Setup, eventually};
use rustix::process::Signal;
use std::{fs, os::unix::fs::symlink};

/// What an attempt's line says of who asked.
const BY_WATCH: &str = "by a changed file";

fn watched(rest: &str) -> String {
    format!("[reload]\nwatch = true\ndebounce = \"50ms\"\n{rest}")
}

fn message(text: &str) -> String {
    watched(&format!("[app]\nmessage = \"{text}\"\n"))
}

/// Waits until `text` is served, by a reload that a changed file has asked for.
fn wait_message(program: &Program, text: &str) {
    eventually(text, || (program.get("/").text() == text).then_some(()));
    assert_eq!(program.status()["last_reload"]["trigger"]["kind"], "watch");
}

fn watch_attempts(program: &Program) -> usize {
    program.count_log(BY_WATCH)
}

#[test]
fn an_edit_in_place_is_applied() {
    let program = Program::serve(&message("one"));
    let file = program.settings().join("default.toml");
    for (before, after) in [("one", "two"), ("two", "three")] {
        let mark = program.mark();
        let text = fs::read_to_string(&file).expect("it is there");
        fs::write(&file, text.replace(before, after)).expect("written in place");
        let attempt = program.wait_attempt(mark, "applied");
        assert!(attempt.text.contains(BY_WATCH), "{attempt:?}");
        wait_message(&program, after);
    }
}

#[test]
fn a_new_layer_and_one_that_is_replaced_by_rename_are_applied() {
    let program = Program::serve(&message("one"));
    for text in ["two", "three"] {
        program.write("local.toml", format!("[app]\nmessage = \"{text}\"\n"));
        wait_message(&program, text);
    }
}

/// As Kubernetes writes a ConfigMap: `..data` is swapped, all else stays.
#[test]
fn a_swapped_link_to_a_folder_is_applied_again_and_again() {
    let setup = Setup::empty();
    let settings = setup.settings();
    let complete = |text: &str| {
        format!(
            "{}[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
             [admin]\naddress = \"127.0.0.1:0\"\n",
            message(text)
        )
    };
    let version = |number: usize, text: &str| {
        let name = format!("..{number}");
        fs::create_dir(settings.join(&name)).expect("a folder");
        fs::write(settings.join(&name).join("default.toml"), complete(text)).expect("written");
        name
    };
    let swap = |to: &str| {
        let new = settings.join("..data_tmp");
        symlink(to, &new).expect("linked");
        fs::rename(new, settings.join("..data")).expect("swapped");
    };
    swap(&version(0, "zero"));
    symlink("..data/default.toml", settings.join("default.toml")).expect("linked");
    let program = setup.serve();
    for number in 1..4 {
        // The same content elsewhere: from then on it is this folder that counts.
        let mark = program.mark();
        swap(&version(10 * number, &program.get("/").text()));
        program.wait_attempt(mark, "unchanged");
        let mark = program.mark();
        let inside = settings.join(format!("..{}0", number)).join("default.toml");
        fs::write(inside, complete(&format!("inside {number}"))).expect("written");
        program.wait_attempt(mark, "applied");
        wait_message(&program, &format!("inside {number}"));
        swap(&version(number, &format!("swapped {number}")));
        wait_message(&program, &format!("swapped {number}"));
        fs::remove_dir_all(settings.join(format!("..{number}0"))).expect("removed");
    }
}

#[test]
fn a_file_that_the_settings_name_is_watched_and_a_log_beside_it_is_not() {
    let settings = watched(
        "[logging]\naccess = true\n\
         [app.routes.\"/page\"]\nrespond = { body_file = \"page.html\" }\n",
    );
    let program = Setup::new(&settings).file("page.html", "one").serve();
    let before = watch_attempts(&program);
    for count in 0..100 {
        program.write("some.log", count.to_string());
        assert_eq!(program.get("/page").text(), "one");
    }
    assert_eq!(watch_attempts(&program), before, "a log asks for nothing");
    let mark = program.mark();
    program.write("page.html", "two");
    program.wait_attempt(mark, "applied");
    assert_eq!(program.get("/page").text(), "two");
    // A rename has more than one event: on a busy machine that may be two attempts.
    assert!(watch_attempts(&program) <= before + 2);
}

#[test]
fn a_burst_is_one_attempt_or_two() {
    let program = Program::serve(&message("start").replace("50ms", "2s"));
    let mark = program.mark();
    for count in 0..200 {
        program.edit(&message(&format!("message {count}")));
    }
    program.wait_attempt(mark, "applied");
    eventually("the last", || {
        (program.get("/").text() == "message 199").then_some(())
    });
    let attempts = watch_attempts(&program);
    assert!((1..=2).contains(&attempts), "{attempts}");
}

#[test]
fn watching_is_turned_off_and_on_by_reload() {
    let program = Program::serve(&message("one"));
    let off = |text: &str| message(text).replace("true", "false");
    program.edit(&off("off"));
    wait_message(&program, "off");
    let before = watch_attempts(&program);
    program.edit(&off("later"));
    assert_eq!(program.get("/").text(), "off");
    let mark = program.mark();
    program.signal(Signal::HUP);
    let attempt = program.wait_attempt(mark, "applied");
    assert!(attempt.text.contains("SIGHUP"), "{attempt:?}");
    assert_eq!(watch_attempts(&program), before, "nobody watches");

    program.edit(&message("on"));
    program.reload_applied();
    program.edit(&message("last"));
    wait_message(&program, "last");
}

#[test]
fn a_file_that_does_not_parse_is_rejected_and_mended_is_applied() {
    let program = Program::serve(&message("one"));
    let mark = program.mark();
    program.edit("[app\n");
    let attempt = program.wait_attempt(mark, "rejected");
    assert!(attempt.text.contains(BY_WATCH), "{attempt:?}");
    assert_eq!(program.get("/").text(), "one");
    program.edit(&message("two"));
    wait_message(&program, "two");
}

#[test]
fn a_new_process_goes_on_watching() {
    Program::adopt_heirs();
    let mut program = Program::serve(&message("one"));
    let mark = program.mark();
    program.signal(Signal::USR2);
    program.wait_heir(mark);
    program.edit(&message("two"));
    wait_message(&program, "two");
    program.stop();
}

#[test]
fn a_debounce_is_above_zero_and_at_most_a_minute() {
    for wrong in ["0s", "61s"] {
        let settings = format!("[reload]\ndebounce = \"{wrong}\"\n");
        let (code, log) = Setup::new(&settings).run();
        assert_eq!(code, 78, "{log}");
        assert!(log.contains("at most a minute"), "{log}");
    }
}
