//! Carries out a publish: takes up what is new and releases what is no longer used, without losing a
//! request.
//!
//! Removed listeners are emptied and closed as on a stop. Connections of removed workers are transferred to
//! the others. None of this can fail, and a publish does not wait for long connections: a WebSocket keeps
//! its worker for as long as it lasts.

use std::{iter, sync::Arc, time::Duration};

use actix::{
    ActorFutureExt as _, ActorStreamExt as _, AsyncContext as _, Context, Handler, Message,
    ResponseFuture, WrapFuture as _, fut::wrap_stream,
};
use futures_util::{
    future::{join, join_all},
    stream::poll_fn,
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    actor::ServerActor,
    closing::{HANDSHAKES, empty, handshakes_end},
    drain::Phase,
    events::ServerEvent,
    snapshot::{Confirmations, Snapshot},
    worker::{Adopt, LetGo, Retire, Worker},
};
use crate::{
    http::{Deadline, OutgoingConnection, Transfer, TransferredConnection, books},
    net::{Listener, Share, Speaks},
    telemetry::emit,
};

/// Make this snapshot what is served. From the ConfigActor; cannot fail: all that could has been
/// done. Answered when the generation is out, or, where listeners or workers change, when the workers
/// have taken that up.
#[derive(Message)]
#[rtype(result = "Confirmations")]
pub(crate) struct Publish {
    pub(crate) snapshot: Snapshot,
    pub(crate) intake: Intake,
    /// How long a worker may take before it counts as late.
    pub(crate) patience: Duration,
}

/// What a snapshot has beside that which was served before.
#[derive(Default)]
pub(crate) struct Intake {
    /// What the workers, by their place in the snapshot, are to listen on too.
    pub(crate) shares: Vec<Vec<Share>>,
    /// What the admin listener's worker is to listen on too.
    pub(crate) admin: Vec<Share>,
    pub(crate) moves: Vec<Move>,
    /// Listeners whose files were gone, and those that have been bound in their places.
    pub(crate) replaced: Vec<Move>,
}

/// A listener that another follows: the address is served before and after.
pub(crate) struct Move {
    pub(crate) from: Arc<Listener>,
    pub(crate) to: Arc<Listener>,
}

impl Handler<Publish> for ServerActor {
    type Result = ResponseFuture<Confirmations>;

    fn handle(&mut self, publish: Publish, ctx: &mut Context<Self>) -> Self::Result {
        let Publish {
            snapshot,
            intake,
            patience,
        } = publish;
        let Intake {
            shares,
            admin,
            moves,
            replaced,
        } = intake;
        if let Some(before) = &self.snapshot {
            foretell(before, &snapshot, &moves, &replaced);
        }
        // P2: from here on, whatever a worker pins is this generation.
        snapshot.published.send_replace(snapshot.generation.clone());
        self.readiness.mark_serving();
        let before = self.snapshot.replace(snapshot);
        let total = self.workers().len();
        let waits = shares.iter().any(|shares| !shares.is_empty());
        let adopting = self.adopt(shares, admin);
        let patience = self.suspension.deadline(patience);
        let Some(before) = before else {
            return Box::pin(confirmations(adopting, total, patience));
        };
        let closed = self.let_listeners_go(&before);
        let retires = self.retire_workers(&before, ctx);
        if !waits && closed.is_none() && !retires {
            return Box::pin(async move { Confirmations::of_all(total) });
        }
        Box::pin(async move {
            let closing = async {
                if let Some(closed) = closed {
                    // The deadline bounds this wait as well.
                    let _ = patience.bound(closed).await;
                }
            };
            let confirming = confirmations(adopting, total, patience.clone());
            join(confirming, closing).await.0
        })
    }
}

/// Records what happens to each listener of `before`, before a worker can see `next`.
fn foretell(before: &Snapshot, next: &Snapshot, moves: &[Move], replaced: &[Move]) {
    let generation = next.generation.number;
    for Move { from, to } in moves {
        from.origin().mark_taken(generation, to.origin());
    }
    for Move { from, to } in replaced {
        emit(&ServerEvent::FileGone(from));
        from.origin().mark_replaced(generation, to.origin());
    }
    for gone in without(before, next).filter(|it| !it.origin().has_passed()) {
        let speaks = Speaks::on(&before.generation, gone.name());
        gone.origin().mark_removed(generation, speaks);
    }
}

/// The listeners of one snapshot that another has not.
fn without<'a>(one: &'a Snapshot, other: &'a Snapshot) -> impl Iterator<Item = &'a Arc<Listener>> {
    one.all_listeners()
        .filter(|listener| !other.all_listeners().any(|it| Arc::ptr_eq(it, listener)))
}

/// A worker's id, and its answer.
type Adopting = (usize, JoinHandle<Result<(), actix::MailboxError>>);

async fn confirmations(adopting: Vec<Adopting>, total: usize, patience: Deadline) -> Confirmations {
    let patience = &patience;
    let late = adopting.into_iter().map(|(id, adopted)| async move {
        let adopted = patience.bound(adopted).await;
        (!matches!(adopted, Ok(Ok(Ok(_))))).then_some(id)
    });
    let late: Vec<usize> = join_all(late).await.into_iter().flatten().collect();
    Confirmations {
        confirmed: total - late.len(),
        total,
        late,
    }
}

