//! From settings to a [`Snapshot`]: everything that can fail happens here, beside what is served.
//!
//! What has not changed is taken over, the rest is opened; dropping the candidate undoes it. What
//! is slow runs on blocking threads, under `reload.timeout`.

use std::{
    any::Any,
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    num::NonZero,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinHandle};

use super::{
    attempt::Took,
    background::Undone,
    content::{Content, Made, SharedSettings, Task, make},
    descriptors::{Budget, Room},
    generation::{Generation, Reaper},
    logging::open_log,
};
use crate::{
    server::{
        Address, Crowd, Listener, NewServe, NewWorker, Pulse, Readiness, Share, Speaks, Times,
        Worker,
    },
    settings::{
        Admin, AdminAddress, Build, Change, Diagnostic, Effective, Facts, Fault, Loaded, Server,
        Shadowed, Sources, Unbuilt, Written,
    },
    telemetry::{AccessSource, LogHandle, OpenedLog},
};

/// The author's service, without its types.
pub(crate) trait Author: Send + Sync {
    /// Reads and checks the settings. Blocks.
    fn load(
        &self,
        sources: &Sources,
        previous: Option<&Facts>,
        deadline: Instant,
    ) -> Result<(Loaded<()>, AnySettings), Vec<Diagnostic>>;

    /// Builds the state of a generation. Blocks; needs a runtime's context; may panic.
    fn build(
        &self,
        settings: &AnySettings,
        build: &Build,
    ) -> Result<Box<dyn Any + Send + Sync>, Unbuilt>;

    fn name(&self) -> &'static str;

    /// The JSON Schema of all its settings.
    fn schema(&self) -> serde_json::Value;

    fn new_serve(&self) -> NewServe;
}

/// The author's settings, behind `dyn Any`.
pub(crate) type AnySettings = Box<dyn Any + Send + Sync>;

/// A generation with all that it opened. No request pins it, so nothing of yesterday stays open.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) generation: Arc<Generation>,
    /// Where the workers look for the newest generation.
    pub(crate) published: watch::Sender<Arc<Generation>>,
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) admin: Option<AdminServer>,
    pub(crate) max_connections: usize,
    budget: Budget,
}

/// The admin listener and the worker that serves it, on an arbiter of its own: a big answer or
/// many idle clients delay no signal and no request.
#[derive(Clone)]
pub(crate) struct AdminServer {
    pub(crate) listener: Arc<Listener>,
    pub(crate) worker: Worker,
    pub(crate) max_connections: usize,
}

/// What is served, as the next attempt needs to know it.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) snapshot: Snapshot,
    pub(crate) content: Content,
    /// Of the newest reading of the sources, also where a rollback was made since.
    pub(crate) facts: Facts,
}

/// What an attempt works with.
pub(crate) struct Job {
    pub(crate) author: Arc<dyn Author>,
    pub(crate) admin: NewServe,
    pub(crate) sources: Arc<Sources>,
    pub(crate) reaper: Reaper,
    pub(crate) readiness: Readiness,
    pub(crate) begun: Instant,
    pub(crate) pulse: Pulse,
    pub(crate) current: Option<Current>,
    pub(crate) task: Task,
    pub(crate) log: LogHandle,
}

/// What an attempt has come to, short of publishing.
pub(crate) enum Prepared {
    Ready(Box<Candidate>),
    /// Nothing that is in force differs, but perhaps where it stands: the settings as they were read
    /// this time.
    Unchanged {
        settings: SharedSettings,
        shadowed: Vec<Shadowed>,
    },
    Rejected {
        errors: Vec<Diagnostic>,
        /// A thread that did not come back in time.
        stuck: Option<JoinHandle<()>>,
    },
}

/// The next snapshot, and what is to be said of it.
pub(crate) struct Candidate {
    pub(crate) current: Current,
    pub(crate) changes: Vec<Change>,
    pub(crate) shadowed: Vec<Shadowed>,
    pub(crate) shares: Vec<Vec<Share>>,
    pub(crate) admin_share: Vec<Share>,
    pub(crate) log: OpenedLog,
}

/// What is wrong, and a thread that did not come back in time.
pub(super) struct Rejected {
    pub(super) errors: Vec<Diagnostic>,
    stuck: Option<JoinHandle<()>>,
}

impl From<Undone> for Rejected {
    fn from(Undone { error, stuck }: Undone) -> Self {
        let errors = vec![error];
        Self { errors, stuck }
    }
}

impl From<Vec<Diagnostic>> for Rejected {
    fn from(errors: Vec<Diagnostic>) -> Self {
        let stuck = None;
        Self { errors, stuck }
    }
}

impl From<Rejected> for Prepared {
    fn from(Rejected { errors, stuck }: Rejected) -> Self {
        Self::Rejected { errors, stuck }
    }
}

