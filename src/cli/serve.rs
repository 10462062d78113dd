//! `serve`: the service as this process, from its settings to its exit code.

use std::{path::Path, process::ExitCode};

use rustix::process::{Resource, getrlimit, setrlimit};

use super::{args::Serve, diagnostics, exit, pid_file::PidFile};
use crate::{
    control::StopMode,
    service::Launched,
    settings::{Diagnostic, Fault, Sources, Written},
    telemetry::LogHandle,
};

/// Serves until something ends it.
pub(super) fn serve(
    command: &Serve,
    sources: Sources,
    log: &LogHandle,
    launch: impl FnOnce(Sources) -> Result<Launched, Vec<Diagnostic>>,
) -> ExitCode {
    raise_descriptor_limit();
    let path = command.pid_file.as_deref();
    let path = path.map(|path| sources.written(Written::Runtime, path));
    let failed = |errors: &[Diagnostic]| {
        diagnostics::say(log, errors);
        exit::of_errors(errors)
    };
    let pid_file = match path.as_deref().map(PidFile::prepare).transpose() {
        Ok(pid_file) => pid_file,
        Err(error) => return failed(&[cannot_write(path.as_deref(), &error)]),
    };
    let running = match launch(sources) {
        Ok(Launched::Running(running)) => running,
        Ok(Launched::Stopped(report)) => return exit::of_drain(&report),
        Err(errors) => return failed(&errors),
    };
    if let Err(error) = pid_file.as_ref().map_or(Ok(()), PidFile::publish) {
        let code = failed(&[cannot_write(path.as_deref(), &error)]);
        running.control().stop(StopMode::Graceful);
        running.wait();
        return code;
    }
    exit::of_drain(&running.wait())
}

fn cannot_write(pid_file: Option<&Path>, error: &std::io::Error) -> Diagnostic {
    let path = pid_file.unwrap_or(Path::new("")).display();
    let message = format!("cannot write the pid file `{path}`: {error}");
    Diagnostic::new(Fault::System, "", message)
}

/// Each connection takes a descriptor: the soft limit is for programs that use select(2).
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        log::warn!(target: "everup", "cannot raise the descriptor limit: {error}");
    }
}
