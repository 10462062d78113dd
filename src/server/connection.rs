//! One connection: its socket, and where it stands; `drive` is the task that serves it,
//! `times` when that is to look at it, `traffic` what passes through its stream.
//!
//! actix-http leaves without a timer every request head but the first, and its own keep-alive
//! expiry loses requests (it closes without a last look). So the times of `[server]` are kept here:
//! [`Io`](super::io::Io) reports what passes, [`Conn`] knows what is awaited since when, and
//! [`drive`] acts when it is due. Once a connection speaks HTTP/2, its driver says when it wants to
//! look ([`Conn::look_at`]). Bodies are timed where they are read, in `body`.

mod drive;
mod times;
mod traffic;

use std::{
    cell::{Cell, RefCell, RefMut},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use actix_http::{Method, Request, Uri, uri::Scheme};

use super::{
    books::{AccountId, End, Received, Ticket},
    gate::{Framing, Gate},
    hub::{Hub, Standing},
    io::Stream,
    misconduct::Misconduct,
    origin::Origin,
};
use crate::{
    config::Pin as GenerationPin,
    telemetry::{Event, emit},
};

pub(crate) use drive::drive;

/// One connection, as its stream, its requests and its worker see it. Times are those of the poll
/// under way: the clock is read once a poll.
pub(crate) struct Conn {
    stream: RefCell<Stream>,
    hub: Rc<Hub>,
    origin: Arc<Origin>,
    account: AccountId,
    peer: Option<SocketAddr>,
    /// Accepted before a stop was asked for.
    before_stop: bool,
    now: Cell<Instant>,
    waker: RefCell<Option<Waker>>,
    cut: Cell<bool>,
    /// The log has told what its client did.
    is_blamed: Cell<bool>,
    /// It is ended for that.
    is_expelled: Cell<bool>,
    /// Another needs its place: it ends as soon as a last look finds nothing.
    leaving: Cell<bool>,

    /// The generation of the request under way: HTTP/1 answers one after the other. Here and not in
    /// the request's extensions, which would cost an allocation and a hash table a request.
    pin: RefCell<Option<GenerationPin>>,
    /// Requests handed to the service whose response has not been handed to the socket.
    open: Cell<usize>,
    /// Responses that lie in the write buffer to their last byte.
    encoded: RefCell<Vec<Ticket>>,

    /// What may pass to actix-http.
    gate: Cell<Gate>,
    /// More has arrived than may pass.
    has_more: Cell<bool>,
    /// Bytes that may still pass of a body that nobody reads.
    unread: Cell<u64>,

    /// When the first byte of a head that is not complete arrived.
    head_since: Cell<Option<Instant>>,
    idle_since: Cell<Instant>,
    write_blocked_since: Cell<Option<Instant>>,
    /// Our end is closed: late bytes are read away until then.
    discarding: Cell<Option<Instant>>,
    /// The response under way says that it is the last.
    is_last: Cell<bool>,
    /// Nothing more is read: for actix-http, the stream ends here.
    ended: Cell<bool>,
    verdict: Cell<Option<Verdict>>,

    /// Since when a handshake is awaited or under way.
    shaking_since: Cell<Option<Instant>>,
    /// Set once the connection speaks HTTP/2: when its driver wants to look at it.
    look_at: Cell<Option<Instant>>,
    /// Since when it has no stream, as its driver last said.
    rests_since: Cell<Option<Instant>>,
    /// It ends here: nobody else took it, or can.
    stays: Cell<bool>,
}

/// What is to be done with a connection from which nothing has arrived in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was idle for long enough: a last look, then the end.
    CloseIdle,
    /// A head was begun and not completed: 408.
    HeadTimeout,
}