/// Until the settings say otherwise.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Loads and prepares. Runs on the control arbiter; what is slow does not.
pub(crate) async fn prepare(job: Job, took: &mut Took) -> Prepared {
    let timeout = job.current.as_ref().map_or(START_TIMEOUT, |current| {
        current.content.settings.tables.reload.timeout
    });
    let deadline = job.pulse.deadline(timeout);
    let made = match make(&job, &deadline, took).await {
        Ok(made) => made,
        Err(prepared) => return prepared,
    };
    let begun = Instant::now();
    let settings = made.content.settings.clone();
    let deadline = deadline.after(settings.tables.reload.timeout);
    let opened = async {
        let log = open_log(&job.log, &job.sources, &settings, &deadline).await?;
        let opened = deadline.bound(open(&job, made, log)).await;
        // An App that is never made is dropped, with the workers that waited for it.
        let late = "the App was not made within `reload.timeout`";
        let opened = opened.unwrap_or_else(|_| Err(vec![Diagnostic::new(Fault::Build, "", late)]));
        opened.map_err(Rejected::from)
    };
    let opened = opened.await;
    took.prepare += begun.elapsed();
    match opened {
        Ok(candidate) => Prepared::Ready(Box::new(candidate)),
        Err(rejected) => Rejected::into(rejected),
    }
}

/// The listeners' addresses by name; what else a listener says is heeded from the next accept on.
fn addresses(server: &Server) -> BTreeMap<&str, SocketAddr> {
    let listeners = server.listeners.iter();
    listeners
        .map(|(name, listener)| (name.as_str(), listener.address))
        .collect()
}

/// What cannot change while the process runs.
pub(super) fn frozen(current: &Loaded<()>, next: &Loaded<()>) -> Result<(), Vec<Diagnostic>> {
    let (was, is) = (&current.tables, &next.tables);
    let fixed = [
        (
            "server.listeners",
            addresses(&was.server) != addresses(&is.server),
        ),
        ("server.workers", was.server.workers != is.server.workers),
        ("admin.address", was.admin.address != is.admin.address),
    ];
    let errors: Vec<_> = fixed
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(key, _)| {
            let message = "cannot be changed by a reload yet: stop and start instead";
            next.effective.diagnostic(Fault::Settings, key, message)
        })
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// Opens what the snapshot needs and does not have yet.
async fn open(job: &Job, made: Made, log: OpenedLog) -> Result<Candidate, Vec<Diagnostic>> {
    let Made {
        content,
        facts,
        changes,
        shadowed,
    } = made;
    let tables = &content.settings.tables;
    let known = job.current.as_ref();
    let generation = Arc::new(Generation::new(
        known.map_or(1, |known| known.snapshot.generation.number + 1),
        tables,
        content.token.clone(),
        content.insides.clone(),
    ));
    let (snapshot, shares, admin_share) = match known {
        Some(known) => {
            let mut snapshot = known.snapshot.clone();
            snapshot.generation = generation;
            let asked = tables.server.max_connections as usize;
            let room = snapshot.budget.room(asked, snapshot.workers.len());
            snapshot.max_connections = room.per_worker;
            (snapshot, Vec::new(), Vec::new())
        }
        None => start(job, generation, &content.settings).await?,
    };
    Ok(Candidate {
        current: Current {
            snapshot,
            content,
            facts,
        },
        changes,
        shadowed,
        shares,
        admin_share,
        log,
    })
}

type Opened = (Snapshot, Vec<Vec<Share>>, Vec<Share>);

/// Opens everything, for the first time: binds all, then starts the workers idle, then listens.
async fn start(
    job: &Job,
    generation: Arc<Generation>,
    settings: &Loaded<()>,
) -> Result<Opened, Vec<Diagnostic>> {
    let (tables, effective) = (&settings.tables, &settings.effective);
    let (mut listeners, mut admin) = bind(&tables.server, &tables.admin, effective, &job.sources)?;
    let count = worker_count(&tables.server);
    let budget = Budget::measure(count, listeners.len()).map_err(system)?;
    let room = budget.room(tables.server.max_connections as usize, count);

    let published = watch::Sender::new(generation);
    let serving_at = listeners
        .iter()
        .find_map(|listener| listener.address().tcp());
    let mut workers = Vec::with_capacity(count);
    for id in 0..count {
        workers.push(Worker::start(NewWorker {
            id,
            new_serve: job.author.new_serve(),
            published: published.subscribe(),
            address: serving_at.unwrap_or(NOWHERE),
            times: |generation| Times::from(&generation.server),
            speaks: |generation, listener| Speaks::on(&generation.server, listener),
            max_connections: room.per_worker,
            crowd: Crowd::Waits,
            readiness: job.readiness.clone(),
            pulse: job.pulse.clone(),
            access: job.log.access(),
        }));
    }
    let workers = futures_util::future::join_all(workers).await;
    let workers: Vec<Worker> = workers
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| system(format!("cannot start {count} workers: {error}")))?;

    let mut shares: Vec<Vec<Share>> = Vec::new();
    for listener in listeners.iter_mut().chain(&mut admin) {
        listener
            .listen()
            .map_err(|error| vec![cannot_listen(effective, listener, error)])?;
    }
    for worker in &workers {
        shares.push(
            listeners
                .iter()
                .map(|listener| listener.share(&worker.runtime))
                .collect::<Result<_, _>>()
                .map_err(|error| system(format!("cannot share a listener: {error}")))?,
        );
    }
    let (admin, admin_share) = match admin {
        None => (None, Vec::new()),
        Some(listener) => {
            let (admin, share) = start_admin(job, listener, published.subscribe(), room).await?;
            (Some(admin), vec![share])
        }
    };
    let generation = published.borrow().clone();
    let snapshot = Snapshot {
        generation,
        published,
        listeners: listeners.into_iter().map(Arc::new).collect(),
        workers,
        admin,
        max_connections: room.per_worker,
        budget,
    };
    Ok((snapshot, shares, admin_share))
}