impl ServerActor {
    /// Has every worker take up the snapshot. Those that serve are waited for.
    fn adopt(&self, shares: Vec<Vec<Share>>, admin: Vec<Share>) -> Vec<Adopting> {
        let Some(snapshot) = &self.snapshot else {
            return Vec::new();
        };
        if let Some(of) = &snapshot.admin {
            of.worker.address.do_send(Adopt {
                shares: admin,
                max_connections: of.max_connections,
                max_files: 0,
            });
        }
        let (max_connections, max_files) = (snapshot.max_connections, snapshot.max_files);
        let adopt = |shares| Adopt {
            shares,
            max_connections,
            max_files,
        };
        for worker in &self.retiring {
            worker.address.do_send(adopt(Vec::new()));
        }
        let shares = shares.into_iter().chain(iter::repeat_with(Vec::new));
        let workers = snapshot.workers.iter().zip(shares);
        workers
            .map(|(worker, shares)| {
                // A task of its own: a future of `send` that is dropped takes its message back,
                // and who is late is to adopt all the same.
                let adopting = actix_rt::spawn(worker.address.send(adopt(shares)));
                (worker.id, adopting)
            })
            .collect()
    }

    /// Closes the listeners that are no longer wanted, where there are any; done when they are closed.
    fn let_listeners_go(&mut self, before: &Snapshot) -> Option<JoinHandle<()>> {
        let now = self.snapshot.as_ref()?;
        for listener in without(now, before) {
            emit(&ServerEvent::Listening(listener));
        }
        let gone: Vec<_> = without(before, now).cloned().collect();
        if gone.is_empty() {
            return None;
        }
        let limit = self.suspension.deadline(HANDSHAKES);
        self.closing.retain(|listener| listener.strong_count() > 0);
        // Each worker has a share of all the listeners of its kind.
        let of_service = (before.listeners.as_slice(), before.workers.as_slice());
        let of_admin = before.admin.as_ref().map(|admin| {
            let (listener, worker) = (&admin.listener, &admin.worker);
            (std::slice::from_ref(listener), std::slice::from_ref(worker))
        });
        let kinds = iter::once(of_service).chain(of_admin);
        let closing = kinds.map(|(listeners, workers)| {
            for worker in workers {
                worker.address.do_send(LetGo);
            }
            let is_closing = |it: &&Arc<Listener>| {
                let is_gone = gone.iter().any(|gone| Arc::ptr_eq(gone, it));
                is_gone && !it.origin().has_passed()
            };
            let closing: Vec<_> = listeners.iter().filter(is_closing).cloned().collect();
            for listener in &closing {
                emit(&ServerEvent::Closing(listener));
                listener.refuse_handshakes();
            }
            self.closing.extend(closing.iter().map(Arc::downgrade));
            let (workers, limit) = (workers.to_vec(), limit.clone());
            async move {
                handshakes_end(&closing, limit).await;
                // Else it panicked, and there is nothing to wait for.
                let _ = empty(closing, &workers).closed.await;
            }
        });
        let closed = join_all(closing.collect::<Vec<_>>());
        Some(actix_rt::spawn(async move {
            closed.await;
        }))
    }

    /// Whether any worker is no longer wanted.
    fn retire_workers(&mut self, before: &Snapshot, ctx: &mut Context<Self>) -> bool {
        let Some(now) = &self.snapshot else {
            return false;
        };
        let is_wanted = |worker: &Worker| now.workers.iter().any(|other| other.id == worker.id);
        let gone = before.workers.iter().filter(|worker| !is_wanted(worker));
        let gone: Vec<Worker> = gone.cloned().collect();
        if before.workers.len() != now.workers.len() {
            let (from, to) = (before.workers.len(), now.workers.len());
            emit(&ServerEvent::Workers { from, to });
        }
        let linger = now.generation.shutdown.linger;
        let names: Arc<[_]> = now.listeners.iter().map(|it| it.name().clone()).collect();
        for worker in &gone {
            let transfer = Some(Transfer::by(names.clone(), self.transfers.clone()));
            let retiring = worker.address.send(Retire { linger, transfer });
            let id = worker.id;
            ctx.spawn(
                retiring
                    .into_actor(self)
                    .map(move |_, this, _| this.worker_is_gone(id)),
            );
        }
        if let Some(admin) = before.admin.as_ref().filter(|_| now.admin.is_none()) {
            let worker = admin.worker.clone();
            actix_rt::spawn(async move {
                let (linger, transfer) = (Duration::ZERO, None);
                let _ = worker.address.send(Retire { linger, transfer }).await;
                // Its thread ends with the last that knows it.
                drop(worker);
            });
        }
        let any = !gone.is_empty();
        self.retiring.extend(gone);
        any
    }

    /// A retired worker has no connection left. In a stop its books are still to be read.
    fn worker_is_gone(&mut self, id: usize) {
        if self.drain.phase() != Phase::Serving {
            return;
        }
        for worker in self.retiring.extract_if(.., |worker| worker.id == id) {
            books::add(&mut self.past, worker.books.read());
        }
    }

    /// Takes on connections of workers that retire.
    pub(super) fn spread(
        &self,
        mut transferred: mpsc::UnboundedReceiver<OutgoingConnection>,
        ctx: &mut Context<Self>,
    ) {
        let outgoing = wrap_stream::<_, Self>(poll_fn(move |cx| transferred.poll_recv(cx)));
        let spreading = outgoing.map(|outgoing, this, _| {
            // In a stop each connection ends where it is: its worker is asked whether it is empty.
            if this.drain.phase() != Phase::Serving {
                return;
            }
            let OutgoingConnection {
                listener,
                socket,
                arrived,
            } = outgoing;
            this.receive([TransferredConnection { listener, socket }]);
            // It was cut meanwhile: it goes on at the other worker all the same.
            let _ = arrived.send(());
        });
        ctx.spawn(spreading.finish());
    }
}
