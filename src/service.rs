//! The author's service: starts the actors and wires them.
//!
//! [`Service::main`] owns the process; [`Service::start`] touches nothing that is global, so that
//! two services fit in one test. Nothing generic passes this door.

use std::{
    any::Any,
    collections::BTreeMap,
    marker::PhantomData,
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, mpsc as channel},
    thread,
    time::Instant,
};

use actix::Actor as _;
use actix_http::body::MessageBody;
use actix_web::{
    App,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
    task::LocalSet,
};

use crate::{
    admin, cli,
    config::{
        AnySettings, Author, ConfigActor, Failed, NewConfig, Outcome, ReloadRequest, Trigger,
        TriggerKind,
    },
    control::{Control, StopMode},
    generation::DropThread,
    http::{Deadline, NewServe, Readiness, SuspensionClock, new_serve},
    net::Activation,
    server::{
        DrainReport, Failure, NewServer, ServerActor, ServerEvent, StopUrgency, Threads, Upgrades,
    },
    settings::{
        Baseline, Build, Diagnostic, Fault, Findings, Loaded, NotLoaded, Settings, Sources, load,
        schema, unreadable_file,
    },
    signals::{SignalActor, Signals},
    telemetry::{LogHandle, emit},
    upgrade::{Inheritance, PassedOn},
    watch::WatchActor,
};

/// An actix-web service under settings of type `S`, that reloads and stops without losing a
/// request.
///
/// ```
/// use actix_web::{App, Responder, get};
/// use everup::{Build, Live, Service, Settings, Sources, StopMode};
/// # use schemars::JsonSchema;
/// # use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, JsonSchema, Default)]
/// #[serde(default)]
/// struct Greeter { greeting: String }
///
/// impl Settings for Greeter {
///     const NAME: &'static str = "greeter";
///     type State = ();
///     async fn build(&self, _: &Build) -> Result<(), Box<dyn std::error::Error>> { Ok(()) }
/// }
///
/// #[get("/")]
/// async fn greet(settings: Live<Greeter>) -> impl Responder {
///     settings.greeting.clone()
/// }
///
/// let sources = Sources::builtin()
///     .set("server.listeners.public.address", "127.0.0.1:0")
///     .set("admin.address", "");
/// let running = Service::<Greeter>::new(|| App::new().service(greet)).start(sources)?;
/// assert!(running.address("public").is_some());
/// running.control().stop(StopMode::Graceful);
/// let report = actix_web::rt::System::new().block_on(running.finished());
/// assert_eq!(report.cut, 0);
/// # Ok::<(), Vec<everup::Diagnostic>>(())
/// ```
pub struct Service<S> {
    new_serve: NewServe,
    of: PhantomData<fn() -> S>,
}

impl<S: Settings> Service<S> {
    /// A service whose workers each serve an App that `app` makes, as
    /// [`HttpServer`](actix_web::HttpServer) would take it. Its routes do not depend on settings, what
    /// they answer does. An App tells its requests at which address and by which scheme they came
    /// (`app_config()`), so a worker makes one for each address and scheme that it serves.
    pub fn new<F, T, B>(app: F) -> Self
    where
        F: Fn() -> App<T> + Send + Sync + 'static,
        T: ServiceFactory<
                ServiceRequest,
                Config = (),
                Response = ServiceResponse<B>,
                Error = actix_web::Error,
                InitError = (),
            > + 'static,
        T::Future: 'static,
        T::Service: 'static,
        B: MessageBody + 'static,
    {
        Self {
            new_serve: new_serve(app),
            of: PhantomData,
        }
    }

