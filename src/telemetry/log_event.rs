//! What the log says of itself.

use std::{fmt, io, path::Path};

use log::{Level, Record};

use super::{event::Event, line};
use crate::settings::LogFormat;

/// Something about the log itself.
pub(crate) enum LogEvent<'a> {
    /// Lines found the queue full, or could not be written.
    LinesLost {
        lines: u64,
        /// Why the last of them could not be written.
        error: Option<&'a io::Error>,
    },
    /// Keys of `[logging]` that say nothing where the author has brought a logger.
    LogSettingsIgnored(&'a [String]),
    /// The last line of a log that goes on elsewhere.
    LogMoves {
        to: &'a Path,
    },
    LogReopened {
        path: &'a Path,
        by: &'a str,
    },
    LogNotReopened {
        path: &'a Path,
        error: &'a io::Error,
        by: &'a str,
    },
    /// It was to be opened anew, and is no file of ours.
    LogNotAFile {
        by: &'a str,
    },
    LogNotRolled {
        path: &'a Path,
        error: &'a io::Error,
    },
    LogNotWritten {
        path: &'a Path,
        error: &'a io::Error,
    },
}

impl LogEvent<'_> {
    /// The event as a whole line, for a sink that cannot log through itself.
    pub(super) fn line(&self, format: LogFormat) -> Vec<u8> {
        let mut record = Record::builder();
        record.level(self.level()).target(self.target());
        let encoder = line::encoder(format);
        line::encode(&*encoder, &record.args(format_args!("{self}")).build())
            .expect("a text can be encoded")
    }
}

impl Event for LogEvent<'_> {
    fn level(&self) -> Level {
        match self {
            Self::LogMoves { .. } | Self::LogReopened { .. } | Self::LogNotAFile { .. } => {
                Level::Info
            }
            Self::LinesLost { .. } | Self::LogSettingsIgnored(_) => Level::Warn,
            Self::LogNotReopened { .. }
            | Self::LogNotRolled { .. }
            | Self::LogNotWritten { .. } => Level::Error,
        }
    }

    fn target(&self) -> &'static str {
        "everup::log"
    }
}

impl fmt::Display for LogEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinesLost { lines, error } => {
                write!(f, "{lines} lines were lost: ")?;
                match error {
                    Some(error) => write!(f, "they could not be written: {error}"),
                    None => f.write_str("they were not taken in time"),
                }
            }
            Self::LogSettingsIgnored(keys) => write!(
                f,
                "{}: no effect: the program installed its own logger, and everup logs to it through the \
                 `log` facade",
                keys.join(", ")
            ),
            Self::LogMoves { to } => write!(f, "the log continues in {}", to.display()),
            Self::LogReopened { path, by } => {
                write!(f, "reopened {}, asked by {by}", path.display())
            }
            Self::LogNotReopened { path, error, by } => write!(
                f,
                "cannot reopen {}: {error}; the log continues in the file that is open; asked by {by}",
                path.display()
            ),
            Self::LogNotAFile { by } => {
                write!(f, "no log file to reopen (`logging.file`), asked by {by}")
            }
            Self::LogNotRolled { path, error } => write!(
                f,
                "cannot rotate {}: {error}; the file grows until that succeeds",
                path.display()
            ),
            Self::LogNotWritten { path, error } => write!(
                f,
                "cannot write to {}: {error}; lines are lost until that succeeds",
                path.display()
            ),
        }
    }
}
