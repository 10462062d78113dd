//! What the driver, the wire and the streams of one connection share: the streams' entries in the
//! books, and what was heard when.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use actix_http::{Method, StatusCode, Uri};

use super::{
    frames::{Ends, Frame, Frames, Passed},
    patience::Patience,
};
use crate::server::{
    books::{End, Ticket},
    connection::Conn,
    io::PREFACE,
};

/// One connection that speaks HTTP/2.
pub(super) struct Session {
    conn: Rc<Conn>,
    open: RefCell<HashMap<u32, Open>>,
    received: RefCell<Frames>,
    sent: RefCell<(Frames, Ends)>,
    /// Streams whose last frame was written, but may not be with the socket.
    ended: RefCell<Vec<u32>>,
    patience: RefCell<Patience>,
    /// The client has sent too many frames that bring nothing.
    is_spent: Cell<bool>,
    /// When the first byte of a head arrived that is not complete.
    head_since: Cell<Option<Instant>>,
    heard_at: Cell<Instant>,
    idle_since: Cell<Instant>,
    /// The client has answered the PING that went with our goodbye.
    has_acknowledged: Cell<bool>,
    /// Counts what streams have given to `h2`.
    given: Cell<u64>,
    /// How long the process has stood still, as far as the times above know.
    stood: Cell<Duration>,
}

/// The last byte of what `h2` writes into the PING of its goodbye, and into no other.
const GOODBYE: u8 = 0x54;

/// A stream whose last frame has not been handed to the socket.
struct Open {
    ticket: Ticket,
    waker: Option<Waker>,
}

impl Session {
    pub(super) fn new(conn: Rc<Conn>) -> Rc<Self> {
        let now = conn.now();
        let stood = Cell::new(conn.hub().stood());
        let preface = u32::try_from(PREFACE.len()).expect("it is 24 bytes long");
        Rc::new(Self {
            conn,
            open: RefCell::default(),
            received: RefCell::new(Frames::behind(preface)),
            sent: RefCell::default(),
            ended: RefCell::default(),
            patience: RefCell::new(Patience::new(now)),
            is_spent: Cell::default(),
            head_since: Cell::default(),
            heard_at: Cell::new(now),
            idle_since: Cell::new(now),
            has_acknowledged: Cell::default(),
            given: Cell::default(),
            stood,
        })
    }

    pub(super) fn conn(&self) -> &Rc<Conn> {
        &self.conn
    }

    /// A request is received. It is answered when its stream's last frame has been handed to the
    /// socket, and aborted where the entry is dropped before.
    pub(super) fn enter(
        self: &Rc<Self>,
        stream: u32,
        method: Method,
        uri: Uri,
        generation: u64,
    ) -> Entry {
        let ticket = self.conn.enter(method, uri, generation);
        let waker = None;
        let mut open = self.open.borrow_mut();
        open.insert(stream, Open { ticket, waker });
        Entry {
            session: self.clone(),
            stream,
        }
    }

    /// Moves all times by what the process has stood still since this was called last; how long.
    pub(super) fn catch_up(&self) -> Duration {
        let stood = self.conn.hub().stood();
        let by = stood - self.stood.replace(stood);
        if !by.is_zero() {
            let moved = |since: Instant| (since + by).min(self.conn.now());
            self.heard_at.set(moved(self.heard_at.get()));
            self.idle_since.set(moved(self.idle_since.get()));
            self.head_since.set(self.head_since.get().map(moved));
        }
        by
    }

    pub(super) fn has_streams(&self) -> bool {
        !self.open.borrow().is_empty()
    }

