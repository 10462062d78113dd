//! `check`: everything that serve does before it binds.

use std::{process::ExitCode, sync::Arc};

use super::{Found, diagnostics, exit, output};
use crate::{
    config::{Author, rehearse},
    settings::{Diagnostic, Fault},
    telemetry::LogHandle,
};

/// Loads and builds; says what is wrong, or in one line that nothing is.
pub(super) fn check(author: &Arc<dyn Author>, found: Found, log: &LogHandle) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = Diagnostic::new(Fault::System, "", error.to_string());
            diagnostics::say(log, std::slice::from_ref(&error));
            return exit::of_errors(&[error]);
        }
    };
    let checked = runtime.block_on(rehearse(author.clone(), Arc::new(found.sources)));
    // A build that hangs is neither waited for nor left without a runtime: the process ends.
    std::mem::forget(runtime);
    match checked {
        Ok(warnings) => {
            diagnostics::warn(log, &warnings);
            let name = author.name();
            output::print(name, &format!("{name}: valid: {}\n", found.told))
        }
        Err(errors) => {
            diagnostics::say(log, &errors);
            exit::of_errors(&errors)
        }
    }
}
