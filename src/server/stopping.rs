//! Carries out a stop: applies each [`Step`] of the drain to listeners and workers, and makes the report.
//! `drain` decides the order of the steps.

use std::time::{Duration, Instant};

use actix::{
    ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, Message,
    WrapFuture as _,
};
use tokio::time::timeout;

use super::{
    actor::{ServerActor, totals},
    closing::{HANDSHAKES, empty, handshakes_end},
    drain::{self, Phase, Step, StopUrgency},
    events::ServerEvent,
    worker::{self, CloseListeners, Cut, Delay, Worker},
};
use crate::{http::Requests, telemetry::emit};

/// End the service. From the ConfigActor, which begins no reload any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Stop {
    pub(crate) urgency: StopUrgency,
    /// Who asks, for the log.
    pub(crate) by: String,
    /// The end is a failure even if every request is answered.
    pub(crate) is_failure: bool,
}

/// What a stop came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Requests answered from the stop on.
    pub answered: u64,
    /// Requests aborted from the stop on.
    pub aborted: u64,
    /// Requests cut, by the deadline or by force.
    pub cut: u64,
    /// Connections, beside those of requests that were cut, on which something had arrived that was
    /// not read: their worker was blocked to the end, or they still waited to be accepted.
    pub abandoned: u64,
    /// From the stop to the end.
    pub took: Duration,
    /// The books since start.
    pub totals: Requests,
    /// The service was ended for a limit of the system (SIGXCPU), because a handler stopped what it
    /// runs on (`System::stop`, `Arbiter::stop`), or because a part of everup panicked: not at
    /// somebody's wish.
    pub is_failure: bool,
}

/// How long the admin listener's last answers may take.
const ADMIN_DRAIN: Duration = Duration::from_millis(250);

/// How long a worker may take to cut what it has in flight; sooner than [`drain::CUT_LIMIT`].
const CUT_PATIENCE: Duration = Duration::from_millis(100);

impl Handler<Stop> for ServerActor {
    type Result = ();

    fn handle(&mut self, stop: Stop, ctx: &mut Context<Self>) {
        let limits = self
            .snapshot
            .as_ref()
            .map_or(drain::Limits::NONE, |snapshot| {
                let shutdown = &snapshot.generation.shutdown;
                drain::Limits {
                    // The address is served on: there is nobody to be told to go elsewhere.
                    delay: if self.transfer.is_some() {
                        Duration::ZERO
                    } else {
                        shutdown.delay
                    },
                    linger: shutdown.linger,
                    timeout: shutdown.timeout,
                }
            });
        // The address of one that was handed over is served on.
        if self.transfer.is_none() {
            self.readiness.mark_ending();
        }
        let is_first = self.drain.phase() == Phase::Serving;
        if is_first {
            // A new process that has not taken over is ended, an old one learns that it cannot let go.
            self.upgrading = None;
            let late = self.inheritance.as_ref().map(|left| left.renounce());
            self.receive(late.into_iter().flatten());
            self.before = totals(&self.books());
        }
        self.is_failure |= stop.is_failure;
        let ids: Vec<usize> = self.all_workers().map(|worker| worker.id).collect();
        let step = self.drain.ask(stop.urgency, limits, ids, Instant::now());
        emit(&ServerEvent::StopAsked {
            by: &stop.by,
            is_first,
            step,
        });
        self.take(step, ctx);
    }
}

impl ServerActor {
    fn take(&mut self, step: Option<Step>, ctx: &mut Context<Self>) {
        match step {
            None => {}
            Some(Step::Delay) => {
                for worker in self.all_workers() {
                    worker.address.do_send(Delay);
                }
            }
            Some(Step::Drain) => self.close_listeners(ctx),
            Some(Step::Cut) => self.cut(ctx),
            Some(Step::End) => self.end(ctx),
        }
        if step.is_some() {
            self.set_clock(ctx);
        }
    }

    pub(super) fn set_clock(&self, ctx: &mut Context<Self>) {
        let Some(due) = self.drain.due() else {
            return;
        };
        let wait = due.saturating_duration_since(Instant::now());
        ctx.run_later(wait, |this, ctx| {
            this.note_suspension(ctx);
            let step = this.drain.tick(Instant::now());
            this.take(step, ctx);
        });
    }

    /// What the workers are to know of the drain under way.
    pub(super) fn worker_drain(&self) -> Option<worker::Drain> {
        let Phase::Draining { since, deadline } = self.drain.phase() else {
            return None;
        };
        Some(worker::Drain {
            since,
            linger: self.drain.linger(),
            deadline,
            transfer: self.transfer.clone(),
        })
    }

