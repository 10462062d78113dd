//! How the service fares: what the ServerActor tells of itself, its listeners and its workers.

use std::sync::{Arc, atomic::Ordering};

use actix::{Context, Handler, Message, MessageResponse};
use serde::Serialize;

use super::{
    actor::{ServerActor, sum, totals},
    books::Requests,
    drain::Phase,
};

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
    pub connections: u64,
    pub requests: Requests,
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
    fn speaks_tls(&self, listener: &str) -> bool {
        let generation = self.snapshot.as_ref().map(|all| &all.generation);
        generation.is_some_and(|it| it.certificates.of(listener).is_some())
    }
}

impl Handler<Inspect> for ServerActor {
    type Result = Inspection;

    fn handle(&mut self, _: Inspect, _: &mut Context<Self>) -> Inspection {
        let books = self.books();
        let accounts = || books.iter().flatten();
        let listeners = self.listeners().iter().map(|listener| {
            let of_it: Vec<_> = accounts()
                .filter(|account| account.listener == *listener.name())
                .collect();
            ListenerStatus {
                name: listener.name().clone(),
                address: listener.address().to_string(),
                tls: self.speaks_tls(listener.name()),
                connections: of_it.iter().map(|account| account.connections).sum(),
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
