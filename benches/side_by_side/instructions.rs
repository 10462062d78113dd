//! How many instructions of user code a request costs, by valgrind's callgrind: exact, and the same on a
//! busy machine. The kernel's are not in it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

use crate::{
    Pace,
    figure::{Figure, Section, Verdict},
    http::Client,
    load::Exchange,
    process::Server,
    roles::Role,
};

/// What two runs differ by is what so many requests cost: start and end cost the same in both.
const FEW: u64 = 500;
const MANY: u64 = 2_500;

pub fn measure(_: &Pace) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let is_here = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if is_here.is_err() {
        let note = "valgrind is not installed: left out (apt-get install valgrind)";
        section.notes.push(note.into());
        return Ok(section);
    }
    let read = Exchange {
        path: "/read".into(),
        body: Some(200),
        pipelined: 1,
    };
    for (name, exchange, goal) in [
        ("a GET", Exchange::get("/"), 0.85),
        ("a POST of 200 bytes that is read", read, 0.75),
    ] {
        let [ours, stock] = [Role::everup(1), Role::stock(1)].map(|role| cost(&role, &exchange));
        let (ours, stock) = (ours?, stock?);
        let ratio = ours / stock;
        section.figures.push(Figure {
            name: format!("user instructions of {name}"),
            everup: format!("{ours:.0}"),
            beside: format!("stock {stock:.0}"),
            ratio: format!("{ratio:.3}"),
            goal: format!("at most {goal}"),
            verdict: Verdict::of(ratio <= goal),
        });
    }
    Ok(section)
}

/// Of one request.
fn cost(role: &Role, exchange: &Exchange) -> anyhow::Result<f64> {
    let few = instructions(role, exchange, FEW)?;
    let many = instructions(role, exchange, MANY)?;
    Ok((many as f64 - few as f64) / (MANY - FEW) as f64)
}

/// Of a process that answers so many requests.
fn instructions(role: &Role, exchange: &Exchange, requests: u64) -> anyhow::Result<u64> {
    let folder = tempfile::tempdir()?;
    let counts = folder.path().join("counts");
    let of_role = role.command()?;
    let mut command = Command::new("valgrind");
    command
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(of_role.get_program())
        .args(of_role.get_args());
    let mut server = Server::start(&mut command)?;
    let mut client = Client::connect(server.address)?;
    let request = exchange.bytes();
    for _ in 0..requests {
        client.ask_with(&request)?;
    }
    server.process.lifeline.take();
    let status = server.process.child().wait()?;
    ensure!(status.success(), "{command:?} ended: {status}");
    summary(&counts)
}

/// The total of a file of callgrind's.
fn summary(counts: &Path) -> anyhow::Result<u64> {
    let counts = fs::read_to_string(counts)?;
    let total = counts
        .lines()
        .find_map(|line| line.strip_prefix("summary: "));
    Ok(total.context("no summary of callgrind's")?.trim().parse()?)
}
