//! WorkerActor: one core's [`Acceptor`] and connections, on a thread of its own.
//!
//! The ServerActor sends it [`Adopt`], [`Receive`], [`Delay`], [`LetGo`], [`CloseListeners`], [`Retire`],
//! [`Drain`], [`ProcessWasSuspended`] and [`Cut`]. It knows no other actor. Its books can be read at any time.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Actor, Addr, Context as ActorContext, Handler, Message, ResponseFuture};
use tokio::{runtime::Handle, sync::oneshot, task::JoinHandle};

use super::{
    acceptor::Acceptor,
    threads::{PanicGuard, Thread, Threads},
};
use crate::{
    generation::{Generation, Slot},
    http::{
        Books, Crowd, Hub, Linger, NewServe, Readiness, SuspensionClock, Times, Transfer,
        TransferredConnection, Victim,
    },
    net::{Share, Speaks, accepted_elsewhere},
    telemetry::AccessSource,
};

/// Take up the newest generation, and listen on these sockets too. Answered when the worker has let go of
/// older generations, but for those that requests in flight hold.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Adopt {
    pub(crate) shares: Vec<Share>,
    pub(crate) max_connections: usize,
    pub(crate) max_files: usize,
}

/// A stop with a delay begins: the next response of each open connection closes it. Cannot fail.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Delay;

/// Accept no more from listeners whose sockets have passed. Cannot fail.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LetGo;

/// Serve this connection, which another process or worker has accepted. Cannot fail.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Receive(pub(crate) TransferredConnection);

/// Serve what is queued at listeners that close, and let go of them. Answered when their queues are
/// empty: whether there were any.
#[derive(Message)]
#[rtype(result = "bool")]
pub(crate) struct CloseListeners;

/// Others go on without this worker: accept no more, pass idle connections on, finish what is in
/// flight. Answered when no connection is left, nor a queue that brings one.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Retire {
    pub(crate) linger: Duration,
    pub(crate) transfer: Option<Transfer>,
}

/// Finish what is in flight. Answered when no connection is left. Sent again where it changes.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain {
    pub(crate) since: Instant,
    pub(crate) linger: Duration,
    pub(crate) deadline: Instant,
    /// Where idle connections go on, where a new process serves afterwards.
    pub(crate) transfer: Option<Transfer>,
}

/// The process was suspended: move the connections' clocks. Cannot fail.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ProcessWasSuspended;

/// End every connection. Answers what was in flight, entered as cut. Cannot fail.
#[derive(Message)]
#[rtype(result = "Vec<Victim>")]
pub(crate) struct Cut;

/// A worker as others see it.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) id: usize,
    pub(crate) address: Addr<WorkerActor>,
    pub(crate) books: Arc<Books>,
    /// The number of the newest generation that it has seen.
    pub(crate) generation: Arc<AtomicU64>,
    pub(crate) runtime: Handle,
    /// Held, not used: the thread is parked with the last clone.
    _thread: Arc<Thread>,
}

/// What a worker is made of.
pub(crate) struct NewWorker {
    pub(crate) id: usize,
    pub(crate) new_serve: NewServe,
    pub(crate) published: tokio::sync::watch::Receiver<Arc<Generation>>,
    pub(crate) address: std::net::SocketAddr,
    /// The times that its connections keep in each generation.
    pub(crate) times: fn(&Generation) -> Times,
    /// What the connections of the listener of this name may speak in each generation.
    pub(crate) speaks: fn(&Generation, &str) -> Speaks,
    pub(crate) max_connections: usize,
    /// How many files its answers may hold open.
    pub(crate) max_files: usize,
    pub(crate) crowd: Crowd,
    pub(crate) readiness: Readiness,
    pub(crate) suspension: SuspensionClock,
    pub(crate) access: AccessSource,
}

impl Worker {
    /// Starts a worker on a thread that it has for itself, idle. Must be called within a System.
    ///
    /// # Errors
    /// Where the system has no thread or no descriptors to give, or the App cannot be made.
    pub(crate) async fn start(new: NewWorker, threads: &Arc<Threads>) -> io::Result<Self> {
        let thread = threads.take()?;
        let (started, starts) = oneshot::channel();
        let books = Arc::new(Books::default());
        let generation = Arc::new(AtomicU64::new(0));
        let id = new.id;
        let (of, seen) = (books.clone(), generation.clone());
        let threads = threads.clone();
        thread.run(move || {
            actix_rt::spawn(WorkerActor::begin(new, threads, of, seen, started));
        });
        let started = starts.await;
        let (address, runtime) =
            started.map_err(|_| io::Error::other("the App could not be made"))?;
        Ok(Self {
            id,
            address,
            books,
            generation,
            runtime,
            _thread: Arc::new(thread),
        })
    }
}

/// The actor of one worker.
pub(crate) struct WorkerActor {
    hub: Rc<Hub>,
    acceptor: Rc<Acceptor>,
    slot: Rc<RefCell<Slot>>,
    times: fn(&Generation) -> Times,
    generation: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
    _guard: PanicGuard,
}

