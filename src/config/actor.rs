//! ConfigActor: owns the configuration: what is served, the attempt under way and the one waiting,
//! and the history.
//!
//! Takes [`Reload`], [`End`] and [`Recall`]. Sends [`Publish`] and [`Stop`] to the ServerActor,
//! the one address that it knows.

use std::{path::PathBuf, sync::Arc, time::Instant};

use actix::{
    Actor, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, Message,
    MessageResponse, SpawnHandle, WrapFuture as _,
};
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{
    attempt::{Attempt, Confirmations, Outcome, Took, Trigger},
    attempts::{Asked, Attempts, Order},
    generation::Reaper,
    handover::Upgrading,
    prepare::{Author, Candidate, Current, Job, Prepared, prepare},
};
use crate::{
    server::{NewServe, Publish, ServerActor, Stop},
    settings::{Diagnostic, Fault, Sources},
    telemetry::{Event, LogHandle, emit},
    upgrade::Inheritance,
};

/// Read the settings anew and serve them. From every trigger alike; says who asks, never what for.
///
/// The answer goes to `asker`, so that who loses interest takes nothing back: dropping the future
/// of an actix `send` cancels a message that has not been handled.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Reload {
    pub(crate) trigger: Trigger,
    pub(crate) asker: oneshot::Sender<Arc<Attempt>>,
}

/// Begin no reload any more, reject what has not been published, then let the ServerActor stop.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct End(pub(crate) Stop);

/// Tell of the newest attempt.
#[derive(Message)]
#[rtype(result = "Recalled")]
pub(crate) struct Recall;

#[derive(MessageResponse)]
pub(crate) struct Recalled {
    pub(crate) generation: u64,
    pub(crate) digest: Arc<str>,
    pub(crate) last_reload: Option<Arc<Attempt>>,
}

/// What a ConfigActor is made of.
pub(crate) struct NewConfig {
    pub(crate) author: Arc<dyn Author>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) reaper: Reaper,
    /// Serves the admin API.
    pub(crate) admin: NewServe,
    pub(crate) server: Addr<ServerActor>,
    /// The process's log, where it is ours.
    pub(crate) log: Option<LogHandle>,
    /// What the process before has left for the start.
    pub(crate) inheritance: Option<Arc<Inheritance>>,
    /// Where relative paths of sockets start.
    pub(crate) runtime_directory: Option<PathBuf>,
}

type Asker = oneshot::Sender<Arc<Attempt>>;

/// The actor that reloads.
pub(crate) struct ConfigActor {
    pub(super) new: NewConfig,
    pub(super) attempts: Attempts<Trigger, Asker>,
    pub(super) current: Option<Current>,
    pub(super) upgrading: Option<Upgrading>,
    /// The attempt under way, while it can still be given up.
    preparing: Option<SpawnHandle>,
    /// The attempt whose thread has not come back, and since when.
    stuck: Option<(u64, Instant)>,
    last: Option<Arc<Attempt>>,
    begun: Begun,
}

/// The attempt under way.
struct Begun {
    number: u64,
    at: Timestamp,
}

/// What an attempt came to.
struct Verdict {
    outcome: Outcome,
    changes: Vec<crate::settings::Change>,
    errors: Vec<Diagnostic>,
    workers: Confirmations,
    is_stopping: bool,
}

impl Verdict {
    fn rejected(errors: Vec<Diagnostic>) -> Self {
        Self {
            errors,
            ..Self::of(Outcome::Rejected)
        }
    }

    fn stopping() -> Self {
        let stopping = Diagnostic::new(Fault::System, "", "stopping");
        Self {
            is_stopping: true,
            ..Self::rejected(vec![stopping])
        }
    }

    fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            changes: Vec::new(),
            errors: Vec::new(),
            workers: Confirmations::default(),
            is_stopping: false,
        }
    }
}

