//! Work that blocks, beside the control arbiter: bounded in time, and its panics caught.

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
    server::Deadline,
    settings::{Diagnostic, Fault},
};

/// Work that came to nothing.
pub(super) struct Undone {
    pub(super) error: Diagnostic,
    /// Resolves when a thread that did not come back in time has come back.
    pub(super) stuck: Option<JoinHandle<()>>,
}

/// Waits until `deadline` for work that is under way, and no longer.
pub(super) async fn bounded<T: Send + 'static>(
    deadline: &Deadline,
    what: &'static str,
    work: impl Future<Output = thread::Result<T>> + Send + 'static,
) -> Result<T, Undone> {
    let mut work = Box::pin(work);
    match deadline.bound(&mut work).await {
        Ok(done) => done.map_err(|panic| Undone {
            error: panicked(what, &*panic),
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

/// How much less than a worker's is the claim of a thread that reads settings or frees them
/// (nice(2)): on a busy machine a large reload takes longer, and holds up no request.
const NICE: i32 = 10;

/// Lets requests go first from here on, before this thread's work.
pub(super) fn let_requests_go_first() {
    // Refused where a limit of the system forbids it: then it competes.
    let _ = rustix::process::setpriority_process(None, NICE);
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

/// The thread of our own work: it waits for more, and another takes its place where it is not back.
///
/// Not a thread for each: malloc gives threads memory of their own, and what large generations leave
/// behind in one's is of no use to the next.
#[derive(Clone, Default)]
pub(crate) struct Loader {
    /// The way to the thread that waits, if one does.
    waiting: Arc<Mutex<Option<mpsc::Sender<Work>>>>,
}

/// Comes back with how it is told that it is done.
type Work = Box<dyn FnOnce() -> Told + Send>;
type Told = Box<dyn FnOnce() + Send>;

impl Loader {
    /// Our own work, beside whatever else there is to do.
    pub(super) fn run<T, W>(
        &self,
        claim: Claim,
        work: W,
    ) -> impl Future<Output = thread::Result<T>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let (done, is_done) = oneshot::channel();
        let begun = self.begin(Box::new(move || {
            if claim == Claim::Low {
                let_requests_go_first();
            }
            let result = catch_unwind(AssertUnwindSafe(work));
            // Nobody waits for it any more where its time was over.
            Box::new(move || drop(done.send(result)))
        }));
        async move {
            begun.map_err(|error| -> Box<dyn Any + Send> { Box::new(error.to_string()) })?;
            is_done
                .await
                .unwrap_or_else(|error| Err(Box::new(error.to_string())))
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
        let thread = thread::Builder::new().name("everup-load".into());
        thread.spawn(move || work_on(work, &waiting)).map(drop)
    }
}

/// Works until another thread waits already, or nobody is left who could ask.
fn work_on(mut work: Work, waiting: &Weak<Mutex<Option<mpsc::Sender<Work>>>>) {
    loop {
        let tell = work();
        let (way, asked) = mpsc::channel();
        // Before it is told: what is asked for next finds this thread.
        if let Some(waiting) = waiting.upgrade() {
            lock(&waiting).get_or_insert(way);
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

/// An author's work, on a thread as any other: threads that it starts inherit its priority.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> thread::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| match error.try_into_panic() {
        Ok(panic) => panic,
        Err(error) => Box::new(error.to_string()),
    })
}

fn panicked(what: &str, panic: &(dyn Any + Send)) -> Diagnostic {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("for a reason that is no text");
    Diagnostic::new(Fault::Build, "app", format!("{what} panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T: Send + 'static>(
        loader: &Loader,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::Result<T> {
        actix_rt::System::new().block_on(loader.run(Claim::Full, work))
    }

    #[test]
    fn one_thread_does_all_that_comes_after_each_other_also_after_a_panic() {
        let loader = Loader::default();
        let id = || thread::current().id();
        let first = run(&loader, id).expect("no panic");
        for _ in 0..100 {
            assert_eq!(run(&loader, id).expect("no panic"), first);
        }
        assert!(run(&loader, || panic!("by a test")).is_err());
        assert_eq!(run(&loader, id).expect("no panic"), first);
    }

    #[test]
    fn a_thread_that_does_not_come_back_holds_up_no_other() {
        let loader = Loader::default();
        let (release, released) = mpsc::channel::<()>();
        let hangs = loader.run(Claim::Full, move || released.recv().is_ok());
        assert_eq!(run(&loader, || 1).expect("no panic"), 1);
        release.send(()).expect("it waits");
        let hung = actix_rt::System::new().block_on(hangs);
        assert!(hung.expect("no panic"));
        assert_eq!(run(&loader, || 2).expect("no panic"), 2);
    }
}
