//! 10,000 routes, reloaded every 500 ms under half of the load that the server can take: whether
//! a client waits longer because of it.

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

const ROUTES: usize = 10_000;

const INTERVAL: Duration = Duration::from_millis(500);

/// In milliseconds.
const GOAL: f64 = 10.0;

pub fn measure(pace: &Pace) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let mut program = Program::start(&settings())?;
    let load = Load::start(&program.server, CLIENTS, None)?;
    thread::sleep(pace.round);
    let full = load.finish()?;
    section.lost += full.lost;
    let half = full.rate / 2.0;

    let (mut longest, mut rare) = (Pairs::default(), Pairs::default());
    let (mut took, mut rate) = (Values::default(), Values::default());
    for round in 0..pace.rounds {
        for side in Side::both(round) {
            let load = Load::start(&program.server, CLIENTS, Some(half))?;
            match side {
                Side::Ours => reload(&mut program, pace.routes_round, &mut took)?,
                Side::Other => thread::sleep(pace.routes_round),
            }
            let report = load.finish()?;
            longest.add(side, report.gap_max);
            rare.add(side, report.gap_p999);
            rate.add(report.rate);
            section.lost += report.lost;
        }
    }
    let verdict = match (longest.ours.most() <= GOAL, longest.others.most() <= GOAL) {
        (true, _) => Verdict::Met,
        (false, true) => Verdict::NotMet,
        // Without a reload there are such gaps too.
        (false, false) => Verdict::Unclear,
    };
    section.figures = vec![
        Figure {
            name: format!("longest gap while {ROUTES} routes reload, ms"),
            everup: longest.ours.spread(2),
            beside: format!("no reloads {}", longest.others.spread(2)),
            ratio: longest.ratios().spread(2),
            goal: format!("at most {GOAL}"),
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
            name: format!("reload of {ROUTES} routes under half load, ms"),
            everup: took.spread(1),
            beside: String::new(),
            ratio: String::new(),
            goal: String::new(),
            verdict: Verdict::NoGoal,
        },
    ];
    let spacing = CLIENTS as f64 / half * 1000.0;
    section.notes.push(format!(
        "half load: {half:.0} requests/s asked, {} answered; a client asks every {spacing:.2} ms",
        rate.spread(0)
    ));
    Ok(section)
}

fn settings() -> String {
    let mut settings = format!("server.workers = {WORKERS}\n");
    for route in 0..ROUTES {
        let pattern = format!("/group{}/item{route}/{{name}}", route % 100);
        // Writing to a String does not fail.
        let _ = writeln!(
            settings,
            "[app.routes.'{pattern}']\nrespond = {{ body = 'Item {route} for {{name}}' }}"
        );
    }
    settings
}

fn reload(program: &mut Program, during: Duration, took: &mut Values) -> anyhow::Result<()> {
    let mut next = Instant::now();
    let until = next + during;
    while next < until {
        program.change()?;
        took.add(program.reload()?.as_secs_f64() * 1000.0);
        next += INTERVAL;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}
