//! Requests per second and CPU time per request over HTTP/2 without TLS, an author's service beside
//! the same App on the bare `h2` crate, under nghttp2's h2load.
//!
//! actix-web's own HTTP/2 stands on h2 0.3, which is not mended any more and may not be in the tree.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};

use crate::{
    CLIENTS, Pace, WORKERS,
    figure::{Pairs, Section, Side, rates_and_costs},
    process::Server,
    roles::Role,
};

const GOAL: f64 = 0.8;

/// At once on each connection.
const STREAMS: usize = 16;

pub fn measure(pace: &Pace) -> anyhow::Result<Section> {
    let mut section = Section::default();
    if !is_there()? {
        let why = "left out: there is no h2load (apt-get install nghttp2-client)";
        section.notes.push(why.into());
        return Ok(section);
    }
    let (mut rates, mut costs) = (Pairs::default(), Pairs::default());
    for round in 0..pace.rounds {
        for side in Side::both(round) {
            let (workers, h2c) = (WORKERS, true);
            let role = match side {
                Side::Ours => Role::Everup { workers, h2c },
                Side::Other => Role::Bare { workers },
            };
            let server = Server::start(&mut role.command()?)?;
            let load = load(server.address, pace.round)?;
            let used = server.process.cpu()?;
            rates.add(side, load.answered as f64 / pace.round.as_secs_f64());
            costs.add(side, used.as_secs_f64() * 1e6 / load.answered as f64);
            section.lost += load.lost;
        }
    }
    let clients = format!("{CLIENTS} clients, {STREAMS} streams each");
    section.figures = rates_and_costs("HTTP/2 requests", &clients, "bare h2", &rates, &costs, GOAL);
    Ok(section)
}

fn is_there() -> anyhow::Result<bool> {
    let mut asked = Command::new("h2load");
    match asked.arg("--version").stdout(Stdio::null()).status() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        status => Ok(status.context("h2load")?.success()),
    }
}

struct Report {
    answered: u64,
    lost: u64,
}

/// Keeps the server busy for so long; what is under way at the end counts for nothing.
fn load(address: SocketAddr, duration: Duration) -> anyhow::Result<Report> {
    let output = Command::new("h2load")
        .arg(format!("--duration={}ms", duration.as_millis()))
        .arg(format!("--clients={CLIENTS}"))
        .arg(format!("--max-concurrent-streams={STREAMS}"))
        .arg(format!("http://{address}/"))
        .output()
        .context("h2load")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "h2load: {text}");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("requests: "));
    let line = line.with_context(|| format!("no requests in {text}"))?;
    let count = |word: &str| -> anyhow::Result<u64> {
        let part = line.split(", ").find_map(|part| part.strip_suffix(word));
        let number = part.with_context(|| format!("no{word} in {line:?}"))?;
        Ok(number.trim().parse()?)
    };
    Ok(Report {
        answered: count(" succeeded")?,
        lost: count(" failed")? + count(" errored")? + count(" timeout")?,
    })
}
