//! ConfigActor: owns what is served, the attempt under way, the waiting requests and the history.
//!
//! It receives what `messages` lists. It sends [`Publish`] and [`Stop`](crate::server::Stop) to the
//! ServerActor and knows no other address.

use std::{sync::Arc, time::Instant};

use actix::{
    Actor, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, SpawnHandle,
    WrapFuture as _,
};
use jiff::Timestamp;
use tokio::sync::{oneshot, watch};

use super::{
    attempt::{Attempt, Outcome, Refused, Took},
    attempts::{Attempts, Basis, Decision, ReloadRequest, RequestGroup},
    background::Loader,
    content::Task,
    events::ConfigEvent,
    handover::Upgrading,
    history::History,
    messages::{EndService, Reload, ReopenLogs},
    prepare::{Author, Candidate, Current, Job, Prepared, Rejected, prepare},
    rollback::{Rollback, RolledBack},
    trigger::Trigger,
    watch::Watched,
};
use crate::{
    generation::DropThread,
    http::{NewServe, Readiness, SuspensionClock},
    net::Activation,
    server::{Confirmations, PanicGuard, Publish, ServerActor, ServerEvent, Threads},
    settings::{Changes, Diagnostic, Fault, Shadowed, Sources},
    telemetry::{LogHandle, emit},
    upgrade::Inheritance,
};

/// What a ConfigActor is made of.
pub(crate) struct NewConfig {
    pub(crate) author: Arc<dyn Author>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) drop_thread: DropThread,
    pub(crate) threads: Arc<Threads>,
    pub(crate) suspension: SuspensionClock,
    /// Serves the admin API.
    pub(crate) admin: NewServe,
    pub(crate) server: Addr<ServerActor>,
    pub(crate) readiness: Readiness,
    pub(crate) log: LogHandle,
    /// Tells WatchActor which files to watch.
    pub(crate) watched: watch::Sender<Watched>,
    /// The inheritance from the predecessor for the start.
    pub(crate) inheritance: Option<Arc<Inheritance>>,
    /// What the service manager has passed.
    pub(crate) activation: Arc<Activation>,
}

type Requester = oneshot::Sender<Arc<Attempt>>;

/// The actor that reloads.
pub(crate) struct ConfigActor {
    pub(super) new: NewConfig,
    pub(super) attempts: Attempts<Trigger, Requester>,
    pub(super) current: Option<Current>,
    pub(super) upgrading: Option<Upgrading>,
    /// The attempt under way, while it can still be given up.
    preparing: Option<SpawnHandle>,
    /// The attempt whose thread has not come back, and when that began.
    stuck: Option<(u64, Timestamp)>,
    /// The newest attempt that says how what is served stands to the settings.
    pub(super) last: Option<Arc<Attempt>>,
    pub(super) history: History,
    loader: Loader,
    builder: Loader,
    begun: Begun,
    _guard: PanicGuard,
}

/// The attempt under way.
struct Begun {
    number: u64,
    at: Timestamp,
}

/// What an attempt came to.
struct Verdict {
    outcome: Outcome,
    changes: Changes,
    shadowed: Vec<Shadowed>,
    errors: Vec<Diagnostic>,
    workers: Confirmations,
    refused: Option<Refused>,
    /// The rollback to this generation is over, or would be.
    undoes: Option<u64>,
}

impl Verdict {
    fn rejected(errors: Vec<Diagnostic>) -> Self {
        Self {
            errors,
            ..Self::of(Outcome::Rejected)
        }
    }

    fn refused(refused: Refused) -> Self {
        let reason = Diagnostic::new(Fault::System, "", refused.to_string());
        Self {
            refused: Some(refused),
            ..Self::rejected(vec![reason])
        }
    }

    fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            changes: Changes::default(),
            shadowed: Vec::new(),
            errors: Vec::new(),
            workers: Confirmations::default(),
            refused: None,
            undoes: None,
        }
    }
}

