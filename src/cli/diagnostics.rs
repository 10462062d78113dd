//! Diagnostics as a person sees them.

use crate::{settings::Diagnostic, telemetry::LogHandle};

/// Says all that is wrong, on standard error.
pub(super) fn say(log: &LogHandle, errors: &[Diagnostic]) {
    for error in errors {
        log.say(&error.to_string());
    }
}