    /// Since when there is no stream.
    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }

    pub(super) fn head_since(&self) -> Option<Instant> {
        self.head_since.get()
    }

    /// More of a head has arrived, at the last moment: its time begins anew.
    pub(super) fn head_goes_on(&self) {
        self.head_since.set(Some(self.conn.now()));
    }

    /// When the client last sent anything.
    pub(super) fn heard_at(&self) -> Instant {
        self.heard_at.get()
    }

    pub(super) fn has_acknowledged(&self) -> bool {
        self.has_acknowledged.get()
    }

    pub(super) fn is_spent(&self) -> bool {
        self.is_spent.get()
    }

    /// A stream has given something to `h2`, which is to be sent.
    pub(super) fn gives(&self) {
        self.given.set(self.given.get() + 1);
    }

    pub(super) fn given(&self) -> u64 {
        self.given.get()
    }

    // What the wire reports.

    pub(super) fn received(&self, bytes: &mut [u8]) {
        let now = self.conn.now();
        self.heard_at.set(now);
        let mut patience = self.patience.borrow_mut();
        let mut acknowledged = None;
        let mut frames = self.received.borrow_mut();
        frames.follow(bytes, |passed, at| match passed {
            Passed::Header(frame) if !patience.received(frame, now) => self.is_spent.set(true),
            Passed::Header(frame) if frame.is_of_head() => {
                let since = self.head_since.get().unwrap_or(now);
                self.head_since.set(Some(since));
            }
            Passed::Whole(frame) if frame.is_of_head() && frame.has(Frame::END_HEADERS) => {
                self.head_since.set(None);
            }
            // At least the last byte of its payload has arrived just now.
            Passed::Whole(frame) if frame.is_answer_to_ping() && bytes[at - 1] == GOODBYE => {
                acknowledged = Some(at);
            }
            Passed::Header(_) | Passed::Whole(_) => {}
        });
        if let Some(end) = acknowledged {
            self.has_acknowledged.set(true);
            // P5: at this frame `h2` would take the next stream for one too many. Clients, its own
            // among them, may have requests on their way behind it. So it is made one of a kind that
            // nobody knows, which is passed over (RFC 9113 §5.5), but for the rare one that came in
            // two pieces.
            if let Some(begin) = end.checked_sub(Frame::PONG) {
                bytes[begin + Frame::KIND_AT] = Frame::UNKNOWN;
            }
        }
    }

    /// Bytes have been written.
    pub(super) fn written(&self, bytes: &[u8]) {
        let mut ended = self.ended.borrow_mut();
        let mut patience = self.patience.borrow_mut();
        let (frames, ends) = &mut *self.sent.borrow_mut();
        frames.follow(bytes, |passed, _| {
            if let Passed::Whole(frame) = passed {
                patience.sent(frame);
                ended.extend(ends.of(frame));
            }
        });
    }

    /// All that was written has been handed to the socket.
    pub(super) fn sent(&self) {
        let mut ended = self.ended.borrow_mut();
        if ended.is_empty() {
            return;
        }
        let mut open = self.open.borrow_mut();
        let tickets = ended.drain(..).filter_map(|stream| {
            let Open { ticket, waker } = open.remove(&stream)?;
            if let Some(waker) = waker {
                waker.wake();
            }
            Some(ticket)
        });
        self.conn.close(tickets, End::Answered);
        self.rests(open.is_empty());
    }

    fn rests(&self, is_idle: bool) {
        if is_idle {
            self.idle_since.set(self.conn.now());
        }
    }
}

/// A stream's place among the open ones.
pub(super) struct Entry {
    session: Rc<Session>,
    stream: u32,
}

impl Entry {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// The head of its response is about to be handed over.
    pub(super) fn begins(&self, status: StatusCode) {
        self.update(|ticket| ticket.begins(status));
    }

    /// So much more of its response's body has been handed over.
    pub(super) fn goes_on(&self, bytes: usize) {
        self.update(|ticket| ticket.goes_on(bytes));
    }

    fn update(&self, how: impl FnOnce(&mut Ticket)) {
        if let Some(open) = self.session.open.borrow_mut().get_mut(&self.stream) {
            how(&mut open.ticket);
        }
    }

    /// Ready when the stream's last frame has been handed to the socket.
    pub(super) fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.session.open.borrow_mut().get_mut(&self.stream) {
            None => Poll::Ready(()),
            Some(open) => {
                open.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = self.session.open.borrow_mut();
        if let Some(Open { ticket, .. }) = open.remove(&self.stream) {
            self.session.conn.close([ticket], End::Aborted);
            self.session.rests(open.is_empty());
        }
    }
}
