//! Requests per second and CPU time per request, an author's service beside stock.

use std::thread;

use crate::{
    CLIENTS, Pace, WORKERS,
    figure::{Figure, Pairs, Section, Side, Values, Verdict},
    load::Load,
    process::Server,
    roles::Role,
};

const GOAL: f64 = 0.97;

pub fn measure(pace: &Pace) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let (mut rates, mut costs) = (Pairs::default(), Pairs::default());
    let mut own_costs = Values::default();
    for round in 0..pace.rounds {
        for side in Side::both(round) {
            let role = match side {
                Side::Ours => Role::Everup {
                    workers: WORKERS,
                    h2c: false,
                },
                Side::Other => Role::Stock {
                    workers: WORKERS,
                    h2c: false,
                    files: None,
                },
            };
            // A new process each round: where its memory lies is a matter of luck.
            let server = Server::start(&mut role.command()?)?;
            let load = Load::start(&server, CLIENTS, None)?;
            let (before, own_before) = (server.process.cpu()?, load.cpu()?);
            thread::sleep(pace.round);
            let (used, own) = (server.process.cpu()? - before, load.cpu()? - own_before);
            let report = load.finish()?;
            let requests = report.rate * pace.round.as_secs_f64();
            rates.add(side, report.rate);
            costs.add(side, used.as_secs_f64() * 1e6 / requests);
            own_costs.add(own.as_secs_f64() * 1e6 / requests);
            section.lost += report.lost;
        }
    }
    let (ratios, cost_ratios) = (rates.ratios(), costs.ratios());
    section.figures = vec![
        Figure {
            name: format!("requests/s, {CLIENTS} clients, {WORKERS} workers"),
            everup: rates.ours.spread(0),
            beside: format!("stock {}", rates.others.spread(0)),
            ratio: ratios.spread(3),
            goal: format!("at least {GOAL}"),
            verdict: Verdict::of(ratios.median() >= GOAL),
        },
        Figure {
            name: "CPU µs per request".into(),
            everup: costs.ours.spread(2),
            beside: format!("stock {}", costs.others.spread(2)),
            ratio: cost_ratios.spread(3),
            goal: String::new(),
            verdict: Verdict::NoGoal,
        },
    ];
    let own = own_costs.spread(2);
    section.notes.push(format!(
        "the load generator's own CPU µs per request: {own}"
    ));
    Ok(section)
}
