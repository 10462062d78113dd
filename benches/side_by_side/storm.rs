//! 100 reloads a second under load, each of another message: what it costs, and that nothing is
//! lost. The operator's part, to write the file and send the signal, is within what it costs.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    CLIENTS, Pace, WORKERS,
    figure::{Figure, Pairs, Section, Side, Values, Verdict},
    load::Load,
    program::Program,
};

const INTERVAL: Duration = Duration::from_millis(10);

const GOAL: f64 = 0.95;

pub fn measure(pace: &Pace) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let mut program = Program::start(&format!("server.workers = {WORKERS}\n"))?;
    let (mut rates, mut applied) = (Pairs::default(), Values::default());
    for round in 0..pace.rounds {
        for side in Side::both(round) {
            let before = program.status()?.generation;
            let load = Load::start(&program.server, CLIENTS, None)?;
            let start = Instant::now();
            match side {
                Side::Ours => storm(&mut program, start + pace.round)?,
                Side::Other => thread::sleep(pace.round),
            }
            let took = start.elapsed();
            let report = load.finish()?;
            rates.add(side, report.rate);
            section.lost += report.lost;
            if side == Side::Ours {
                let generations = program.status()?.generation - before;
                applied.add(generations as f64 / took.as_secs_f64());
            }
        }
    }
    let ratios = rates.ratios();
    section.figures = vec![
        Figure {
            name: format!("requests/s under {:.0} reloads/s", applied.median()),
            everup: rates.ours.spread(0),
            beside: format!("steady {}", rates.others.spread(0)),
            ratio: ratios.spread(3),
            goal: format!("at least {GOAL}"),
            verdict: Verdict::of(ratios.median() >= GOAL),
        },
        Figure {
            name: "requests lost meanwhile".into(),
            everup: section.lost.to_string(),
            beside: String::new(),
            ratio: String::new(),
            goal: "none".into(),
            verdict: Verdict::of(section.lost == 0),
        },
    ];
    let asked = 1.0 / INTERVAL.as_secs_f64();
    let applied = applied.spread(0);
    section.notes.push(format!(
        "reloads per second: {asked} asked, {applied} applied"
    ));
    Ok(section)
}

fn storm(program: &mut Program, until: Instant) -> anyhow::Result<()> {
    let mut next = Instant::now();
    while next < until {
        program.change()?;
        program.hang_up()?;
        next += INTERVAL;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}
