//! From `kill -HUP` to the moment when every worker has answered from the new generation.
//!
//! One kept-alive connection per worker asks again and again, all at once. A figure is thus at most
//! a round trip too long; the round trip is within it.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};

use crate::{
    CLIENTS, Pace, WORKERS,
    figure::{Figure, Section, Side, Values, Verdict},
    http::{Client, PATIENCE},
    load::Load,
    program::Program,
};

/// In milliseconds, of the median.
const IDLE_GOAL: f64 = 1.0;
const LOADED_GOAL: f64 = 3.0;

/// Between two reloads: each finds the last one over.
const PAUSE: Duration = Duration::from_millis(5);

pub fn measure(pace: &Pace) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let mut program = Program::start(&format!("server.workers = {WORKERS}\n"))?;
    let mut polls = one_per_worker(&mut program)?;
    let (mut idle, mut loaded) = (Samples::default(), Samples::default());
    for round in 0..pace.rounds {
        for side in Side::both(round) {
            let (samples, load) = match side {
                Side::Ours => (&mut idle, None),
                Side::Other => (
                    &mut loaded,
                    Some(Load::start(&program.server, CLIENTS, None)?),
                ),
            };
            samples.add(pace, || reload(&mut program, &mut polls))?;
            if let Some(load) = load {
                section.lost += load.finish()?.lost;
            }
        }
    }
    let loaded_name = format!("under {CLIENTS} clients");
    section.figures = vec![
        idle.figure("idle", IDLE_GOAL),
        loaded.figure(&loaded_name, LOADED_GOAL),
    ];
    Ok(section)
}

/// Milliseconds: of all reloads, and the median of each round.
#[derive(Default)]
struct Samples {
    all: Values,
    medians: Values,
}

impl Samples {
    fn add(
        &mut self,
        pace: &Pace,
        mut reload: impl FnMut() -> anyhow::Result<Duration>,
    ) -> anyhow::Result<()> {
        let mut round = Values::default();
        for _ in 0..pace.reloads {
            round.add(reload()?.as_secs_f64() * 1000.0);
        }
        self.medians.add(round.median());
        self.all.append(round);
        Ok(())
    }

    fn figure(&self, when: &str, goal: f64) -> Figure {
        Figure {
            name: format!("reload seen by every worker, {when}, ms"),
            everup: format!("p50 {}", self.medians.spread(2)),
            beside: format!(
                "p99 {:.2}, max {:.2}",
                self.all.quantile(0.99),
                self.all.most()
            ),
            ratio: String::new(),
            goal: format!("p50 below {goal}"),
            verdict: Verdict::of(self.all.median() < goal),
        }
    }
}

fn reload(program: &mut Program, polls: &mut [Client]) -> anyhow::Result<Duration> {
    thread::sleep(PAUSE);
    let message = program.change()?;
    let start = Instant::now();
    program.hang_up()?;
    while answers(polls, &message)? < polls.len() {
        if start.elapsed() > PATIENCE {
            bail!("a reload is not seen after {PATIENCE:?}");
        }
    }
    let took = start.elapsed();
    ensure!(
        answers(polls, &message)? == polls.len(),
        "an older generation was seen after a newer one"
    );
    Ok(took)
}

/// How many of them are answered this message.
fn answers(polls: &mut [Client], message: &str) -> anyhow::Result<usize> {
    for poll in &mut *polls {
        poll.send("GET /")?;
    }
    let mut count = 0;
    for poll in polls {
        count += usize::from(poll.receive()?.body == message.as_bytes());
    }
    Ok(count)
}

/// Connects until each worker has taken a connection, and keeps one of each.
fn one_per_worker(program: &mut Program) -> anyhow::Result<Vec<Client>> {
    // A worker that is always last to wake would never be seen: then this is no measurement.
    const ATTEMPTS: usize = 1000;
    let mut kept = Vec::new();
    let mut others = Vec::new();
    let mut before = vec![0; WORKERS];
    for _ in 0..ATTEMPTS {
        let mut client = Client::connect(program.server.address)?;
        client.ask("GET /")?;
        let workers = program.status()?.workers;
        let now: Vec<u64> = workers.iter().map(|worker| worker.connections).collect();
        ensure!(now.len() == WORKERS, "{} workers", now.len());
        let is_first = now
            .iter()
            .zip(&before)
            .any(|(now, before)| *now == 1 && *before == 0);
        if is_first {
            kept.push(client);
        } else {
            others.push(client);
        }
        if kept.len() == WORKERS {
            return Ok(kept);
        }
        before = now;
    }
    bail!("only {} of {WORKERS} workers take connections", kept.len())
}
