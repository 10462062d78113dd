//! From SIGTERM to the end of a process that nobody is connected to, and its memory at start.

use std::{fs, num::NonZero, thread, time::Duration};

use crate::{
    Pace,
    figure::{Figure, Pairs, Section, Side, Verdict},
    http::Client,
    process::{Process, Server},
    program::Program,
    roles::Role,
};

/// In milliseconds.
const STOP_GOAL: f64 = 10.0;

/// In MiB.
const MEMORY_GOAL: f64 = 10.0;

/// Until a server has seen that its only client is gone.
const REST: Duration = Duration::from_millis(20);

pub fn measure(pace: &Pace) -> anyhow::Result<Section> {
    let (mut stops, mut memory) = (Pairs::default(), Pairs::default());
    for round in 0..pace.rounds {
        for side in Side::both(round) {
            let (process, used) = match side {
                Side::Ours => {
                    let program = Program::start("")?;
                    let used = used(&program.server)?;
                    (program.process(), used)
                }
                Side::Other => {
                    let workers = thread::available_parallelism().map_or(1, NonZero::get);
                    let stock = Server::start(
                        &mut Role::Stock {
                            workers,
                            files: None,
                        }
                        .command()?,
                    )?;
                    let used = used(&stock)?;
                    (stock.process, used)
                }
            };
            memory.add(side, used);
            stops.add(side, Process::stop(process)?.as_secs_f64() * 1000.0);
        }
    }
    let figure = |name: &str, pairs: &Pairs, goal: f64| Figure {
        name: name.into(),
        everup: pairs.ours.spread(2),
        beside: format!("stock {}", pairs.others.spread(2)),
        ratio: pairs.ratios().spread(3),
        goal: format!("below {goal}"),
        verdict: Verdict::of(pairs.ours.median() < goal),
    };
    let sockets = fs::read_to_string("/proc/net/tcp")?.lines().count();
    Ok(Section {
        notes: vec![format!(
            "the machine's table of TCP sockets has {sockets} lines"
        )],
        figures: vec![
            figure("idle stop, SIGTERM to gone, ms", &stops, STOP_GOAL),
            figure("memory serving default settings, MiB", &memory, MEMORY_GOAL),
        ],
        ..Section::default()
    })
}

/// Its memory after one request, whose client is gone again.
fn used(server: &Server) -> anyhow::Result<f64> {
    Client::connect(server.address)?.ask("GET /")?;
    thread::sleep(REST);
    server.process.memory()
}
