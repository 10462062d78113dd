//! Opens a snapshot: keeps what is served already and opens the rest beside it.
//!
//! Everything is bound before anything listens, and clients are let in after all that can fail has
//! succeeded. Dropping what was opened undoes it. One step is visible: if one of several new unix sockets
//! cannot take its path, the ones before it were reachable for a moment.

use std::{io, num::NonZero, sync::Arc, thread, time::Duration};

use tokio::sync::watch;

use super::{
    binding::{Bound, Opening, key_of},
    prepare::Job,
};
use crate::{
    generation::Generation,
    http::{Crowd, NOWHERE, Times},
    net::{Listener, Share, Speaks},
    server::{AdminServer, Budget, Intake, Move, NewWorker, Room, Snapshot, Worker},
    settings::{Diagnostic, Effective, Fault, Loaded, Server, reason},
    telemetry::AccessSource,
};

/// What was opened.
pub(super) struct Opened {
    pub(super) snapshot: Snapshot,
    pub(super) intake: Intake,
    /// Listeners whose socket's file was gone.
    pub(super) replaced: Vec<Arc<Listener>>,
}

/// Opens everything that is not open: binds all, starts the workers idle, listens, shares the sockets,
/// and then lets clients in. For a dry run it only binds.
pub(super) async fn open(
    job: &Job,
    generation: Arc<Generation>,
    settings: &Loaded<()>,
) -> Result<Opened, Vec<Diagnostic>> {
    let (tables, effective) = (&settings.tables, &settings.effective);
    let served = job.current.as_ref().map(|current| &current.snapshot);
    let budget = served.map_or_else(Budget::measure, |served| served.budget);
    let mut bound = Bound::all(job, effective, &tables.server, &tables.admin)?;
    let replaced = bound.replaced().cloned().collect();
    let count = worker_count(&tables.server);
    let asked = tables.server.max_connections as usize;
    let room = budget.room(asked, count, job.threads.count(), bound.listeners.len());
    let room = room.map_err(system)?;
    if let Some(served) = served.filter(|_| job.is_dry_run) {
        let served = served.clone();
        let as_served = Snapshot {
            generation,
            ..served
        };
        return Ok(Opened {
            snapshot: as_served,
            intake: Intake::default(),
            replaced,
        });
    }
    let published = match served {
        Some(served) => served.published.clone(),
        None => watch::Sender::new(generation.clone()),
    };
    let staff = Staff::of(job, served, count, room, &published, &bound).await?;
    let known = served.and_then(|served| served.admin.as_ref());
    let admin_worker = match (&bound.admin, known) {
        (None, _) => None,
        (Some(_), Some(admin)) => Some(admin.worker.clone()),
        (Some(admin), None) => {
            Some(start_admin(job, admin.listener(), published.subscribe(), room).await?)
        }
    };
    for listener in bound.new_ones() {
        listener
            .listen()
            .map_err(|error| vec![cannot_listen(effective, listener, error)])?;
    }
    let mut intake = Intake {
        shares: staff.shares(&bound.listeners)?,
        ..Intake::default()
    };
    if let Some((opening, worker)) = bound.admin.as_ref().zip(admin_worker.as_ref())
        && !opening.is_kept()
    {
        intake.admin.push(share(opening, worker)?);
    }
    for listener in bound.new_ones() {
        let published = listener.publish().await;
        published.map_err(|error| vec![cannot_listen(effective, listener, error)])?;
    }
    bound.new_ones().for_each(Listener::open);
    bound.new_ones().for_each(Listener::return_ports);

    let admin = bound.admin.zip(admin_worker);
    let admin = admin.map(|(opening, worker)| AdminServer {
        listener: settle(opening, &mut intake),
        worker,
        max_connections: room.admin,
    });
    let listeners = bound.listeners.into_iter();
    let listeners = listeners.map(|opening| settle(opening, &mut intake));
    let snapshot = Snapshot {
        generation,
        published,
        listeners: listeners.collect(),
        workers: staff.workers,
        next_worker: staff.next,
        admin,
        max_connections: room.per_worker,
        max_files: room.files,
        budget,
    };
    Ok(Opened {
        snapshot,
        intake,
        replaced,
    })
}

/// The workers of the next snapshot.
struct Staff {
    workers: Vec<Worker>,
    /// How many of them, the first, serve already.
    kept: usize,
    /// The id of the next one after them.
    next: usize,
}

