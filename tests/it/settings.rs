//! Starting on settings: where they come from, and what is said where they cannot be served.
use crate::support::{Conn, Program, Setup};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Starts on these bytes, which must be refused as settings; the log.
fn refused(settings: &[u8]) -> String {
    let (code, log) = Setup::raw(settings).run();
    assert_eq!(code, 78, "{:?}: {log}", String::from_utf8_lossy(settings));
    assert!(!log.contains("serving: "), "{log}");
    log
}

fn assert_says(log: &str, parts: &[&str]) {
    for part in parts {
        assert!(log.contains(part), "{part:?} is not in\n{log}");
    }
}

#[test]
fn garbage_exits_78_and_says_where() {
    assert_says(
        &refused(b"[server]\nworkers = = 2\n"),
        &["settings/default.toml:2:11"],
    );
    assert_says(&refused(b"\x00\x01\x02\xff"), &["settings/default.toml"]);
}

#[test]
fn half_a_file_exits_78_and_says_where() {
    assert_says(
        &refused(b"[app]\nmessage = \"Befo"),
        &["settings/default.toml:2:"],
    );
    assert_says(
        &refused(b"[server]\nworkers = 2\n[server.listen"),
        &["settings/default.toml:3:"],
    );
}

#[test]
fn a_mistyped_key_is_named_with_the_one_that_was_meant() {
    let log = refused(b"[server]\nkeepalive = \"75s\"\n");
    assert_says(
        &log,
        &["settings/default.toml:2:1: server.keepalive: unknown key (did you mean `keep_alive`?)"],
    );
}

#[test]
fn several_errors_come_at_once() {
    let log = refused(b"[server]\nworkers = \"many\"\nkeepalive = \"5s\"\n[app]\nmesage = \"x\"\n");
    assert_says(
        &log,
        &[
            "settings/default.toml:2:11: server.workers: expected a number from 0 to 512, found \"many\"",
            "settings/default.toml:3:1: server.keepalive: unknown key",
            "settings/default.toml:5:1: app.mesage: unknown key (did you mean `message`?)",
        ],
    );
}

#[test]
fn errors_of_two_files_name_each_its_file() {
    let (code, log) = Setup::new("[server]\nkeepalive = \"5s\"\n")
        .file("local.toml", "[server]\nworkers = 513\n")
        .run();
    assert_eq!(code, 78, "{log}");
    assert_says(
        &log,
        &[
            "settings/default.toml:2:1: server.keepalive",
            "settings/local.toml:2:11: server.workers",
        ],
    );
}

#[test]
fn of_a_hundred_errors_no_more_than_20_are_shown() {
    let lines: String = (0..100)
        .map(|number| format!("nonsense_{number} = 1\n"))
        .collect();
    let log = refused(format!("[app]\n{lines}").as_bytes());
    let shown = (0..100).filter(|number| log.contains(&format!("app.nonsense_{number}:")));
    assert_eq!(shown.count(), 20, "{log}");
}

#[test]
fn a_named_path_that_is_missing_is_an_error() {
    let (code, log) = Setup::empty()
        .unnamed()
        .arg("--settings")
        .arg("nowhere")
        .run();
    assert_eq!(code, 78, "{log}");
    assert_says(&log, &["nowhere"]);
}

#[test]
fn one_file_can_be_named_in_place_of_a_folder() {
    let program = Setup::new("[app]\nmessage = \"one file\"\n")
        .unnamed()
        .arg("--settings")
        .arg("settings/default.toml")
        .serve();
    assert_eq!(program.get("/").text(), "one file");
}

#[test]
fn paths_start_where_a_file_is_that_is_named_alone() {
    let settings = "server.listeners.public.address = '127.0.0.1:0'\nadmin.address = ''\n\
                    [app.routes.'/pages/{path}*']\nfiles = 'pages'\n";
    let setup = Setup::empty().unnamed().arg("--settings").arg("s.toml");
    std::fs::write(setup.home().join("s.toml"), settings).expect("a settings file");
    std::fs::create_dir(setup.home().join("pages")).expect("a folder");
    std::fs::write(setup.home().join("pages/a.txt"), "a page").expect("a page");
    let program = setup.serve();
    assert_eq!(program.get("/pages/a.txt").text(), "a page");
}

