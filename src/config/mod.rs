//! Owns the configuration: loads, prepares and publishes each generation.
//!
//! It is asked what `messages` lists. Every requester of a reload gets an [`Attempt`]. Reading order:
//! `attempts` (which attempt answers whom), `actor`, `load`, `content`, `prepare`, `open`, `attempt`,
//! `trigger`, `history`, `handover`, `watch`.

mod actor;
mod attempt;
mod attempts;
mod background;
mod binding;
mod comparison;
mod content;
mod events;
mod handover;
mod history;
mod inquiries;
mod load;
mod logging;
mod messages;
#[cfg(test)]
mod model;
mod open;
mod prepare;
mod rollback;
mod trigger;
mod watch;

pub(crate) use actor::{ConfigActor, NewConfig};
pub use attempt::{Attempt, Outcome, Refused};
pub(crate) use attempt::{errors, to_the_millisecond};
pub(crate) use attempts::{Condition, ReloadRequest};
pub(crate) use content::{SharedSettings, rehearse};
pub(crate) use events::ConfigEvent;
pub(crate) use handover::Upgrade;
pub use handover::{NotUpgraded, Upgraded};
pub(crate) use messages::{Consult, Consulted, EndService, Recall, Reload, ReopenLogs, Review};
pub(crate) use prepare::{AnySettings, Author, Failed};
pub use rollback::Rollback;
pub use trigger::{Trigger, TriggerKind};
pub(crate) use watch::Watched;
