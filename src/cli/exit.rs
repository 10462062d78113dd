//! The exit codes of the process.

use std::process::ExitCode;

use crate::{
    server::DrainReport,
    settings::{Diagnostic, Fault},
};

/// The table of exit codes, as the help of the whole shows it.
pub(super) const HELP: &str = "\
Exit codes:
  0   success; serve: stopped, every request answered
  1   failed; serve: could not start, or a limit of the system was reached
  2   wrong usage
  3   serve: stopped, but requests were cut
  78  settings that no retry mends";

/// As `serve` shows its own.
pub(super) const OF_SERVE: &str = "\
Exit codes:
  0   stopped, every request answered
  1   could not start, or a limit of the system was reached
  2   wrong usage
  3   stopped, but requests were cut
  78  settings that no retry mends";

/// As `check` does.
pub(super) const OF_CHECK: &str = "\
Exit codes:
  0   the settings are valid
  1   failed, and a retry may mend it: the system, or a build
  2   wrong usage
  78  settings that no retry mends";

/// As `show` does.
pub(super) const OF_SHOW: &str = "\
Exit codes:
  0   printed
  1   failed, and a retry may mend it: the system, or nobody to print to
  2   wrong usage
  78  settings that no retry mends";

/// As the commands do that print and read nothing.
pub(super) const OF_PRINTS: &str = "\
Exit codes:
  0   printed
  1   nobody to print to
  2   wrong usage";

pub(super) const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const CUT: u8 = 3;
/// `EX_CONFIG` of sysexits.h: no retry mends it.
pub(super) const SETTINGS: u8 = 78;

/// A service that served has ended.
pub(super) fn of_drain(report: &DrainReport) -> ExitCode {
    match report.cut + report.abandoned {
        0 if report.is_failure => ExitCode::from(FAILED),
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(CUT),
    }
}

/// Settings, or what they ask of the system, are wrong.
pub(super) fn of_errors(errors: &[Diagnostic]) -> ExitCode {
    let is_settings = |error: &Diagnostic| error.kind == Fault::Settings;
    ExitCode::from(if errors.iter().any(is_settings) {
        SETTINGS
    } else {
        FAILED
    })
}
