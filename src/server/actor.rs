//! ServerActor: owns the workers, the snapshot that is served, and the stop.
//!
//! ConfigActor sends it [`Publish`](super::Publish), [`HandOver`](super::HandOver) and
//! [`Stop`](super::Stop); a [`Control`](crate::Control) sends [`Inspect`](super::Inspect) and
//! [`Receive`](super::Receive). It knows the workers' addresses and none upstream. The handlers are in
//! `publish`, `handover`, `stopping` and `inspection`.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use actix::{Actor, AsyncContext as _, Context};
use tokio::sync::{mpsc, oneshot};

use super::{
    drain::Drain,
    events::ServerEvent,
    handover::{Resident, Upgrades},
    snapshot::{AdminServer, Snapshot},
    stopping::DrainReport,
    worker::{ProcessWasSuspended, Worker},
};
use crate::{
    http::{
        Account, MachineSuspension, OutgoingConnection, Readiness, Requests, SuspensionClock, TICK,
        Transfer,
    },
    net::Listener,
    telemetry::{AccessLog, emit},
    upgrade::Inheritance,
};

/// What a ServerActor is made of.
pub(crate) struct NewServer {
    /// Gets the report when all is over.
    pub(crate) finished: oneshot::Sender<DrainReport>,
    pub(crate) readiness: Readiness,
    pub(crate) suspension: SuspensionClock,
    pub(crate) access: AccessLog,
    /// Where the process is ours.
    pub(crate) upgrades: Option<Upgrades>,
    /// The inheritance from the predecessor.
    pub(crate) inheritance: Option<Arc<Inheritance>>,
}

/// The actor that serves.
pub(crate) struct ServerActor {
    pub(super) snapshot: Option<Snapshot>,
    /// Of earlier snapshots: listeners that are being closed, workers that still have connections.
    pub(super) closing: Vec<Weak<Listener>>,
    pub(super) retiring: Vec<Worker>,
    /// What workers that are gone had in their books.
    pub(super) past: Vec<Account>,
    /// How idle connections of workers that retire come here, to be spread over the others.
    pub(super) transfers: mpsc::UnboundedSender<OutgoingConnection>,
    transferred: Option<mpsc::UnboundedReceiver<OutgoingConnection>>,
    pub(super) turn: usize,
    pub(super) readiness: Readiness,
    pub(super) drain: Drain,
    /// Where the process is ours.
    pub(super) upgrades: Option<Upgrades>,
    /// The inheritance from the predecessor.
    pub(super) inheritance: Option<Arc<Inheritance>>,
    /// Ends the upgrade under way, when it is dropped.
    pub(super) upgrading: Option<oneshot::Sender<()>>,
    /// Where idle connections go on, once a new process has taken over.
    pub(super) transfer: Option<Transfer>,
    /// The books when the stop began.
    pub(super) before: Requests,
    pub(super) is_failure: bool,
    pub(super) finished: Option<oneshot::Sender<DrainReport>>,
    /// Until it is finished.
    pub(super) resident: Option<Resident>,
    pub(super) suspension: SuspensionClock,
    /// How long the process was suspended, as far as the drain knows.
    suspended_for: Duration,
    suspended: MachineSuspension,
    /// For what is cut.
    pub(super) access: AccessLog,
    /// Connections that nobody reads any more.
    pub(super) abandoned: Rc<Cell<u64>>,
}

impl ServerActor {
    pub(crate) fn new(new: NewServer) -> Self {
        let (transfers, transferred) = mpsc::unbounded_channel();
        Self {
            closing: Vec::new(),
            retiring: Vec::new(),
            past: Vec::new(),
            transfers,
            transferred: Some(transferred),
            turn: 0,
            access: new.access,
            abandoned: Rc::default(),
            snapshot: None,
            readiness: new.readiness,
            drain: Drain::new(),
            upgrades: new.upgrades,
            inheritance: new.inheritance,
            upgrading: None,
            transfer: None,
            before: Requests::default(),
            is_failure: false,
            finished: Some(new.finished),
            resident: Some(Resident::enter()),
            suspended_for: new.suspension.look(Instant::now()),
            suspension: new.suspension,
            suspended: MachineSuspension::so_far(),
        }
    }

    pub(super) fn workers(&self) -> &[Worker] {
        self.snapshot
            .as_ref()
            .map_or(&[], |snapshot| &snapshot.workers)
    }

    /// Those that serve, then those that retire.
    pub(super) fn all_workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers().iter().chain(&self.retiring)
    }

    pub(super) fn listeners(&self) -> &[Arc<Listener>] {
        self.snapshot
            .as_ref()
            .map_or(&[], |snapshot| &snapshot.listeners)
    }

    /// Those that serve, then those that are being closed.
    pub(super) fn open_listeners(&self) -> impl Iterator<Item = Arc<Listener>> {
        let closing = self.closing.iter().filter_map(Weak::upgrade);
        self.listeners().iter().cloned().chain(closing)
    }

    pub(super) fn admin(&self) -> Option<&AdminServer> {
        self.snapshot.as_ref()?.admin.as_ref()
    }

    /// Every account of every worker, each worker's as it stands at one moment; last those of workers
    /// that are gone.
    pub(super) fn books(&self) -> Vec<Vec<Account>> {
        let books = self.all_workers().map(|worker| worker.books.read());
        books.chain([self.past.clone()]).collect()
    }

    /// If the process was suspended, logs that and moves every deadline by that time.
    pub(super) fn note_suspension(&mut self, ctx: &mut Context<Self>) {
        let suspended_for = self.suspension.look(Instant::now());
        let by = suspended_for - self.suspended_for;
        self.suspended_for = suspended_for;
        let slept = self.suspended.since(MachineSuspension::so_far());
        if (by + slept).is_zero() {
            return;
        }
        emit(&ServerEvent::Suspended(by + slept));
        self.drain.extend_by(by);
        self.set_clock(ctx);
        let drain = self.worker_drain();
        for worker in self.all_workers() {
            worker.address.do_send(ProcessWasSuspended);
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
        emit(&ServerEvent::BooksDiffer(totals));
    }
    totals
}

impl Actor for ServerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(TICK, Self::note_suspension);
        if let Some(transferred) = self.transferred.take() {
            self.spread(transferred, ctx);
        }
    }
}