impl Drop for WorkerActor {
    fn drop(&mut self) {
        // Else its loop would keep the App on a thread that serves others.
        self.accepting.abort();
    }
}

impl WorkerActor {
    /// Runs on the worker's thread. An App that panics while it is made drops `started`.
    async fn begin(
        new: NewWorker,
        threads: Arc<Threads>,
        books: Arc<Books>,
        generation: Arc<AtomicU64>,
        started: oneshot::Sender<(Addr<Self>, Handle)>,
    ) {
        let mut slot = Slot::new(new.published);
        let times = (new.times)(&slot.pin());
        let hub = Hub::new(
            books,
            new.access.log(),
            times,
            new.max_connections,
            new.crowd,
            new.readiness,
            new.suspension,
        );
        hub.limit(times, new.max_connections, new.max_files);
        let slot = Rc::new(RefCell::new(slot));
        let making = (new.new_serve)(hub.clone(), slot.clone(), new.address);
        let Some(serve) = making.await else {
            return;
        };
        let acceptor = Acceptor::new(hub.clone(), serve, slot.clone(), new.speaks);
        let guard = threads.guard("the accept loop of a worker");
        let accepting = acceptor.clone().run();
        let accepting = actix_rt::spawn(async move {
            let _guard = guard;
            accepting.await;
        });
        let actor = Self {
            hub,
            acceptor,
            slot,
            times: new.times,
            generation,
            accepting,
            _guard: threads.guard("a WorkerActor"),
        };
        // Nobody waits any more only where the whole start was given up.
        let _ = started.send((actor.start(), Handle::current()));
    }
}

impl Actor for WorkerActor {
    type Context = ActorContext<Self>;
}

impl Handler<Adopt> for WorkerActor {
    type Result = ();

    fn handle(&mut self, adopt: Adopt, _: &mut Self::Context) {
        let pin = self.slot.borrow_mut().pin();
        let times = (self.times)(&pin);
        self.hub
            .limit(times, adopt.max_connections, adopt.max_files);
        self.acceptor.add(adopt.shares);
        self.generation.store(pin.number, Ordering::Relaxed);
    }
}

impl Handler<Delay> for WorkerActor {
    type Result = ();

    fn handle(&mut self, _: Delay, _: &mut Self::Context) {
        self.hub.delay();
    }
}

impl Handler<LetGo> for WorkerActor {
    type Result = ();

    fn handle(&mut self, _: LetGo, _: &mut Self::Context) {
        self.acceptor.let_go();
    }
}

impl Handler<Receive> for WorkerActor {
    type Result = ();

    fn handle(&mut self, Receive(connection): Receive, _: &mut Self::Context) {
        // One that fails has ended meanwhile.
        if let Ok(accepted) = accepted_elsewhere(connection.socket) {
            let origin = self.acceptor.origin(&connection.listener);
            // It was in the clear there, whatever the listener's next ones are.
            self.acceptor.open(&origin, accepted, Speaks::in_the_clear);
        }
    }
}

impl Handler<CloseListeners> for WorkerActor {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, _: CloseListeners, _: &mut Self::Context) -> Self::Result {
        Box::pin(self.acceptor.clone().empty())
    }
}

impl Handler<Retire> for WorkerActor {
    type Result = ResponseFuture<()>;

    fn handle(
        &mut self,
        Retire { linger, transfer }: Retire,
        _: &mut Self::Context,
    ) -> Self::Result {
        self.acceptor.retire();
        if let Some(transfer) = transfer {
            self.hub.open_transfer(transfer);
        }
        let since = Instant::now();
        self.hub.retire(Linger { since, linger });
        let (acceptor, hub) = (self.acceptor.clone(), self.hub.clone());
        Box::pin(async move {
            acceptor.wait_until_let_go().await;
            wait_until_empty(hub).await;
        })
    }
}

impl Handler<Drain> for WorkerActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, drain: Drain, _: &mut Self::Context) -> Self::Result {
        if let Some(transfer) = drain.transfer {
            self.hub.open_transfer(transfer);
        }
        self.hub.drain(drain.since, drain.linger, drain.deadline);
        Box::pin(wait_until_empty(self.hub.clone()))
    }
}

async fn wait_until_empty(hub: Rc<Hub>) {
    hub.wait_until_empty().await;
    hub.flush_access();
}

impl Handler<ProcessWasSuspended> for WorkerActor {
    type Result = ();

    fn handle(&mut self, _: ProcessWasSuspended, _: &mut Self::Context) {
        self.hub.note_suspension(Instant::now());
    }
}

impl Handler<Cut> for WorkerActor {
    type Result = Vec<Victim>;

    fn handle(&mut self, _: Cut, _: &mut Self::Context) -> Vec<Victim> {
        self.acceptor.close();
        let victims = self.hub.books().cut(Instant::now());
        self.hub.cut();
        victims
    }
}
