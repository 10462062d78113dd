//! Log files: opened, rolled, reopened, changed; no line is lost on the way.
use super::{change, logging, path, read, wait_in};
use crate::support::{Program, Setup};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// A program that has begun to log to this file, each request too.
fn logging_to(file: &str) -> Program {
    let program = Program::serve(&logging("level = \"info\""));
    change(&program, &format!("file = \"{file}\"\naccess = true"));
    program
}

/// One client that asks for `/0`, `/1`, `/2` … until it is told to stop; then, for how many.
struct Counting {
    is_over: Arc<AtomicBool>,
    client: thread::JoinHandle<u64>,
}

impl Counting {
    fn start(program: &Program) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut conn = program.connect();
        let told = is_over.clone();
        let client = thread::spawn(move || {
            let mut asked = 0;
            while !told.load(Ordering::Relaxed) {
                assert_eq!(conn.get(&format!("/{asked}")).status, 404);
                asked += 1;
            }
            asked
        });
        Self { is_over, client }
    }

    fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.client.join().expect("every request is answered")
    }
}

/// How often each path stands in the access lines of all logs together.
fn told(logs: &[String]) -> BTreeMap<u64, usize> {
    let mut told = BTreeMap::new();
    for line in logs.iter().flat_map(|log| log.lines()) {
        let Some((_, rest)) = line.split_once("GET /") else {
            continue;
        };
        let number = rest.split(' ').next().and_then(|path| path.parse().ok());
        *told.entry(number.expect(line)).or_default() += 1;
    }
    told
}

/// Every request from 0 to `asked` has one line, and no other has any.
fn assert_each_once(logs: &[String], asked: u64) {
    let told = told(logs);
    let expected: BTreeMap<u64, usize> = (0..asked).map(|number| (number, 1)).collect();
    assert!(asked > 0);
    assert_eq!(told, expected);
}

#[test]
fn a_file_rolls_by_size_and_the_oldest_goes() {
    let rolling = "file = \"everup.log\"\nmax_size = \"64KiB\"\nkeep = 2\naccess = true";
    let program = Program::serve(&logging("level = \"info\""));
    change(&program, rolling);
    let long = "x".repeat(8000);
    let mut conn = program.connect();
    for number in 0..60 {
        assert_eq!(conn.get(&format!("/{number}/{long}")).status, 404);
    }
    wait_in(&program, "everup.log", "GET /59/");
    let mut numbers = Vec::new();
    for name in ["everup.log.2", "everup.log.1", "everup.log"] {
        let log = read(&program, name);
        assert!(log.len() <= 64 * 1024, "{name} has {} bytes", log.len());
        assert!(!log.is_empty(), "{name}");
        for line in log.lines() {
            let (_, rest) = line.split_once("GET /").expect(line);
            let (number, _) = rest.split_once('/').expect(line);
            numbers.push(number.parse::<u64>().expect(line));
        }
    }
    let first = 60 - numbers.len() as u64;
    assert!(first > 0, "what is oldest is gone");
    assert_eq!(numbers, (first..60).collect::<Vec<_>>());
    assert!(!path(&program, "everup.log.3").exists());
}

#[test]
fn after_a_rename_and_usr1_lines_go_to_the_new_file_and_none_is_lost() {
    let mut program = logging_to("everup.log");
    let counting = Counting::start(&program);
    let sender = format!("asked by SIGUSR1 from pid {}", std::process::id());
    let mut names = vec!["everup.log".to_owned()];
    for round in 1..=5 {
        let away = format!("everup.log.away{round}");
        fs::rename(path(&program, "everup.log"), path(&program, &away)).expect("rename it");
        program.signal(Signal::USR1);
        wait_in(&program, "everup.log", &sender);
        names.push(away);
    }
    let asked = counting.stop();
    program.signal(Signal::TERM);
    program.expect_exit(0);
    let logs: Vec<_> = names.iter().map(|name| read(&program, name)).collect();
    assert_each_once(&logs, asked);
}

#[test]
fn a_log_that_cannot_be_reopened_goes_on_and_says_so() {
    let program = Program::serve(&logging("level = \"info\""));
    let (here, away) = (path(&program, "logs"), path(&program, "away"));
    fs::create_dir(&here).expect("a folder");
    change(&program, "file = \"logs/everup.log\"");
    fs::rename(&here, &away).expect("rename it");
    program.signal(Signal::USR1);
    program.wait_log("cannot reopen logs/everup.log: No such file or directory");
    wait_in(&program, "away/everup.log", "cannot reopen");
    fs::create_dir(&here).expect("a folder");
    program.signal(Signal::USR1);
    wait_in(&program, "logs/everup.log", "reopened logs/everup.log");
}

