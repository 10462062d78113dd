//! Watching: a changed file asks for a reload by itself, where `reload.watch` says so.
use crate::support::{Program, Setup, eventually};
use rustix::process::Signal;
use std::{
    fs,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

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
    wait_text(program, "/", text);
}

fn wait_text(program: &Program, path: &str, text: &str) {
    eventually(text, || {
        let is_served = program.get(path).text() == text;
        let trigger = &program.status()["last_reload"]["trigger"]["kind"];
        (is_served && trigger == "watch").then_some(())
    });
}

/// Attempts that a changed file has asked for, so far.
fn watch_attempts(program: &Program) -> usize {
    let history = program.admin_ask("GET", "/history", &[]).json();
    let attempts = history.as_array().expect("a list").iter();
    attempts
        .filter(|it| it["trigger"]["kind"] == "watch")
        .count()
}

/// How many inotify instances the program has open.
fn instances(program: &Program) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", program.id())).expect("it is alive");
    let links = open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    links
        .filter(|link| link.ends_with("anon_inode:inotify"))
        .count()
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
    // So soon that an attempt would come before the next write.
    let settings = settings.replace("50ms", "1ms");
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
}

#[test]
fn a_file_that_only_rejected_settings_name_is_waited_for() {
    let page = |file: &str| {
        watched(&format!(
            "[app.routes.\"/page\"]\nrespond = {{ body_file = \"{file}\" }}\n"
        ))
    };
    let program = Setup::new(&page("one.html"))
        .file("one.html", "one")
        .serve();
    let mark = program.mark();
    program.edit(&page("later/two.html"));
    program.wait_attempt(mark, "rejected");
    fs::create_dir(program.settings().join("later")).expect("a folder");
    program.write("later/two.html", "two");
    wait_text(&program, "/page", "two");
}

#[test]
fn a_folder_that_is_moved_away_and_made_anew_is_followed() {
    let program = Program::serve(&message("one"));
    let (settings, away) = (
        program.settings(),
        program.settings().with_extension("away"),
    );
    for text in ["two", "three"] {
        let mark = program.mark();
        fs::rename(&settings, &away).expect("moved");
        program.wait_attempt(mark, "rejected");
        fs::create_dir(&settings).expect("a folder");
        program.edit(&message(text));
        wait_message(&program, text);
        fs::remove_dir_all(&away).expect("removed");
    }
}

#[test]
fn a_burst_is_at_most_one_attempt_a_quiet_time() {
    let debounce = Duration::from_secs(1);
    let settings = |text: &str| message(text).replace("50ms", "1s");
    let program = Program::serve(&settings("start"));
    let begun = Instant::now();
    for count in 0..200 {
        program.edit(&settings(&format!("message {count}")));
    }
    wait_message(&program, "message 199");
    let attempts = watch_attempts(&program);
    let quiet_times = begun.elapsed().div_duration_f64(debounce);
    assert!(attempts as f64 <= quiet_times, "{attempts}");
}

#[test]
fn watching_is_turned_off_and_on_by_reload() {
    let program = Program::serve(&message("one"));
    let off = |text: &str| message(text).replace("true", "false");
    assert_eq!(instances(&program), 1);
    program.edit(&off("off"));
    wait_message(&program, "off");
    eventually("inotify to be closed", || {
        (instances(&program) == 0).then_some(())
    });
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
    for text in ["another", "last"] {
        program.edit(&message(text));
        wait_message(&program, text);
        assert_eq!(instances(&program), 1);
    }
}

