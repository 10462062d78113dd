//! ServerActor: owns the workers, what they serve, and the service's way to its end.
//!
//! Takes [`Publish`], [`HandOver`](super::HandOver) and [`Stop`](super::Stop) from the ConfigActor,
//! [`Inspect`](super::Inspect) and [`Receive`](super::Receive) from whoever holds a
//! [`Control`](crate::Control). Knows the workers' addresses and none upstream. What it does to hand
//! over, to stop and to tell of itself is in `handover`, `stopping` and `inspection`.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, AsyncContext as _, Context, Handler, Message, ResponseFuture};
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{
    books::{Account, Requests},
    drain::Drain,
    handover::Upgrades,
    listener::{Listener, Share},
    passage::Passage,
    pulse::{Pulse, Suspension, TICK},
    readiness::Readiness,
    stopping::DrainReport,
    worker::{Adopt, CatchUp, Worker},
};
use crate::{
    config::{AdminServer, Confirmations, Snapshot},
    telemetry::{AccessLog, Event, emit},
    upgrade::Inheritance,
};

/// Make this snapshot what is served. From the ConfigActor; cannot fail: all that could has been
/// done. Answered when the generation is out, or, where workers have listeners to take up, when
/// they have.
#[derive(Message)]
#[rtype(result = "Confirmations")]
pub(crate) struct Publish {
    pub(crate) snapshot: Snapshot,
    /// What the workers, by their place in the snapshot, are to listen on from now on.
    pub(crate) shares: Vec<Vec<Share>>,
    /// The admin listener's, the first time.
    pub(crate) admin: Vec<Share>,
    /// How long a worker may take before it counts as late.
    pub(crate) patience: Duration,
}

/// What a ServerActor is made of.
pub(crate) struct NewServer {
    /// Gets the report when all is over.
    pub(crate) finished: oneshot::Sender<DrainReport>,
    pub(crate) readiness: Readiness,
    pub(crate) pulse: Pulse,
    pub(crate) access: AccessLog,
    /// Where the process is ours.
    pub(crate) upgrades: Option<Upgrades>,
    /// What the process before has left.
    pub(crate) inheritance: Option<Arc<Inheritance>>,
}

/// The actor that serves.
pub(crate) struct ServerActor {
    pub(super) snapshot: Option<Snapshot>,
    pub(super) readiness: Readiness,
    pub(super) drain: Drain,
    /// Where the process is ours.
    pub(super) upgrades: Option<Upgrades>,
    /// What the process before has left.
    pub(super) inheritance: Option<Arc<Inheritance>>,
    /// Ends the upgrade under way, when it is dropped.
    pub(super) upgrading: Option<oneshot::Sender<()>>,
    /// Where idle connections go on, once a new process has taken over.
    pub(super) passage: Option<Passage>,
    /// The books when the stop began.
    pub(super) before: Requests,
    pub(super) is_failure: bool,
    pub(super) finished: Option<oneshot::Sender<DrainReport>>,
    pub(super) pulse: Pulse,
    /// How long the process has stood still, as far as the drain knows.
    stood: Duration,
    suspended: Suspension,
    /// For what is cut.
    pub(super) access: AccessLog,
    /// Connections that nobody reads any more.
    pub(super) abandoned: Rc<Cell<u64>>,
}

impl ServerActor {
    pub(crate) fn new(new: NewServer) -> Self {
        Self {
            access: new.access,
            abandoned: Rc::default(),
            snapshot: None,
            readiness: new.readiness,
            drain: Drain::new(),
            upgrades: new.upgrades,
            inheritance: new.inheritance,
            upgrading: None,
            passage: None,
            before: Requests::default(),
            is_failure: false,
            finished: Some(new.finished),
            stood: new.pulse.look(Instant::now()),
            pulse: new.pulse,
            suspended: Suspension::so_far(),
        }
    }

    pub(super) fn workers(&self) -> &[Worker] {
        self.snapshot
            .as_ref()
            .map_or(&[], |snapshot| &snapshot.workers)
    }

    pub(super) fn listeners(&self) -> &[Arc<Listener>] {
        self.snapshot
            .as_ref()
            .map_or(&[], |snapshot| &snapshot.listeners)
    }

    pub(super) fn admin(&self) -> Option<&AdminServer> {
        self.snapshot.as_ref()?.admin.as_ref()
    }

    /// Every account of every worker, each worker's as it stands at one moment.
    pub(super) fn books(&self) -> Vec<Vec<Account>> {
        self.workers()
            .iter()
            .map(|worker| worker.books.read())
            .collect()
    }

    /// Where the process stood still, says so, and moves every deadline by as much.
    pub(super) fn catch_up(&mut self, ctx: &mut Context<Self>) {
        let stood = self.pulse.look(Instant::now());
        let by = stood - self.stood;
        self.stood = stood;
        let slept = self.suspended.since(Suspension::so_far());
        if (by + slept).is_zero() {
            return;
        }
        emit(&Event::StoodStill(by + slept));
        self.drain.stood_still(by);
        self.set_clock(ctx);
        let drain = self.worker_drain();
        for worker in self.workers() {
            worker.address.do_send(CatchUp);
            if let Some(drain) = &drain {
                worker.address.do_send(drain.clone());
            }
        }
    }
}

pub(super) fn sum<'a>(accounts: impl IntoIterator<Item = &'a Account>) -> Requests {
    accounts.into_iter().map(|account| account.requests).sum()
}

/// All of the books together, which are checked wherever they are read.
pub(super) fn totals(books: &[Vec<Account>]) -> Requests {
    let totals = sum(books.iter().flatten());
    if !totals.balance() {
        emit(&Event::BooksDiffer(totals));
    }
    totals
}

impl Actor for ServerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(TICK, Self::catch_up);
    }
}

impl Handler<Publish> for ServerActor {
    type Result = ResponseFuture<Confirmations>;

    fn handle(&mut self, publish: Publish, _: &mut Context<Self>) -> Self::Result {
        let Publish {
            snapshot,
            shares,
            admin,
            patience,
        } = publish;
        // P2: from here on, whatever a worker pins is this generation.
        snapshot.published.send_replace(snapshot.generation.clone());
        self.readiness.serves();
        let total = snapshot.workers.len();
        let waits = shares.iter().any(|shares| !shares.is_empty());
        let max_connections = snapshot.max_connections;
        if let Some(of) = &snapshot.admin {
            let max_connections = of.max_connections;
            of.worker.address.do_send(Adopt {
                shares: admin,
                max_connections,
            });
        }
        let adopting: Vec<_> = snapshot
            .workers
            .iter()
            .zip(shares.into_iter().chain(std::iter::repeat_with(Vec::new)))
            .map(|(worker, shares)| {
                let adopt = Adopt {
                    shares,
                    max_connections,
                };
                // A task of its own: a future of `send` that is dropped takes its message back,
                // and who is late is to adopt all the same.
                (worker.id, actix_rt::spawn(worker.address.send(adopt)))
            })
            .collect();
        self.snapshot = Some(snapshot);
        if !waits {
            return Box::pin(async move { Confirmations::of_all(total) });
        }
        let patience = self.pulse.deadline(patience);
        Box::pin(async move {
            let late = adopting.into_iter().map(|(id, adopted)| {
                let patience = &patience;
                async move {
                    let adopted = patience.bound(adopted).await;
                    (!matches!(adopted, Ok(Ok(Ok(_))))).then_some(id)
                }
            });
            let late: Vec<usize> = join_all(late).await.into_iter().flatten().collect();
            Confirmations {
                confirmed: total - late.len(),
                total,
                late,
            }
        })
    }
}