impl Conn {
    pub(crate) fn new(
        stream: Stream,
        hub: Rc<Hub>,
        origin: Arc<Origin>,
        account: AccountId,
        peer: Option<SocketAddr>,
    ) -> Rc<Self> {
        let now = Instant::now();
        let is_tls = stream.is_tls();
        Rc::new(Self {
            stream: RefCell::new(stream),
            before_stop: hub.readiness().is_ready(),
            hub,
            origin,
            account,
            peer,
            now: Cell::new(now),
            waker: RefCell::default(),
            cut: Cell::default(),
            is_blamed: Cell::default(),
            is_expelled: Cell::default(),
            leaving: Cell::default(),
            pin: RefCell::default(),
            open: Cell::default(),
            encoded: RefCell::default(),
            gate: Cell::new(Gate::AT_HEAD),
            has_more: Cell::default(),
            unread: Cell::default(),
            head_since: Cell::default(),
            idle_since: Cell::new(now),
            write_blocked_since: Cell::default(),
            discarding: Cell::default(),
            is_last: Cell::default(),
            ended: Cell::default(),
            verdict: Cell::default(),
            shaking_since: Cell::new(is_tls.then_some(now)),
            look_at: Cell::default(),
            rests_since: Cell::default(),
            stays: Cell::new(is_tls),
        })
    }

    /// The socket, for the length of one call.
    pub(crate) fn stream(&self) -> RefMut<'_, Stream> {
        self.stream.borrow_mut()
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// What its addresses begin with, in truth.
    pub(crate) fn scheme(&self) -> Scheme {
        match self.stream.borrow().is_tls() {
            true => Scheme::HTTPS,
            false => Scheme::HTTP,
        }
    }

    /// When the poll under way began.
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    pub(crate) fn hub(&self) -> &Rc<Hub> {
        &self.hub
    }

    /// The name that its listener has in this generation.
    pub(crate) fn listener(&self, generation: u64) -> &str {
        self.origin.at(generation).name()
    }

