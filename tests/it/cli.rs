//! The command line: commands, flags, exit codes, and streams that fail.
use crate::support::{Setup, eventually};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;

const VALID: &str = "[app]\nmessage = \"here\"\n";

#[test]
fn serve_is_the_default_command() {
    for args in [
        &["--settings", "settings"][..],
        &["serve", "--settings", "settings"],
        &["serve"],
        &[],
    ] {
        let setup = Setup::new(VALID).unnamed();
        let setup = args.iter().fold(setup, |setup, arg| setup.arg(arg));
        let mut program = setup.serve();
        assert_eq!(program.get("/").text(), "here", "{args:?}");
        program.stop();
    }
}

#[test]
fn set_wins_over_files_and_is_split_at_the_first_equals_sign() {
    let setup = Setup::new(VALID).arg("--set").arg("app.message=a=b");
    let mut program = setup.arg("--set=server.workers=1").serve();
    assert_eq!(program.get("/").text(), "a=b");
    let workers = program.status()["workers"].as_array().map(Vec::len);
    assert_eq!(workers, Some(1));
    program.stop();
}

#[test]
fn wrong_usage_is_2_and_names_what_was_meant() {
    for (args, hint) in [
        (&["chekc"][..], "'check'"),
        (&["--profil", "a"], "'--profile'"),
        (&["serve", "more"], "'more'"),
        (&["--set", "server.workers"], "expected KEY=VALUE"),
        (&["signals", "--profile", "a"], "'--profile'"),
        (&["--profile", "a", "signals"], "not its own"),
        (&["--pid-file", "a", "check"], "not its own"),
    ] {
        let ran = Setup::new(VALID).ask(args);
        assert_eq!((ran.code, &*ran.out), (2, ""), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(hint), "{args:?}: {}", ran.err);
    }
}

#[test]
fn help_is_a_result_and_tells_commands_exit_codes_and_where_settings_come_from() {
    let ran = Setup::empty().ask(&["--help"]);
    assert_eq!((ran.code, &*ran.err), (0, ""));
    for told in [
        "serve",
        "check",
        "show",
        "signals",
        "schema",
        "78",
        "/etc/everup",
        "EVERUP_PROFILE",
        "EVERUP__SERVER__WORKERS",
        "Examples:",
    ] {
        assert!(ran.out.contains(told), "{told:?} is not in\n{}", ran.out);
    }
    assert!(!ran.out.contains('\x1b'), "no colours into a pipe");
}

#[test]
fn each_command_s_help_tells_its_own_exit_codes() {
    for (command, codes) in [
        ("serve", vec!["0", "1", "2", "3", "78"]),
        ("check", vec!["0", "1", "2", "78"]),
        ("show", vec!["0", "1", "2", "78"]),
        ("signals", vec!["0", "1", "2"]),
        ("schema", vec!["0", "1", "2"]),
    ] {
        for help in ["-h", "--help"] {
            let ran = Setup::empty().ask(&[command, help]);
            let (_, told) = ran.out.split_once("Exit codes:\n").expect("there are some");
            let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
            let told: Vec<_> = told.lines().filter_map(first).collect();
            assert_eq!(told, codes, "{command} {help}");
            assert_eq!(
                command == "serve",
                ran.out.contains("every request answered")
            );
        }
    }
}

#[test]
fn check_says_in_a_line_that_all_is_well_and_where_it_looked() {
    let ran = Setup::new(VALID).ask(&["check"]);
    assert_eq!((ran.code, &*ran.err), (0, ""));
    assert!(ran.out.contains("settings/default.toml"), "{}", ran.out);
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
}