impl ConfigActor {
    pub(crate) fn new(new: NewConfig) -> Self {
        let numbered = new.inheritance.as_ref().map_or(0, |left| left.attempts);
        Self {
            new,
            attempts: Attempts::after(numbered),
            current: None,
            upgrading: None,
            preparing: None,
            stuck: None,
            last: None,
            begun: Begun {
                number: 0,
                at: Timestamp::UNIX_EPOCH,
            },
        }
    }

    pub(super) fn begin(&mut self, number: u64, ctx: &mut Context<Self>) {
        self.begun = Begun {
            number,
            at: Timestamp::now(),
        };
        if let Some((stuck, since)) = self.stuck {
            let message = format!(
                "attempt {stuck} has not returned for {:.1} s; until it does nothing can be reloaded",
                since.elapsed().as_secs_f64()
            );
            let stuck = Diagnostic::new(Fault::Build, "", message);
            return self.conclude(Verdict::rejected(vec![stuck]), Took::default(), ctx);
        }
        let job = Job {
            author: self.new.author.clone(),
            admin: self.new.admin.clone(),
            sources: self.new.sources.clone(),
            reaper: self.new.reaper.clone(),
            begun: Instant::now(),
            current: self.current.clone(),
            inheritance: self.new.inheritance.clone(),
            runtime_directory: self.new.runtime_directory.clone(),
        };
        let preparing = async move {
            let mut took = Took::default();
            let prepared = prepare(job, &mut took).await;
            (prepared, took)
        };
        let preparing = preparing.into_actor(self);
        self.preparing = Some(ctx.spawn(preparing.map(|(prepared, took), this, ctx| {
            // A stop that came first has taken it, and concluded: actix ends a future that is
            // cancelled only after its next poll.
            if this.preparing.take().is_none() {
                return;
            }
            this.prepared(prepared, took, ctx);
        })));
    }

    fn prepared(&mut self, prepared: Prepared, took: Took, ctx: &mut Context<Self>) {
        match prepared {
            Prepared::Ready(candidate) => self.publish(*candidate, took, ctx),
            Prepared::Unchanged => self.conclude(Verdict::of(Outcome::Unchanged), took, ctx),
            Prepared::Rejected { errors, stuck } => {
                if let Some(stuck) = stuck {
                    self.stuck = Some((self.begun.number, Instant::now()));
                    ctx.spawn(stuck.into_actor(self).map(|_, this, _| this.stuck = None));
                }
                self.conclude(Verdict::rejected(errors), took, ctx);
            }
        }
    }

    /// Cannot fail: values are moved, nothing is opened.
    fn publish(&mut self, candidate: Candidate, mut took: Took, ctx: &mut Context<Self>) {
        let begun = Instant::now();
        if let Some(log) = &self.new.log {
            log.apply(&candidate.current.settings.tables.logging);
        }
        let published = self.new.server.send(Publish {
            snapshot: candidate.current.snapshot.clone(),
            shares: candidate.shares,
            admin: candidate.admin_share,
            patience: candidate.current.settings.tables.reload.timeout,
        });
        let (current, changes) = (candidate.current, candidate.changes);
        ctx.spawn(published.into_actor(self).map(move |workers, this, ctx| {
            took.publish = begun.elapsed();
            let Ok(workers) = workers else {
                // The service has ended meanwhile.
                return this.conclude(Verdict::stopping(), took, ctx);
            };
            let before = this.current.replace(current);
            let verdict = Verdict {
                changes,
                workers,
                ..Verdict::of(Outcome::Applied)
            };
            this.conclude(verdict, took, ctx);
            this.tell_of(before.as_ref());
        }));
    }

    /// Tells what is new beside the attempt itself.
    fn tell_of(&self, before: Option<&Current>) {
        let Some(current) = &self.current else {
            return;
        };
        let asked = |of: &Current| of.settings.tables.server.max_connections;
        let given = current.snapshot.max_connections;
        let is_capped = given < asked(current) as usize;
        if is_capped && before.is_none_or(|before| asked(before) != asked(current)) {
            let asked = asked(current);
            emit(&Event::Capped { given, asked });
        }
        if before.is_none() {
            emit(&Event::Serving(&current.snapshot));
        }
    }

