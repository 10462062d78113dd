//! A log that nobody reads or that cannot be written slows no request and no stop, and its losses
//! are counted and told.
use super::{change, logging, path, read, wait_in};
use crate::support::{Program, Setup, eventually};
use rustix::{
    fs::{CWD, Mode, OFlags, mkfifoat},
    process::Signal,
};
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    process::Command,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A FIFO with a reader that does not read.
fn stalled(program: &Program) -> File {
    let fifo = path(program, "fifo");
    mkfifoat(CWD, &fifo, Mode::RWXU).expect("a FIFO");
    let reader = rustix::fs::open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
    reader.expect("it can be opened").into()
}

const LONG: usize = 8000;

/// So many lines of this length are more than pipe and queue can take.
const MANY: u64 = 1500;

fn flood(program: &Program) {
    let mut conn = program.connect();
    let long = "x".repeat(LONG);
    for number in 0..MANY {
        assert_eq!(conn.get(&format!("/{number}/{long}")).status, 404);
    }
    program.wait_in_flight(0);
}

#[test]
fn a_pipe_that_nobody_reads_slows_no_request_and_what_is_lost_is_told() {
    let program = Program::serve(&logging("level = \"info\""));
    let reader = stalled(&program);
    change(&program, "file = \"fifo\"\naccess = true");
    flood(&program);
    assert_eq!(program.books().answered, MANY);

    let fd = rustix::fs::fcntl_getfl(&reader).expect("flags");
    rustix::fs::fcntl_setfl(&reader, fd - OFlags::NONBLOCK).expect("it waits from now on");
    let (mut told, mut lost) = (0, 0);
    for line in BufReader::new(reader).lines() {
        let line = line.expect("the program lives");
        if line.contains("everup::access") {
            told += 1;
        } else if let Some((head, _)) = line.split_once(" lines were lost: they were not taken") {
            let count = head
                .rsplit(' ')
                .next()
                .and_then(|count| count.parse::<u64>().ok());
            lost += count.unwrap_or_else(|| panic!("no number in {line:?}"));
        }
        if told + lost >= MANY {
            break;
        }
    }
    assert!(lost > 0 && told > 0);
    assert_eq!(told + lost, MANY, "{told} told, {lost} lost");
}

#[test]
fn a_pipe_that_nobody_reads_hinders_no_stop() {
    let mut program = Program::serve(&logging("level = \"info\""));
    let reader = stalled(&program);
    change(&program, "file = \"fifo\"\naccess = true");
    flood(&program);
    let begun = Instant::now();
    program.signal(Signal::TERM);
    program.expect_exit(0);
    // Far above what the program allows the last lines, far below for ever.
    assert!(begun.elapsed() < Duration::from_secs(10));
    drop(reader);
}

#[test]
fn a_log_that_is_stuck_does_not_hinder_the_next_one() {
    let mut program = Program::serve(&logging("level = \"info\""));
    let _reader = stalled(&program);
    change(&program, "file = \"fifo\"\naccess = true");
    flood(&program);
    change(&program, "file = \"next.log\"\naccess = true");
    program.get("/after");
    wait_in(&program, "next.log", "GET /after");
    program.signal(Signal::TERM);
    program.expect_exit(0);
    assert!(read(&program, "next.log").contains("stopped: "));
}

/// Sends requests, each with a line of more than 200 bytes, until their log is larger than its place.
fn overflow(program: &Program) {
    let mut conn = program.connect();
    let long = "x".repeat(200);
    for number in 0..OVERFLOWING {
        assert_eq!(conn.get(&format!("/{number}/{long}")).status, 404);
    }
}

const OVERFLOWING: u64 = 5000;

/// How long a line's time is, such as `2026-01-31T12:00:00.123`.
const TIME: usize = 23;

