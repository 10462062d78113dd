//! From settings to a [`Snapshot`]: everything that can fail happens here, beside what is served.
//!
//! What has not changed is taken over, the rest is opened; dropping the candidate undoes it. What
//! is slow runs on blocking threads, under `reload.timeout`.

use std::{
    any::Any,
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinHandle};

use super::{
    attempt::Took,
    background::{Undone, blocking, bounded, in_background},
    descriptors::Budget,
    generation::{Generation, Insides, Reaper},
    start::{Opened, start},
};
use crate::{
    server::{Listener, NewServe, Share, Worker},
    settings::{
        Address, Build, Change, Diagnostic, Facts, Fault, Loaded, ReadFiles, Server, Sources,
        changes,
    },
    upgrade::Inheritance,
};

/// The author's service, without its types.
pub(crate) trait Author: Send + Sync {
    /// Reads and checks the settings. Blocks.
    fn load(
        &self,
        sources: &Sources,
        previous: Option<&Facts>,
        deadline: Instant,
    ) -> Result<Read, Vec<Diagnostic>>;

    /// Builds the state of a generation. Blocks; needs a runtime's context; may panic.
    fn build(
        &self,
        settings: &AnySettings,
        build: &Build,
    ) -> Result<Box<dyn Any + Send + Sync>, String>;

    fn name(&self) -> &'static str;

    fn new_serve(&self) -> NewServe;
}

/// everup's own tables, and the author's.
pub(crate) type Read = (Loaded<()>, AnySettings);

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
    pub(super) budget: Budget,
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
    pub(crate) settings: Arc<Loaded<()>>,
    pub(crate) files: ReadFiles,
    pub(crate) digest: Arc<str>,
}

/// What an attempt works with.
pub(crate) struct Job {
    pub(crate) author: Arc<dyn Author>,
    pub(crate) admin: NewServe,
    pub(crate) sources: Arc<Sources>,
    pub(crate) reaper: Reaper,
    pub(crate) begun: Instant,
    pub(crate) current: Option<Current>,
    /// What the process before has left, for the first attempt.
    pub(crate) inheritance: Option<Arc<Inheritance>>,
    /// Where relative paths of sockets start; without it, where the process works.
    pub(crate) runtime_directory: Option<PathBuf>,
}

impl Job {
    /// What is served now, here or in the process before; 0 where nothing is.
    fn newest_generation(&self) -> u64 {
        match (&self.current, &self.inheritance) {
            (Some(current), _) => current.snapshot.generation.number,
            (None, Some(left)) => left.generation,
            (None, None) => 0,
        }
    }
}

/// What an attempt has come to, short of publishing.
pub(crate) enum Prepared {
    Ready(Box<Candidate>),
    /// Nothing differs; the facts about the sources may.
    Unchanged,
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
    pub(crate) shares: Vec<Vec<Share>>,
    pub(crate) admin_share: Vec<Share>,
}

impl From<Undone> for Prepared {
    fn from(Undone { error, stuck }: Undone) -> Self {
        Self::Rejected {
            errors: vec![error],
            stuck,
        }
    }
}

impl From<Vec<Diagnostic>> for Prepared {
    fn from(errors: Vec<Diagnostic>) -> Self {
        Self::Rejected {
            errors,
            stuck: None,
        }
    }
}

/// Until the settings say otherwise.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Loads and prepares. Runs on the control arbiter; waits for blocking threads.
pub(crate) async fn prepare(job: Job, took: &mut Took) -> Prepared {
    let timeout = job.current.as_ref().map_or(START_TIMEOUT, |current| {
        current.settings.tables.reload.timeout
    });
    let deadline = job.begun + timeout;
    let loading = in_background(load(&job, deadline));
    let loaded = bounded(deadline, "reading the settings", loading).await;
    took.load = job.begun.elapsed();
    let loaded = loaded.map_err(Prepared::from);
    let read = match loaded.and_then(|loaded| loaded.map_err(Prepared::from)) {
        Ok(Some(read)) => read,
        Ok(None) => return Prepared::Unchanged,
        Err(rejected) => return rejected,
    };

    let begun = Instant::now();
    let deadline = job.begun + read.0.tables.reload.timeout;
    let prepared = match build(&job, read, deadline).await {
        Ok(built) => {
            let opened = tokio::time::timeout_at(deadline.into(), open(&job, built)).await;
            // An App that is never made is dropped, with the workers that waited for it.
            let late = "the App was not made within `reload.timeout`";
            opened
                .unwrap_or_else(|_| Err(vec![Diagnostic::new(Fault::Build, "", late)]))
                .unwrap_or_else(Prepared::from)
        }
        Err(rejected) => rejected,
    };
    took.prepare = begun.elapsed();
    prepared
}

