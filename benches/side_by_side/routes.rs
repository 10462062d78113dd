//! Many routes, reloaded again and again under half of the load that the server can take: whether a
//! client waits longer because of it, how long it takes, and what it costs in memory.

use std::{
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use crate::{
    CLIENTS, Pace, WORKERS,
    figure::{Figure, Pairs, Section, Side, Values, Verdict},
    load::Load,
    program::Program,
};

/// How many routes, and how often they are reloaded; `--quick` takes the first.
pub const TABLES: [(usize, Duration); 2] = [
    (10_000, Duration::from_millis(500)),
    (100_000, Duration::from_secs(2)),
];

/// In milliseconds: of the longest gap between two answers, and of a reload's median.
const GAP_GOAL: f64 = 10.0;
const RELOAD_GOAL: f64 = 1000.0;

pub fn measure(pace: &Pace) -> anyhow::Result<Section> {
    let mut section = Section::default();
    for (routes, interval) in TABLES.into_iter().take(pace.tables) {
        let Section {
            figures,
            lost,
            notes,
        } = measure_table(pace, routes, interval)?;
        section.figures.extend(figures);
        section.lost += lost;
        section.notes.extend(notes);
    }
    Ok(section)
}

fn measure_table(pace: &Pace, routes: usize, interval: Duration) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let mut program = Program::start(&settings(routes))?;
    let at_start = program.server.process.memory()?;
    let load = Load::start(&program.server, CLIENTS, None)?;
    thread::sleep(pace.round);
    let full = load.finish()?;
    section.lost += full.lost;
    let half = full.rate / 2.0;

    let (mut longest, mut rare) = (Pairs::default(), Pairs::default());
    let (mut took, mut rate, mut memory) =
        (Values::default(), Values::default(), Values::default());
    for round in 0..pace.rounds {
        for side in Side::both(round) {
            let load = Load::start(&program.server, CLIENTS, Some(half))?;
            match side {
                Side::Ours => {
                    took.append(reload(&mut program, pace.routes_round, interval)?);
                    memory.add(program.server.process.memory()?);
                }
                Side::Other => thread::sleep(pace.routes_round),
            }
            let report = load.finish()?;
            longest.add(side, report.gap_max);
            rare.add(side, report.gap_p999);
            rate.add(report.rate);
            section.lost += report.lost;
        }
    }
    let verdict = match (
        longest.ours.most() <= GAP_GOAL,
        longest.others.most() <= GAP_GOAL,
    ) {
        (true, _) => Verdict::Met,
        (false, true) => Verdict::NotMet,
        // Without a reload there are such gaps too.
        (false, false) => Verdict::Unclear,
    };
    section.figures = vec![
        Figure {
            name: format!("longest gap while {routes} routes reload, ms"),
            everup: longest.ours.spread(2),
            beside: format!("no reloads {}", longest.others.spread(2)),
            ratio: longest.ratios().spread(2),
            goal: format!("at most {GAP_GOAL}"),
            verdict,
        },
        Figure {
            name: "p99.9 of the gaps meanwhile, ms".into(),
            everup: rare.ours.spread(2),
            beside: format!("no reloads {}", rare.others.spread(2)),
            ratio: rare.ratios().spread(2),
            goal: String::new(),
            verdict: Verdict::NoGoal,
        },
        Figure {
            name: format!("reload of {routes} routes under half load, ms"),
            everup: took.spread(1),
            beside: String::new(),
            ratio: String::new(),
            goal: format!("p50 below {RELOAD_GOAL}"),
            verdict: Verdict::of(took.median() < RELOAD_GOAL),
        },
        Figure {
            name: format!("memory after reloads of {routes} routes, MiB"),
            everup: memory.spread(0),
            beside: format!("at start {at_start:.0}"),
            ratio: String::new(),
            goal: String::new(),
            verdict: Verdict::NoGoal,
        },
    ];
    let spacing = CLIENTS as f64 / half * 1000.0;
    section.notes.push(format!(
        "{routes} routes, half load: {half:.0} requests/s asked, {} answered; a client asks every \
         {spacing:.2} ms",
        rate.spread(0)
    ));
    Ok(section)
}

/// Settings with this many routes.
pub fn settings(routes: usize) -> String {
    let mut settings = format!("server.workers = {WORKERS}\n");
    for route in 0..routes {
        let pattern = format!("/group{}/item{route}/{{name}}", route % 100);
        // Writing to a String does not fail.
        let _ = writeln!(
            settings,
            "[app.routes.'{pattern}']\nrespond = {{ body = 'Item {route} for {{name}}' }}"
        );
    }
    settings
}

/// Milliseconds that each reload took.
fn reload(program: &mut Program, during: Duration, interval: Duration) -> anyhow::Result<Values> {
    let mut took = Values::default();
    let mut next = Instant::now();
    let until = next + during;
    while next < until {
        program.change()?;
        took.add(program.reload()?.as_secs_f64() * 1000.0);
        next += interval;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(took)
}