    /// Since when it has had nothing to do; `None` where it has, or is about to end.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let since = match self.look_at.get() {
            // HTTP/2.
            Some(_) => self.rests_since.get(),
            None => self.awaits_head().then(|| self.idle_since.get()),
        };
        since.filter(|_| !self.leaving.get())
    }

    /// Whether nothing of a head or a handshake has arrived either.
    pub(crate) fn is_silent(&self) -> bool {
        self.head_since.get().is_none() && self.shaking_since.get().is_none()
    }

    /// Another needs its place.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Gives its place to another, unless something has arrived.
    pub(crate) fn make_room(&self) {
        self.leaving.set(true);
        self.wake();
    }

    /// Something changed that the connection's task should look at.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Ends the connection without another word.
    pub(crate) fn cut(&self) {
        self.cut.set(true);
        self.wake();
    }

    /// The connection is ended for what its client did: so are the requests in flight.
    pub(crate) fn expel(&self, why: Misconduct) {
        self.is_expelled.set(true);
        self.blame(why);
    }

    /// The connection, or a request of it, is ended for what its client did: the log says so once.
    pub(crate) fn blame(&self, why: Misconduct) {
        if !self.is_blamed.replace(true) {
            emit(&Event::Misconduct {
                peer: self.peer,
                listener: self.origin.newest().name(),
                why,
            });
        }
    }

    /// The process stood still: what the client has had time for begins so much later, but not
    /// before it begins.
    pub(crate) fn stood_still(&self, by: Duration, now: Instant) {
        let moved = |since: Instant| (since + by).min(now);
        self.idle_since.set(moved(self.idle_since.get()));
        self.head_since.set(self.head_since.get().map(moved));
        let shaking = self.shaking_since.get();
        self.shaking_since.set(shaking.map(moved));
        let blocked = self.write_blocked_since.get();
        self.write_blocked_since.set(blocked.map(moved));
        let discarding = self.discarding.get();
        self.discarding.set(discarding.map(|until| until + by));
    }

    /// The generation of the request under way.
    pub(crate) fn pinned(&self) -> Option<GenerationPin> {
        self.pin.borrow().clone()
    }

    /// A request's head is complete: it is received, and sees this generation.
    pub(crate) fn receive(
        &self,
        request: &Request,
        framing: Framing,
        pin: GenerationPin,
    ) -> Ticket {
        let generation = pin.number;
        self.pin.replace(Some(pin));
        self.open.set(self.open.get() + 1);
        self.head_since.set(None);
        self.gate.set(Gate::receive(framing));
        if framing != Framing::None {
            // actix-http has been told that there is nothing more.
            self.wake();
        }
        let head = request.head();
        self.enter(head.method.clone(), head.uri.clone(), generation)
    }

    /// Enters a received request in the books.
    pub(crate) fn enter(&self, method: Method, uri: Uri, generation: u64) -> Ticket {
        let request = Received {
            method,
            uri,
            peer: self.peer,
            since: self.now.get(),
            generation,
        };
        self.hub.books().receive(self.account, request)
    }

    /// Requests that were entered have ended.
    pub(crate) fn close(&self, tickets: impl IntoIterator<Item = Ticket>, end: End) {
        let end = match end {
            End::Aborted if self.is_expelled.get() => End::AbortedByServer,
            end => end,
        };
        self.hub.close_requests(tickets, end);
    }

    /// A response lies in the write buffer to its last byte.
    pub(crate) fn encoded(&self, ticket: Ticket) {
        self.encoded.borrow_mut().push(ticket);
    }

    /// A request ended without its whole response.
    pub(crate) fn aborted(&self, ticket: Ticket) {
        self.close_requests(1, [ticket], End::Aborted);
    }

    /// Whether this connection is to end as soon as nothing is lost by it: for a stop, or because its
    /// listener or its worker goes.
    pub(crate) fn is_to_close(&self) -> bool {
        let is_asked = match self.hub.standing() {
            // From the moment of the ask, however busy this worker's mailbox is.
            Standing::Serving => self.before_stop && !self.hub.readiness().is_ready(),
            Standing::Delaying => self.before_stop,
            Standing::Retiring(_) | Standing::Draining(_) => true,
        };
        is_asked || self.origin.closes_since().is_some()
    }

    /// Whether the response that is about to be sent is to be the last: the connection is to end, and
    /// no further request of this connection has arrived. (What is pipelined behind a response
    /// that says `Connection: close` would go unanswered in the eyes of a strict client.) P5: a
    /// handler may have blocked the thread since anything was read, so the kernel is asked too.
    pub(crate) fn closes_with_response(&self) -> bool {
        self.is_to_close()
            && !self.may_move()
            && !self.has_more.get()
            && !self.stream().has_received()
    }

    /// Whether it goes on elsewhere once it is idle: in the new process, or at another worker.
    fn may_move(&self) -> bool {
        !self.stays.get()
            && self.origin.closes_since().is_none()
            && self.hub.has_passage(self.origin.newest().name())
    }

    /// Whether it can move right now: this process holds nothing of it, neither a byte that was
    /// read nor one that is to be written. What has arrived in the kernel moves along.
    fn moves(&self) -> bool {
        self.open.get() == 0
            && self.gate.get() == Gate::AT_HEAD
            && self.head_since.get().is_none()
            && !self.has_more.get()
            && !self.ended.get()
            && self.discarding.get().is_none()
            && self.write_blocked_since.get().is_none()
            && self.look_at.get().is_none()
            && self.may_move()
    }

    /// Passes it on. Whether somebody else has it now; it must not be read any more then.
    async fn pass_on(&self) -> bool {
        let Some(passage) = self.hub.passage() else {
            return false;
        };
        let listener = self.origin.newest().name().clone();
        let clone = || self.stream.borrow().try_clone();
        passage.pass(listener, clone).await
    }

    // What the stream reports.

    /// How many of the bytes that have arrived may pass.
    pub(crate) fn admit(&self, bytes: &[u8]) -> usize {
        let was_at_head = self.open.get() == 0 && self.gate.get().is_at_head();
        let is_unread = self.open.get() == 0 && !self.gate.get().is_at_head();
        let (passes, gate) = self.gate.get().admit(bytes);
        self.gate.set(gate);
        if is_unread {
            match self.unread.get().checked_sub(passes as u64) {
                Some(left) => self.unread.set(left),
                None => self.ends(),
            }
        }
        // Line breaks behind a request begin no head.
        if was_at_head && gate != Gate::AT_HEAD {
            self.head_begins();
        }
        passes
    }

    pub(crate) fn admits_nothing(&self) -> bool {
        self.gate.get().is_closed()
    }

    /// Whether more has arrived than may pass.
    pub(crate) fn has_more(&self, has_more: bool) {
        self.has_more.set(has_more);
    }

    /// The first byte of a head has arrived.
    pub(crate) fn head_begins(&self) {
        if self.head_since.get().is_none() {
            // It was not idle after all.
            self.leaving.set(false);
            self.head_since.set(Some(self.now.get()));
        }
    }

    /// Something has arrived that cannot be read yet, since its record is not whole: where a head is
    /// awaited, that is taken for its first byte.
    pub(crate) fn record_begins(&self) {
        if self.awaits_head() {
            self.head_begins();
        }
    }

    /// More of a head has arrived, at the last moment: its time begins anew.
    pub(crate) fn head_goes_on(&self) {
        self.leaving.set(false);
        self.head_since.set(Some(self.now.get()));
    }

    /// All that was encoded has been handed to the socket.
    pub(crate) fn flushed(&self) {
        let mut encoded = self.encoded.borrow_mut();
        if !encoded.is_empty() {
            self.close_requests(encoded.len(), encoded.drain(..), End::Answered);
        }
    }

    /// From now on the connection speaks HTTP/2: this is when its driver wants to look at it, and since when
    /// it has nothing to do.
    pub(crate) fn look_at(&self, at: Instant, rests_since: Option<Instant>) {
        self.look_at.set(Some(at));
        self.rests_since.set(rests_since);
    }

    pub(crate) fn take_verdict(&self) -> Option<Verdict> {
        self.verdict.take()
    }

    /// The response under way has said `Connection: close`.
    pub(crate) fn answers_last(&self) {
        self.is_last.set(true);
    }

    /// Nothing more is to be read.
    pub(crate) fn ends(&self) {
        self.ended.set(true);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    // Within.

    fn close_requests(&self, count: usize, tickets: impl IntoIterator<Item = Ticket>, end: End) {
        self.close(tickets, end);
        let open = self.open.get() - count;
        self.open.set(open);
        if open > 0 {
            return;
        }
        // An idle connection keeps nothing of yesterday.
        if let Some(pin) = self.pin.take() {
            self.unread.set(pin.server.max_body.0);
        }
        self.idle_since.set(self.now.get());
        self.reopen();
    }

    /// The request under way has been answered: the next one may pass.
    fn reopen(&self) {
        self.gate.set(self.gate.get().reopen());
        self.head_since.set(None);
        // actix-http would read chunks away for as long as they come.
        let ends_amid_body = self.is_last.get() && !self.gate.get().is_at_head();
        if ends_amid_body {
            self.ends();
        }
        if ends_amid_body || self.has_more.get() {
            self.wake();
        }
    }

    /// After actix-http's turn: where what passed as a head was none (the rest of a body that
    /// nobody read ends like one), actix-http asked for more instead of handing over a request.
    fn mistook_a_head(&self) -> bool {
        let mistook = self.gate.get().is_closed() && self.open.get() == 0 && !self.ended.get();
        if mistook {
            self.gate.set(Gate::AT_HEAD);
        }
        mistook && self.has_more.get()
    }
}
