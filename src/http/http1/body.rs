//! Carries a request's body from the connection to its reader, one piece at a time and only on demand. The
//! reader may run in another task than the connection.

use std::{
    cell::{Cell, RefCell},
    io::ErrorKind,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use actix_http::{Payload, error::PayloadError};
use bytes::Bytes;
use futures_util::Stream;

/// Between the two.
#[derive(Default)]
struct Shared {
    piece: Cell<Option<Bytes>>,
    end: Cell<Option<BodyEnd>>,
    /// The reader waits for a piece or the end.
    is_wanted: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    feeder: RefCell<Option<Waker>>,
}

/// How a body has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyEnd {
    Whole,
    /// The connection ended before it, or nobody may read it any more.
    Incomplete,
    /// Its frames are malformed.
    Malformed,
    /// It is larger than it may be.
    TooLarge,
    /// It did not arrive in time.
    Late,
}

impl BodyEnd {
    fn error(self) -> Option<PayloadError> {
        match self {
            Self::Whole => None,
            Self::Incomplete => Some(PayloadError::Incomplete(None)),
            Self::Malformed => Some(PayloadError::EncodingCorrupted),
            Self::TooLarge => Some(PayloadError::Overflow),
            Self::Late => Some(PayloadError::Io(ErrorKind::TimedOut.into())),
        }
    }
}

/// The connection's end of it.
pub(super) struct Feed(Rc<Shared>);

impl Feed {
    pub(super) fn new() -> Self {
        Self(Rc::default())
    }

    /// The other end.
    pub(super) fn payload(&self) -> Payload {
        let payload = Box::pin(Reader(self.0.clone()));
        Payload::Stream { payload }
    }

    /// Whether the reader waits for a piece. If not, this task is woken when it does.
    pub(super) fn is_wanted(&self, cx: &mut Context<'_>) -> bool {
        let is_wanted = self.0.is_wanted.get();
        if !is_wanted {
            match &mut *self.0.feeder.borrow_mut() {
                Some(known) => known.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        is_wanted
    }

    /// Whether nobody will read any more of it.
    pub(super) fn is_dropped(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }

    pub(super) fn give(&self, piece: Bytes) {
        self.0.piece.set(Some(piece));
        self.tell();
    }

    /// There will be no more of it. The first end counts.
    pub(super) fn end(&self, end: BodyEnd) {
        if self.0.end.get().is_none() {
            self.0.end.set(Some(end));
            self.tell();
        }
    }

    fn tell(&self) {
        self.0.is_wanted.set(false);
        if let Some(reader) = self.0.reader.take() {
            let feeder = self.0.feeder.borrow();
            // The connection's own task polls the reader again before it waits.
            if !feeder.as_ref().is_some_and(|it| it.will_wake(&reader)) {
                reader.wake();
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.end(BodyEnd::Incomplete);
    }
}

/// The reader's end of it.
struct Reader(Rc<Shared>);

impl Stream for Reader {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let shared = &self.0;
        if let Some(piece) = shared.piece.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        // An error is returned once: a reader that skips errors would never finish.
        if let Some(end) = shared.end.get() {
            shared.end.set(Some(BodyEnd::Whole));
            return Poll::Ready(end.error().map(Err));
        }
        shared.is_wanted.set(true);
        shared.reader.replace(Some(cx.waker().clone()));
        if let Some(feeder) = &*shared.feeder.borrow()
            && !feeder.will_wake(cx.waker())
        {
            feeder.wake_by_ref();
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_reader_in_another_task_wakes_the_connection_and_is_woken_by_it() {
        let [ours, theirs] = [(); 2].map(|()| Arc::new(Woken::default()));
        let (our_waker, their_waker) = (ours.clone().into(), theirs.clone().into());
        let mut our_cx = Context::from_waker(&our_waker);
        let mut their_cx = Context::from_waker(&their_waker);
        let count = |woken: &Woken| woken.0.load(Ordering::Relaxed);

        let feed = Feed::new();
        let mut payload = feed.payload();
        let mut next = |cx: &mut Context<'_>| Pin::new(&mut payload).poll_next(cx);
        assert!(!feed.is_wanted(&mut our_cx));
        assert!(next(&mut their_cx).is_pending());
        assert_eq!((count(&ours), count(&theirs)), (1, 0));
        assert!(feed.is_wanted(&mut our_cx));
        feed.give(Bytes::from_static(b"a"));
        assert_eq!((count(&ours), count(&theirs)), (1, 1));
        assert!(matches!(next(&mut their_cx), Poll::Ready(Some(Ok(_)))));
        feed.end(BodyEnd::Whole);
        feed.end(BodyEnd::Late);
        assert!(matches!(next(&mut their_cx), Poll::Ready(None)));
    }

    #[test]
    fn an_error_is_told_once_and_is_the_end() {
        let mut cx = Context::from_waker(Waker::noop());
        let feed = Feed::new();
        let mut payload = feed.payload();
        let mut next = || Pin::new(&mut payload).poll_next(&mut cx);
        feed.end(BodyEnd::Late);
        assert!(matches!(next(), Poll::Ready(Some(Err(_)))));
        feed.end(BodyEnd::Incomplete);
        assert!(matches!(next(), Poll::Ready(None)));
    }

    #[test]
    fn a_reader_in_the_connection_s_task_wakes_nobody() {
        let woken = Arc::new(Woken::default());
        let waker = woken.clone().into();
        let mut cx = Context::from_waker(&waker);
        let feed = Feed::new();
        let mut payload = feed.payload();
        assert!(!feed.is_wanted(&mut cx));
        assert!(Pin::new(&mut payload).poll_next(&mut cx).is_pending());
        feed.give(Bytes::from_static(b"a"));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        assert!(!feed.is_dropped());
        drop(payload);
        assert!(feed.is_dropped());
    }
}
