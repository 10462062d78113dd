//! Serves: one actor that owns the workers, one worker a core, and all that happens to a
//! connection and a request on the way.
//!
//! Taken from upstream: [`Publish`], [`Stop`], [`HandOver`], [`Receive`], [`Inspect`]. Reading order:
//! `actor`, `worker`, `threads`, `hub`, `serve`, `connection`, `io`, `socket`, `tls`, `request`; `http1`, `http2`;
//! `stopping` does what `drain` decides, `books` counts, `listener` binds, `activation` knows
//! what systemd passed; `handover` and `transfer`
//! are an upgrade's.

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