    /// Runs the service as this process: reads the command line, handles signals, logs, and
    /// returns the exit code. What it does is told by `--help`.
    ///
    /// It may be called from a plain `main` or within a runtime (`#[actix_web::main]`, `#[tokio::main]`),
    /// whose thread it keeps until the end: tasks that wait for that thread, as those spawned before in
    /// `#[actix_web::main]` do, never run. A logger that is installed already stays: lines go to it
    /// through the `log` facade, and of `[logging]` only `access` counts. A panic hook that is set
    /// already is called too.
    ///
    /// Every signal that the command `signals` lists does from then on what it says there, whatever
    /// handled it before. The signals of crashes are not touched: what Rust's runtime or the author has
    /// installed for them stays.
    pub fn main(self) -> ExitCode {
        let author = self.author();
        cli::run(&author, |sources, ours| {
            launch(author.clone(), sources, Some(ours))
        })
    }

    /// Starts the service on threads of its own, and waits until it serves. Touches nothing
    /// global: neither signals nor the log facade nor limits. What it logs goes to the facade. Of
    /// `[logging]` only `access` counts: each request is then a record of `everup::access`, logged by the
    /// worker that served it. Other keys that are set have no effect, and are named once at `warn`.
    ///
    /// # Errors
    /// All that is wrong with the settings, or what could not be built or opened.
    pub fn start(self, sources: Sources) -> Result<Running, Vec<Diagnostic>> {
        match launch(self.author(), sources, None)? {
            Launched::Running(running) => Ok(running),
            Launched::Stopped(_) => Err(cannot_start("stopped before it served")),
        }
    }

    fn author(self) -> Arc<dyn Author> {
        Arc::new(self)
    }
}

impl<S: Settings> Author for Service<S> {
    fn load(
        &self,
        sources: &Sources,
        baseline: Baseline<'_>,
        deadline: Instant,
    ) -> Result<(Loaded<()>, AnySettings), NotLoaded> {
        let (tables, app) = load::<S>(sources, baseline, deadline)?.split();
        Ok((tables, Box::new(app)))
    }

    fn build(
        &self,
        settings: &AnySettings,
        build: &Build,
        deadline: &Deadline,
    ) -> Result<Box<dyn Any + Send + Sync>, Failed> {
        let settings: &S = settings
            .downcast_ref()
            .expect("what `load` of the same service returned");
        let building = LocalSet::new();
        let state = building.run_until(settings.build(build));
        let state = Handle::current().block_on(deadline.bound(state));
        let late = |_| Failed::Otherwise("the build did not end within `reload.timeout`".into());
        match state.map_err(late)? {
            Ok(state) => Ok(Box::new(state)),
            Err(error) => Err(match error.downcast::<Findings>() {
                Ok(findings) if !findings.is_empty() => Failed::Found(*findings),
                Ok(_) => Failed::Otherwise("nothing was found wrong, and yet it failed".into()),
                Err(error) => {
                    let why = with_causes(&*error);
                    match unreadable_file(&*error) {
                        Some((path, fault)) => Failed::Unreadable { fault, path, why },
                        None => Failed::Otherwise(why),
                    }
                }
            }),
        }
    }

    fn name(&self) -> &'static str {
        S::NAME
    }

    fn schema(&self) -> serde_json::Value {
        schema::<S>()
    }

    fn new_serve(&self) -> NewServe {
        self.new_serve.clone()
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

/// A service that serves, embedded in a program or a test.
pub struct Running {
    control: Control,
    addresses: BTreeMap<Arc<str>, String>,
    admin_address: Option<String>,
    finished: oneshot::Receiver<DrainReport>,
    /// Told when `main` has nothing more to do but wait; dropped where it has failed.
    preparing: oneshot::Sender<()>,
}

impl Running {
    /// The handle that reloads, stops and inspects the service.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Where the listener of this name listens, port 0 resolved. `None` where there is none, or it
    /// is not TCP.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses.get(listener)?.parse().ok()
    }

    /// Where the admin API listens; `None` where it is off, or on a unix socket.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address.as_ref()?.parse().ok()
    }

    /// Waits until the service has ended; [`Control::stop`] ends it. Where a bug has ended it before it
    /// could report, `is_failure` is set and the counts are 0.
    pub async fn finished(self) -> DrainReport {
        self.finished.await.unwrap_or_else(|_| unreported())
    }

    /// As [`finished`](Self::finished), for a thread without a runtime: `main` has nothing more to do.
    pub(crate) fn wait(self) -> DrainReport {
        // Only an upgrade waits for it.
        let _ = self.preparing.send(());
        report(self.finished)
    }

    /// Stops it before it was said to serve, and waits.
    pub(crate) fn give_up(self) -> DrainReport {
        self.control.stop(StopMode::Graceful);
        report(self.finished)
    }
}