    /// P5: what has reached a socket is served.
    fn close_listeners(&mut self, ctx: &mut Context<Self>) {
        let Some(drain) = self.worker_drain() else {
            return;
        };
        let mut listeners: Vec<_> = self.open_listeners().collect();
        // Those of a socket that has passed are let go of, and their connections go on there.
        listeners.retain(|listener| !listener.origin().has_passed());
        for listener in &listeners {
            listener.origin().mark_closing();
            listener.refuse_handshakes();
        }
        // At once, so that whoever is answered from now on is told to close; and what a full
        // descriptor table keeps in the queue needs others to leave.
        for worker in self.all_workers() {
            worker.address.do_send(drain.clone());
        }
        let limit = self
            .suspension
            .deadline(HANDSHAKES.min(drain.deadline - drain.since));
        let handshakes = {
            let listeners = listeners.clone();
            async move { handshakes_end(&listeners, limit).await }
        };
        ctx.spawn(handshakes.into_actor(self).map(move |(), this, ctx| {
            // Cutting already: that tells the workers itself.
            let Some(drain) = this.worker_drain() else {
                return;
            };
            let workers: Vec<Worker> = this.all_workers().cloned().collect();
            let emptying = empty(listeners, &workers);
            for (worker, emptied) in workers.into_iter().zip(emptying.workers) {
                let drain = drain.clone();
                let draining = async move {
                    // The worker is empty when it is so after its queue.
                    let _ = emptied.await;
                    let _ = worker.address.send(drain).await;
                    worker.id
                };
                ctx.spawn(
                    draining
                        .into_actor(this)
                        .map(|id, this, ctx| this.worker_is_drained(id, ctx)),
                );
            }
        }));
    }

    /// Of a worker that is cut meanwhile, the cut itself tells: it names its victims first.
    fn worker_is_drained(&mut self, id: usize, ctx: &mut Context<Self>) {
        if matches!(self.drain.phase(), Phase::Draining { .. }) {
            self.worker_is_empty(id, ctx);
        }
    }

    fn worker_is_empty(&mut self, id: usize, ctx: &mut Context<Self>) {
        let step = self.drain.worker_is_empty(id);
        self.take(step, ctx);
    }

    /// Each worker names and enters what it cuts, so that no answer is under way to its client at
    /// that moment. For one that is blocked in a handler it is done from here.
    fn cut(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        for listener in self.open_listeners() {
            let open = listener.give_up();
            if open > 0 {
                let listener = listener.name();
                emit(&ServerEvent::NotAccepted { listener, open });
            }
            self.abandoned.set(self.abandoned.get() + open);
        }
        let workers: Vec<Worker> = self.all_workers().cloned().collect();
        for worker in workers {
            let cutting = actix_rt::spawn(worker.address.send(Cut));
            let access = self.access.clone();
            let abandoned = self.abandoned.clone();
            let closing = async move {
                let cut = timeout(CUT_PATIENCE, cutting).await;
                let victims = match cut {
                    Ok(Ok(Ok(victims))) => victims,
                    _ => {
                        let victims = worker.books.cut(Instant::now());
                        let accounts = worker.books.read();
                        let open: u64 = accounts.iter().map(|account| account.connections).sum();
                        let open = open.saturating_sub(victims.len() as u64);
                        if open > 0 {
                            let worker = worker.id;
                            emit(&ServerEvent::Abandoned { worker, open });
                        }
                        abandoned.set(abandoned.get() + open);
                        victims
                    }
                };
                let is_told = access.is_on();
                for victim in &victims {
                    emit(&ServerEvent::Cut(victim));
                    if is_told {
                        access.record(&victim.access());
                    }
                }
                access.flush();
                let is_empty = worker::Drain {
                    since: now,
                    linger: Duration::ZERO,
                    deadline: now,
                    transfer: None,
                };
                let _ = worker.address.send(is_empty).await;
                worker.id
            };
            ctx.spawn(
                closing
                    .into_actor(self)
                    .map(|id, this, ctx| this.worker_is_empty(id, ctx)),
            );
        }
    }

    fn end(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let totals = totals(&self.books());
        let report = DrainReport {
            answered: totals.answered - self.before.answered,
            aborted: totals.aborted - self.before.aborted,
            cut: totals.cut - self.before.cut,
            abandoned: self.abandoned.get(),
            took: self
                .drain
                .began()
                .map_or(Duration::ZERO, |began| now - began),
            totals,
            is_failure: self.is_failure,
        };
        emit(&ServerEvent::Stopped(&report));
        let admin = self.admin().cloned();
        let finishing = async move {
            if let Some(admin) = admin {
                // Its last answers, this stop's own among them.
                admin.listener.origin().mark_closing();
                let _ = timeout(ADMIN_DRAIN, close_admin(&admin.worker, now)).await;
                admin.listener.close();
            }
        };
        ctx.spawn(finishing.into_actor(self).map(|(), this, ctx| {
            this.resident = None;
            if let Some(finished) = this.finished.take() {
                // Nobody waits any more where the `Running` was dropped.
                let _ = finished.send(report);
            }
            ctx.stop();
        }));
    }
}

async fn close_admin(admin: &Worker, now: Instant) {
    let _ = admin.address.send(CloseListeners).await;
    let drain = worker::Drain {
        since: now,
        linger: Duration::ZERO,
        deadline: now + ADMIN_DRAIN,
        transfer: None,
    };
    let _ = admin.address.send(drain).await;
}
