//! Serves: one actor that owns the workers, one worker a core, and all that happens to a
//! connection and a request on the way.
//!
//! Taken from upstream: [`Publish`], [`Stop`], [`HandOver`], [`Receive`], [`Inspect`]. Reading order:
//! `actor`, `worker`, `threads`, `hub`, `serve`, `connection`, `io`, `socket`, `tls`, `request`; `http1`, `http2`;
//! `stopping` does what `drain` decides, `books` counts, `listener` binds, `activation` knows
//! what systemd passed; `handover` and `passage`
//! are an upgrade's.

mod acceptor;
mod activation;
mod actor;
mod apps;
mod blocking;
mod body;
mod books;
mod client;
mod clock;
mod closing;
mod connection;
mod drain;
mod extract;
mod handover;
mod handshakes;
mod http1;
mod http2;
mod hub;
mod inspection;
mod io;
mod lent_port;
mod listener;
mod misconduct;
mod open_files;
mod origin;
mod pace;
mod passage;
mod probes;
mod publish;
mod pulse;
mod readiness;
mod refused;
mod request;
mod serve;
mod share;
mod sock_diag;
mod socket;
mod socket_file;
mod speaks;
mod stopping;
mod stream;
mod threads;
mod tls;
mod worker;

pub(crate) use activation::Activation;
pub(crate) use actor::{NewServer, ServerActor};
pub(crate) use apps::NOWHERE;
pub(crate) use blocking::block;
pub use books::Requests;
pub(crate) use books::Victim;
pub(crate) use client::{Client, client, command};
#[cfg(test)]
pub(crate) use drain::{Drain, Limits as DrainLimits, Phase};
pub(crate) use drain::{Step, Urge};
pub(crate) use extract::pinned;
pub use extract::{Lifecycle, Live, Shared};
pub(crate) use handover::{HandOver, HandedOver, Receive, Upgrades};
pub(crate) use http2::{Ahead, ahead, may_read_ahead};
pub(crate) use hub::{Crowd, Times};
pub(crate) use inspection::Inspect;
pub use inspection::{CertificateStatus, Inspection, ListenerStatus, State, WorkerStatus};
pub(crate) use lent_port::LentPort;
pub(crate) use listener::{Access, Bequest, Listener};
pub(crate) use misconduct::Misconduct;
pub(crate) use open_files::{Leave, OpenFiles};
pub(crate) use origin::Origin;
pub(crate) use passage::{Arrival, Passenger};
pub(crate) use publish::{Intake, Move, Publish};
pub(crate) use pulse::{Deadline, Pulse};
pub(crate) use readiness::Readiness;
pub(crate) use refused::Refusal;
pub use refused::RefusedRequests;
pub(crate) use serve::{NewServe, new_serve};
pub(crate) use share::Share;
pub(crate) use speaks::Speaks;
pub use stopping::DrainReport;
pub(crate) use stopping::Stop;
pub(crate) use threads::{Failure, Threads};
pub(crate) use tls::ALPN;
pub(crate) use worker::{NewWorker, Worker};
