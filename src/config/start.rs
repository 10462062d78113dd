//! A start: everything is opened for the first time, or taken from the process before.
//!
//! All is bound before anything listens, and all listens when everything else has been started:
//! what fails before that has been seen by no client.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    num::NonZero,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::sync::watch;

use super::{
    descriptors::{Budget, Room},
    generation::Generation,
    prepare::{AdminServer, Job, Snapshot},
};
use crate::{
    server::{Access, Activation, Crowd, Listener, NewWorker, Share, Speaks, Times, Worker},
    settings::{
        Address, Admin, AdminAddress, Diagnostic, Effective, Fault, Loaded, Server, Sources,
        Written,
    },
    telemetry::AccessSource,
    upgrade::Inheritance,
};

/// A snapshot, and what its workers are to listen on from now on: all at a start, nothing more
/// afterwards.
pub(super) struct Opened {
    pub(super) snapshot: Snapshot,
    pub(super) shares: Vec<Vec<Share>>,
    pub(super) admin_share: Vec<Share>,
}

/// Opens everything: binds all, starts the workers idle, then listens.
pub(super) async fn start(
    job: &Job,
    generation: Arc<Generation>,
    settings: &Loaded<()>,
) -> Result<Opened, Vec<Diagnostic>> {
    let (tables, effective) = (&settings.tables, &settings.effective);
    let (mut listeners, mut admin) =
        Binding::of(job, effective).all(&tables.server, &tables.admin)?;
    let count = worker_count(&tables.server);
    let budget = Budget::measure(count, listeners.len()).map_err(system)?;
    let room = budget.room(tables.server.max_connections as usize, count);

    let published = watch::Sender::new(generation.clone());
    let workers = start_workers(job, count, room, &published, &listeners).await?;
    let admin_worker = match &admin {
        None => None,
        Some(listener) => Some(start_admin(job, listener, published.subscribe(), room).await?),
    };

    for listener in listeners.iter_mut().chain(&mut admin) {
        listener
            .listen()
            .map_err(|error| vec![cannot_listen(effective, listener, error)])?;
    }
    let cannot_share = |error: io::Error| system(format!("cannot share a listener: {error}"));
    let mut shares: Vec<Vec<Share>> = Vec::new();
    for worker in &workers {
        let share = |listener: &Listener| listener.share(&worker.runtime);
        let of_it: io::Result<_> = listeners.iter().map(share).collect();
        shares.push(of_it.map_err(cannot_share)?);
    }
    let mut admin_share = Vec::new();
    let admin = match admin.zip(admin_worker) {
        None => None,
        Some((listener, worker)) => {
            admin_share.push(listener.share(&worker.runtime).map_err(cannot_share)?);
            Some(AdminServer {
                listener: Arc::new(listener),
                worker,
                max_connections: room.admin,
            })
        }
    };
    let snapshot = Snapshot {
        generation,
        published,
        listeners: listeners.into_iter().map(Arc::new).collect(),
        workers,
        admin,
        max_connections: room.per_worker,
        budget,
    };
    Ok(Opened {
        snapshot,
        shares,
        admin_share,
    })
}

async fn start_workers(
    job: &Job,
    count: usize,
    room: Room,
    published: &watch::Sender<Arc<Generation>>,
    listeners: &[Listener],
) -> Result<Vec<Worker>, Vec<Diagnostic>> {
    let serving_at = listeners
        .iter()
        .find_map(|listener| listener.address().tcp());
    let starting = (0..count).map(|id| {
        Worker::start(NewWorker {
            id,
            new_serve: job.author.new_serve(),
            published: published.subscribe(),
            address: serving_at.unwrap_or(NOWHERE),
            times: |generation| Times::from(&generation.server),
            speaks: Speaks::on,
            max_connections: room.per_worker,
            crowd: Crowd::Waits,
            readiness: job.readiness.clone(),
            pulse: job.pulse.clone(),
            access: job.log.access(),
        })
    });
    let workers = futures_util::future::join_all(starting).await;
    let workers: io::Result<_> = workers.into_iter().collect();
    workers.map_err(|error| system(format!("cannot start {count} workers: {error}")))
}

/// What an App is told of its address where it listens at none.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

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
};

