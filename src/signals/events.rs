//! What the log says of signals.

use std::fmt;

use log::Level;

use crate::telemetry::Event;

/// A signal that came.
pub(crate) enum SignalEvent<'a> {
    /// A signal that does nothing here.
    Unhandled(&'a str),
    /// A SIGHUP that means the end of the controlling terminal.
    TerminalGone(&'a str),
}

impl Event for SignalEvent<'_> {
    fn level(&self) -> Level {
        match self {
            Self::TerminalGone(_) => Level::Info,
            Self::Unhandled(_) => Level::Warn,
        }
    }

    fn target(&self) -> &'static str {
        "everup::signals"
    }
}

impl fmt::Display for SignalEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unhandled(by) => write!(f, "{by}: unhandled, no action taken"),
            Self::TerminalGone(by) => write!(f, "{by}: the controlling terminal has gone away"),
        }
    }
}
