//! Opens, under the attempt's deadline, where `[logging]` wants the log to go.

use std::time::Instant;

use super::background::{Undone, blocking, bounded};
use crate::{
    settings::{Fault, Loaded},
    telemetry::{LogHandle, OpenedLog},
};

/// The log of these settings, opened and not yet in use: a file that cannot be opened rejects the
/// attempt.
pub(super) async fn open_log(
    log: &LogHandle,
    settings: &Loaded<()>,
    deadline: Instant,
) -> Result<OpenedLog, Undone> {
    let (log, logging) = (log.clone(), settings.tables.logging.clone());
    let opening = blocking(move || log.open(&logging));
    let opened = bounded(deadline, "opening the log", opening).await?;
    opened.map_err(|error| {
        let message = format!("cannot open the log file: {error}");
        let effective = &settings.effective;
        Undone {
            error: effective.diagnostic(Fault::of(&error), "logging.file", &message),
            stuck: None,
        }
    })
}