#[test]
fn what_is_served_again_after_a_rejection_is_watched_again() {
    let body = |name: &str, more: &str| {
        watched(&format!(
            "[app.routes.\"/page\"]\nrespond = {{ body_file = \"{name}\" }}\n{more}"
        ))
    };
    let program = Setup::new(&body("one.html", ""))
        .file("one.html", "one")
        .file("two.html", "two")
        .serve();
    let others = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = others.local_addr().expect("it is bound");
    let more = format!(
        "[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
         [server.listeners.more]\naddress = \"{taken}\"\n"
    );
    let mark = program.mark();
    program.edit(&body("two.html", &more));
    program.wait_attempt(mark, "rejected");
    let mark = program.mark();
    program.edit(&body("one.html", ""));
    program.wait_attempt(mark, "unchanged");
    program.write("one.html", "one again");
    eventually("the page's new text", || {
        (program.get("/page").text() == "one again").then_some(())
    });
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
fn what_has_changed_is_named_three_files_at_the_most() {
    let pages: String = (0..5)
        .map(|page| {
            format!("[app.routes.\"/{page}\"]\nrespond = {{ body_file = \"{page}.html\" }}\n")
        })
        .collect();
    let settings = watched(&pages).replace("50ms", "1s");
    let setup = (0..5).fold(Setup::new(&settings), |setup, page| {
        setup.file(&format!("{page}.html"), "before")
    });
    let program = setup.serve();
    for page in 0..5 {
        fs::write(program.settings().join(format!("{page}.html")), "after").expect("written");
    }
    wait_text(&program, "/4", "after");
    let trigger = &program.status()["last_reload"]["trigger"];
    let settings = program.settings().canonicalize().expect("it is there");
    let named: Vec<_> = (0..3)
        .map(|page| settings.join(format!("{page}.html")).display().to_string())
        .collect();
    assert_eq!(trigger["paths"], serde_json::json!(named));
    assert_eq!(trigger["paths_omitted"], 2);
    let line = program.wait_log("applied: generation 2");
    let by = format!("by a changed file ({} and 2 more)", named.join(", "));
    assert!(line.contains(&by), "{line}");
}

#[test]
fn a_port_in_use_is_tried_again_until_it_is_free() {
    let program = Program::serve(&message("one"));
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("it is bound");
    let mark = program.mark();
    program.edit(&format!(
        "{}[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
         [server.listeners.more]\naddress = \"{taken}\"\n",
        message("two")
    ));
    program.wait_attempt(mark, "rejected");
    program.wait_after(mark, "is tried again in 1 s");
    // The same once more says nothing new, and is told by the status alone.
    let again = eventually("another try", || {
        let last = program.status()["last_reload"].clone();
        (last["attempt"].as_u64() > Some(2)).then_some(last)
    });
    assert_eq!(again["outcome"], "rejected");
    drop(other);
    let attempt = program.wait_attempt(mark, "applied");
    assert!(attempt.text.contains(", tried again"), "{attempt:?}");
    assert_eq!(program.get("/").text(), "two");
    assert_eq!(program.count_log("rejected: generation"), 1);
    let history = program.admin_ask("GET", "/history", &[]).json();
    assert_eq!(history.as_array().map(Vec::len), Some(3), "{history:#}");
}

#[test]
fn what_was_rejected_is_not_tried_again_after_a_rollback() {
    let tick = "[app.routes.\"/tick\"]\nrespond = { body = \"tick\", delay = \"1200ms\" }\n";
    let program = Program::serve(&format!("{}{tick}", message("one")));
    program.edit(&format!("{}{tick}", message("two")));
    wait_message(&program, "two");
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("it is bound");
    let mark = program.mark();
    program.edit(&format!(
        "{}[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
         [server.listeners.more]\naddress = \"{taken}\"\n",
        message("three")
    ));
    program.wait_after(mark, "is tried again in 1 s");
    let back = program.post("/rollback?generation=1").json();
    assert_eq!(back["outcome"], "applied", "{back:#}");
    drop(other);
    // By then it would have been.
    assert_eq!(program.get("/tick").text(), "tick");
    assert_eq!(program.status()["last_reload"]["attempt"], back["attempt"]);
    assert_eq!(program.get("/").text(), "one");
}

#[test]
fn a_rollback_stays_until_the_settings_change_in_content() {
    let page = "[app.routes.\"/page\"]\nrespond = { body_file = \"page.html\" }\n";
    let text = |message: &str| format!("{}{page}", self::message(message));
    let program = Setup::new(&text("one")).file("page.html", "old").serve();
    program.edit(&text("two"));
    wait_message(&program, "two");
    let back = program.post("/rollback?generation=1").json();
    assert_eq!(back["outcome"], "applied", "{back:#}");
    program.wait_log("back to generation 1 until the settings change");

    // The same content, as `touch` or a deployment tool leaves it.
    let mark = program.mark();
    program.edit(&text("two"));
    let attempt = program.wait_attempt(mark, "unchanged");
    let stays = "the rollback to generation 1 stays until the settings change";
    assert!(attempt.text.contains(stays), "{attempt:?}");
    assert_eq!(program.get("/").text(), "one");

    // A file that the settings of both name is taken up.
    let mark = program.mark();
    program.write("page.html", "new");
    let attempt = program.wait_attempt(mark, "applied");
    assert!(attempt.text.contains(stays), "{attempt:?}");
    assert_eq!(program.get("/page").text(), "new");
    assert_eq!(program.get("/").text(), "one");

    let mark = program.mark();
    program.edit(&text("three"));
    let attempt = program.wait_attempt(mark, "applied");
    let undoes = "undoes the rollback to generation 1";
    assert!(attempt.text.contains(undoes), "{attempt:?}");
    assert_eq!(program.get("/").text(), "three");
}

#[test]
fn a_rollback_to_what_the_sources_say_again_ends_with_them() {
    let program = Program::serve(&message("one"));
    program.edit(&message("two"));
    wait_message(&program, "two");
    program.post("/rollback?generation=1");
    let mark = program.mark();
    program.edit(&message("one"));
    program.wait_attempt(mark, "unchanged");
    // What was rolled back is a change from here on.
    program.edit(&message("two"));
    wait_message(&program, "two");
    assert_eq!(
        program.status()["last_reload"]["rollback"],
        serde_json::Value::Null
    );
}

#[test]
fn wrong_settings_are_not_tried_again() {
    let program = Program::serve(&message("one"));
    let mark = program.mark();
    program.edit("[app\n");
    program.wait_attempt(mark, "rejected");
    program.edit(&message("two"));
    wait_message(&program, "two");
    assert_eq!(program.count_log("is tried again"), 0);
}

#[test]
fn a_new_process_goes_on_watching() {
    Program::adopt_successors();
    let mut program = Program::serve(&message("one"));
    let mark = program.mark();
    program.signal(Signal::USR2);
    program.wait_successor(mark);
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
