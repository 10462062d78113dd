//! Owns the configuration: load, prepare, publish.
//!
//! Taken: [`Reload`], [`Upgrade`], [`End`], [`Recall`]. Reading order: `attempts` (who is answered
//! by which attempt), `actor`, `prepare`, `start`, `generation` (what a request sees), `attempt` (the
//! record), `handover`.

mod actor;
mod attempt;
mod attempts;
mod background;
mod descriptors;
mod generation;
mod handover;
#[cfg(test)]
mod model;
mod prepare;
mod start;

pub(crate) use actor::{ConfigActor, End, NewConfig, Recall, Reload};
pub use attempt::{Attempt, Confirmations, Outcome, Trigger, TriggerKind};
pub(crate) use generation::{Generation, Pin, Reaper, Slot};
pub(crate) use handover::Upgrade;
pub use handover::{NotUpgraded, Upgraded};
pub(crate) use prepare::{AnySettings, Author, Snapshot};
