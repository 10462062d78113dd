//! Requests per second and CPU time per request, an author's service beside stock.

use std::thread;

use crate::{
    CLIENTS, Pace, WORKERS,
    figure::{Pairs, Section, Side, Values, rates_and_costs},
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
            let role = Role::of(side, WORKERS);
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
    let clients = format!("{CLIENTS} clients, {WORKERS} workers");
    section.figures = rates_and_costs("requests", &clients, "stock", &rates, &costs, GOAL);
    let own = own_costs.spread(2);
    section.notes.push(format!(
        "the load generator's own CPU µs per request: {own}"
    ));
    Ok(section)
}
