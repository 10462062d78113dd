//! The command line: arguments in, exit code out. What is global to the process is touched here
//! alone: arguments, environment, the log facade, blocked signals, the descriptor limit, the panic
//! hook.

mod args;
mod check;
mod diagnostics;
mod exit;
mod output;
mod pid_file;
mod print;
mod serve;

use std::{
    env,
    io::ErrorKind,
    panic::{self, resume_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
};

use tokio::runtime::Handle;

use self::args::{Command, Where};
use crate::{
    config::Author,
    service::{Launched, Ours},
    settings::{Diagnostic, Sources},
    signals::disposition,
    telemetry::LogHandle,
};

/// Runs a service as this process; `launch` starts it. Also where the author's `main` is within a
/// runtime, whose thread must not wait as this one does: then on a thread beside it.
pub(crate) fn run(
    author: &Arc<dyn Author>,
    launch: impl FnOnce(Sources, Ours) -> Result<Launched, Vec<Diagnostic>> + Send,
) -> ExitCode {
    if Handle::try_current().is_err() {
        return run_here(author, launch);
    }
    thread::scope(|scope| {
        let main = thread::Builder::new().name("everup-main".into());
        match main.spawn_scoped(scope, || run_here(author, launch)) {
            Ok(main) => main.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(error) => {
                output::complain(&format!(
                    "{}: cannot start a thread: {error}",
                    author.name()
                ));
                ExitCode::from(exit::FAILED)
            }
        }
    })
}

fn run_here(
    author: &Arc<dyn Author>,
    launch: impl FnOnce(Sources, Ours) -> Result<Launched, Vec<Diagnostic>>,
) -> ExitCode {
    // First of all: nothing else may take their descriptors, or what is in standard input.
    let left = serve::Left::claim();
    let name = author.name();
    match args::parse(name) {
        Ok(Command::Serve(serve)) => with_log(name, |log| {
            let sources = sources(name, &serve.settings);
            log::info!(target: "everup", "settings: {}", sources.told);
            serve::serve(&serve, sources.sources, log, left, launch)
        }),
        Ok(Command::Check(settings)) => with_log(name, |log| {
            check::check(author, sources(name, &settings), log)
        }),
        Ok(Command::Show(show)) => print::show(author, &show, &sources(name, &show.settings)),
        Ok(Command::Signals(format)) => print::signals(name, &format),
        Ok(Command::Schema) => print::schema(author),
        Err(error) => print::usage(name, &error),
    }
}

/// Where the settings are, and how it is said.
struct Found {
    sources: Sources,
    told: String,
}

/// Where the settings are: as the flags say, else as the environment does.
fn sources(name: &str, flags: &Where) -> Found {
    let usual = || [PathBuf::from("settings"), PathBuf::from("/etc").join(name)];
    let found = flags.path.clone();
    let found = found.or_else(|| usual().into_iter().find(|place| is_there(place)));
    let is_builtin = found.is_none();
    let prefix = args::variable(name);
    let profile = flags.profile.clone();
    let named = || env::var_os(format!("{prefix}_PROFILE"));
    let profile = profile.or_else(|| Some(named()?.to_string_lossy().into_owned()));
    let mut sources = found.map_or_else(Sources::builtin, Sources::at);
    sources = sources.variables(&prefix, env::vars_os());
    if let Some(profile) = profile.filter(|profile| !profile.is_empty()) {
        sources = sources.profile(profile);
    }
    for (key, value) in &flags.set {
        sources = sources.set(key, value);
    }
    let told = sources.describe();
    let told = match (&flags.path, is_builtin) {
        (Some(_), _) => told,
        (None, false) => format!("{told} (looked for `settings`, then `/etc/{name}`)"),
        (None, true) => format!("{told}, for there is neither `settings` nor `/etc/{name}`"),
    };
    Found { sources, told }
}

/// Also where it cannot be used: loading it says why.
fn is_there(place: &Path) -> bool {
    let looked = place.symlink_metadata();
    !looked.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Runs a command that logs: its last line is written before the process ends.
fn with_log(name: &str, command: impl FnOnce(&LogHandle) -> ExitCode) -> ExitCode {
    // Before a thread is made, the log's among them.
    let unblocked = disposition::unblock();
    let log = match LogHandle::install() {
        Ok(log) => log,
        Err(error) => {
            output::complain(&format!("{name}: no log: {error}"));
            return ExitCode::from(exit::FAILED);
        }
    };
    if let Err(error) = unblocked {
        log::warn!(target: "everup::signals", "cannot let signals through: {error}");
    }
    log_panics();
    let code = command(&log);
    log.finish();
    code
}

/// Logs each panic; a hook that the author has set is called too.
fn log_panics() {
    let before = panic::take_hook();
    // What is taken now is Rust's own, which would say in several lines what the log says in one.
    let rusts_own = panic::take_hook();
    let authors = (!std::ptr::eq(&raw const *before, &raw const *rusts_own)).then_some(before);
    panic::set_hook(Box::new(move |panic| {
        // One event, one line.
        let told = panic.to_string().replace(":\n", ": ").replace('\n', "\\n");
        log::error!(target: "everup", "{told}");
        if let Some(authors) = &authors {
            authors(panic);
        }
    }));
}