impl ConfigActor {
    pub(crate) fn new(new: NewConfig) -> Self {
        let left = new.inheritance.as_deref();
        let numbered = left.map_or(0, |left| left.attempts);
        let mut history = History::default();
        for attempt in left.iter().flat_map(|left| left.history.iter().rev()) {
            history.enter(Arc::new(attempt.clone()));
        }
        Self {
            _guard: new.threads.guard("ConfigActor"),
            new,
            attempts: Attempts::after(numbered),
            current: None,
            upgrading: None,
            preparing: None,
            stuck: None,
            last: None,
            history,
            loader: Loader::new("everup-load"),
            builder: Loader::new("everup-build"),
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
        let task = match self.task(self.attempts.request()) {
            Ok(task) => task,
            Err(verdict) => return self.conclude(*verdict, Took::default(), ctx),
        };
        let job = Job {
            author: self.new.author.clone(),
            admin: self.new.admin.clone(),
            sources: self.new.sources.clone(),
            drop_thread: self.new.drop_thread.clone(),
            threads: self.new.threads.clone(),
            loader: self.loader.clone(),
            builder: self.builder.clone(),
            readiness: self.new.readiness.clone(),
            begun: Instant::now(),
            suspension: self.new.suspension.clone(),
            current: self.current.clone(),
            task,
            is_dry_run: self.attempts.request().is_dry_run,
            log: self.new.log.clone(),
            inheritance: self.new.inheritance.clone(),
            activation: self.new.activation.clone(),
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

    /// The task of the attempt, or its verdict if nothing is to be done.
    fn task(&self, request: &ReloadRequest) -> Result<Task, Box<Verdict>> {
        let condition = request.condition.as_ref();
        if condition.is_some_and(|condition| !condition.holds(&self.digest())) {
            return Err(Verdict::refused(Refused::Condition).into());
        }
        let task = match request.basis {
            Basis::Kept(number) if number == self.generation() => {
                return Err(Verdict::of(Outcome::Unchanged).into());
            }
            Basis::Kept(number) => match self.history.kept(number) {
                Some(settings) => Task::TakeUp {
                    number,
                    settings: settings.clone(),
                },
                None => return Err(Verdict::refused(Refused::NotKept(number)).into()),
            },
            Basis::Sources => Task::Read {
                is_forced: request.is_forced,
            },
        };
        let Some((stuck, since)) = self.stuck else {
            return Ok(task);
        };
        // The same for each try: one that fails as the one before is not logged again.
        let message = format!(
            "attempt {stuck}, begun at {since:.3}, has not returned; nothing can be reloaded before it does"
        );
        let stuck = Diagnostic::new(Fault::Build, "", message);
        Err(Verdict::rejected(vec![stuck]).into())
    }

    fn prepared(&mut self, prepared: Prepared, took: Took, ctx: &mut Context<Self>) {
        let is_dry_run = self.attempts.request().is_dry_run;
        match prepared {
            Prepared::Ready(candidate) if is_dry_run => {
                let verdict = Verdict {
                    undoes: RolledBack::ended(self.current.as_ref(), &candidate.current),
                    changes: candidate.changes,
                    shadowed: candidate.shadowed,
                    ..Verdict::of(Outcome::WouldApply)
                };
                self.conclude(verdict, took, ctx);
            }
            Prepared::Ready(candidate) => self.publish(*candidate, took, ctx),
            Prepared::Unchanged { settings, shadowed } => {
                if let Some(current) = self.current.as_mut().filter(|_| !is_dry_run) {
                    current.facts = settings.facts.clone();
                    current.content.shown = settings;
                    // The sources say the same.
                    current.rollback = None;
                }
                let verdict = Verdict {
                    shadowed,
                    ..Verdict::of(Outcome::Unchanged)
                };
                self.conclude(verdict, took, ctx);
                self.log_warnings();
            }
            Prepared::RolledBack => {
                self.conclude(Verdict::of(Outcome::Unchanged), took, ctx);
            }
            Prepared::Rejected(Rejected { errors, stuck, .. }) => {
                if let Some(stuck) = stuck {
                    self.stuck = Some((self.begun.number, self.begun.at));
                    ctx.spawn(stuck.into_actor(self).map(|_, this, _| this.stuck = None));
                }
                self.conclude(Verdict::rejected(errors), took, ctx);
            }
        }
    }

    /// Cannot fail: values are moved, nothing is opened.
    fn publish(&mut self, candidate: Candidate, mut took: Took, ctx: &mut Context<Self>) {
        let begun = Instant::now();
        self.new.log.apply(candidate.log);
        let published = self.new.server.send(Publish {
            snapshot: candidate.current.snapshot.clone(),
            intake: candidate.intake,
            patience: candidate.current.content.settings.tables.reload.timeout,
        });
        let (current, changes, shadowed) =
            (candidate.current, candidate.changes, candidate.shadowed);
        ctx.spawn(published.into_actor(self).map(move |workers, this, ctx| {
            took.publish = begun.elapsed();
            let Ok(workers) = workers else {
                // The service has ended meanwhile.
                return this.conclude(Verdict::refused(Refused::Stopping), took, ctx);
            };
            let kept = current.content.settings.tables.reload.history;
            this.new.watched.send_replace(current.watching.clone());
            let undoes = RolledBack::ended(this.current.as_ref(), &current);
            let before = this.current.replace(current);
            // Before the next attempt begins: it may be a rollback to just this one.
            if let Some(Current {
                snapshot, content, ..
            }) = &before
            {
                let number = snapshot.generation.number;
                this.history
                    .keep(number, content.settings.recipe(), kept.into());
            }
            let verdict = Verdict {
                changes,
                shadowed,
                workers,
                undoes,
                ..Verdict::of(Outcome::Applied)
            };
            this.conclude(verdict, took, ctx);
            this.report_news(before.as_ref());
        }));
    }

    /// Tells what is new beside the attempt itself.
    fn report_news(&self, before: Option<&Current>) {
        let Some(current) = &self.current else {
            return;
        };
        let most = |of: &Current| {
            let asked = of.content.settings.tables.server.max_connections;
            (asked, of.snapshot.max_connections)
        };
        let (asked, given) = most(current);
        let is_new = before.is_none_or(|before| most(before) != (asked, given));
        if given < asked as usize && is_new {
            let limit = current.snapshot.budget.limit();
            emit(&ServerEvent::Capped {
                given,
                asked,
                limit,
            });
        }
        self.log_warnings();
        if before.is_none() {
            let unused = self.new.activation.unused(&current.snapshot.listeners);
            if !unused.is_empty() {
                emit(&ServerEvent::SocketsUnused(&unused));
            }
            emit(&ServerEvent::Serving(&current.snapshot));
        }
    }

    /// Ends the attempt under way: all requesters get its verdict, and the next attempt begins.
    fn conclude(&mut self, verdict: Verdict, took: Took, ctx: &mut Context<Self>) {
        let (group, next) = self.attempts.finish();
        let (number, at) = (self.begun.number, self.begun.at);
        self.answer(number, at, group, verdict, took);
        match next {
            Some(next) => self.begin(next, ctx),
            None => self.upgrade_if_it_waits(ctx),
        }
    }

    fn answer(
        &mut self,
        number: u64,
        at: Timestamp,
        group: RequestGroup<Trigger, Requester>,
        mut verdict: Verdict,
        took: Took,
    ) {
        // All workers already pin the reported generation.
        if matches!(verdict.outcome, Outcome::Unchanged | Outcome::WouldApply) {
            let total = self
                .current
                .as_ref()
                .map_or(0, |current| current.snapshot.workers.len());
            verdict.workers = Confirmations::of_all(total);
        }
        let mut triggers = group.triggers.into_iter();
        let attempt = Attempt {
            number,
            folded: group.folded,
            outcome: verdict.outcome,
            generation: self.generation(),
            digest: self.digest(),
            changes: verdict.changes.told,
            changes_omitted: verdict.changes.omitted,
            shadowed: verdict.shadowed,
            errors: verdict.errors,
            trigger: triggers.next().expect("a group has a trigger"),
            workers: verdict.workers,
            load_ms: 0.0,
            prepare_ms: 0.0,
            publish_ms: 0.0,
            at,
            others: triggers.collect(),
            refused: verdict.refused,
            is_dry_run: group.request.is_dry_run,
            is_repeated: false,
            rollback: Rollback::after(verdict.undoes, self.current.as_ref()),
        };
        let mut attempt = attempt.took(took);
        let last = self.last.as_deref();
        attempt.is_repeated = last.is_some_and(|last| attempt.repeats(last));
        let attempt = Arc::new(attempt);
        // A failed start is reported by the code that starts the service.
        if !attempt.is_failed_start() {
            emit(&ConfigEvent::Attempt(&attempt));
        }
        if attempt.is_telling() {
            self.last = Some(attempt.clone());
        }
        // Refusals and repetitions must not push other attempts out of the history.
        if attempt.refused != Some(Refused::Busy) && !attempt.is_repeated {
            self.history.enter(attempt.clone());
        }
        for requester in group.requesters {
            // A requester may have hung up meanwhile.
            let _ = requester.send(attempt.clone());
        }
    }

    /// Answers requests for which no attempt is made.
    pub(super) fn refuse(&mut self, group: RequestGroup<Trigger, Requester>, refused: Refused) {
        let number = self.attempts.number_refused();
        let verdict = Verdict::refused(refused);
        self.answer(number, Timestamp::now(), group, verdict, Took::default());
    }

    pub(super) fn warnings(&self) -> Vec<Diagnostic> {
        let current = self.current.as_ref();
        current.map_or_else(Vec::new, |current| current.content.warnings())
    }

    fn log_warnings(&self) {
        for warning in &self.warnings() {
            emit(&ConfigEvent::Warning(warning));
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.current
            .as_ref()
            .map_or(0, |current| current.snapshot.generation.number)
    }

    pub(super) fn digest(&self) -> Arc<str> {
        self.current
            .as_ref()
            .map_or_else(|| "".into(), |current| current.content.digest.clone())
    }
}

impl Actor for ConfigActor {
    type Context = Context<Self>;
}

impl Handler<Reload> for ConfigActor {
    type Result = ();

    fn handle(&mut self, reload: Reload, ctx: &mut Context<Self>) {
        let Reload {
            request,
            trigger,
            requester,
        } = reload;
        match self.attempts.ask(request, trigger, requester) {
            Decision::Begin(number) => self.begin(number, ctx),
            Decision::Waits => {}
            Decision::Refused(refusal, group) => self.refuse(group, refusal.into()),
        }
    }
}

impl Handler<EndService> for ConfigActor {
    type Result = ();

    fn handle(&mut self, mut end: EndService, ctx: &mut Context<Self>) {
        let waiting = self.attempts.end();
        self.end_upgrade();
        if let Some(preparing) = self.preparing.take() {
            // What it has opened is closed as it is dropped; a blocking thread is left behind.
            ctx.cancel_future(preparing);
            let verdict = Verdict::refused(Refused::Stopping);
            self.conclude(verdict, Took::default(), ctx);
        }
        for group in waiting {
            self.refuse(group, Refused::Stopping);
        }
        // After a Publish that is under way: messages keep their order.
        if let Some(stop) = end.take() {
            self.new.server.do_send(stop);
        }
    }
}

impl Handler<ReopenLogs> for ConfigActor {
    type Result = ();

    fn handle(&mut self, reopen: ReopenLogs, _: &mut Context<Self>) {
        self.new.log.reopen(reopen.trigger.to_string());
    }
}