/// The requests that a log tells of in whole lines, each on a line of its own, and the lines that it says
/// were lost.
fn told_and_lost(log: &str) -> (u64, u64) {
    let (mut told, mut lost) = (0, 0);
    for line in log.lines() {
        let is_whole = line.contains(" generation ") && line.ends_with(|it: char| it.is_numeric());
        if line.contains("everup::access: GET /") && is_whole {
            let time = line.find("Z INFO ");
            assert_eq!(time, Some(TIME), "behind a torn line: {line}");
            told += 1;
        } else if let Some((head, _)) = line.split_once(" lines were lost: they could not be") {
            let count = head
                .rsplit(' ')
                .next()
                .and_then(|it| it.parse::<u64>().ok());
            lost += count.unwrap_or_else(|| panic!("no number in {line:?}"));
        }
    }
    (told, lost)
}

#[test]
fn what_a_full_disk_costs_is_counted_line_by_line() {
    let mount = |path: &str| format!("mount -t tmpfs -o size=1m tmpfs {path}");
    let tried = TempDir::new().expect("a temporary folder");
    let can_mount = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            &mount(&tried.path().display().to_string()),
        ])
        .status();
    if !can_mount.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this user cannot mount a tmpfs");
        return;
    }
    let disk = "mkdir small && {mount} && head -c 700000 /dev/zero > small/filler";
    let disk = disk.replace("{mount}", &mount("small"));
    let shell = format!("exec unshare --mount sh -c '{disk} && exec \"$0\" \"$@\"' \"$0\" \"$@\"");
    let mut program = Setup::new(&logging("level = \"info\""))
        .shell(&shell)
        .serve();
    change(&program, "file = \"small/everup.log\"\naccess = true");
    overflow(&program);
    // Only the program sees what is mounted.
    let disk = format!(
        "/proc/{}/root{}",
        program.id(),
        path(&program, "small").display()
    );
    fs::remove_file(format!("{disk}/filler")).expect("there is room again");
    assert_eq!(program.get("/last").status, 404);
    let log = eventually("the losses", || {
        let log = fs::read_to_string(format!("{disk}/everup.log")).expect("a log");
        (log.contains("/last 404") && log.contains(" lines were lost")).then_some(log)
    });
    let (told, lost) = told_and_lost(&log);
    assert!(told > 0 && lost > 0, "{told} told, {lost} lost");
    assert_eq!(told + lost, OVERFLOWING + 1, "{told} told, {lost} lost");
    program.signal(Signal::TERM);
    program.expect_exit(0);
}

#[test]
fn what_the_limit_of_a_file_s_size_costs_is_counted_line_by_line() {
    // Blocks of 512 bytes.
    let mut program = Setup::new(&logging("level = \"info\""))
        .shell("ulimit -f 501")
        .serve();
    change(&program, "file = \"everup.log\"\naccess = true");
    overflow(&program);
    program.wait_log("cannot write to everup.log: File too large");
    // There is room again.
    fs::rename(path(&program, "everup.log"), path(&program, "away.log")).expect("renamed");
    program.signal(Signal::USR1);
    wait_in(&program, "everup.log", " lines were lost");
    assert_eq!(program.get("/last").status, 404);
    wait_in(&program, "everup.log", "/last 404");
    let log = read(&program, "away.log") + "\n" + &read(&program, "everup.log");
    let (told, lost) = told_and_lost(&log);
    assert!(told > 0 && lost > 0, "{told} told, {lost} lost");
    assert_eq!(told + lost, OVERFLOWING + 1, "{told} told, {lost} lost");
    program.signal(Signal::TERM);
    program.expect_exit(0);
}

#[test]
fn what_a_disk_that_stays_full_costs_is_told_at_the_end() {
    let mut program = Program::serve(&logging("level = \"info\""));
    change(&program, "file = \"/dev/full\"\naccess = true");
    assert_eq!(program.get("/").text(), "here");
    program.signal(Signal::TERM);
    program.expect_exit(0);
    program.wait_log(" lines were lost: they could not be written: No space left on device");
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let mut program = Program::serve(&logging("level = \"info\""));
    change(&program, "file = \"/dev/full\"\naccess = true");
    assert_eq!(program.get("/").text(), "here");
    program.wait_log("cannot write to /dev/full: No space left on device");
    change(&program, "level = \"info\"");
    program.wait_log("lines were lost: they could not be written: No space left on device");
    program.stop();
}
