//! What the log says of attempts, settings and upgrades.

use std::fmt;

use log::Level;

use super::{
    attempt::{Attempt, Outcome},
    handover::{NotUpgraded, Upgraded},
};
use crate::{settings::Diagnostic, telemetry::Event};

/// Something about the configuration, or about who serves it.
pub(crate) enum ConfigEvent<'a> {
    Attempt(&'a Attempt),
    /// A setting is valid and probably not what was meant.
    Warning(&'a Diagnostic),
    /// The attempt of this number was rejected for reasons that may pass, and is to be tried again.
    TriedAgain(u64),
    /// Something that is to be watched is not, and why.
    NotWatched(&'a str),
    /// A new process of the program is being started.
    UpgradeAsked(&'a str),
    Upgraded(&'a Upgraded),
    /// The new process does not carry on the rollback to this generation.
    RollbackEnds(u64),
    NotUpgraded {
        by: &'a str,
        why: &'a NotUpgraded,
    },
}

impl Event for ConfigEvent<'_> {
    fn level(&self) -> Level {
        match self {
            Self::Attempt(attempt) if attempt.is_repeated => Level::Debug,
            Self::Attempt(attempt) if attempt.outcome != Outcome::Rejected => Level::Info,
            Self::Attempt(attempt) if attempt.refused.is_some() => Level::Info,
            Self::Attempt(_) => Level::Error,
            Self::TriedAgain(_) | Self::UpgradeAsked(_) | Self::Upgraded(_) => Level::Info,
            Self::Warning(_) | Self::RollbackEnds(_) => Level::Warn,
            Self::NotWatched(_) | Self::NotUpgraded { .. } => Level::Error,
        }
    }

    fn target(&self) -> &'static str {
        match self {
            Self::Attempt(_) | Self::Warning(_) | Self::TriedAgain(_) | Self::NotWatched(_) => {
                "everup::config"
            }
            _ => "everup::server",
        }
    }
}

impl fmt::Display for ConfigEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempt(attempt) => attempt.fmt(f),
            Self::Warning(warning) => warning.fmt(f),
            Self::TriedAgain(number) => write!(
                f,
                "reload {number} is tried again in 1 s, then at intervals that grow to 60 s, until it is \
                 applied, the files change, or another generation is published"
            ),
            Self::NotWatched(why) => write!(f, "cannot watch all files of the settings: {why}"),
            Self::UpgradeAsked(by) => write!(f, "upgrade: starting a new process, asked by {by}"),
            Self::Upgraded(upgraded) => write!(
                f,
                "upgraded: pid {} serves generation {}, ready after {:.2} ms",
                upgraded.pid, upgraded.generation, upgraded.ready_ms
            ),
            Self::RollbackEnds(generation) => write!(
                f,
                "the upgrade undoes the rollback to generation {generation}: the new process has read \
                 the settings"
            ),
            Self::NotUpgraded { by, why } => {
                write!(f, "not upgraded: {why}; asked by {by}")
            }
        }
    }
}