#[test]
fn flags_may_stand_before_the_command_and_those_behind_it_win() {
    let ran = Setup::new(VALID).ask(&["--settings", "nowhere", "check", "--settings", "settings"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let args = ["--set", "app.message=a", "show", "--set", "app.message=b"];
    let ran = Setup::new(VALID).ask(&args);
    assert!(ran.out.contains("message = \"b\"\n"), "{}", ran.out);
    let mut program = Setup::new(VALID).arg("serve").serve();
    program.stop();
}

#[test]
fn check_binds_nothing() {
    let mut program = Setup::new(VALID).serve();
    let address = program.public().to_string();
    let text = format!("[server.listeners.public]\naddress = \"{address}\"\n{VALID}");
    let ran = Setup::new(&text).ask(&["check"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    program.stop();
}

#[test]
fn check_tells_all_that_is_wrong_with_its_place_and_is_78() {
    let text = "[server]\nworkers = \"many\"\nkeepalive = \"1s\"\n";
    let ran = Setup::new(text).ask(&["check", "--settings", "settings"]);
    assert_eq!((ran.code, &*ran.out), (78, ""));
    for told in [
        "settings/default.toml:2:11: server.workers: ",
        "settings/default.toml:3:1: server.keepalive: ",
    ] {
        assert!(ran.err.contains(told), "{told:?} is not in\n{}", ran.err);
    }
}

#[test]
fn check_builds_as_serve_would() {
    let text = "[app.routes.\"/\"]\nrespond = { body_file = \"gone.html\" }\n";
    let setup = Setup::new(text);
    let gone = setup.settings().join("gone.html");
    let ran = setup.ask(&["check"]);
    assert_eq!(ran.code, 78);
    let told = format!(
        "settings/default.toml:2:25: app.routes.\"/\".respond.body_file: cannot read `{}`",
        gone.display()
    );
    assert!(ran.err.contains(&told), "{}", ran.err);
    assert!(
        ran.err
            .contains("2 | respond = { body_file = \"gone.html\" }\n")
    );
}

#[test]
fn a_settings_path_that_is_missing_is_an_error_of_every_command() {
    for command in ["serve", "check", "show"] {
        let ran = Setup::empty().ask(&[command, "--settings", "nowhere"]);
        assert_eq!((ran.code, &*ran.out), (78, ""), "{command}");
        assert!(ran.err.contains("nowhere: "), "{command}: {}", ran.err);
    }
}

#[test]
fn settings_that_cannot_be_read_are_named_by_their_absolute_path() {
    let setup = Setup::empty();
    let nowhere = setup.home().join("nowhere").display().to_string();
    let gone = setup.ask(&["check", "--settings", "nowhere"]);
    assert_eq!(gone.err, format!("{nowhere}: no such file or directory\n"));
    let setup = Setup::empty();
    std::os::unix::fs::symlink("nowhere", setup.settings().join("local.toml")).expect("linked");
    let link = setup.settings().join("local.toml").display().to_string();
    let dangling = setup.ask(&["check"]);
    let says = format!("{link}: no such file or directory\n");
    assert_eq!(dangling.err, says);
}

#[test]
fn serve_says_which_settings_it_serves_and_where_it_looked() {
    let mut program = Setup::new(VALID).unnamed().serve();
    let line = program.wait_log("settings: settings/default.toml");
    assert!(line.contains("/etc/everup"), "{line}");
    program.stop();
}

#[test]
fn a_result_that_cannot_be_written_is_1_and_a_closed_pipe_is_silent() {
    let full = "exec \"$0\" signals > /dev/full; exit";
    let (code, log) = Setup::empty().unnamed().shell(full).run();
    assert_eq!(code, 1);
    assert!(log.contains("cannot write to standard output"), "{log}");
    let closed = "{ \"$0\" signals; echo code $? >&2; } | true; exit";
    let (_, log) = Setup::empty().unnamed().shell(closed).run();
    assert!(matches!(&*log, "code 0" | "code 1"), "{log}");
}

#[test]
fn a_standard_error_that_fails_is_survived() {
    for stderr in ["2> /dev/full", "2>&-", "2>&1 | true"] {
        // The exit code goes to a file: the log goes nowhere.
        let command = format!("{{ \"$0\" --pid-file pid; echo $? > code; }} {stderr}; exit");
        let program = Setup::new(VALID).unnamed().shell(&command).spawn();
        let home = program.settings();
        let home = home.parent().expect("it is in a folder");
        let pid = eventually("the pid file", || {
            fs::read_to_string(home.join("pid"))
                .ok()?
                .trim()
                .parse()
                .ok()
        });
        let pid = rustix::process::Pid::from_raw(pid).expect("a process");
        for signal in [Signal::USR2, Signal::HUP, Signal::TERM] {
            rustix::process::kill_process(pid, signal)
                .unwrap_or_else(|error| panic!("{signal:?} with {stderr}: {error}"));
        }
        let code = eventually("its end", || {
            let code = fs::read_to_string(home.join("code")).ok()?;
            code.ends_with('\n').then_some(code)
        });
        assert_eq!(code, "0\n", "{stderr}");
    }
}

#[test]
fn the_pid_file_is_there_while_it_serves_and_a_stale_one_is_replaced() {
    let setup = Setup::new(VALID).arg("--pid-file").arg("everup.pid");
    let path = setup.settings().with_file_name("everup.pid");
    fs::write(&path, "1\n").expect("a stale one");
    let mut program = setup.serve();
    let ours = format!("{}\n", program.id());
    eventually("the pid file", || {
        (fs::read_to_string(&path).ok()? == ours).then_some(())
    });
    program.stop();
    assert!(!path.exists());
}

#[test]
fn a_pid_file_that_is_another_s_by_then_is_left_alone() {
    let setup = Setup::new(VALID).arg("--pid-file=everup.pid");
    let path = setup.settings().with_file_name("everup.pid");
    let mut program = setup.serve();
    eventually("the pid file", || path.exists().then_some(()));
    fs::write(&path, "1\n").expect("another's");
    program.stop();
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "1\n");
}

#[test]
fn a_pid_file_that_cannot_be_written_is_a_failed_start() {
    for path in ["nowhere/everup.pid", "settings"] {
        let setup = Setup::new(VALID);
        let resolved = setup.home().join(path);
        let (code, log) = setup.arg("--pid-file").arg(path).run();
        assert_eq!(code, 1, "{path}: {log}");
        let resolved = resolved.display();
        assert!(
            log.contains(&format!("cannot write the pid file `{resolved}`")),
            "{log}"
        );
    }
}

#[test]
fn a_profile_comes_by_flag_or_by_the_service_s_own_variable() {
    let setup = || Setup::new(VALID).file("loud.toml", "[app]\nmessage = \"HERE\"\n");
    for setup in [
        setup().arg("--profile=loud"),
        setup().shell("export EVERUP_PROFILE=loud"),
        setup()
            .shell("export EVERUP_PROFILE=other")
            .arg("--profile=loud"),
    ] {
        let mut program = setup.serve();
        assert_eq!(program.get("/").text(), "HERE");
        program.stop();
    }
}

#[test]
fn check_and_a_failed_start_show_the_line_and_the_place() {
    let text = "[server]\nworkers = \"many\"\n";
    let ran = Setup::new(text).ask(&["check"]);
    let shown = "2 | workers = \"many\"\n  |           ^^^^^^\n";
    assert!(ran.err.contains(shown), "{}", ran.err);
    assert!(!ran.err.contains('\x1b'), "no colours into a pipe");
    let (code, log) = Setup::new(text).run();
    assert_eq!(code, 78, "{log}");
    assert!(log.contains(shown.trim_end()), "{log}");
}

#[test]
fn a_start_that_fails_says_once_that_it_cannot_start_and_each_error_once() {
    let (code, log) = Setup::new("[server]\nworkers = \"many\"\nkeepalive = \"1s\"\n").run();
    assert_eq!(code, 78, "{log}");
    for told in [
        "cannot start",
        "server.workers: expected",
        "server.keepalive: unknown",
    ] {
        assert_eq!(log.matches(told).count(), 1, "{told}: {log}");
    }
    assert!(!log.contains("reload 1"), "{log}");
}

#[test]
fn show_prints_what_serve_would_serve_and_where_it_comes_from() {
    let setup =
        || Setup::new("[app]\nmessage = \"here\"\n").shell("export EVERUP__SERVER__WORKERS=3");
    let ran = setup().ask(&["show", "--origin", "--set", "shutdown.linger=2s"]);
    assert_eq!((ran.code, &*ran.err), (0, ""));
    for told in [
        "message = \"here\"  # settings/default.toml:2:11\n",
        "workers = 3  # EVERUP__SERVER__WORKERS\n",
        "linger = \"2s\"  # --set\n",
        "body_timeout = \"30s\"  # default\n",
    ] {
        assert!(ran.out.contains(told), "{told:?} is not in\n{}", ran.out);
    }
    let shown = setup().ask(&["show"]).out;
    let again = Setup::raw(shown.as_bytes()).ask(&["show"]);
    assert_eq!((again.code, again.out), (0, shown), "it may be read again");
}

#[test]
fn show_and_schema_print_json() {
    let ran = Setup::new("[app]\nmessage = \"here\"\n").ask(&["show", "--json"]);
    let shown: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(shown["app"]["message"], "here");
    let ran = Setup::new("[app]\nmessage = \"here\"\n").ask(&["show", "--json", "--origin"]);
    let shown: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(shown["settings"]["app"]["message"], "here");
    assert_eq!(
        shown["origins"]["app.message"],
        "settings/default.toml:2:11"
    );
    let ran = Setup::empty().ask(&["schema"]);
    let schema: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(schema["properties"]["server"]["$ref"], "#/$defs/Server");
}
