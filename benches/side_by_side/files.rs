//! Files: the program, which lets no name lead out of its root, beside actix-files, which follows
//! links.

use std::{fs, path::Path, thread};

use tempfile::TempDir;

use crate::{
    CLIENTS, Pace, WORKERS,
    figure::{Figure, Pairs, Section, Side, Verdict},
    load::{Load, Report},
    process::Server,
    program::Program,
    roles::Role,
};

const GOAL: f64 = 0.97;

/// In KiB.
const SIZES: [usize; 2] = [1, 100];

pub fn measure(pace: &Pace) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let root = TempDir::new()?;
    for size in SIZES {
        fs::write(root.path().join(size.to_string()), vec![b'x'; size * 1024])?;
        let path = format!("/files/{size}");
        let (mut rates, mut costs) = (Pairs::default(), Pairs::default());
        for round in 0..pace.rounds {
            for side in Side::both(round) {
                // A new process each round: where its memory lies is a matter of luck.
                let (report, cost) = match side {
                    Side::Ours => {
                        let program = Program::start(&settings(root.path()))?;
                        under_load(&program.server, &path, pace)?
                    }
                    Side::Other => {
                        let role = Role::Stock {
                            workers: WORKERS,
                            files: Some(root.path().to_owned()),
                        };
                        under_load(&Server::start(&mut role.command()?)?, &path, pace)?
                    }
                };
                rates.add(side, report.rate);
                costs.add(side, cost);
                section.lost += report.lost;
            }
        }
        let (ratios, cost_ratios) = (rates.ratios(), costs.ratios());
        section.figures.extend([
            Figure {
                name: format!("files of {size} KiB, requests/s"),
                everup: rates.ours.spread(0),
                beside: format!("actix-files {}", rates.others.spread(0)),
                ratio: ratios.spread(3),
                goal: format!("at least {GOAL}"),
                verdict: Verdict::of(ratios.median() >= GOAL),
            },
            Figure {
                name: format!("files of {size} KiB, CPU µs per request"),
                everup: costs.ours.spread(1),
                beside: format!("actix-files {}", costs.others.spread(1)),
                ratio: cost_ratios.spread(3),
                goal: String::new(),
                verdict: Verdict::NoGoal,
            },
        ]);
    }
    Ok(section)
}

fn settings(root: &Path) -> String {
    format!(
        "server.workers = {WORKERS}\n[app.routes.'/files/{{path}}*']\nfiles = '{}'\n",
        root.display()
    )
}

/// What a load counts, and the CPU time of a request in microseconds.
fn under_load(server: &Server, path: &str, pace: &Pace) -> anyhow::Result<(Report, f64)> {
    let load = Load::of(server, path, CLIENTS, None)?;
    let before = server.process.cpu()?;
    thread::sleep(pace.round);
    let used = server.process.cpu()? - before;
    let report = load.finish()?;
    let requests = report.rate * pace.round.as_secs_f64();
    Ok((report, used.as_secs_f64() * 1e6 / requests))
}