fn report(finished: oneshot::Receiver<DrainReport>) -> DrainReport {
    finished.blocking_recv().unwrap_or_else(|_| unreported())
}

/// Nothing is left that could stop the service gracefully: it ends at once.
fn unreported() -> DrainReport {
    emit(&ServerEvent::Failed(Failure::Unreported));
    DrainReport {
        is_failure: true,
        ..DrainReport::default()
    }
}

/// What a process of our own brings; read once, by `main`.
pub(crate) struct Ours {
    pub(crate) log: LogHandle,
    pub(crate) upgrades: Upgrades,
    /// The inheritance from the predecessor, if this is an upgrade.
    pub(crate) inheritance: Option<Inheritance>,
    /// What the service manager has passed.
    pub(crate) activation: Arc<Activation>,
}

/// What a start has come to.
pub(crate) enum Launched {
    Running(Running),
    /// A signal ended it before it served.
    Stopped(DrainReport),
}

fn cannot_start(why: impl ToString) -> Vec<Diagnostic> {
    vec![Diagnostic::new(Fault::System, "", why.to_string())]
}

/// Starts the control thread, and waits until the service serves or has failed to.
///
/// The thread is not joined: dropping its runtime waits for its blocking threads, and a hung file
/// system must not hang the stop.
fn launch(
    author: Arc<dyn Author>,
    sources: Sources,
    ours: Option<Ours>,
) -> Result<Launched, Vec<Diagnostic>> {
    let (launched, launches) = channel::channel();
    thread::Builder::new()
        .name("everup-control".into())
        .spawn(move || {
            let system = actix::System::new();
            system.block_on(control(author, sources, ours, launched));
            // The threads of its workers end with the service.
            actix::System::current().stop();
            let _ = system.run();
        })
        .map_err(cannot_start)?;
    launches
        .recv()
        .unwrap_or_else(|_| Err(cannot_start("the control thread could not be started")))
}

type Report = channel::Sender<Result<Launched, Vec<Diagnostic>>>;