/// What an App is told of its address where it listens at none.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The id of the admin listener's worker, which no worker of the service has.
const ADMIN_ID: usize = usize::MAX;

async fn start_admin(
    job: &Job,
    listener: Listener,
    published: watch::Receiver<Arc<Generation>>,
    room: Room,
) -> Result<(AdminServer, Share), Vec<Diagnostic>> {
    let cannot = |error| system(format!("cannot start the admin listener: {error}"));
    let worker = Worker::start(NewWorker {
        id: ADMIN_ID,
        new_serve: job.admin.clone(),
        published,
        address: listener.address().tcp().unwrap_or(NOWHERE),
        times: |_| crate::admin::TIMES,
        speaks: |_, _| Speaks::Http1,
        max_connections: room.admin,
        // Whoever keeps connections open must not keep the operator out.
        crowd: Crowd::MakesRoom,
        readiness: job.readiness.clone(),
        pulse: job.pulse.clone(),
        access: AccessSource::none(),
    });
    let worker = worker.await.map_err(cannot)?;
    let share = listener.share(&worker.runtime).map_err(cannot)?;
    let admin = AdminServer {
        listener: Arc::new(listener),
        worker,
        max_connections: room.admin,
    };
    Ok((admin, share))
}

/// Binds every address, or tells of every one that cannot be bound.
fn bind(
    server: &Server,
    admin: &Admin,
    effective: &Effective,
    sources: &Sources,
) -> Result<(Vec<Listener>, Option<Listener>), Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut taken: Vec<(Address, String)> = Vec::new();
    let mut try_to = |name: &str, key: &str, address: Address| {
        let twice = taken.iter().find(|(other, _)| *other == address);
        if let Some((_, first)) = twice.filter(|_| !address.is_any_port()) {
            let message = format!("{address} is the address of {first} already");
            errors.push(effective.diagnostic(Fault::Settings, key, &message));
            return None;
        }
        let bound = Listener::bind(name, &address).map_err(|error| {
            let message = format!("cannot listen on {address}: {error}");
            errors.push(effective.diagnostic(Fault::System, key, &message));
        });
        taken.push((address, key.to_owned()));
        bound.ok()
    };
    let listeners = server
        .listeners
        .iter()
        .filter_map(|(name, listener)| {
            try_to(name, &listener_key(name), Address::Tcp(listener.address))
        })
        .collect();
    let address = match &admin.address {
        AdminAddress::Off => None,
        AdminAddress::Tcp(address) => Some(Address::Tcp(*address)),
        AdminAddress::Unix(path) => Some(Address::Unix(sources.written(Written::Runtime, path))),
    };
    let admin = address.and_then(|address| try_to("admin", ADMIN_KEY, address));
    if errors.is_empty() {
        Ok((listeners, admin))
    } else {
        Err(errors)
    }
}

const ADMIN_KEY: &str = "admin.address";

fn listener_key(name: &str) -> String {
    format!("server.listeners.{name}.address")
}

fn cannot_listen(effective: &Effective, listener: &Listener, error: std::io::Error) -> Diagnostic {
    let key = match &**listener.name() {
        "admin" => ADMIN_KEY.to_owned(),
        name => listener_key(name),
    };
    let message = format!("cannot listen on {}: {error}", listener.address());
    effective.diagnostic(Fault::System, &key, &message)
}

fn system(message: String) -> Vec<Diagnostic> {
    vec![Diagnostic::new(Fault::System, "", message)]
}

/// `server.workers`, or as many as affinity and the cgroup's quota allow.
fn worker_count(server: &Server) -> usize {
    match server.workers {
        0 => thread::available_parallelism().map_or(1, NonZero::get),
        count => count.into(),
    }
}
