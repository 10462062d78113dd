//! Opens, under the attempt's deadline, where `[logging]` wants the log to go.

use std::time::Instant;

use rustix::io::Errno;

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
    if let Some(opened) = log.take_over(&settings.tables.logging) {
        return Ok(opened);
    }
    let (log, logging) = (log.clone(), settings.tables.logging.clone());
    let file = logging.file.clone();
    let opening = blocking(move || log.open(&logging));
    let opened = bounded(deadline, "opening the log", opening).await?;
    opened.map_err(|error| {
        let why = match Errno::from_io_error(&error) {
            Some(Errno::NXIO) => "it is a FIFO that nobody reads, or a socket".to_owned(),
            _ => error.to_string(),
        };
        let message = format!("cannot log to {file}: {why}");
        let effective = &settings.effective;
        Undone {
            error: effective.diagnostic(Fault::of(&error), "logging.file", &message),
            stuck: None,
        }
    })
}
