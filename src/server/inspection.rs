//! The state of the service: what ServerActor reports of itself, its listeners and its workers.

use std::sync::{Arc, atomic::Ordering};

use actix::{Context, Handler, Message, MessageResponse};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    actor::{ServerActor, sum, totals},
    drain::Phase,
};
use crate::http::{RefusedRequests, Requests};

/// Tell how the service fares.
#[derive(Message)]
#[rtype(result = "Inspection")]
pub(crate) struct Inspect;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum State {
    Starting,
    Serving,
    Draining,
    /// A new process of the program is being started; everything is served.
    Upgrading,
}

/// How the service fares, at one moment.
#[derive(Clone, Debug, MessageResponse, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    pub state: State,
    pub listeners: Vec<ListenerStatus>,
    pub workers: Vec<WorkerStatus>,
    pub requests: Requests,
    /// Where the admin API listens, where it does.
    pub admin: Option<String>,
    /// Connections that a worker takes at most: `server.max_connections`, or what the descriptors
    /// allow.
    pub max_connections: usize,
}

/// One listener, over all workers.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ListenerStatus {
    pub name: Arc<str>,
    /// The real one: port 0 resolved.
    pub address: String,
    pub tls: bool,
    /// What clients that speak TLS are shown; empty without TLS.
    pub certificates: Vec<CertificateStatus>,
    pub connections: u64,
    pub requests: Requests,
    /// What was refused before it became a request.
    pub refused: RefusedRequests,
}

/// A certificate that a listener shows.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CertificateStatus {
    /// Its distinguished name; where that is empty, the names that it is for.
    pub subject: String,
    /// In hexadecimal.
    pub serial: String,
    pub expires: Timestamp,
    /// Whole days until then; negative afterwards.
    pub days_left: i64,
}

/// One worker, over all listeners; also one that others go on without, until its last connection ends.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WorkerStatus {
    pub id: usize,
    /// The newest generation that it has taken up.
    pub generation: u64,
    pub connections: u64,
    pub in_flight: u64,
}

impl ServerActor {
    fn certificates(&self, listener: &str, now: Timestamp) -> Vec<CertificateStatus> {
        let generation = self.snapshot.as_ref().map(|all| &all.generation);
        let facts = generation.and_then(|it| it.certificates.facts(listener));
        let status = facts.map(|facts| CertificateStatus {
            subject: facts.subject.clone(),
            serial: facts.serial.clone(),
            expires: facts.expires,
            days_left: facts.days_left(now),
        });
        status.into_iter().collect()
    }
}

impl Handler<Inspect> for ServerActor {
    type Result = Inspection;

    fn handle(&mut self, _: Inspect, _: &mut Context<Self>) -> Inspection {
        let books = self.books();
        let accounts = || books.iter().flatten();
        let now = Timestamp::now();
        let listeners = self.listeners().iter().map(|listener| {
            let certificates = self.certificates(listener.name(), now);
            let of_it: Vec<_> = accounts()
                .filter(|account| account.listener == *listener.name())
                .collect();
            ListenerStatus {
                name: listener.name().clone(),
                address: listener.address().to_string(),
                tls: !certificates.is_empty(),
                certificates,
                connections: of_it.iter().map(|account| account.connections).sum(),
                refused: of_it.iter().map(|account| account.refused).sum(),
                requests: sum(of_it),
            }
        });
        let workers = self
            .all_workers()
            .zip(&books)
            .map(|(worker, accounts)| WorkerStatus {
                id: worker.id,
                generation: worker.generation.load(Ordering::Relaxed),
                connections: accounts.iter().map(|account| account.connections).sum(),
                in_flight: sum(accounts).in_flight,
            });
        Inspection {
            state: match (self.drain.phase(), &self.snapshot) {
                (Phase::Serving, None) => State::Starting,
                (Phase::Serving, Some(_)) if self.upgrading.is_some() => State::Upgrading,
                (Phase::Serving, Some(_)) => State::Serving,
                _ => State::Draining,
            },
            listeners: listeners.collect(),
            workers: workers.collect(),
            requests: totals(&books),
            admin: self
                .admin()
                .map(|admin| admin.listener.address().to_string()),
            max_connections: self
                .snapshot
                .as_ref()
                .map_or(0, |snapshot| snapshot.max_connections),
        }
    }
}
