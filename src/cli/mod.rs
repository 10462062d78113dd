//! The command line: flags in, exit code out. What is global to the process is touched here alone:
//! arguments, the log facade, the descriptor limit, the panic hook.

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::{
    server::DrainReport,
    service::Launched,
    settings::{Diagnostic, Fault, Sources},
    telemetry::LogHandle,
};

/// Serves HTTP, and reloads and stops without losing a request.
#[derive(Parser)]
#[command(version)]
struct Flags {
    #[arg(long, value_name = "PATH")]
    settings: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Signals:
  HUP              reload the settings
  TERM, INT, QUIT  stop: finish what is in flight
  INT, QUIT again  half a second or more after: cut it

Exit codes:
  0   stopped, every request answered
  1   could not start, or a limit of the system was reached
  2   wrong usage
  3   stopped, but requests were cut
  78  settings that no retry mends";

/// What the process tells with its end.
mod exit {
    pub const FAILED: u8 = 1;
    pub const CUT: u8 = 3;
    /// `EX_CONFIG` of sysexits.h: no retry mends it.
    pub const SETTINGS: u8 = 78;
}

/// Runs a service called `name` as this process.
pub(crate) fn run(
    name: &'static str,
    launch: impl FnOnce(Sources, LogHandle) -> Result<Launched, Vec<Diagnostic>>,
) -> ExitCode {
    let usual = format!(
        "The directory of the settings (`default.toml`, `local.toml`), or one file. Without it: \
         `settings`, then `/etc/{name}`, then the built-in defaults; looked for at start"
    );
    let matches = Flags::command()
        .name(name)
        .mut_arg("settings", |settings| settings.help(usual))
        .after_help(AFTER_HELP)
        .get_matches();
    let flags = Flags::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let log = match LogHandle::install(logs_directory()) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("{name}: no log: {error}");
            return ExitCode::from(exit::FAILED);
        }
    };
    std::panic::set_hook(Box::new(|panic| log::error!(target: "everup", "{panic}")));
    raise_descriptor_limit();
    let code = match launch(sources(name, flags), log.clone()) {
        Ok(Launched::Running(running)) => after(&running.wait()),
        Ok(Launched::Stopped(report)) => after(&report),
        Err(errors) => {
            for error in &errors {
                log.say(&error.to_string());
            }
            let is_settings = errors.iter().any(|error| error.kind == Fault::Settings);
            ExitCode::from(if is_settings {
                exit::SETTINGS
            } else {
                exit::FAILED
            })
        }
    };
    log.flush();
    code
}

fn after(report: &DrainReport) -> ExitCode {
    match report.cut {
        0 if report.is_failure => ExitCode::from(exit::FAILED),
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(exit::CUT),
    }
}

fn sources(name: &str, flags: Flags) -> Sources {
    let usual = || {
        let places = [PathBuf::from("settings"), PathBuf::from("/etc").join(name)];
        places.into_iter().find(|place| place.exists())
    };
    match flags.settings.or_else(usual) {
        Some(path) => {
            let sources = Sources::at(path);
            log::info!(target: "everup", "settings: {}", sources.describe());
            sources
        }
        None => {
            log::info!(target: "everup", "settings: the built-in defaults, for there is neither `settings` nor `/etc/{name}`");
            Sources::builtin()
        }
    }
}

/// Where relative paths of log files start (systemd.exec(5), `LogsDirectory=`: the first of them).
fn logs_directory() -> PathBuf {
    let directories = std::env::var_os("LOGS_DIRECTORY").unwrap_or_default();
    std::env::split_paths(&directories)
        .next()
        .unwrap_or_default()
}

/// Each connection takes a descriptor: the soft limit is for programs that use select(2).
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        log::warn!(target: "everup", "cannot raise the descriptor limit: {error}");
    }
}
