//! What the driver, the wire and the streams of one connection share: the streams' entries in the books,
//! the bytes held for them, and when the client was last heard.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use actix_http::{Method, StatusCode, Uri};
use h2::Reason;

use super::{
    frames::{Ends, Frame, FrameTracker, Passed},
    patience::Patience,
};
use crate::{
    http::{
        books::{RequestEnd, Ticket},
        connection::Conn,
        misconduct::Misconduct,
    },
    net::PREFACE,
};

/// One connection that speaks HTTP/2.
pub(super) struct Session {
    conn: Rc<Conn>,
    open: RefCell<HashMap<u32, OpenStream>>,
    received: RefCell<FrameTracker>,
    sent: RefCell<(FrameTracker, Ends)>,
    /// Streams whose last frame was written, but may not be with the socket.
    ended: RefCell<Vec<u32>>,
    patience: RefCell<Patience>,
    /// The client has sent too many frames that bring nothing.
    is_spent: Cell<bool>,
    /// When the first byte of a head arrived that is not complete.
    head_since: Cell<Option<Instant>>,
    heard_at: Cell<Instant>,
    idle_since: Cell<Instant>,
    /// When the client closed its end.
    hung_up_at: Cell<Option<Instant>>,
    /// `h2` may be told of that.
    is_over: Cell<bool>,
    /// The client has answered the PING that went with our goodbye.
    has_acknowledged: Cell<bool>,
    /// Counts what streams have given to `h2`.
    given: Cell<u64>,
    /// What was received for requests that are not answered.
    heads: Cell<usize>,
    /// What was taken from the bodies of responses and is not written.
    held: Cell<usize>,
    /// Streams that wait until less is held.
    waiting: RefCell<Vec<Waker>>,
    /// How long the process was suspended, as far as the times above know.
    suspended_for: Cell<Duration>,
}

/// Requests that are answered at once on one connection.
pub(super) const STREAMS: usize = 100;

/// Bytes of all their heads.
const HEADS: usize = 512 * 1024;

/// Bytes of responses that any connection may hold, whatever the others hold.
const HELD_LEAST: usize = 64 * 1024;

/// Bytes of responses that a connection holds at the most, but for one piece more.
const HELD_MOST: usize = 384 * 1024;

/// The same for the sake of streams that the client has room for: they are not to wait for those that
/// it has none for.
const HELD_WITH_ROOM: usize = HELD_MOST + 128 * 1024;

/// Bytes of responses that all connections of a worker hold: above, each has only its least.
const HELD_BY_WORKER: usize = 64 * 1024 * 1024;

/// The last byte of what `h2` writes into the PING of its goodbye, and into no other.
const GOODBYE: u8 = 0x54;

/// A stream whose last frame has not been handed to the socket.
struct OpenStream {
    ticket: Ticket,
    waker: Option<Waker>,
    /// Of whoever waits for more of the request's body.
    reader: Option<Waker>,
    /// Bytes of the request's head.
    head: usize,
    /// Bytes of the response that are held.
    held: usize,
    /// Those of them that its body has not given yet.
    ahead: usize,
}

impl Session {
    pub(super) fn new(conn: Rc<Conn>) -> Rc<Self> {
        let now = conn.now();
        let suspended_for = Cell::new(conn.hub().suspended_for());
        let preface = u32::try_from(PREFACE.len()).expect("it is 24 bytes long");
        Rc::new(Self {
            conn,
            open: RefCell::default(),
            received: RefCell::new(FrameTracker::behind(preface)),
            sent: RefCell::default(),
            ended: RefCell::default(),
            patience: RefCell::new(Patience::new(now)),
            is_spent: Cell::default(),
            head_since: Cell::default(),
            heard_at: Cell::new(now),
            idle_since: Cell::new(now),
            hung_up_at: Cell::default(),
            is_over: Cell::default(),
            has_acknowledged: Cell::default(),
            given: Cell::default(),
            heads: Cell::default(),
            held: Cell::default(),
            waiting: RefCell::default(),
            suspended_for,
        })
    }

    pub(super) fn conn(&self) -> &Rc<Conn> {
        &self.conn
    }

