//! The standard streams of commands that end: results on standard output, the rest on standard
//! error. Neither is trusted to work: a pipe may be closed, a disk full.

use std::{
    io::{self, ErrorKind, Write as _},
    process::ExitCode,
};

use super::exit;

/// Prints a command's result, and tells with what the command ends.
pub(super) fn print(name: &str, result: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(result.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has read enough, and says so itself.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(exit::FAILED),
        Err(error) => {
            complain(&format!("{name}: cannot write to standard output: {error}"));
            ExitCode::from(exit::FAILED)
        }
    }
}

/// Says what is wrong; where that fails too there is nowhere left to say it.
pub(super) fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "{what}");
}
