//! Opens the log destination of `[logging]` under the attempt's deadline.

use std::path::Path;

use rustix::io::Errno;

use super::background::{Claim, Loader, Undone, bounded};
use crate::{
    http::Deadline,
    settings::{Fault, Loaded, Sources, Written, absolute, reason},
    telemetry::{LogHandle, OpenedLog},
};

/// The log of these settings, opened and not yet in use: a file that cannot be opened rejects the
/// attempt.
pub(super) async fn open_log(
    log: &LogHandle,
    builder: &Loader,
    sources: &Sources,
    settings: &Loaded<()>,
    deadline: &Deadline,
) -> Result<OpenedLog, Undone> {
    let logging = &settings.tables.logging;
    let file = logging.file.clone();
    let path = sources.written(Written::Logs, Path::new(&file));
    if let Some(opened) = log.take_over(logging, &path) {
        return Ok(opened);
    }
    let named = absolute(&path).display().to_string();
    let (log, logging) = (log.clone(), logging.clone());
    let opening = builder.run(Claim::Full, move || log.open(&logging, path));
    let opened = bounded(deadline, "opening the log", opening).await?;
    opened.map_err(|error| {
        let why = match Errno::from_io_error(&error) {
            Some(Errno::NXIO) => "it is a FIFO that nobody reads, or a socket".to_owned(),
            _ => reason(&error),
        };
        let message = format!("cannot log to `{named}`: {why}");
        let effective = &settings.effective;
        Undone {
            error: effective.diagnostic(Fault::of(&error), "logging.file", &message),
            stuck: None,
        }
    })
}
