//! Work that blocks, beside the control arbiter: bounded in time, and its panics caught.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
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

/// Our own work, on a thread of its own.
pub(super) async fn in_background<T: Send + 'static>(
    claim: Claim,
    work: impl FnOnce() -> T + Send + 'static,
) -> thread::Result<T> {
    let (done, is_done) = oneshot::channel();
    let thread = thread::Builder::new().name("everup-load".into());
    let started = thread.spawn(move || {
        if claim == Claim::Low {
            let_requests_go_first();
        }
        // Nobody waits for it any more where its time was over.
        let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    });
    match started {
        Ok(_) => is_done
            .await
            .unwrap_or_else(|error| Err(Box::new(error.to_string()))),
        Err(error) => Err(Box::new(error.to_string())),
    }
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
