//! Large settings: how long a start and a reload take, and how much memory they take.

use std::time::Instant;

use crate::{
    Pace,
    figure::{Figure, Section, Values, Verdict},
    program::Program,
    routes,
};

/// How many routes, and what is aimed at; `--quick` takes the first.
const TABLES: [(usize, Goal); 2] = [
    (
        10_000,
        Goal {
            milliseconds: 60.0,
            serving: 25.0,
            reloading: 40.0,
        },
    ),
    (
        100_000,
        Goal {
            milliseconds: 500.0,
            serving: 250.0,
            reloading: 400.0,
        },
    ),
];

struct Goal {
    /// Of a reload's median.
    milliseconds: f64,
    /// In MiB, after the start.
    serving: f64,
    /// In MiB at the most, over all reloads.
    reloading: f64,
}

pub fn measure(pace: &Pace) -> anyhow::Result<Section> {
    let mut section = Section::default();
    for (routes, goal) in TABLES.into_iter().take(pace.tables) {
        section.figures.extend(measure_table(pace, routes, &goal)?);
    }
    Ok(section)
}

fn measure_table(pace: &Pace, routes: usize, goal: &Goal) -> anyhow::Result<Vec<Figure>> {
    let settings = routes::settings(routes);
    let begun = Instant::now();
    let mut program = Program::start(&settings)?;
    let start = begun.elapsed().as_secs_f64() * 1000.0;
    let serving = program.server.process.memory()?;
    let (mut changed, mut overridden, mut back) =
        (Values::default(), Values::default(), Values::default());
    for number in 0..pace.reloads {
        program.write(&format!(
            "{settings}# {number}\n[app.routes.'/{number}']\nredirect = '/'\n"
        ))?;
        changed.add(program.reload()?.as_secs_f64() * 1000.0);
    }
    let after = program.server.process.memory()?;
    let peak = program.server.process.peak_memory()?;
    for _ in 0..pace.reloads {
        program.change()?;
        overridden.add(program.reload()?.as_secs_f64() * 1000.0);
        back.add(program.roll_back()?.as_secs_f64() * 1000.0);
    }
    let figure = |what: &str, everup: String| Figure {
        name: format!("{routes} routes, {what}"),
        everup,
        beside: String::new(),
        ratio: String::new(),
        goal: String::new(),
        verdict: Verdict::NoGoal,
    };
    let at_most = |value: f64, goal: f64, figure: Figure| Figure {
        goal: format!("at most {goal}"),
        verdict: Verdict::of(value <= goal),
        ..figure
    };
    let reload = figure("their file has changed: reload, ms", changed.spread(1));
    Ok(vec![
        figure("start, ms", format!("{start:.1}")),
        at_most(changed.median(), goal.milliseconds, reload),
        figure("another file has changed: reload, ms", overridden.spread(1)),
        figure("rollback, ms", back.spread(1)),
        at_most(
            serving,
            goal.serving,
            figure("memory after the start, MiB", format!("{serving:.1}")),
        ),
        figure("memory after reloads, MiB", format!("{after:.1}")),
        at_most(
            peak,
            goal.reloading,
            figure("peak of memory, MiB", format!("{peak:.1}")),
        ),
    ])
}
