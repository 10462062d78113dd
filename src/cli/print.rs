//! Commands that only print: `show`, `signals`, `schema`, and help.

use std::{
    fmt::Write as _,
    io,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Found,
    args::{Format, Show},
    diagnostics, exit, output,
};
use crate::{
    config::Author,
    settings::{Baseline, NotLoaded},
    signals::TABLE,
};

/// How long `show` waits for files that keep changing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints the effective settings.
pub(super) fn show(author: &Arc<dyn Author>, show: &Show, found: &Found) -> ExitCode {
    let read = author.load(&found.sources, Baseline::Start, Instant::now() + PATIENCE);
    let effective = match read {
        Ok((loaded, _)) => {
            if !loaded.warnings.is_empty() {
                output::complain(&diagnostics::render_warnings(&loaded.warnings));
            }
            loaded.effective
        }
        Err(NotLoaded { errors, .. }) => {
            output::complain(&diagnostics::render(&errors));
            return exit::of_errors(&errors);
        }
    };
    match (show.format.json, show.origin) {
        (false, origin) => output::print(author.name(), &effective.to_toml(origin)),
        (true, false) => json(author.name(), &effective.to_json()),
        (true, true) => json(author.name(), &effective.with_origins()),
    }
}

/// Prints the JSON Schema of the settings.
pub(super) fn schema(author: &Arc<dyn Author>) -> ExitCode {
    json(author.name(), &author.schema())
}

/// Prints the signal table.
pub(super) fn signals(name: &str, format: &Format) -> ExitCode {
    if format.json {
        return json(name, &TABLE);
    }
    let mut text = format!("{:9} {:>6} {:7} here\n", "signal", "number", "default");
    for signal in TABLE {
        let by_default = format!("{:?}", signal.by_default);
        let (name, number, does) = (signal.name, signal.number, signal.does);
        writeln!(text, "{name:9} {number:>6} {by_default:7} {does}").expect("a String takes all");
    }
    output::print(name, &text)
}

/// Prints a result as JSON.
fn json(name: &str, result: &impl serde::Serialize) -> ExitCode {
    let mut text = serde_json::to_string_pretty(result).expect("plain data has a JSON form");
    text.push('\n');
    output::print(name, &text)
}

/// Prints help and version as the results that they are, and wrong usage as a diagnostic.
pub(super) fn usage(name: &str, error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        // Where that fails too there is nowhere left to say it.
        let _ = error.print();
        return ExitCode::from(exit::USAGE);
    }
    let text = error.render();
    let is_plain = anstream::AutoStream::choice(&io::stdout()) == anstream::ColorChoice::Never;
    match is_plain {
        true => output::print(name, &text.to_string()),
        false => output::print(name, &text.ansi().to_string()),
    }
}
