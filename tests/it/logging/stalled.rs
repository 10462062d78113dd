//! A log that nobody reads or that cannot be written slows no request and no stop, and its losses
//! are counted and told.
use super::{change, logging, path, read, wait_in};
use crate::support::Program;
use rustix::{
    fs::{CWD, Mode, OFlags, mkfifoat},
    process::Signal,
};
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    time::{Duration, Instant},
};

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