/// The control arbiter's main task.
async fn control(author: Arc<dyn Author>, sources: Sources, ours: Option<Ours>, launched: Report) {
    // Nobody waits for the answer only where the whole process is going.
    let tell = |what| drop(launched.send(what));
    // P4: in place before anything slow, so that a signal during the start is not lost.
    let signals = match ours.as_ref().map(|_| Signals::install()).transpose() {
        Ok(signals) => signals,
        Err(error) => return tell(Err(cannot_start(format!("no signal handlers: {error}")))),
    };
    let (log, upgrades, inheritance, activation) = match ours {
        None => (LogHandle::of_another(), None, None, Arc::default()),
        Some(ours) => (
            ours.log,
            Some(ours.upgrades),
            ours.inheritance.map(Arc::new),
            ours.activation,
        ),
    };
    let drop_thread = match DropThread::start() {
        Ok(drop_thread) => drop_thread,
        Err(error) => return tell(Err(cannot_start(error))),
    };
    let (threads, failures) = match Threads::start() {
        Ok(started) => started,
        Err(error) => return tell(Err(cannot_start(error))),
    };
    let (over, mut is_over) = oneshot::channel();
    let (suspension, readiness) = (SuspensionClock::new(Instant::now()), Readiness::default());
    let server = ServerActor::new(NewServer {
        finished: over,
        suspension: suspension.clone(),
        access: log.access().log(),
        readiness: readiness.clone(),
        upgrades,
        inheritance: inheritance.clone(),
    })
    .start();
    let (name, failing) = (author.name(), threads.clone());
    let (watched, newest_watched) = watch::channel(None);
    let mut control = None;
    ConfigActor::create(|ctx| {
        use actix::AsyncContext as _;
        let handle = Control::new(ctx.address(), server.clone(), readiness.clone(), name);
        control = Some(handle.clone());
        ConfigActor::new(NewConfig {
            author,
            sources: Arc::new(sources),
            drop_thread,
            threads,
            suspension,
            admin: admin::new_serve(handle),
            server,
            readiness,
            log,
            watched,
            inheritance: inheritance.clone(),
            activation,
        })
    });
    let control = control.expect("`create` calls its closure");
    let guard = failing.guard("WatchActor");
    WatchActor::start(newest_watched, control.clone(), guard);
    let (_serving, has_ended) = oneshot::channel();
    actix::spawn(end_after_failure(failures, has_ended, control.clone()));
    if let Some(signals) = signals {
        let guard = failing.guard("SignalActor");
        SignalActor::start(signals, control.clone(), guard);
    }

    let Ok(attempt) = control
        .ask(ReloadRequest::default(), Trigger::new(TriggerKind::Start))
        .await
    else {
        return tell(Err(cannot_start("stopped before it served")));
    };
    if attempt.outcome != Outcome::Applied && !attempt.is_stopping() {
        if let Some(inheritance) = &inheritance {
            inheritance.fail(&attempt.errors);
        }
        return tell(Err(attempt.errors.clone()));
    }
    if attempt.is_stopping() {
        if let Ok(report) = (&mut is_over).await {
            tell(Ok(Launched::Stopped(report)));
        }
        return;
    }
    let Ok(status) = control.status().await else {
        if let Ok(report) = is_over.await {
            tell(Ok(Launched::Stopped(report)));
        }
        return;
    };
    let (preparing, is_prepared) = oneshot::channel::<()>();
    if let Some(inheritance) = inheritance {
        let control = control.clone();
        actix::spawn(async move {
            // What `main` writes for others to read names this process before another lets go.
            if is_prepared.await.is_err() {
                return;
            }
            take_over(inheritance, control, attempt.generation).await;
        });
    }
    let (finished, finishes) = oneshot::channel();
    let listeners = status.inspection.listeners.into_iter();
    tell(Ok(Launched::Running(Running {
        control,
        addresses: listeners.map(|it| (it.name, it.address)).collect(),
        admin_address: status.inspection.admin,
        finished: finishes,
        preparing,
    })));
    if let Ok(report) = is_over.await {
        // Nobody waits for it where the `Running` was dropped.
        let _ = finished.send(report);
    }
}

/// Ends the service as failed where an author's code has stopped what it runs on, unless it has ended.
async fn end_after_failure(
    mut failures: mpsc::UnboundedReceiver<Failure>,
    has_ended: oneshot::Receiver<()>,
    control: Control,
) {
    tokio::select! {
        biased;
        _ = has_ended => {}
        failure = failures.recv() => {
            if let Some(failure) = failure {
                emit(&ServerEvent::Failed(failure));
                control.end(StopUrgency::Graceful, Trigger::new(TriggerKind::Control), true);
            }
        }
    }
}

/// Says that this process serves, and does what the predecessor passes on until it is gone.
async fn take_over(inheritance: Arc<Inheritance>, control: Control, generation: u64) {
    // Where nobody is told, nobody is left to let go: that shows next.
    let _ = inheritance.announce(generation);
    while let Some(passed) = inheritance.next().await {
        match passed {
            PassedOn::Connections(passed) => control.receive(passed),
            PassedOn::Reload(trigger) => {
                let (control, inheritance) = (control.clone(), inheritance.clone());
                actix::spawn(async move {
                    if let Ok(attempt) = control.ask(ReloadRequest::default(), trigger).await {
                        inheritance.reloaded(&attempt);
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