    /// The attempt under way has its verdict: everybody is told the same, and the next one begins.
    fn conclude(&mut self, verdict: Verdict, took: Took, ctx: &mut Context<Self>) {
        let (order, next) = self.attempts.finish();
        let (number, at) = (self.begun.number, self.begun.at);
        self.answer(number, at, order, verdict, took);
        match next {
            Some(next) => self.begin(next, ctx),
            None => self.upgrade_if_it_waits(ctx),
        }
    }

    fn answer(
        &mut self,
        number: u64,
        at: Timestamp,
        order: Order<Trigger, Asker>,
        mut verdict: Verdict,
        took: Took,
    ) {
        if verdict.outcome == Outcome::Unchanged {
            let total = self
                .current
                .as_ref()
                .map_or(0, |current| current.snapshot.workers.len());
            verdict.workers = Confirmations {
                confirmed: total,
                total,
                late: Vec::new(),
            };
        }
        let mut triggers = order.triggers.into_iter();
        let attempt = Attempt {
            number,
            folded: order.folded,
            outcome: verdict.outcome,
            generation: self.generation(),
            digest: self.digest(),
            changes: verdict.changes,
            errors: verdict.errors,
            trigger: triggers.next().expect("an order has a trigger"),
            workers: verdict.workers,
            load_ms: 0.0,
            prepare_ms: 0.0,
            publish_ms: 0.0,
            at,
            others: triggers.collect(),
            is_stopping: verdict.is_stopping,
        };
        let attempt = Arc::new(attempt.took(took));
        emit(&Event::Attempt(&attempt));
        self.last = Some(attempt.clone());
        for asker in order.askers {
            // Who has hung up meanwhile has the log.
            let _ = asker.send(attempt.clone());
        }
    }

    /// Tells those whom no attempt will answer.
    pub(super) fn refuse(&mut self, order: Order<Trigger, Asker>) {
        let number = self.attempts.number_refused();
        self.answer(
            number,
            Timestamp::now(),
            order,
            Verdict::stopping(),
            Took::default(),
        );
    }

    fn generation(&self) -> u64 {
        self.current
            .as_ref()
            .map_or(0, |current| current.snapshot.generation.number)
    }

    fn digest(&self) -> Arc<str> {
        self.current
            .as_ref()
            .map_or_else(|| "".into(), |current| current.digest.clone())
    }
}

impl Actor for ConfigActor {
    type Context = Context<Self>;
}

impl Handler<Reload> for ConfigActor {
    type Result = ();

    fn handle(&mut self, reload: Reload, ctx: &mut Context<Self>) {
        match self.attempts.ask(reload.trigger, reload.asker) {
            Asked::Begin(number) => self.begin(number, ctx),
            Asked::Waits => {}
            Asked::Refused(trigger, asker) => self.refuse(Order::new(trigger, asker)),
        }
    }
}

impl Handler<End> for ConfigActor {
    type Result = ();

    fn handle(&mut self, End(stop): End, ctx: &mut Context<Self>) {
        let waiting = self.attempts.end();
        self.end_upgrade();
        if let Some(preparing) = self.preparing.take() {
            // What it has opened is closed as it is dropped; a blocking thread is left behind.
            ctx.cancel_future(preparing);
            self.conclude(Verdict::stopping(), Took::default(), ctx);
        }
        if let Some(waiting) = waiting {
            self.refuse(waiting);
        }
        // After a Publish that is under way: messages keep their order.
        self.new.server.do_send(stop);
    }
}

impl Handler<Recall> for ConfigActor {
    type Result = Recalled;

    fn handle(&mut self, _: Recall, _: &mut Context<Self>) -> Recalled {
        Recalled {
            generation: self.generation(),
            digest: self.digest(),
            last_reload: self.last.clone(),
        }
    }
}
