//! Frees what generations held on a thread of its own, away from requests.

use std::{
    any::Any,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
};

/// Frees what generations held on a thread of its own: the last reference may be dropped on a
/// worker, where freeing 100,000 routes would stop every request for 80 ms, and where state that
/// owns a runtime would panic.
#[derive(Clone)]
pub(crate) struct DropThread(mpsc::Sender<Box<dyn Any + Send>>);

impl DropThread {
    /// The thread ends with the last clone.
    ///
    /// # Errors
    /// Where the system has no thread to give.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (bury, buried) = mpsc::channel();
        thread::Builder::new()
            .name("everup-drop_thread".into())
            .spawn(move || {
                let_requests_go_first();
                for held in buried {
                    // An author's `Drop` that panics must not end the thread.
                    let drop_it = AssertUnwindSafe(move || drop::<Box<dyn Any + Send>>(held));
                    let _ = catch_unwind(drop_it);
                }
            })?;
        Ok(Self(bury))
    }
}

/// What is freed on the drop thread, wherever the last reference is dropped.
pub(crate) struct DropOnThread<T: Send + 'static> {
    /// `None` only while it is being dropped.
    held: Option<T>,
    drop_thread: DropThread,
}

impl<T: Send + 'static> DropOnThread<T> {
    pub(crate) fn new(held: T, drop_thread: &DropThread) -> Self {
        Self {
            held: Some(held),
            drop_thread: drop_thread.clone(),
        }
    }
}

impl<T: Send + 'static> Deref for DropOnThread<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("it is taken only by drop")
    }
}

impl<T: Send + 'static> Drop for DropOnThread<T> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            // The receiver outlives every sender; were it gone, it is freed right here.
            let _ = self.drop_thread.0.send(Box::new(held));
        }
    }
}

/// How much less than a worker's is the claim of a thread that reads settings or frees them
/// (nice(2)): on a busy machine a large reload takes longer, and holds up no request.
const NICE: i32 = 10;

/// Lets requests go first from here on, before this thread's work.
pub(crate) fn let_requests_go_first() {
    // Refused where a limit of the system forbids it: then it competes.
    let _ = rustix::process::setpriority_process(None, NICE);
}
