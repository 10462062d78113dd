//! What reloads, changes of listeners and workers, stops and upgrades cost under load, everup beside stock actix-web on this machine:
//! `cargo bench --bench lost`, less than a minute.
//!
//! The clients are those of the tests: each counts what it sent and what became of it, never sends
//! on a connection that was announced to close, and takes a close while nothing is outstanding for
//! what it is, within the rules. So what is lost here is lost by the server.
//!
//! Exits with 1 where everup lost anything.

mod stock;
#[path = "../../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use the rest of it")]
mod support;

use std::{
    env,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use self::{
    stock::Stock,
    support::{Address, Kind, Load, LoadBooks, LoadSetup, Program},
};

const RELOADS: usize = 20;
const CHANGES: usize = 20;
const STOPS: u64 = 8;
const UPGRADES: usize = 8;

/// Between two reloads.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a load runs before its server is stopped.
const BEFORE_STOP: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some(stock::ROLE) {
        return stock::play();
    }
    if !env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured unless asked by `cargo bench`");
        return ExitCode::SUCCESS;
    }
    let begun = Instant::now();
    println!("lost of sent: requests without a whole answer, connections refused while serving\n");
    println!(
        "{:28}{:>22}{:>22}",
        "under load", "everup", "stock actix-web"
    );
    let rows: [(String, Scenario, Scenario); 4] = [
        (format!("{RELOADS} reloads"), reload_everup, reload_stock),
        (
            format!("{CHANGES} changes of workers"),
            change_everup,
            Vec::new,
        ),
        (format!("{STOPS} graceful stops"), stop_everup, stop_stock),
        (format!("{UPGRADES} upgrades"), upgrade_everup, Vec::new),
    ];
    let mut is_kept = true;
    for (name, everup, stock) in rows {
        let (ours, theirs) = (everup(), stock());
        println!("{name:28}{:>22}{:>22}", Told(&ours), Told(&theirs));
        is_kept &= lost(&ours) == 0;
    }
    println!("\n{:.0} s", begun.elapsed().as_secs_f64());
    if is_kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Puts a server under load, and tells what its clients counted; nothing where the server has none
/// of it.
type Scenario = fn() -> Vec<LoadBooks>;

/// Kept alive with spread think times, a connection a request, pipelined.
fn clients(seed: u64) -> LoadSetup {
    Load::kept_alive(32, 40)
        .and(16, Kind::PerRequest)
        .and(4, Kind::Pipelined(8))
        .seed(seed)
}

fn settings(message: usize) -> String {
    format!(
        "[server]\nworkers = {}\n[app]\nmessage = \"{message}\"\n",
        stock::WORKERS
    )
}

fn reload_everup() -> Vec<LoadBooks> {
    let mut program = Program::serve(&settings(0));
    let load = clients(0).start(program.public());
    for message in 1..=RELOADS {
        apply(&program, &settings(message));
    }
    let books = load.stop();
    program.stop();
    vec![books]
}

/// After a pause.
fn apply(program: &Program, settings: &str) {
    thread::sleep(PAUSE);
    program.edit(settings);
    let mark = program.mark();
    program.signal(Signal::HUP);
    program.wait_attempt(mark, "applied");
}

/// More and fewer workers, and the listener under another name each time.
fn change_everup() -> Vec<LoadBooks> {
    let settings = |round: usize, port: u16| {
        let (workers, name) = ([2, 1, 4][round % 3], ["public", "other"][round % 2]);
        format!(
            "[server]\nworkers = {workers}\n\
             [server.listeners.{name}]\naddress = \"127.0.0.1:{port}\"\n"
        )
    };
    let mut program = Program::serve(&settings(0, 0));
    let port = program.public().port();
    let load = clients(0).start(program.public());
    for round in 1..=CHANGES {
        apply(&program, &settings(round, port));
    }
    let books = load.stop();
    program.stop();
    vec![books]
}

fn reload_stock() -> Vec<LoadBooks> {
    let mut stock = Stock::start();
    let load = clients(0).start(stock.address());
    for _ in 1..=RELOADS {
        thread::sleep(PAUSE);
        stock.reload();
    }
    let books = load.stop();
    stock.stop();
    vec![books]
}

fn stop_everup() -> Vec<LoadBooks> {
    let stop = |seed| {
        let mut program = Program::serve(&settings(0));
        let address = program.public().clone();
        until_stopped(seed, &address, || {
            program.stop();
        })
    };
    (0..STOPS).map(stop).collect()
}

fn stop_stock() -> Vec<LoadBooks> {
    let stop = |seed| {
        let stock = Stock::start();
        let address = stock.address().clone();
        until_stopped(seed, &address, || stock.stop())
    };
    (0..STOPS).map(stop).collect()
}

fn upgrade_everup() -> Vec<LoadBooks> {
    Program::adopt_successors();
    let mut program = Program::serve(&settings(0));
    let load = clients(0).start(program.public());
    for _ in 0..UPGRADES {
        thread::sleep(PAUSE);
        let mark = program.mark();
        program.signal(Signal::USR2);
        program.wait_successor(mark);
    }
    let books = load.stop();
    program.stop();
    let log = program.log();
    let mut ready: Vec<f64> = log.lines().filter_map(ready_after).collect();
    ready.sort_by(f64::total_cmp);
    let (p50, most) = (ready[ready.len() / 2], ready[ready.len() - 1]);
    eprintln!(
        "a new process was ready {p50:.1} ms after it was asked for (p50; at most {most:.1})"
    );
    vec![books]
}

/// The milliseconds of a line that tells of an upgrade.
fn ready_after(line: &str) -> Option<f64> {
    let (_, rest) = line.split_once(", ready after ")?;
    rest.strip_suffix(" ms")?.parse().ok()
}

fn until_stopped(seed: u64, address: &Address, stop: impl FnOnce()) -> LoadBooks {
    let load = clients(seed).start(address);
    thread::sleep(BEFORE_STOP);
    load.expect_stop();
    stop();
    load.until_refused()
}

fn lost(all: &[LoadBooks]) -> u64 {
    all.iter().map(|books| books.lost + books.refused).sum()
}

/// A cell of the table.
struct Told<'a>(&'a [LoadBooks]);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.pad("has none");
        }
        let sent: u64 = self.0.iter().map(|books| books.sent).sum();
        f.pad(&format!("{} of {sent}", lost(self.0)))
    }
}
