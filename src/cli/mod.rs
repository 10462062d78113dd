//! The command line: flags in, exit code out. What is global to the process is touched here alone:
//! arguments, the log facade, the descriptor limit, the panic hook.

use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::{
    server::{DrainReport, Upgrades},
    service::{Launched, Ours},
    settings::{Diagnostic, Fault, Sources},
    systemd::Notifier,
    telemetry::LogHandle,
    upgrade::{Inheritance, Program},
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
  USR2             upgrade: a new process of the program on disk takes over
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
    launch: impl FnOnce(Sources, Ours) -> Result<Launched, Vec<Diagnostic>>,
) -> ExitCode {
    // First of all: until then standard input may be the process before, which hands over.
    let inheritance = Inheritance::claim();
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
    let log = match LogHandle::install() {
        Ok(log) => log,
        Err(error) => {
            eprintln!("{name}: no log: {error}");
            return ExitCode::from(exit::FAILED);
        }
    };
    std::panic::set_hook(Box::new(|panic| log::error!(target: "everup", "{panic}")));
    raise_descriptor_limit();
    let inheritance = match inheritance.transpose() {
        Ok(inheritance) => inheritance,
        Err(error) => {
            log.say(&format!(
                "cannot take over from the process before: {error}"
            ));
            log.flush();
            return ExitCode::from(exit::FAILED);
        }
    };
    let ours = Ours {
        log: log.clone(),
        upgrades: upgrades(),
        inheritance,
        runtime_directory: runtime_directory(),
    };
    let code = match launch(sources(name, flags), ours) {
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

fn upgrades() -> Upgrades {
    Upgrades {
        program: Arc::new(Program::new(
            env::args_os(),
            env::var_os("PATH").as_deref(),
            &working_directory(),
        )),
        systemd: Notifier::new(env::var_os("NOTIFY_SOCKET").as_deref()),
    }
}

/// Where the process works, as the shell names it, which keeps links: the program that an upgrade
/// starts is looked for there (POSIX, `pwd -L`).
fn working_directory() -> PathBuf {
    let place = |path: &Path| {
        fs::metadata(path)
            .ok()
            .map(|found| (found.dev(), found.ino()))
    };
    let named = env::var_os("PWD").map(PathBuf::from);
    named
        .filter(|path| path.is_absolute() && place(path) == place(Path::new(".")))
        .or_else(|| env::current_dir().ok())
        .unwrap_or_default()
}

/// The first of those that systemd has made, where there are several.
fn runtime_directory() -> Option<PathBuf> {
    let directories = env::var_os("RUNTIME_DIRECTORY")?;
    let first = env::split_paths(&directories).next()?;
    Some(first).filter(|path| path.is_absolute())
}

/// Each connection takes a descriptor: the soft limit is for programs that use select(2).
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        log::warn!(target: "everup", "cannot raise the descriptor limit: {error}");
    }
}
