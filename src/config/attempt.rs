//! The record of an attempt: its trigger and its outcome. Requesters receive it, the log prints it in
//! one line, and the admin API serves it as JSON.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    attempts,
    rollback::Rollback,
    trigger::{Trigger, TriggerKind},
};
use crate::{
    server::Confirmations,
    settings::{Change, Diagnostic, Fault, Place, Shadowed},
};

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// A new generation is served.
    Applied,
    /// Nothing differs from what is served: the generation is kept, an earlier failure is over.
    Unchanged,
    /// Nothing was changed anywhere; [`Attempt::errors`] say why.
    Rejected,
    /// A dry run: it would have been applied. Nothing was changed.
    WouldApply,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Rejected => "rejected",
            Self::WouldApply => "would_apply",
        })
    }
}

/// One attempt to make a new generation current.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// Counts from 1, which is the start.
    #[serde(rename = "attempt")]
    pub number: u64,
    /// How many requests it answered beside the first.
    pub folded: u64,
    pub outcome: Outcome,
    /// The generation served when the answer was given; 0 where none is yet.
    pub generation: u64,
    /// The digest of what is served; empty where nothing is yet.
    pub digest: Arc<str>,
    /// 1,000 at the most, in the order of their keys.
    pub changes: Vec<Change>,
    /// How many more there are.
    pub changes_omitted: usize,
    /// What files say anew and is not in force, since the environment or `--set` hides it.
    pub shadowed: Vec<Shadowed>,
    #[serde(serialize_with = "errors", deserialize_with = "told_errors")]
    pub errors: Vec<Diagnostic>,
    /// What asked first.
    pub trigger: Trigger,
    /// The workers that have taken it up.
    pub workers: Confirmations,
    pub load_ms: f64,
    pub prepare_ms: f64,
    pub publish_ms: f64,
    /// A rollback that is in force, or that this attempt has undone.
    #[serde(default)]
    pub rollback: Option<Rollback>,
    /// When the attempt was asked for.
    #[serde(serialize_with = "to_the_millisecond")]
    pub at: Timestamp,
    /// What asked too: the first few of those folded.
    #[serde(skip)]
    pub others: Vec<Trigger>,
    /// Nothing was tried, and why.
    #[serde(skip)]
    pub refused: Option<Refused>,
    /// Whether it was to change nothing, whatever came of it.
    #[serde(skip)]
    pub is_dry_run: bool,
    /// Whether it was tried again, and rejected for the same reasons as before.
    #[serde(skip)]
    pub is_repeated: bool,
}

/// Why an [`Attempt`] was rejected before anything was tried: nothing is wrong with the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The service is stopping.
    Stopping,
    /// Too many wait already.
    Busy,
    /// What is served is not what was to be served at that time.
    Condition,
    /// The generation of this number is not kept.
    NotKept(u64),
}

/// What the one error of the attempt says.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopping => f.write_str("stopping"),
            Self::Busy => write!(
                f,
                "{} dry runs, rollbacks and conditional reloads wait already: try again later",
                attempts::SINGLES
            ),
            Self::Condition => f.write_str("`If-Match` is not the digest that is served"),
            Self::NotKept(generation) => write!(
                f,
                "generation {generation} is not kept (`reload.history` says how many are)"
            ),
        }
    }
}

impl From<attempts::AttemptRefusal> for Refused {
    fn from(refusal: attempts::AttemptRefusal) -> Self {
        match refusal {
            attempts::AttemptRefusal::Stopping => Self::Stopping,
            attempts::AttemptRefusal::Busy => Self::Busy,
        }
    }
}

/// Senders that an attempt's line names.
const SENDERS_NAMED: usize = 5;

/// One line, for the log and for people.
impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "reload {} {}: generation {}",
            self.number, self.outcome, self.generation
        )?;
        if !self.digest.is_empty() {
            write!(f, ", digest {}", self.digest)?;
        }
        if matches!(self.outcome, Outcome::Applied | Outcome::WouldApply) {
            let keys = self.changes.iter().map(|change| change.key.as_str());
            write!(f, ", {}", Named(self.changes_omitted, keys.collect()))?;
        }
        if !self.shadowed.is_empty() {
            let hidden = self.shadowed.iter();
            let hidden: Vec<String> = hidden
                .map(|it| format!("{} by {}", it.key, it.by))
                .collect();
            let hidden = hidden.iter().map(String::as_str).collect();
            write!(f, ", shadowed: {}", Named(0, hidden))?;
        }
        if !self.errors.is_empty() {
            let errors: Vec<String> = self.errors.iter().map(ToString::to_string).collect();
            write!(f, ", errors: {}", errors.join("; "))?;
        }
        if self.is_dry_run {
            f.write_str(", a dry run")?;
        }
        self.write_rollback(f)?;
        write!(f, ", by {}", self.trigger)?;
        for other in self.others.iter().take(SENDERS_NAMED - 1) {
            write!(f, ", {other}")?;
        }
        if self.folded as usize >= SENDERS_NAMED {
            f.write_str(" and more")?;
        }
        write!(
            f,
            ", folded {}, load {:.2} ms, prepare {:.2} ms, publish {:.2} ms",
            self.folded, self.load_ms, self.prepare_ms, self.publish_ms
        )
    }
}

