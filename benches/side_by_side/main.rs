//! everup beside stock actix-web, in one run, as ratios: `cargo bench --bench side_by_side`.
//!
//! - `-- --quick`: fewer and shorter rounds, to see within a minute that it all works; its figures
//!   are rough.
//! - `-- NAME`: one section only: stop, throughput, requests, idle, instructions, h2c, log, files,
//!   latency, storm, memory, routes or settings.
//!
//! Needs nothing but the toolchain; `h2c` also needs h2load of nghttp2 and `instructions` valgrind:
//! each is left out without it.
//! Servers and the load generator are processes of their own: this
//! program again in another role, or the program everup. Each one's CPU time and memory are thus
//! its own, but they share the machine's cores, which is why two sides' rounds alternate and only
//! ratios are worth comparing: not with a figure of another day, not with another machine.
//!
//! Exits with 0 whether or not a goal is met, for rates are judged by people; with 1 where a
//! request was lost or something broke.

mod bare;
mod figure;
mod files;
mod h2c;
mod http;
mod idle;
mod instructions;
mod latency;
mod load;
mod log;
mod memory;
mod nginx;
mod process;
mod program;
mod requests;
mod roles;
mod routes;
mod settings;
mod stop;
mod storm;
mod throughput;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};

use self::{figure::Section, roles::Role};

/// Prints everup's figures beside stock actix-web's.
#[derive(Parser)]
struct Flags {
    /// This section only
    section: Option<Name>,
    /// Fewer and shorter rounds: shows that it works, its figures are rough
    #[arg(long)]
    quick: bool,
    /// What `cargo bench` says, and `cargo test --all-targets` does not
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Stop,
    Throughput,
    Requests,
    Idle,
    Instructions,
    Log,
    Files,
    H2c,
    Latency,
    Storm,
    Memory,
    Routes,
    Settings,
}

/// How much is measured.
struct Pace {
    rounds: usize,
    /// Of one side's load.
    round: Duration,
    /// Of the load while many routes are reloaded, or are not.
    routes_round: Duration,
    /// How many of the tables of routes.
    tables: usize,
    /// Whose latency is taken in a round.
    reloads: usize,
    /// After which memory is compared with that after a tenth of them.
    many_reloads: u64,
}

const FULL: Pace = Pace {
    rounds: 10,
    round: Duration::from_secs(2),
    routes_round: Duration::from_secs(4),
    tables: routes::TABLES.len(),
    reloads: 40,
    many_reloads: 10_000,
};

const QUICK: Pace = Pace {
    rounds: 3,
    round: Duration::from_millis(400),
    routes_round: Duration::from_millis(1200),
    tables: 1,
    reloads: 10,
    many_reloads: 1_000,
};

/// Of every server whose speed is measured.
const WORKERS: usize = 2;

/// Of every load.
const CLIENTS: usize = 64;

fn main() -> ExitCode {
    let result = match Role::of_this_process() {
        Some(role) => role.play().map(|()| ExitCode::SUCCESS),
        None => Ok(measure(&Flags::parse())),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

fn measure(flags: &Flags) -> ExitCode {
    if !flags.bench {
        println!("nothing is measured unless asked by `cargo bench`");
        return ExitCode::SUCCESS;
    }
    let pace = if flags.quick { &QUICK } else { &FULL };
    type Measure = fn(&Pace) -> anyhow::Result<Section>;
    let sections: [(Name, &str, Measure); 13] = [
        // First: what the others leave in the machine's table of sockets slows a stop.
        (Name::Stop, "idle stop, memory at start", stop::measure),
        (Name::Throughput, "throughput", throughput::measure),
        (
            Name::Requests,
            "bodies, pipelines, large answers",
            requests::measure,
        ),
        (Name::Idle, "idle connections", idle::measure),
        (
            Name::Instructions,
            "instructions of a request",
            instructions::measure,
        ),
        (Name::H2c, "throughput of HTTP/2", h2c::measure),
        (Name::Log, "a line per request", log::measure),
        (Name::Files, "files beside actix-files", files::measure),
        (Name::Latency, "latency of a reload", latency::measure),
        (Name::Storm, "100 reloads a second", storm::measure),
        (Name::Memory, "memory over reloads", memory::measure),
        (Name::Routes, "reloads of many routes", routes::measure),
        (Name::Settings, "large settings", settings::measure),
    ];
    let mut figures = Vec::new();
    let mut is_valid = true;
    for (name, title, measure) in sections {
        if flags.section.is_some_and(|only| only != name) {
            continue;
        }
        eprintln!("{title} …");
        match measure(pace) {
            Ok(section) => {
                for note in &section.notes {
                    eprintln!("  {note}");
                }
                if section.lost > 0 {
                    eprintln!("  {} requests were lost", section.lost);
                    is_valid = false;
                }
                figures.extend(section.figures);
            }
            Err(error) => {
                eprintln!("  broke: {error:#}");
                is_valid = false;
            }
        }
    }
    figure::print(&figures);
    if flags.quick {
        println!("--quick: rough figures, from few and short rounds");
    }
    if is_valid {
        ExitCode::SUCCESS
    } else {
        println!("failed: a request was lost or a section broke, see above");
        ExitCode::FAILURE
    }
}
