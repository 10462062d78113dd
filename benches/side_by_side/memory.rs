//! What thousands of reloads leave behind in memory.

use std::{thread, time::Duration};

use crate::{
    Pace, WORKERS,
    figure::{Figure, Section, Values, Verdict},
    program::Program,
};

/// Flat: no more than this part more, from a tenth of the reloads to all of them.
const GOAL: f64 = 1.10;

/// What old generations held is freed behind the answer, on a thread of its own.
const REST: Duration = Duration::from_millis(100);

pub fn measure(pace: &Pace) -> anyhow::Result<Section> {
    let mut program = Program::start(&format!("server.workers = {WORKERS}\n"))?;
    let few = pace.many_reloads / 10;
    let mut took = Values::default();
    let mut reload = |program: &mut Program, times: u64| {
        for _ in 0..times {
            program.change()?;
            took.add(program.reload()?.as_secs_f64() * 1000.0);
        }
        thread::sleep(REST);
        program.server.process.memory()
    };
    let before = reload(&mut program, few)?;
    let after = reload(&mut program, pace.many_reloads - few)?;
    let ratio = after / before;
    let figure = Figure {
        name: format!("memory after {} reloads, MiB", pace.many_reloads),
        everup: format!("{after:.2}"),
        beside: format!("after {few}: {before:.2}"),
        ratio: format!("{ratio:.3}"),
        goal: format!("at most {GOAL:.2}"),
        verdict: Verdict::of(ratio <= GOAL),
    };
    Ok(Section {
        figures: vec![figure],
        lost: 0,
        notes: vec![format!("POST /reload, ms: {}", took.spread(2))],
    })
}
