//! Requests other than a plain GET: with a body that is read or not, pipelined, with large answers;
//! an author's service beside stock, and beside nginx where that answers the same.

use std::{thread, time::Duration};

use crate::{
    CLIENTS, Pace, WORKERS,
    figure::{Figure, Pairs, Section, Side, Verdict},
    load::{Exchange, Load},
    nginx::Nginx,
    process::{Process, Server},
    roles::Role,
};

struct Kind {
    name: &'static str,
    path: &'static str,
    body: Option<usize>,
    pipelined: usize,
    clients: usize,
    /// Requests per second, beside stock.
    goal: f64,
    /// The same beside nginx, where nginx answers such requests too.
    goal_beside_nginx: Option<f64>,
}

const GET: Kind = Kind {
    name: "GETs",
    path: "/",
    body: None,
    pipelined: 1,
    clients: CLIENTS,
    goal: 1.05,
    goal_beside_nginx: Some(1.02),
};

const KINDS: [Kind; 6] = [
    GET,
    Kind {
        name: "POSTs of 200 bytes that are read",
        path: "/read",
        body: Some(200),
        goal: 1.15,
        goal_beside_nginx: None,
        ..GET
    },
    Kind {
        name: "POSTs of 200 bytes that nobody reads",
        body: Some(200),
        goal: 1.15,
        goal_beside_nginx: Some(0.9),
        ..GET
    },
    Kind {
        name: "GETs, 16 pipelined, 16 clients",
        pipelined: 16,
        clients: 16,
        goal: 1.0,
        goal_beside_nginx: None,
        ..GET
    },
    Kind {
        name: "answers of 100 KiB",
        path: "/large",
        goal: 1.0,
        goal_beside_nginx: None,
        ..GET
    },
    Kind {
        name: "answers of 1 MiB, streamed",
        path: "/stream",
        goal: 1.0,
        goal_beside_nginx: None,
        ..GET
    },
];

pub fn measure(pace: &Pace) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let nginx_version = Nginx::version()?;
    section.notes.push(match &nginx_version {
        Some(version) => format!("beside {version}"),
        None => "nginx is not installed: left out (apt-get install nginx-light)".into(),
    });
    for kind in &KINDS {
        let stock = Role::stock(WORKERS);
        compare(&mut section, pace, kind, "stock", kind.goal, || {
            Ok(Box::new(Server::start(&mut stock.command()?)?))
        })?;
        let goal = kind.goal_beside_nginx.filter(|_| nginx_version.is_some());
        if let Some(goal) = goal {
            compare(&mut section, pace, kind, "nginx", goal, || {
                Ok(Box::new(Nginx::start(WORKERS)?))
            })?;
        }
    }
    Ok(section)
}

/// A server of either side.
pub trait Measured {
    fn address(&self) -> std::net::SocketAddr;
    /// The CPU time that it has used.
    fn cpu(&self) -> anyhow::Result<Duration>;
}

impl Measured for Server {
    fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    fn cpu(&self) -> anyhow::Result<Duration> {
        Process::cpu(&self.process)
    }
}

fn compare(
    section: &mut Section,
    pace: &Pace,
    kind: &Kind,
    beside: &str,
    goal: f64,
    start_other: impl Fn() -> anyhow::Result<Box<dyn Measured>>,
) -> anyhow::Result<()> {
    let ours = Role::everup(WORKERS);
    let exchange = Exchange {
        path: kind.path.into(),
        body: kind.body,
        pipelined: kind.pipelined,
    };
    let (mut rates, mut costs) = (Pairs::default(), Pairs::default());
    for round in 0..pace.rounds {
        for side in Side::both(round) {
            let server = match side {
                Side::Ours => Box::new(Server::start(&mut ours.command()?)?),
                Side::Other => start_other()?,
            };
            let load = Load::exchange(server.address(), &exchange, kind.clients, None)?;
            let before = server.cpu()?;
            thread::sleep(pace.round);
            let used = server.cpu()? - before;
            let report = load.finish()?;
            rates.add(side, report.rate);
            let requests = report.rate * pace.round.as_secs_f64();
            costs.add(side, used.as_secs_f64() * 1e6 / requests);
            section.lost += report.lost;
        }
    }
    let ratios = rates.ratios();
    section.figures.push(Figure {
        name: format!("{}/s", kind.name),
        everup: rates.ours.spread(0),
        beside: format!("{beside} {}", rates.others.spread(0)),
        ratio: ratios.spread(3),
        goal: format!("at least {goal}"),
        verdict: Verdict::of(ratios.median() >= goal),
    });
    section.figures.push(Figure {
        name: "  CPU µs of one".into(),
        everup: costs.ours.spread(2),
        beside: format!("{beside} {}", costs.others.spread(2)),
        ratio: costs.ratios().spread(3),
        goal: String::new(),
        verdict: Verdict::NoGoal,
    });
    Ok(())
}
