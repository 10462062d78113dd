//! The threads of the workers. When a worker retires, its thread is parked with its runtime running and
//! reused (P5): an author's pooled connections and spawned tasks live on it. Threads end with the service.

use std::{
    future, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use actix_rt::{Arbiter, ArbiterHandle, System};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// All threads of one service's workers.
pub(crate) struct Threads {
    /// Those that no worker uses.
    parked: Mutex<Vec<ArbiterHandle>>,
    started: AtomicUsize,
    /// What `System::current()` is on these threads. None of them belongs to it: a handler that stops it
    /// must not take the workers away before the service has stopped gracefully.
    system: System,
    failures: UnboundedSender<Failure>,
}

/// What has ended that the service cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// `System::stop`.
    System,
    /// `Arbiter::stop`, on the thread of a worker.
    Arbiter,
    /// This part of everup, by a panic.
    Panic(&'static str),
    /// The ServerActor or the control thread, by a panic: nobody is left who could drain.
    Unreported,
}

/// Reports that a part of everup has ended by a panic: the part owns it, and drops it as it unwinds.
pub(crate) struct PanicGuard {
    part: &'static str,
    failures: UnboundedSender<Failure>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            // At the end of the service nobody listens any more.
            let _ = self.failures.send(Failure::Panic(self.part));
        }
    }
}

/// A thread that a worker uses; parked when it is dropped.
pub(crate) struct Thread {
    arbiter: ArbiterHandle,
    threads: Arc<Threads>,
}

impl Threads {
    /// None yet, and the way on which failures are told.
    ///
    /// # Errors
    /// Where the system has no thread or no descriptors to give.
    pub(crate) fn start() -> io::Result<(Arc<Self>, UnboundedReceiver<Failure>)> {
        let (failures, failed) = unbounded_channel();
        let threads = Self {
            parked: Mutex::default(),
            started: AtomicUsize::new(0),
            system: start_system(failures.clone())?,
            failures,
        };
        Ok((Arc::new(threads), failed))
    }

    /// A thread for a worker: a parked one, or a new one. To be called within a System.
    ///
    /// # Errors
    /// Where the system has no thread or no descriptors to give.
    pub(super) fn take(self: &Arc<Self>) -> io::Result<Thread> {
        let parked = self.parked().pop();
        let arbiter = match parked {
            Some(arbiter) => arbiter,
            None => self.start_one()?,
        };
        Ok(Thread {
            arbiter,
            threads: self.clone(),
        })
    }

    /// What a part of the service owns, so that its panic ends the service as failed.
    pub(crate) fn guard(&self, part: &'static str) -> PanicGuard {
        PanicGuard {
            part,
            failures: self.failures.clone(),
        }
    }

    /// How many there are, used or parked.
    pub(crate) fn count(&self) -> usize {
        self.started.load(Ordering::Relaxed)
    }

    fn start_one(&self) -> io::Result<ArbiterHandle> {
        let arbiter = Arbiter::try_new()?;
        self.started.fetch_add(1, Ordering::Relaxed);
        let system = self.system.clone();
        arbiter.spawn_fn(|| System::set_current(system));
        let life = Life(self.failures.clone());
        arbiter.spawn(async move {
            let _life = life;
            future::pending().await
        });
        Ok(arbiter.handle())
    }

    /// No call made under the lock panics.
    fn parked(&self) -> MutexGuard<'_, Vec<ArbiterHandle>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.system.stop();
    }
}

impl Thread {
    /// Runs this on the thread.
    pub(super) fn run(&self, start: impl FnOnce() + Send + 'static) {
        self.arbiter.spawn_fn(start);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let (arbiter, threads) = (self.arbiter.clone(), self.threads.clone());
        // It parks itself: one that is blocked takes no other worker before it goes on.
        self.arbiter
            .spawn_fn(move || threads.parked().push(arbiter));
    }
}

/// Tells when the runtime of a thread ends. At the end of the service nobody listens any more.
struct Life(UnboundedSender<Failure>);

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.0.send(Failure::Arbiter);
    }
}

/// Starts the System that handlers see, on a thread of its own.
fn start_system(failures: UnboundedSender<Failure>) -> io::Result<System> {
    let (started, starts) = mpsc::channel();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        let system = System::with_tokio_rt(|| runtime);
        // It is waited for.
        let _ = started.send(Ok(System::current()));
        // Either way it was stopped.
        let _ = system.run();
        let _ = failures.send(Failure::System);
    };
    thread::Builder::new()
        .name("everup-system".into())
        .spawn(run)?;
    starts.recv().map_err(io::Error::other)?
}