#[test]
fn settings_is_the_folder_where_none_is_named() {
    let program = Setup::new("[app]\nmessage = \"found\"\n").unnamed().serve();
    assert_eq!(program.get("/").text(), "found");
}

#[test]
fn a_local_file_wins_over_the_default_one_and_a_reload_reads_both() {
    let program = Setup::new(
        "[app]\nmessage = \"default\"\n[app.routes.\"/d\"]\nrespond = { body = \"d\" }\n",
    )
    .file(
        "local.toml",
        "[app.routes.\"/l\"]\nrespond = { body = \"l\" }\n",
    )
    .serve();
    assert_eq!(program.get("/").text(), "default");
    for name in ["d", "l"] {
        assert_eq!(
            program.get(&format!("/{name}")).text(),
            name,
            "tables merge"
        );
    }
    program.write("local.toml", "[app]\nmessage = \"local\"\n");
    program.reload_applied();
    assert_eq!(program.get("/").text(), "local");
    assert_eq!(program.get("/l").status, 404);
    assert_eq!(program.get("/d").text(), "d");
}

#[test]
fn a_port_in_use_exits_1_and_names_it() {
    let first = Program::serve("[app]\nmessage = \"first\"\n");
    let taken = first.public().to_string();
    for text in [
        format!("[server.listeners.public]\naddress = \"{taken}\"\n"),
        format!(
            "[server.listeners.public]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"{taken}\"\n"
        ),
    ] {
        let (code, log) = Setup::new(&text).run();
        assert_eq!(code, 1, "{log}");
        assert_says(&log, &[&taken]);
    }
    assert_eq!(first.get("/").text(), "first");
}

#[test]
fn an_admin_for_everybody_needs_a_token() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8081"] {
        let log = refused(format!("[admin]\naddress = \"{address}\"\n").as_bytes());
        assert_says(&log, &["settings/default.toml:2:11: admin.address"]);
    }
}

#[test]
fn a_fifo_as_settings_is_an_error_at_once() {
    let setup = Setup::empty();
    let path = setup.settings().join("default.toml");
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("make a FIFO");
    let (code, log) = setup.run();
    assert_eq!(code, 78, "{log}");
    assert_says(&log, &["settings/default.toml"]);
}

#[test]
fn two_listeners_are_both_served_and_named() {
    let mut program = Program::serve(
        "[server]\nworkers = 2\n[server.listeners.inner]\naddress = \"127.0.0.1:0\"\n\
         [server.listeners.outer]\naddress = \"127.0.0.1:0\"\n[app]\nmessage = \"both\"\n",
    );
    for name in ["inner", "outer"] {
        let mut conn = Conn::open(program.listener(name));
        assert_eq!(conn.get("/").text(), "both", "{name}");
    }
    let status = program.status();
    let named = |name: &str| {
        let listeners = status["listeners"].as_array().expect("listeners");
        listeners
            .iter()
            .find(|listener| listener["name"] == name)
            .cloned()
            .expect("each is listed")
    };
    for name in ["inner", "outer"] {
        assert_eq!(named(name)["address"], program.listener(name).to_string());
        assert_eq!(named(name)["requests"]["received"], 1);
    }
    program.stop();
}

#[test]
fn one_address_for_two_listeners_is_a_fault_of_the_settings() {
    let settings = |one: &str, other: &str, admin: &str| {
        let one = format!("[server.listeners.a]\naddress = \"{one}\"\n");
        let other = format!("[server.listeners.b]\naddress = \"{other}\"\n");
        format!("{one}{other}[admin]\naddress = \"{admin}\"\n")
    };
    let any = "127.0.0.1:0";
    let unix = format!("unix:/{}", "a".repeat(107));
    for (text, place, message) in [
        (
            settings("127.0.0.1:1", "127.0.0.1:1", any),
            "default.toml:4:11: server.listeners.b.address: ",
            "127.0.0.1:1 is the address of server.listeners.a.address already",
        ),
        (
            settings(any, "127.0.0.1:1", "127.0.0.1:1"),
            "default.toml:6:11: admin.address: ",
            "127.0.0.1:1 is the address of server.listeners.b.address already",
        ),
        (
            settings("127.0.0.1:1", "0.0.0.0:1", any),
            "default.toml:4:11: server.listeners.b.address: ",
            "0.0.0.0:1 overlaps with 127.0.0.1:1, the address of server.listeners.a.address",
        ),
        (
            settings("unix:a.sock", any, "unix:./a.sock"),
            "default.toml:6:11: admin.address: ",
            "unix:./a.sock overlaps with unix:a.sock, the address of server.listeners.a.address",
        ),
        (
            settings(&unix, any, any),
            "default.toml:2:11: server.listeners.a.address: ",
            "expected a path of at most 107 bytes, which is what a unix socket may have, found 108",
        ),
    ] {
        let told = format!("{place}{message}");
        let log = refused(text.as_bytes());
        assert_says(&log, &[&told]);
        let checked = Setup::raw(text.as_bytes()).ask(&["check"]);
        assert_eq!(checked.code, 78, "{}", checked.err);
        assert_says(&checked.err, &[&told]);
    }
    let ran = Setup::raw(settings(any, "[::1]:1", "127.0.0.1:1").as_bytes()).ask(&["check"]);
    assert_eq!((ran.code, &*ran.err), (0, ""), "these are three");
}

