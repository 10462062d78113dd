//! What a line per request costs: the program with its access log in a file beside itself without
//! one; and that a log which nobody reads costs no answer.

use std::{path::Path, thread};

use anyhow::ensure;
use tempfile::TempDir;

use crate::{
    CLIENTS, Pace, WORKERS,
    figure::{Figure, Pairs, Section, Side, Verdict},
    load::Load,
    process::Reader,
    program::Program,
};

const GOAL: f64 = 0.85;

/// Rounds with a log of one kind beside rounds without one.
#[derive(Default)]
struct Compared {
    rates: Pairs,
    /// CPU µs of the server, its writing thread included, a request.
    costs: Pairs,
    lost: u64,
}

pub fn measure(pace: &Pace) -> anyhow::Result<Section> {
    let folder = TempDir::new()?;
    let file = folder.path().join("access.log");
    let (mut logged, mut stalled) = (Compared::default(), Compared::default());
    for round in 0..pace.rounds {
        for side in Side::both(round) {
            match side {
                Side::Ours => {
                    let mut program = start("logging.max_size = '1GiB'", Reader::Reads)?;
                    program.log_to(&file)?;
                    logged.add(side, &program, pace)?;
                    ensure!(is_filled(&file)?, "nothing was logged");
                }
                Side::Other => logged.add(side, &without()?, pace)?,
            }
        }
        for side in Side::both(round) {
            let program = match side {
                Side::Ours => start("", Reader::Stalls)?,
                Side::Other => without()?,
            };
            stalled.add(side, &program, pace)?;
        }
    }
    let logged_figures = logged.figures("a line per request in a file");
    let stalled_figures = stalled.figures("a line per request that nobody reads");
    Ok(Section {
        figures: logged_figures.into_iter().chain(stalled_figures).collect(),
        lost: logged.lost + stalled.lost,
        notes: Vec::new(),
    })
}

fn without() -> anyhow::Result<Program> {
    Program::start(&format!("server.workers = {WORKERS}\n"))
}

fn start(logging: &str, reader: Reader) -> anyhow::Result<Program> {
    let settings = format!("server.workers = {WORKERS}\nlogging.access = true\n{logging}\n");
    Program::start_with(&settings, reader)
}

fn is_filled(file: &Path) -> anyhow::Result<bool> {
    Ok(file.metadata()?.len() > 0)
}

impl Compared {
    fn add(&mut self, side: Side, program: &Program, pace: &Pace) -> anyhow::Result<()> {
        let load = Load::start(&program.server, CLIENTS, None)?;
        let before = program.server.process.cpu()?;
        thread::sleep(pace.round);
        let used = program.server.process.cpu()? - before;
        let report = load.finish()?;
        let requests = report.rate * pace.round.as_secs_f64();
        self.rates.add(side, report.rate);
        self.costs.add(side, used.as_secs_f64() * 1e6 / requests);
        self.lost += report.lost;
        Ok(())
    }

    fn figures(&self, what: &str) -> [Figure; 2] {
        let (rates, costs) = (self.rates.ratios(), self.costs.ratios());
        [
            Figure {
                name: format!("requests/s, {what}"),
                everup: self.rates.ours.spread(0),
                beside: format!("without {}", self.rates.others.spread(0)),
                ratio: rates.spread(3),
                goal: format!("at least {GOAL}"),
                verdict: Verdict::of(rates.median() >= GOAL),
            },
            Figure {
                name: format!("CPU µs a request, {what}"),
                everup: self.costs.ours.spread(2),
                beside: format!("without {}", self.costs.others.spread(2)),
                ratio: costs.spread(3),
                goal: String::new(),
                verdict: Verdict::NoGoal,
            },
        ]
    }
}
