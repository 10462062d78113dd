//! What an idle connection costs: memory of thousands that have had one answer each.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    Pace, WORKERS,
    figure::{Figure, Pairs, Section, Side, Verdict},
    http::Client,
    process::Server,
    roles::Role,
};

const CONNECTIONS: usize = 5_000;

/// In KiB.
const GOAL: f64 = 2.0;

pub fn measure(pace: &Pace) -> anyhow::Result<Section> {
    // The servers, its children, inherit it.
    let mut limit: Rlimit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let mut costs = Pairs::default();
    for round in 0..pace.rounds.min(3) {
        for side in Side::both(round) {
            let role = Role::of(side, WORKERS);
            let server = Server::start(&mut role.command()?)?;
            Client::connect(server.address)?.ask("GET /")?;
            let before = server.process.memory()?;
            let mut clients = Vec::with_capacity(CONNECTIONS);
            for _ in 0..CONNECTIONS {
                let mut client = Client::connect(server.address)?;
                client.ask("GET /")?;
                clients.push(client);
            }
            let mebibytes = server.process.memory()? - before;
            costs.add(side, mebibytes * 1024.0 / CONNECTIONS as f64);
        }
    }
    Ok(Section {
        figures: vec![Figure {
            name: format!("memory of one of {CONNECTIONS} idle connections, KiB"),
            everup: costs.ours.spread(2),
            beside: format!("stock {}", costs.others.spread(2)),
            ratio: costs.ratios().spread(3),
            goal: format!("at most {GOAL}"),
            verdict: Verdict::of(costs.ours.median() <= GOAL),
        }],
        ..Section::default()
    })
}