    /// Whether one more request may be answered, with a head of so many bytes.
    pub(super) fn has_room(&self, head: usize) -> bool {
        self.open.borrow().len() < STREAMS && self.heads.get() + head <= HEADS
    }

    /// A request is received. It is answered when its stream's last frame has been handed to the
    /// socket, and aborted where the entry is dropped before.
    pub(super) fn enter(
        self: &Rc<Self>,
        stream: u32,
        (method, uri): (Method, Uri),
        head: usize,
        generation: u64,
    ) -> StreamEntry {
        let entered = OpenStream {
            ticket: self.conn.enter(method, uri, generation),
            waker: None,
            reader: None,
            head,
            held: 0,
            ahead: 0,
        };
        self.open.borrow_mut().insert(stream, entered);
        self.heads.set(self.heads.get() + head);
        StreamEntry {
            session: self.clone(),
            stream,
            is_expelled: Cell::default(),
        }
    }

    /// Moves all times by what the process was suspended since this was called last; how long.
    pub(super) fn note_suspension(&self) -> Duration {
        let suspended_for = self.conn.hub().suspended_for();
        let by = suspended_for - self.suspended_for.replace(suspended_for);
        if !by.is_zero() {
            let moved = |since: Instant| (since + by).min(self.conn.now());
            self.heard_at.set(moved(self.heard_at.get()));
            self.idle_since.set(moved(self.idle_since.get()));
            self.head_since.set(self.head_since.get().map(moved));
            self.hung_up_at.set(self.hung_up_at.get().map(moved));
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

    /// When the client closed its end.
    pub(super) fn hung_up_at(&self) -> Option<Instant> {
        self.hung_up_at.get()
    }

    /// Whether `h2` may be told that the client has closed its end.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Nothing is left to be answered.
    pub(super) fn mark_done(&self) {
        self.is_over.set(true);
    }

    /// Whether more of this stream's body may come; then its reader is woken where that changes.
    pub(super) fn awaits_body(&self, stream: u32, reader: &Waker) -> bool {
        if self.hung_up_at.get().is_some() {
            return false;
        }
        if let Some(open) = self.open.borrow_mut().get_mut(&stream) {
            open.reader = Some(reader.clone());
        }
        true
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

    /// The client sends nothing more. Requests that it has sent whole are answered, and `h2`, which
    /// would end them all, is told afterwards.
    pub(super) fn hangs_up(&self) {
        if self.hung_up_at.get().is_some() {
            return;
        }
        self.hung_up_at.set(Some(self.conn.now()));
        self.head_since.set(None);
        for open in self.open.borrow_mut().values_mut() {
            if let Some(reader) = open.reader.take() {
                reader.wake();
            }
        }
    }

    /// Bytes have been written.
    pub(super) fn written(&self, bytes: &[u8]) {
        let (frames, ends) = &mut *self.sent.borrow_mut();
        frames.follow(bytes, |passed, at| {
            let Passed::Whole(frame) = passed else {
                return;
            };
            if frame.kind == Frame::DATA {
                self.let_go(frame.stream, frame.length as usize);
            }
            if frame.is_goodbye(&bytes[..at], Reason::ENHANCE_YOUR_CALM.into()) {
                self.conn.expel(Misconduct::Flood);
            }
            self.ended.borrow_mut().extend(ends.of(frame));
        });
    }

    /// So much of a stream's response is not held any more.
    fn let_go(&self, stream: u32, bytes: usize) {
        let mut open = self.open.borrow_mut();
        let Some(open) = open.get_mut(&stream).filter(|open| open.held > 0) else {
            return;
        };
        let gone = open.held.min(bytes);
        open.held -= gone;
        self.release_held(gone);
    }

    fn release_held(&self, bytes: usize) {
        if bytes > 0 {
            self.held.set(self.held.get() - bytes);
            self.conn.hub().release_held(bytes);
            for waiting in self.waiting.take() {
                waiting.wake();
            }
        }
    }

    /// Whether a stream may take more from the body of its response.
    fn may_hold_more(&self, has_room: bool) -> bool {
        let held = self.held.get();
        let most = match has_room {
            true => HELD_WITH_ROOM,
            false => HELD_MOST,
        };
        let is_little_in_all = || self.conn.hub().held() < HELD_BY_WORKER;
        held < HELD_LEAST || (held < most && is_little_in_all())
    }

    /// A handler reads so many bytes before its response's body gives them, where it may.
    pub(super) fn takes_ahead(&self, stream: u32, bytes: usize) -> bool {
        let may = self.may_hold_more(false);
        if may {
            self.holds_ahead(stream, bytes);
        }
        may
    }

    /// A stream reads so many bytes, which its response's body gives later.
    pub(super) fn holds_ahead(&self, stream: u32, bytes: usize) {
        if let Some(open) = self.open.borrow_mut().get_mut(&stream) {
            open.held += bytes;
            open.ahead += bytes;
            self.holds_more(bytes);
        }
    }

    fn holds_more(&self, bytes: usize) {
        self.held.set(self.held.get() + bytes);
        self.conn.hub().holds_more(bytes);
    }

    /// Takes a stream out of the open ones.
    fn leave(&self, stream: u32) -> Option<OpenStream> {
        let left = self.open.borrow_mut().remove(&stream)?;
        self.heads.set(self.heads.get() - left.head);
        self.release_held(left.held);
        Some(left)
    }

    /// All that was written has been handed to the socket.
    pub(super) fn sent(&self) {
        let mut ended = self.ended.borrow_mut();
        if ended.is_empty() {
            return;
        }
        let tickets = ended.drain(..).filter_map(|stream| {
            let OpenStream { ticket, waker, .. } = self.leave(stream)?;
            if let Some(waker) = waker {
                waker.wake();
            }
            Some(ticket)
        });
        self.conn.close(tickets, RequestEnd::Answered);
        self.mark_idle();
    }

    fn mark_idle(&self) {
        if !self.has_streams() {
            self.idle_since.set(self.conn.now());
        }
    }
}

/// A stream's place among the open ones.
pub(super) struct StreamEntry {
    session: Rc<Session>,
    stream: u32,
    is_expelled: Cell<bool>,
}

impl StreamEntry {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// The head of its response is about to be handed over.
    pub(super) fn begin(&self, status: StatusCode) {
        self.session.patience.borrow_mut().begin();
        self.update(|open| open.ticket.begin(status));
    }

    /// So many bytes have been taken from the body of its response.
    pub(super) fn takes(&self, bytes: usize) {
        self.update(|open| {
            let more = bytes.saturating_sub(open.ahead);
            open.ahead -= bytes - more;
            open.held += more;
            self.session.holds_more(more);
        });
    }

    /// So many bytes of its response's body have been handed over; `is_cut`: not more, because the
    /// client has no room.
    pub(super) fn goes_on(&self, bytes: usize, is_cut: bool) {
        self.session.patience.borrow_mut().goes_on(bytes, is_cut);
        self.update(|open| open.ticket.goes_on(bytes));
    }

    /// The server ends the stream for what the client did; the log says so.
    pub(super) fn expel(&self, why: Misconduct) {
        self.is_expelled.set(true);
        self.session.conn.blame(why);
    }

    fn update(&self, how: impl FnOnce(&mut OpenStream)) {
        if let Some(open) = self.session.open.borrow_mut().get_mut(&self.stream) {
            how(open);
        }
    }

    /// Ready when more may be taken from the body of its response; whether the client has room for it.
    pub(super) fn poll_may_take(&self, has_room: bool, cx: &mut Context<'_>) -> Poll<()> {
        if self.session.may_hold_more(has_room) {
            return Poll::Ready(());
        }
        let mut waiting = self.session.waiting.borrow_mut();
        if !waiting.iter().any(|it| it.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
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

impl Drop for StreamEntry {
    fn drop(&mut self) {
        if let Some(OpenStream { ticket, .. }) = self.session.leave(self.stream) {
            let end = match self.is_expelled.get() {
                true => RequestEnd::AbortedByServer,
                false => RequestEnd::Aborted,
            };
            self.session.conn.close([ticket], end);
            self.session.mark_idle();
        }
    }
}