/// How many changes, and the first few of them; so many more have no name here.
struct Named<'a>(usize, Vec<&'a str>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        let Self(nameless, names) = self;
        let count = names.len() + nameless;
        write!(f, "{count} change{}", if count == 1 { "" } else { "s" })?;
        if !names.is_empty() {
            write!(f, " ({}", names[..names.len().min(SHOWN)].join(", "))?;
            f.write_str(if count > SHOWN { ", …)" } else { ")" })?;
        }
        Ok(())
    }
}

/// Errors and warnings as the admin API shows them: the place is called `origin`, as a value's is.
pub(crate) fn errors<S: Serializer>(
    errors: &[Diagnostic],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Error<'a> {
        key: &'a str,
        message: &'a str,
        origin: Option<String>,
    }
    serializer.collect_seq(errors.iter().map(|error| Error {
        key: &error.key,
        message: &error.message,
        origin: error.place.as_ref().map(ToString::to_string),
    }))
}

/// As the log writes a moment.
pub(crate) fn to_the_millisecond<S: Serializer>(
    at: &Timestamp,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.3}"))
}

/// Errors as another process told them: of their places the texts are known.
fn told_errors<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Diagnostic>, D::Error> {
    #[derive(Deserialize)]
    struct Error {
        key: String,
        message: String,
        origin: Option<String>,
    }
    let told = Vec::<Error>::deserialize(from)?.into_iter();
    let errors = told.map(|error| Diagnostic {
        place: error.origin.map(|source| Place {
            source,
            line: None,
            column: None,
        }),
        ..Diagnostic::new(Fault::Settings, &error.key, error.message)
    });
    Ok(errors.collect())
}

/// The time that each step of an attempt took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Took {
    pub(crate) load: Duration,
    pub(crate) prepare: Duration,
    pub(crate) publish: Duration,
}

impl Attempt {
    /// Whether a stop overtook it.
    pub fn is_stopping(&self) -> bool {
        self.refused == Some(Refused::Stopping)
    }

    /// Whether it is why the service cannot start.
    pub(super) fn is_failed_start(&self) -> bool {
        self.trigger.kind == TriggerKind::Start
            && self.outcome == Outcome::Rejected
            && self.refused.is_none()
    }

    /// Whether it says how what is served stands to the settings: no dry run, and nothing that was
    /// refused for how it was asked.
    pub(super) fn is_telling(&self) -> bool {
        !self.is_dry_run && matches!(self.refused, None | Some(Refused::Stopping))
    }

    /// How it stands to a rollback, where that is news.
    fn write_rollback(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(rollback) = self.rollback else {
            return Ok(());
        };
        let to = format_args!("the rollback to generation {}", rollback.generation);
        match (self.outcome, self.trigger.kind) {
            (Outcome::WouldApply, _) if rollback.is_undone => write!(f, ", would undo {to}"),
            _ if rollback.is_undone => write!(f, ", undoes {to}"),
            (Outcome::Rejected, _) => Ok(()),
            (Outcome::Applied, TriggerKind::Rollback) => {
                let generation = rollback.generation;
                write!(
                    f,
                    ", back to generation {generation} until the settings change"
                )
            }
            _ => write!(f, ", {to} stays until the settings change"),
        }
    }

    /// Whether it was rejected for reasons that are not the settings', so that the same may be applied
    /// later.
    pub(crate) fn may_pass(&self) -> bool {
        self.outcome == Outcome::Rejected
            && self.refused.is_none()
            && self
                .errors
                .iter()
                .all(|error| error.kind != Fault::Settings)
    }

    /// Whether this was tried again after `last`, and rejected for the same reasons.
    pub(super) fn repeats(&self, last: &Self) -> bool {
        let is_retry = self.trigger.is_retry && self.folded == 0;
        let are_rejected = [self, last].map(|it| it.outcome) == [Outcome::Rejected; 2];
        is_retry && are_rejected && self.errors == last.errors
    }

    pub(crate) fn took(mut self, took: Took) -> Self {
        self.load_ms = millis(took.load);
        self.prepare_ms = millis(took.prepare);
        self.publish_ms = millis(took.publish);
        self
    }
}

/// In milliseconds, to the microsecond: more is noise.
pub(super) fn millis(took: Duration) -> f64 {
    took.as_micros() as f64 / 1e3
}
