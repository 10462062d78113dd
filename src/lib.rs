//! everup keeps an actix-web service up: it reloads its configuration, stops, and hands over to a new
//! process, without losing a request.
//!
//! An author writes a usual actix-web App and a type for its settings; [`Service`] does the
//! rest. The whole of a service is in `examples/greeter.rs`; `sse.rs` and `websocket.rs` beside it
//! say goodbye to their clients.
//!
//! Reading order of the modules: [`settings`](Settings) (sources to typed settings), `config` (load,
//! prepare, publish), `server` (workers, connections, requests, the drain), `control` (the handle
//! behind every trigger), `signals` and `admin` (triggers), `service` (wires them), `upgrade` (a new
//! process takes over), `telemetry` (log and access log), `cli` (the process), `site` (the
//! program's own service).

#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("everup is for Linux: it rests on socket filters and /proc");

mod admin;
mod cli;
mod config;
mod control;
mod generation;
mod http;
mod net;
mod server;
mod service;
mod settings;
mod signals;
#[doc(hidden)]
pub mod site;
mod systemd;
mod telemetry;
mod upgrade;
mod watch;

pub use config::{
    Attempt, NotUpgraded, Outcome, Refused, Rollback, Trigger, TriggerKind, Upgraded,
};
pub use control::{Control, Status, StopMode, Stopped};
pub use http::{Lifecycle, Live, RefusedRequests, Requests, Shared};
pub use server::{
    CertificateStatus, Confirmations, DrainReport, Inspection, ListenerStatus, State, WorkerStatus,
};
pub use service::{Running, Service};
pub use settings::{
    Address, Admin, AdminAddress, Build, Change, Diagnostic, Effective, Excerpt, Fault, Findings,
    Listener, LogFormat, Logging, Place, Reload, Secret, Server, Settings, Shadowed, Shutdown,
    Sources, Tables, Tls, Written, duration, read, schema,
};
