//! Owns the configuration: load, prepare, publish.
//!
//! Taken: [`Reload`], [`End`], [`ReopenLogs`], [`Recall`]. Reading order: `attempts` (who is answered by which
//! attempt), `actor`, `prepare`, `generation` (what a request sees), `attempt` (the record).

mod actor;
mod attempt;
mod attempts;
mod background;
mod descriptors;
mod generation;
mod logging;
#[cfg(test)]
mod model;
mod prepare;

pub(crate) use actor::{ConfigActor, End, NewConfig, Recall, Reload, ReopenLogs};
pub use attempt::{Attempt, Confirmations, Outcome, Trigger, TriggerKind};
pub(crate) use generation::{Generation, Pin, Reaper, Slot};
pub(crate) use prepare::{AnySettings, Author, Snapshot, rehearse};