async fn start_admin(
    job: &Job,
    listener: &Listener,
    published: watch::Receiver<Arc<Generation>>,
    room: Room,
) -> Result<Worker, Vec<Diagnostic>> {
    let worker = Worker::start(NewWorker {
        id: ADMIN_ID,
        new_serve: job.admin.clone(),
        published,
        address: listener.address().tcp().unwrap_or(NOWHERE),
        times: |_| ADMIN_TIMES,
        speaks: |_, _| Speaks::Http1,
        max_connections: room.admin,
        // Whoever keeps connections open must not keep the operator out.
        crowd: Crowd::MakesRoom,
        readiness: job.readiness.clone(),
        pulse: job.pulse.clone(),
        access: AccessSource::none(),
    });
    worker
        .await
        .map_err(|error| system(format!("cannot start the admin listener: {error}")))
}

/// The listeners of a start, one after the other: each is taken from the process before, or bound.
struct Binding<'a> {
    effective: &'a Effective,
    inheritance: Option<&'a Inheritance>,
    activation: &'a Activation,
    sources: &'a Sources,
    /// The addresses so far, and the keys that ask for them.
    taken: Vec<(Address, String)>,
    errors: Vec<Diagnostic>,
}

impl<'a> Binding<'a> {
    fn of(job: &'a Job, effective: &'a Effective) -> Self {
        Self {
            effective,
            inheritance: job.inheritance.as_deref(),
            activation: &job.activation,
            sources: &job.sources,
            taken: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Binds every address, or tells of every one that cannot be bound.
    fn all(
        mut self,
        server: &Server,
        admin: &Admin,
    ) -> Result<(Vec<Listener>, Option<Listener>), Vec<Diagnostic>> {
        let listeners = server.listeners.iter().filter_map(|(name, listener)| {
            let address = listener.address.clone();
            self.one(name, listener_key(name), address, Access::Anyone)
        });
        let listeners = listeners.collect();
        let address = match &admin.address {
            AdminAddress::Off => None,
            AdminAddress::Tcp(address) => Some(Address::Tcp(*address)),
            AdminAddress::Unix(path) => Some(Address::Unix(path.clone())),
        };
        let admin = address
            .and_then(|address| self.one(ADMIN, ADMIN_KEY.to_owned(), address, Access::Owner));
        if self.errors.is_empty() {
            Ok((listeners, admin))
        } else {
            Err(self.errors)
        }
    }

    fn one(
        &mut self,
        name: &str,
        key: String,
        address: Address,
        access: Access,
    ) -> Option<Listener> {
        let address = self.placed(address);
        let twice = self.taken.iter().find(|(other, _)| *other == address);
        if let Some((_, first)) = twice.filter(|_| !address.is_any_port()) {
            let message = format!("{address} is the address of {first} already");
            let error = self.effective.diagnostic(Fault::Settings, &key, &message);
            self.errors.push(error);
            return None;
        }
        let inherited = self.inheritance.and_then(|left| left.take(name, &address));
        let bound = inherited.unwrap_or_else(|| match &address {
            Address::Systemd(wanted) => self.activation.listener(name, &address, wanted),
            Address::Tcp(_) | Address::Unix(_) => Listener::bind(name, &address, access),
        });
        let bound = bound.map_err(|error| {
            let fault = match &address {
                // No later try finds other sockets passed.
                Address::Systemd(_) => Fault::of(&error),
                Address::Tcp(_) | Address::Unix(_) => Fault::System,
            };
            let message = format!("cannot listen on {address}: {error}");
            self.errors
                .push(self.effective.diagnostic(fault, &key, &message));
        });
        self.taken.push((address, key));
        bound.ok()
    }

    /// Where a relative path starts.
    fn placed(&self, address: Address) -> Address {
        match address {
            Address::Unix(path) => Address::Unix(self.sources.written(Written::Runtime, &path)),
            Address::Tcp(_) | Address::Systemd(_) => address,
        }
    }
}

/// The admin listener's name, which no other listener can have: those have no space.
const ADMIN: &str = "the admin API";

const ADMIN_KEY: &str = "admin.address";

fn listener_key(name: &str) -> String {
    format!("server.listeners.{name}.address")
}

fn cannot_listen(effective: &Effective, listener: &Listener, error: io::Error) -> Diagnostic {
    let key = match &**listener.name() {
        ADMIN => ADMIN_KEY.to_owned(),
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