/// Settings in YAML that listen where they may, with a message.
fn yaml(message: &str) -> String {
    format!(
        "server:\n  listeners:\n    public: {{address: \"127.0.0.1:0\"}}\nadmin: {{address: \
         \"127.0.0.1:0\"}}\napp:\n  message: {message}\n"
    )
}

#[test]
fn yaml_below_json_is_served_reloaded_and_rejected_with_its_place() {
    let program = Setup::empty()
        .file("default.yaml", yaml("from yaml"))
        .file(
            "local.json",
            r#"{"app": {"routes": {"/j": {"respond": {"json": {"a": 1.5}}}}}}"#,
        )
        .serve();
    assert_eq!(program.get("/").text(), "from yaml");
    assert_eq!(program.get("/j").text(), r#"{"a":1.5}"#);
    program.write("default.yaml", yaml("changed"));
    assert_eq!(program.reload_applied()["changes"][0]["key"], "app.message");
    assert_eq!(program.get("/").text(), "changed");
    program.write(
        "default.yaml",
        yaml("[a]").replace("server:\n", "server:\n  workers: many\n"),
    );
    program.write("local.json", "{\n \"app\": {\"mesage\": 1}\n}");
    let (status, attempt) = program.reload();
    assert_eq!(status, 422, "{attempt:#}");
    assert_says(
        &attempt.to_string(),
        &[
            "settings/default.yaml:2:12",
            "settings/default.yaml:7:12",
            "settings/local.json:2:10",
            "unknown key (did you mean `message`?)",
        ],
    );
    assert_eq!(program.get("/").text(), "changed");
}

#[test]
fn a_file_that_is_none_of_the_three_formats_is_refused() {
    let (code, log) = Setup::empty()
        .file("site.ini", "")
        .unnamed()
        .arg("--settings")
        .arg("settings/site.ini")
        .run();
    assert_eq!(code, 78, "{log}");
    assert_says(&log, &["settings/site.ini", ".toml", ".yaml", ".json"]);
}

#[test]
fn two_files_of_one_layer_are_refused_and_both_named() {
    let (code, log) = Setup::new("").file("default.yaml", yaml("which?")).run();
    assert_eq!(code, 78, "{log}");
    assert_says(&log, &["settings/default.yaml: ", "settings/default.toml"]);
}

#[test]
fn a_variable_with_one_underscore_too_few_is_warned_of_and_hinders_nothing() {
    let told = "EVERUP_SERVER_WORKERS: sets nothing (did you mean `EVERUP__SERVER__WORKERS`?)";
    let setup = || {
        let setup = Setup::new("[app]\nmessage = \"here\"\n");
        setup
            .env("EVERUP_SERVER_WORKERS", "3")
            .env("AWS_PROFILE", "prod")
    };
    let program = setup().serve();
    program.wait_log(told);
    let mark = program.mark();
    program.edit("[app]\nmessage = \"there\"\n");
    program.reload_applied();
    program.wait_after(mark, told);
    let ran = setup().ask(&["check"]);
    assert_eq!((ran.code, &*ran.err), (0, &*format!("warning: {told}\n")));
    assert!(ran.out.contains("settings/default.toml"), "{}", ran.out);
    let ran = setup().ask(&["show"]);
    assert_eq!((ran.code, &*ran.err), (0, &*format!("warning: {told}\n")));
}

#[test]
fn a_directory_without_settings_is_not_served_as_the_defaults() {
    for setup in [Setup::empty(), Setup::empty().unnamed()] {
        let (code, log) = setup.run();
        assert_eq!(code, 78, "{log}");
        assert_says(
            &log,
            &["settings: expected a file of settings", "found no file"],
        );
    }
    let setup = Setup::empty()
        .file("default.conf", "")
        .file("defaults.yml", "");
    let ran = setup.ask(&["check", "--settings", "settings"]);
    assert_eq!((ran.code, &*ran.out), (78, ""), "{}", ran.err);
    assert_says(
        &ran.err,
        &["found `default.conf`, `defaults.yml`, which are not recognized"],
    );
}

#[test]
fn a_removed_local_file_no_longer_applies_after_a_reload() {
    let setup = Setup::new("[app]\nmessage = \"default\"\n");
    let program = setup
        .file("local.toml", "app.message = \"local\"\n")
        .serve();
    assert_eq!(program.get("/").text(), "local");
    program.remove("local.toml");
    let attempt = program.reload_applied();
    assert_eq!(attempt["changes"][0]["key"], "app.message");
    assert_eq!(program.get("/").text(), "default");
}

#[test]
fn a_removed_local_file_is_a_change_that_is_watched() {
    let setup = Setup::new("reload.watch = true\n[app]\nmessage = \"default\"\n");
    let program = setup
        .file("local.toml", "app.message = \"local\"\n")
        .serve();
    let mark = program.mark();
    program.remove("local.toml");
    program.wait_attempt(mark, "applied");
    assert_eq!(program.get("/").text(), "default");
}

#[test]
fn settings_that_are_all_gone_or_empty_are_applied_only_where_that_is_forced() {
    let program = Setup::new("[app]\nmessage = \"here\"\n")
        .arg("--set=server.listeners.public.address=127.0.0.1:0")
        .arg("--set=admin.address=unix:admin.sock")
        .serve();
    for gone in [false, true] {
        match gone {
            false => program.write("default.toml", ""),
            true => program.remove("default.toml"),
        }
        let (status, attempt) = program.reload();
        assert_eq!((status, &attempt["outcome"]), (422, &"rejected".into()));
        assert_says(&attempt.to_string(), &["force"]);
        assert_eq!(program.get("/").text(), "here");
        let answer = program.post("/reload?force=true");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(program.get("/").text(), "Before hot reload");
        program.write("default.toml", "[app]\nmessage = \"here\"\n");
        program.reload_applied();
    }
}

#[test]
fn an_empty_text_turns_probes_and_the_token_off() {
    let setup = Setup::new(
        "[server.listeners.public]\naddress = \"127.0.0.1:0\"\nprobes = \"\"\n\
         [admin]\naddress = \"127.0.0.1:0\"\ntoken_file = \"\"\n",
    );
    let program = setup.serve();
    assert_eq!(program.status()["state"], "serving");
    assert_eq!(program.get("/-/livez").status, 404);
}

#[test]
fn a_local_file_takes_away_a_listener_a_route_and_a_value() {
    let program = Setup::new(
        "[server]\nworkers = 2\n[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
         probes = \"/-/\"\n[server.listeners.more]\naddress = \"127.0.0.1:0\"\n\
         [app]\nmessage = \"here\"\n[app.routes.\"/gone\"]\nrespond = {}\n",
    )
    .serve();
    assert_eq!(program.get("/-/livez").status, 200);
    assert_eq!(program.get("/gone").status, 200);
    program.write(
        "local.yaml",
        "server:\n  listeners:\n    public: {probes: null}\n    more: null\n\
         app:\n  message: null\n  routes:\n    /gone: null\n",
    );
    let attempt = program.reload_applied();
    let changes = attempt["changes"].as_array().expect("changes");
    let keys: Vec<_> = changes.iter().filter_map(|it| it["key"].as_str()).collect();
    for key in ["app.message", "server.listeners.more.address"] {
        assert!(keys.contains(&key), "{key} is not in {keys:?}");
    }
    assert_eq!(program.get("/-/livez").status, 404);
    assert_eq!(program.get("/gone").status, 404);
    assert_eq!(program.get("/").text(), "Before hot reload");
    let listeners = program.status()["listeners"].as_array().map(Vec::len);
    assert_eq!(listeners, Some(1));
    // The same in TOML.
    program.remove("local.yaml");
    program.reload_applied();
    program.write("local.toml", "[app.routes.\"/gone\"]\nunset = true\n");
    program.reload_applied();
    assert_eq!(program.get("/gone").status, 404);
}

#[test]
fn a_local_file_gives_a_route_another_action() {
    let route = "[app.routes.\"/a\"]\n";
    let setup = Setup::new(&format!(
        "{route}respond = {{ status = 201, body = \"a\" }}\n"
    ));
    let program = setup
        .file(
            "local.toml",
            format!("{route}redirect = \"/b\"\nstatus = 307\n"),
        )
        .serve();
    let answer = program.get("/a");
    assert_eq!(
        (answer.status, answer.header("location")),
        (307, Some("/b"))
    );
    program.remove("local.toml");
    program.reload_applied();
    assert_eq!(program.get("/a").status, 201);
}

#[test]
fn any_address_of_ipv6_takes_the_port_of_ipv4_too_and_check_says_so() {
    let dual = std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only");
    if dual.is_ok_and(|text| text.trim() != "0") {
        return;
    }
    let text = "[server.listeners.a]\naddress = \"[::]:1\"\n[admin]\naddress = \"127.0.0.1:1\"\n";
    let checked = Setup::raw(text.as_bytes()).ask(&["check"]);
    assert_eq!(checked.code, 78, "{}", checked.err);
    let says = "admin.address: 127.0.0.1:1 overlaps with [::]:1, the address of \
                server.listeners.a.address";
    assert_says(&checked.err, &[says]);
}

#[test]
fn set_and_a_variable_take_away_what_files_set() {
    let text = "[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
                [server.listeners.more]\naddress = \"127.0.0.1:0\"\n\
                [logging]\nlevel = \"debug\"\n[app.routes.\"/gone\"]\nrespond = {}\n";
    let setup = Setup::raw(text.as_bytes())
        .env("EVERUP__SERVER__LISTENERS__MORE__UNSET", "true")
        .env("EVERUP__LOGGING__LEVEL__UNSET", "true");
    let shown = setup.ask(&["show", "--json", "--set", "app.routes.\"/gone\".unset=true"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let shown: serde_json::Value = serde_json::from_str(&shown.out).expect("JSON");
    let listeners = shown["server"]["listeners"].as_object().expect("a table");
    assert_eq!(listeners.keys().collect::<Vec<_>>(), ["public"]);
    assert_eq!(shown["app"]["routes"]["/gone"], serde_json::Value::Null);
    assert_eq!(shown["logging"]["level"], "info");
}

#[test]
fn a_line_that_is_wrong_is_told_once_and_a_missing_value_as_one() {
    for (text, place, says) in [
        (
            "[app]\nmessage =\n",
            "2:10: ",
            "expected a value behind `=`",
        ),
        (
            "server.workers == 3\n",
            "1:17: ",
            "extra `=`, expected nothing",
        ),
    ] {
        let checked = Setup::raw(text.as_bytes()).ask(&["check"]);
        assert_eq!(checked.code, 78, "{}", checked.err);
        assert_says(&checked.err, &[&format!("default.toml:{place}{says}")]);
        let told = checked.err.matches("default.toml:").count();
        assert_eq!(told, 1, "{}", checked.err);
    }
}

#[test]
fn a_start_on_a_directory_without_settings_does_not_speak_of_the_defaults() {
    let (code, log) = Setup::empty().file("defualt.toml", "").run();
    assert_eq!(code, 78, "{log}");
    assert!(!log.contains("built-in defaults"), "{log}");
    assert_says(&log, &["found `defualt.toml`, which is not recognized"]);
}

#[test]
fn a_wrong_token_hides_no_other_file_that_is_wrong() {
    let text = "[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
                tls = { certificate = \"gone.pem\", key = \"gone.pem\" }\n\
                [admin]\naddress = \"127.0.0.1:0\"\ntoken_file = \"token\"\n\
                [app.routes.\"/a\"]\nrespond.body_file = \"gone.html\"\n";
    let setup = Setup::raw(text.as_bytes()).file("token", "short");
    let checked = setup.ask(&["check"]);
    assert_eq!(checked.code, 78, "{}", checked.err);
    assert_says(
        &checked.err,
        &[
            "admin.token_file: expected a token",
            "server.listeners.public.tls.certificate: cannot read",
            "app.routes.\"/a\".respond.body_file: cannot read",
        ],
    );
}
