//! Services whose `main` is an author's: with a logger, a panic hook or a runtime of their own. This binary is the tests,
//! and, started by them with a role, each of the programs.

mod roles;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests of `it` use the rest")]
mod support;

use rustix::process::Signal;
use std::{env, process::ExitCode};
use support::{Program, Setup};

const SETTINGS: &str = "[server]\nworkers = 2\n[app]\nmessage = \"here\"\n";

/// What the text of all tests begins with, and each of them.
const TESTS: [(&str, fn()); 6] = [
    (
        "a_logger_and_a_panic_hook_that_an_author_has_set_stay",
        own_logger,
    ),
    (
        "what_is_wrong_is_told_beside_an_authors_logger_too",
        own_logger_wrong,
    ),
    ("main_works_within_a_runtime", within_a_runtime),
    (
        "a_panic_is_one_line_where_the_author_has_no_hook",
        plain_panic,
    ),
    (
        "a_handler_that_stops_the_system_or_its_arbiter_ends_the_process_as_failed",
        stopped_by_a_handler,
    ),
    (
        "an_upgrade_that_would_cut_another_service_of_the_process_is_refused_with_that_reason",
        two_services,
    ),
];

fn main() -> ExitCode {
    if let Ok(role) = env::var(roles::VARIABLE) {
        return roles::run(&role);
    }
    let filter = env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let filter = filter.unwrap_or_default();
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(&filter)) {
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn setup(role: &str, settings: &str) -> Setup {
    let this = env::current_exe().expect("this program has a path");
    Setup::new(settings)
        .program(this)
        .env(roles::VARIABLE, role)
}

fn serve(role: &str) -> Program {
    setup(role, SETTINGS).serve()
}

fn own_logger() {
    let logging = "[logging]\nlevel = \"debug\"\nfile = \"a.log\"\naccess = true\n";
    let mut program = setup("logger", &format!("{SETTINGS}{logging}")).serve();
    assert!(
        program
            .wait_log("serving: ")
            .starts_with("AUTHOR INFO everup::server: ")
    );
    let ignored = program.wait_log("no effect");
    assert!(
        ignored.starts_with("AUTHOR WARN everup::log: logging.file, logging.level: "),
        "{ignored}"
    );
    assert_eq!(program.get("/panic").status, 500);
    program.wait_log("HOOK: a handler fell over");
    program.wait_log("AUTHOR ERROR everup: ");
    program.wait_log("AUTHOR INFO everup::access: GET /panic 500");
    program.edit(&format!("{SETTINGS}{logging}keep = 3\n"));
    program.reload_applied();
    assert!(!program.home().join("a.log").exists());
    program.stop();
    assert_eq!(program.count_log("no effect"), 1);
}

fn own_logger_wrong() {
    let (code, log) = setup("logger", "[server]\nworkers = \"many\"\n").run();
    assert_eq!(code, 78, "{log}");
    assert!(log.contains("found \"many\""), "{log}");
}

fn within_a_runtime() {
    for role in ["actix_main", "tokio_main"] {
        let mut program = serve(role);
        assert_eq!(program.get("/").text(), "here");
        program.edit(&SETTINGS.replace("here", "there"));
        program.reload_applied();
        assert_eq!(program.get("/").text(), "there");
        program.stop();
        let checked = setup(role, SETTINGS).ask(&["check"]);
        assert_eq!(checked.code, 0, "{checked:?}");
    }
}

fn plain_panic() {
    let mut program = serve("plain");
    assert_eq!(program.get("/panic").status, 500);
    program.wait_log("ERROR everup: ");
    program.stop();
    assert_eq!(
        program.count_log("a handler fell over"),
        1,
        "{}",
        program.log()
    );
    assert_eq!(program.count_log("RUST_BACKTRACE"), 0, "{}", program.log());
}

fn stopped_by_a_handler() {
    for (path, says) in [
        ("/stop-system", "a handler stopped the actix System"),
        (
            "/stop-arbiter",
            "a handler stopped the arbiter of its worker",
        ),
    ] {
        let mut program = serve("plain");
        let mut conn = program.connect();
        conn.send(&support::request("GET", path, &[], b""));
        program.expect_exit(1);
        assert_eq!(program.count_log(says), 1, "{}", program.log());
        program.report().in_all.assert_balanced();
    }
}

fn two_services() {
    let mut program = serve("two");
    program.signal(Signal::USR2);
    program.wait_log("not upgraded: another service of this process");
    let answer = program.post("/upgrade?wait=true");
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("another service of this process"));
    assert_eq!(program.get("/").text(), "here");
    program.stop();
}