/// The settings, or `None` where nothing differs from what is served.
fn load(
    job: &Job,
    deadline: Instant,
) -> impl FnOnce() -> Result<Option<Read>, Vec<Diagnostic>> + Send + 'static {
    let (author, sources) = (job.author.clone(), job.sources.clone());
    let current = job.current.clone();
    move || {
        let previous = current.as_ref().map(|current| &current.settings.facts);
        let read = author.load(&sources, previous, deadline)?;
        let Some(current) = current else {
            return Ok(Some(read));
        };
        let is_same = read.0.effective.digest(&current.files) == *current.digest;
        if is_same && current.files.unchanged() {
            return Ok(None);
        }
        frozen(&current.settings, &read.0)?;
        Ok(Some(read))
    }
}

/// The listeners' addresses by name; what else a listener says is heeded from the next accept on.
fn addresses(server: &Server) -> BTreeMap<&str, &Address> {
    let listeners = server.listeners.iter();
    listeners
        .map(|(name, listener)| (name.as_str(), &listener.address))
        .collect()
}

/// What cannot change while the process runs.
fn frozen(current: &Loaded<()>, next: &Loaded<()>) -> Result<(), Vec<Diagnostic>> {
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

/// A generation's insides, built from settings.
struct Built {
    settings: Loaded<()>,
    app: AnySettings,
    state: Box<dyn Any + Send + Sync>,
    files: ReadFiles,
}

/// Builds the author's state, again where a file that it read has changed meanwhile (P3).
async fn build(job: &Job, (settings, mut app): Read, deadline: Instant) -> Result<Built, Prepared> {
    loop {
        let (author, base) = (job.author.clone(), job.sources.base());
        let building = move || {
            let with = Build::new(base);
            let state = author.build(&app, &with);
            let files = with.files_read();
            let is_stable = files.unchanged();
            (app, state, files, is_stable)
        };
        let (same, state, files, is_stable) =
            bounded(deadline, "the build", blocking(building)).await?;
        let state = state.map_err(|error| {
            let diagnostic = Diagnostic::new(Fault::Build, "app", error);
            Prepared::from(vec![diagnostic])
        })?;
        if is_stable {
            return Ok(Built {
                settings,
                app: same,
                state,
                files,
            });
        }
        if Instant::now() >= deadline {
            let error = "the files that the build reads do not stand still";
            return Err(vec![Diagnostic::new(Fault::Build, "app", error)].into());
        }
        app = same;
    }
}

/// Opens what the snapshot needs and does not have yet.
async fn open(job: &Job, built: Built) -> Result<Prepared, Vec<Diagnostic>> {
    let Built {
        settings,
        app,
        state,
        files,
    } = built;
    let settings = Arc::new(settings);
    let tables = &settings.tables;
    let digest: Arc<str> = settings.effective.digest(&files).into();
    let known = job.current.as_ref();
    let generation = Arc::new(Generation::new(
        job.newest_generation() + 1,
        tables.server.clone(),
        tables.shutdown.clone(),
        Insides {
            settings: app,
            state,
        },
        job.reaper.clone(),
    ));
    let (snapshot, shares, admin_share, changes) = match known {
        Some(known) => {
            let mut snapshot = known.snapshot.clone();
            snapshot.generation = generation;
            let asked = settings.tables.server.max_connections as usize;
            let room = snapshot.budget.room(asked, snapshot.workers.len());
            snapshot.max_connections = room.per_worker;
            let changes = changes(&known.settings.effective, &settings.effective);
            (snapshot, Vec::new(), Vec::new(), changes)
        }
        None => {
            let opened = start(job, generation, &settings).await?;
            let Opened {
                snapshot,
                shares,
                admin_share,
            } = opened;
            (snapshot, shares, admin_share, Vec::new())
        }
    };
    Ok(Prepared::Ready(Box::new(Candidate {
        current: Current {
            snapshot,
            settings,
            files,
            digest,
        },
        changes,
        shares,
        admin_share,
    })))
}
