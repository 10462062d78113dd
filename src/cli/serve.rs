//! `serve`: the service as this process, from its settings to its exit code.

use std::{
    env, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use rustix::process::{Resource, getrlimit, setrlimit};

use super::{args::Serve, diagnostics, exit, pid_file::PidFile};
use crate::{
    net::Activation,
    server::{ServerEvent, Upgrades},
    service::{Launched, Ours},
    settings::{Diagnostic, Fault, Sources, Written, absolute, reason},
    systemd::Notifier,
    telemetry::{LogHandle, emit},
    upgrade::{Inheritance, Program},
};

/// What others have left for this process.
pub(super) struct Left {
    /// The service manager.
    activation: Activation,
    /// The predecessor, if this is an upgrade.
    inheritance: Option<io::Result<Inheritance>>,
}

impl Left {
    /// Finds it. To be called before anything else opens a descriptor, reads standard input or starts
    /// a thread.
    pub(super) fn claim() -> Self {
        Self {
            activation: Activation::claim(),
            inheritance: Inheritance::claim(),
        }
    }
}

/// Serves until something ends it.
pub(super) fn serve(
    command: &Serve,
    sources: Sources,
    log: &LogHandle,
    left: Left,
    launch: impl FnOnce(Sources, Ours) -> Result<Launched, Vec<Diagnostic>>,
) -> ExitCode {
    raise_descriptor_limit();
    let path = command.pid_file.as_deref();
    let path = path.map(|path| sources.written(Written::Runtime, path));
    let failed = |errors: &[Diagnostic]| {
        emit(&ServerEvent::CannotStart);
        diagnostics::say(log, errors);
        exit::of_errors(errors)
    };
    let pid_file = match path.as_deref().map(PidFile::prepare).transpose() {
        Ok(pid_file) => pid_file,
        Err(error) => return failed(&[cannot_write(path.as_deref(), &error)]),
    };
    let inheritance = match left.inheritance.transpose() {
        Ok(inheritance) => inheritance,
        Err(error) => return failed(&[cannot_take_over(&error)]),
    };
    let activation = match &inheritance {
        Some(inheritance) => inheritance.activation.clone(),
        None => Arc::new(left.activation),
    };
    let ours = Ours {
        log: log.clone(),
        upgrades: upgrades(activation.clone()),
        inheritance,
        activation,
    };
    let running = match launch(sources, ours) {
        Ok(Launched::Running(running)) => running,
        Ok(Launched::Stopped(report)) => return exit::of_drain(&report),
        Err(errors) => return failed(&errors),
    };
    if let Err(error) = pid_file.as_ref().map_or(Ok(()), PidFile::publish) {
        let code = failed(&[cannot_write(path.as_deref(), &error)]);
        running.give_up();
        return code;
    }
    exit::of_drain(&running.wait())
}

fn cannot_write(pid_file: Option<&Path>, error: &io::Error) -> Diagnostic {
    let path = absolute(pid_file.unwrap_or(Path::new("")));
    let (path, reason) = (path.display(), reason(error));
    let message = format!("cannot write the pid file `{path}`: {reason}");
    Diagnostic::new(Fault::System, "", message)
}

fn cannot_take_over(error: &io::Error) -> Diagnostic {
    let message = format!("cannot take over from the old process: {error}");
    Diagnostic::new(Fault::System, "", message)
}

/// How this process would hand over to another.
fn upgrades(activation: Arc<Activation>) -> Upgrades {
    Upgrades {
        program: Arc::new(Program::new(
            env::args_os(),
            env::var_os("PATH").as_deref(),
            &working_directory(),
        )),
        systemd: Notifier::new(env::var_os("NOTIFY_SOCKET").as_deref()),
        activation,
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

/// Each connection takes a descriptor: the soft limit is for programs that use select(2).
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        log::warn!(target: "everup", "cannot raise the descriptor limit: {error}");
    }
}
