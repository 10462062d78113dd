//! Runs blocking work beside the worker that needs it.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

use tokio::task::spawn_blocking;

/// The system has no thread to give.
#[derive(Debug)]
pub(crate) struct NoThread;

/// How long no other thread is asked for then. Each time, tokio panics, and what was to be done stays in
/// its queue until there is a thread.
const PAUSE: Duration = Duration::from_millis(100);

thread_local! {
    static FAILED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Does this work on another thread, and waits for it; a panic goes on here.
///
/// # Errors
/// It was not begun, for want of a thread.
pub(crate) async fn block<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NoThread> {
    if FAILED.get().is_some_and(|at| at.elapsed() < PAUSE) {
        return Err(NoThread);
    }
    let begun = catch_unwind(AssertUnwindSafe(|| spawn_blocking(work)));
    let Ok(running) = begun else {
        FAILED.set(Some(Instant::now()));
        return Err(NoThread);
    };
    match running
        .await
        .map_err(tokio::task::JoinError::try_into_panic)
    {
        Ok(done) => Ok(done),
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime ends.
        Err(Err(_)) => Err(NoThread),
    }
}
