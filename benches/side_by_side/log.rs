//! What a line per request costs: the program with its access log in a file beside itself without
//! one; and that a log which nobody reads costs no answer.

use std::thread;

use anyhow::ensure;
use tempfile::TempDir;

use crate::{
    CLIENTS, Pace, WORKERS,
    figure::{Figure, Pairs, Section, Side, Verdict},
    load::{Load, Report},
    process::Reader,
    program::Program,
};

const GOAL: f64 = 0.85;

pub fn measure(pace: &Pace) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let (mut logged, mut stalled) = (Pairs::default(), Pairs::default());
    let folder = TempDir::new()?;
    let file = folder.path().join("access.log");
    let off = format!("server.workers = {WORKERS}\n");
    let on = format!("{off}logging.access = true\n");
    let to_file = format!("{on}logging.max_size = '1GiB'\n");
    for round in 0..pace.rounds {
        for side in Side::both(round) {
            let report = match side {
                Side::Ours => {
                    let mut program = Program::start(&to_file)?;
                    program.log_to(&file)?;
                    let report = run(&program, pace)?;
                    let size = file.metadata()?.len();
                    ensure!(size > 0, "nothing was logged");
                    report
                }
                Side::Other => run(&Program::start(&off)?, pace)?,
            };
            logged.add(side, report.rate);
            section.lost += report.lost;
        }
        for side in Side::both(round) {
            let program = match side {
                Side::Ours => Program::start_with(&on, Reader::Stalls)?,
                Side::Other => Program::start(&off)?,
            };
            let report = run(&program, pace)?;
            stalled.add(side, report.rate);
            section.lost += report.lost;
        }
    }
    section.figures = vec![
        figure("a line per request in a file", &logged),
        figure("a line per request into a pipe that nobody reads", &stalled),
    ];
    Ok(section)
}

fn figure(what: &str, rates: &Pairs) -> Figure {
    let ratios = rates.ratios();
    Figure {
        name: format!("requests/s, {what}"),
        everup: rates.ours.spread(0),
        beside: format!("without {}", rates.others.spread(0)),
        ratio: ratios.spread(3),
        goal: format!("at least {GOAL}"),
        verdict: Verdict::of(ratios.median() >= GOAL),
    }
}

fn run(program: &Program, pace: &Pace) -> anyhow::Result<Report> {
    let load = Load::start(&program.server, CLIENTS, None)?;
    thread::sleep(pace.round);
    load.finish()
}