#[test]
fn the_admin_api_reopens_the_log_as_usr1_does() {
    let program = logging_to("everup.log");
    fs::rename(path(&program, "everup.log"), path(&program, "away.log")).expect("rename it");
    assert_eq!(program.admin_ask("GET", "/reopen-logs", &[]).status, 405);
    assert_eq!(program.post("/reopen-logs").status, 202);
    wait_in(&program, "everup.log", "asked by the admin API");
}

#[test]
fn usr1_without_a_log_file_is_told() {
    let mut program = Program::serve(&logging("level = \"info\""));
    program.signal(Signal::USR1);
    program.wait_log("no log file to reopen");
    assert_eq!(program.get("/").text(), "here");
    program.stop();
}

#[test]
fn reloads_that_change_file_format_and_level_lose_and_double_no_line() {
    let mut program = Program::serve(&logging("access = true"));
    let counting = Counting::start(&program);
    let files = ["a.log", "b.log", ""];
    for round in 0..30 {
        let file = files[round % files.len()];
        let format = ["text", "json"][round % 2];
        let level = ["info", "warn", "debug", "error"][round % 4];
        let table =
            format!("access = true\nfile = \"{file}\"\nformat = \"{format}\"\nlevel = \"{level}\"");
        change(&program, &table);
    }
    let asked = counting.stop();
    program.signal(Signal::TERM);
    program.expect_exit(0);
    let logs = [
        program.log(),
        read(&program, "a.log"),
        read(&program, "b.log"),
    ];
    assert!(
        logs.iter().all(|log| log.contains("GET /")),
        "each has some"
    );
    assert_each_once(&logs, asked);
}

#[test]
fn a_log_that_cannot_be_opened_rejects_the_reload_at_its_place() {
    let program = logging_to("everup.log");
    let fifo = path(&program, "fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).expect("a FIFO");
    for (file, why) in [
        ("settings", "directory"),
        ("nowhere/everup.log", "nowhere/everup.log`: no such file"),
        ("fifo", "a FIFO that nobody reads"),
    ] {
        program.edit(&logging(&format!("level = \"debug\"\nfile = \"{file}\"")));
        let (status, attempt) = program.reload();
        let error = &attempt["errors"][0];
        assert_eq!((status, &error["key"]), (422, &"logging.file".into()));
        assert!(
            error["message"].as_str().expect("a text").contains(why),
            "{error}"
        );
        assert_eq!(error["origin"], "settings/default.toml:5:8");
        assert_eq!(attempt["generation"], 2);
        wait_in(&program, "everup.log", why);
    }
}

#[test]
fn a_log_that_cannot_be_opened_fails_the_start_at_its_place() {
    let settings = "[logging]\nfile = \"settings\"\n";
    let (code, log) = Setup::new(settings).run();
    assert_eq!(code, 78, "{log}");
    assert!(
        log.contains("settings/default.toml:2:8: logging.file: cannot log to"),
        "{log}"
    );
}

#[test]
fn what_is_rejected_leaves_no_new_log_file() {
    let other = Program::serve("[app]\nmessage = \"first\"\n");
    let settings = format!(
        "[server.listeners.public]\naddress = \"{}\"\n[logging]\nfile = \"settings/new.log\"\n",
        other.public()
    );
    let mut program = Setup::new(&settings).spawn();
    assert_eq!(program.wait_exit(), 1);
    program.wait_log("cannot listen on");
    assert!(!path(&program, "settings/new.log").exists());
}

#[test]
fn a_relative_file_starts_at_the_logs_directory() {
    let setup = Setup::new(&logging("file = \"everup.log\""));
    let mut program = setup
        .shell("mkdir logs; export LOGS_DIRECTORY=$PWD/logs")
        .spawn();
    program.wait_log("the log continues in");
    wait_in(&program, "logs/everup.log", "serving: ");
    program.signal(Signal::TERM);
    program.expect_exit(0);
    assert!(read(&program, "logs/everup.log").contains("stopped: "));
}
