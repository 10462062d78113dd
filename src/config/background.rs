//! Runs blocking work beside the control arbiter, with a deadline. A panic or a missing thread becomes an
//! error.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{self, SendError},
    },
    thread,
};

use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    generation::let_requests_go_first,
    http::Deadline,
    settings::{Diagnostic, Fault},
};

/// Work that came to nothing.
pub(super) struct Undone {
    pub(super) error: Diagnostic,
    /// Resolves when a thread that did not come back in time has come back.
    pub(super) stuck: Option<JoinHandle<()>>,
}

/// Why work has no result.
pub(super) enum Failure {
    /// It was not begun: the system has no thread to give.
    NoThread(io::Error),
    Panicked(Box<dyn Any + Send>),
}

/// Waits until `deadline` for work that is under way, and no longer.
pub(super) async fn bounded<T: Send + 'static>(
    deadline: &Deadline,
    what: &'static str,
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Undone> {
    let mut work = Box::pin(work);
    match deadline.bound(&mut work).await {
        Ok(done) => done.map_err(|failure| Undone {
            error: match failure {
                Failure::NoThread(error) => no_thread(what, &error),
                Failure::Panicked(panic) => panicked(what, &*panic),
            },
            stuck: None,
        }),
        Err(_) => Err(Undone {
            error: Diagnostic::new(
                Fault::Build,
                "",
                format!("{what} did not end within `reload.timeout`"),
            ),
            stuck: Some(tokio::spawn(async move {
                // What it comes to is dropped: nobody waits for it any more.
                let _ = work.await;
            })),
        }),
    }
}

/// What our own work may claim of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// As any other thread: nothing is served yet that it could hold up.
    Full,
    /// Requests go first.
    Low,
}

impl Claim {
    /// Beside what is served, or before anything is.
    pub(super) fn beside<T>(served: Option<&T>) -> Self {
        served.map_or(Self::Full, |_| Self::Low)
    }
}

/// A thread for one kind of work: it waits for more, and another takes its place where it is not back.
/// It ends with the last clone.
///
/// Not a thread for each: malloc gives threads memory of their own, and what large generations leave
/// behind in one's is of no use to the next. And a reload needs no new thread, which the system may not
/// have to give.
#[derive(Clone)]
pub(crate) struct Loader {
    name: &'static str,
    /// The way to the thread that waits, if one does.
    waiting: Arc<Mutex<Option<mpsc::Sender<Work>>>>,
}

/// Comes back with how it is told that it is done.
type Work = Box<dyn FnOnce() -> Report + Send>;
type Report = Box<dyn FnOnce() + Send>;

impl Loader {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            waiting: Arc::default(),
        }
    }

    /// Does this work on the thread. What it starts there inherits the priority that `claim` asks for.
    pub(super) fn run<T, W>(
        &self,
        claim: Claim,
        work: W,
    ) -> impl Future<Output = Result<T, Failure>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let (done, is_done) = oneshot::channel();
        let begun = self.begin(Box::new(move || {
            if claim == Claim::Low {
                let_requests_go_first();
            }
            let result = catch_unwind(AssertUnwindSafe(work)).map_err(Failure::Panicked);
            // Nobody waits for it any more where its time was over.
            Box::new(move || drop(done.send(result)))
        }));
        async move {
            begun.map_err(Failure::NoThread)?;
            let done = is_done.await;
            done.expect("the thread tells of each work that it was given")
        }
    }

    fn begin(&self, work: Work) -> io::Result<()> {
        let waiting = lock(&self.waiting).take();
        let work = match waiting {
            None => work,
            Some(thread) => match thread.send(work) {
                Ok(()) => return Ok(()),
                Err(SendError(work)) => work,
            },
        };
        let waiting = Arc::downgrade(&self.waiting);
        let thread = thread::Builder::new().name(self.name.into());
        thread.spawn(move || work_on(work, &waiting)).map(drop)
    }
}

/// Works until another thread waits already, or nobody is left who could ask.
fn work_on(mut work: Work, waiting: &Weak<Mutex<Option<mpsc::Sender<Work>>>>) {
    loop {
        let tell = work();
        let (way, asked) = mpsc::channel();
        // Before it is told: what is asked for next finds this thread.
        match waiting.upgrade() {
            Some(waiting) => drop(lock(&waiting).get_or_insert(way)),
            // Nobody is left who could ask.
            None => drop(way),
        }
        tell();
        match asked.recv() {
            Ok(next) => work = next,
            Err(_) => return,
        }
    }
}

/// Whoever panicked with it had nothing half done.
pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_thread(what: &str, error: &io::Error) -> Diagnostic {
    let message = format!(
        "{what} could not begin: cannot start a thread: {error} (`ulimit -u`, `TasksMax=`, `pids.max`)"
    );
    Diagnostic::new(Fault::System, "", message)
}

fn panicked(what: &str, panic: &(dyn Any + Send)) -> Diagnostic {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("for a reason that is no text");
    Diagnostic::new(Fault::Build, "app", format!("{what} panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, time::Duration};

    use super::*;

    fn run<T: Send + 'static>(
        loader: &Loader,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        actix_rt::System::new().block_on(loader.run(Claim::Full, work))
    }

    #[test]
    fn one_thread_does_all_that_comes_after_each_other_also_after_a_panic() {
        let loader = Loader::new("test");
        let id = || thread::current().id();
        let first = run(&loader, id).ok();
        for _ in 0..100 {
            assert_eq!(run(&loader, id).ok(), first);
        }
        assert!(run(&loader, || panic!("by a test")).is_err());
        assert_eq!(run(&loader, id).ok(), first);
    }

    #[test]
    fn a_thread_that_does_not_come_back_holds_up_no_other() {
        let loader = Loader::new("test");
        let (release, released) = mpsc::channel::<()>();
        let hangs = loader.run(Claim::Full, move || released.recv().is_ok());
        assert_eq!(run(&loader, || 1).ok(), Some(1));
        release.send(()).expect("it waits");
        let hung = actix_rt::System::new().block_on(hangs);
        assert_eq!(hung.ok(), Some(true));
        assert_eq!(run(&loader, || 2).ok(), Some(2));
    }

    thread_local! {
        static LIFE: RefCell<Option<mpsc::Sender<()>>> = const { RefCell::new(None) };
    }

    #[test]
    fn the_thread_of_work_that_outlives_its_service_ends_with_it() {
        let loader = Loader::new("test");
        let (life, lives) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let work = loader.run(Claim::Full, move || {
            LIFE.set(Some(life));
            released.recv().is_ok()
        });
        drop((loader, work));
        release.send(()).expect("it waits");
        let ended = lives.recv_timeout(Duration::from_secs(20));
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
