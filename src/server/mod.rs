//! Serves the published snapshot: ServerActor owns the workers, one a core, and their sockets.
//!
//! It is asked to [`Publish`], [`Stop`], [`HandOver`], [`Receive`] and [`Inspect`]. It answers with
//! confirmations, a drain report, the new process or an inspection. Reading order: `actor`, `publish`,
//! `worker`, `acceptor`, `threads`; `stopping` carries out what `drain` decides; `closing` empties and
//! closes listeners; `handover` is the old process's part of an upgrade.

mod acceptor;
mod actor;
mod closing;
mod descriptors;
mod drain;
mod events;
mod handover;
mod inspection;
mod publish;
mod snapshot;
mod stopping;
mod threads;
mod worker;

pub(crate) use descriptors::{Budget, Room, leaves_reserve};

pub(crate) use actor::{NewServer, ServerActor};
pub(crate) use drain::StopUrgency;
#[cfg(test)]
pub(crate) use drain::{Drain, Limits as DrainLimits, Phase, Step};
pub(crate) use events::ServerEvent;
pub(crate) use handover::{HandOver, HandedOver, Receive, Upgrades};
pub(crate) use inspection::Inspect;
pub use inspection::{CertificateStatus, Inspection, ListenerStatus, State, WorkerStatus};
pub(crate) use publish::{Intake, Move, Publish};
pub use snapshot::Confirmations;
pub(crate) use snapshot::{AdminServer, Snapshot};
pub use stopping::DrainReport;
pub(crate) use stopping::Stop;
pub(crate) use threads::{Failure, PanicGuard, Threads};
pub(crate) use worker::{NewWorker, Worker};