impl Staff {
    /// Keeps those that serve, as many as are wanted, and starts those that are missing.
    async fn of(
        job: &Job,
        served: Option<&Snapshot>,
        count: usize,
        room: Room,
        published: &watch::Sender<Arc<Generation>>,
        bound: &Bound,
    ) -> Result<Self, Vec<Diagnostic>> {
        let (mut workers, first) = match served {
            Some(served) => (served.workers.clone(), served.next_worker),
            None => (Vec::new(), 0),
        };
        workers.truncate(count);
        let kept = workers.len();
        let missing = first..first + (count - kept);
        let next = missing.end;
        let started = start_workers(job, missing, room, published, &bound.listeners).await?;
        workers.extend(started);
        Ok(Self {
            workers,
            kept,
            next,
        })
    }

    /// What each is to listen on, beside what it does.
    fn shares(&self, listeners: &[Opening]) -> Result<Vec<Vec<Share>>, Vec<Diagnostic>> {
        let workers = self.workers.iter().enumerate();
        workers
            .map(|(place, worker)| {
                let has_it = |opening: &&Opening| place < self.kept && opening.is_kept();
                let new = listeners.iter().filter(|opening| !has_it(opening));
                new.map(|opening| share(opening, worker)).collect()
            })
            .collect()
    }
}

fn share(opening: &Opening, worker: &Worker) -> Result<Share, Vec<Diagnostic>> {
    let shared = opening.listener().share(&worker.runtime);
    shared.map_err(|error| system(format!("cannot share a listener: {error}")))
}

/// The listener, and which of ours it follows, where it does.
fn settle(opening: Opening, intake: &mut Intake) -> Arc<Listener> {
    let (from, to, followed) = match opening {
        Opening::Kept(listener) => return listener,
        Opening::New(listener) => return Arc::new(listener),
        Opening::Moved { from, to } => (from, to, &mut intake.moves),
        Opening::Replaced { from, to } => (from, to, &mut intake.replaced),
    };
    let to = Arc::new(to);
    followed.push(Move {
        from,
        to: to.clone(),
    });
    to
}

async fn start_workers(
    job: &Job,
    ids: std::ops::Range<usize>,
    room: Room,
    published: &watch::Sender<Arc<Generation>>,
    listeners: &[Opening],
) -> Result<Vec<Worker>, Vec<Diagnostic>> {
    let serving_at = listeners
        .iter()
        .find_map(|opening| opening.listener().address().tcp());
    let count = ids.len();
    let starting = ids.map(|id| {
        let worker = NewWorker {
            id,
            new_serve: job.author.new_serve(),
            published: published.subscribe(),
            address: serving_at.unwrap_or(NOWHERE),
            times: Times::of,
            speaks: Speaks::on,
            max_connections: room.per_worker,
            max_files: room.files,
            crowd: Crowd::Waits,
            readiness: job.readiness.clone(),
            suspension: job.suspension.clone(),
            access: job.log.access(),
        };
        Worker::start(worker, &job.threads)
    });
    let workers = futures_util::future::join_all(starting).await;
    let workers: io::Result<_> = workers.into_iter().collect();
    workers.map_err(|error| system(format!("cannot start {count} workers: {error}")))
}

/// The id of the admin listener's worker, which no worker of the service has.
const ADMIN_ID: usize = usize::MAX;

/// The times of admin connections; those of `[server]` are for the service's own clients.
const ADMIN_TIMES: Times = Times {
    keep_alive: Duration::from_secs(75),
    // Who asks here has the whole head at hand.
    request: Duration::from_secs(2),
    body: Duration::from_secs(5),
    write: Duration::from_secs(30),
    handshake: Duration::from_secs(5),
    linger: Duration::ZERO,
    min_rate: 64,
    min_rate_grace: Duration::from_secs(60),
};

async fn start_admin(
    job: &Job,
    listener: &Listener,
    published: watch::Receiver<Arc<Generation>>,
    room: Room,
) -> Result<Worker, Vec<Diagnostic>> {
    let worker = NewWorker {
        id: ADMIN_ID,
        new_serve: job.admin.clone(),
        published,
        address: listener.address().tcp().unwrap_or(NOWHERE),
        times: |_| ADMIN_TIMES,
        speaks: |_, _| Speaks::Http1,
        max_connections: room.admin,
        max_files: 0,
        // Whoever keeps connections open must not keep the operator out.
        crowd: Crowd::MakesRoom,
        readiness: job.readiness.clone(),
        suspension: job.suspension.clone(),
        access: AccessSource::none(),
    };
    let started = Worker::start(worker, &job.threads).await;
    started.map_err(|error| system(format!("cannot start the admin listener: {error}")))
}

fn cannot_listen(effective: &Effective, listener: &Listener, error: io::Error) -> Diagnostic {
    let key = key_of(listener.name());
    let message = format!(
        "cannot listen on {}: {}",
        listener.address(),
        reason(&error)
    );
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
