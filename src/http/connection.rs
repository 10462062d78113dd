//! One connection: its socket and its state. `drive` is the task that serves it, `phase` computes its next
//! deadline, `traffic` measures its stream.
//!
//! All connection times of `[server]` are kept here. The protocol code reports the current [`Phase`];
//! [`drive`] polls when the time of that phase is over.

mod drive;
mod phase;
mod traffic;

use std::{
    cell::{Cell, RefCell, RefMut},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use actix_http::{Method, StatusCode, Uri, uri::Scheme};

use super::{
    books::{AccountId, Received, RequestEnd, Ticket},
    hub::{Hub, Standing},
    misconduct::{ClientEnded, Misconduct},
    pace::Pace,
    refused::Refusal,
};
use crate::{
    net::{Origin, Stream},
    telemetry::emit,
};

pub(crate) use drive::drive;
pub(crate) use phase::Phase;

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
    phase: Cell<Phase>,
    write_blocked_since: Cell<Option<Instant>>,
    /// How fast the client takes the response under way; HTTP/2 knows that of each stream.
    pace: Cell<Option<Pace>>,
    /// It ends here: nobody else took it, or can.
    stays: Cell<bool>,
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
            phase: Cell::new(match is_tls {
                true => Phase::Handshake(now),
                false => Phase::Idle(now),
            }),
            write_blocked_since: Cell::default(),
            pace: Cell::default(),
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

    /// The scheme of the connection, whatever its requests say.
    pub(crate) fn scheme(&self) -> Scheme {
        match self.is_tls() {
            true => Scheme::HTTPS,
            false => Scheme::HTTP,
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.stream.borrow().is_tls()
    }

    /// The address of the listener that accepted it; `None` where that is a path, or gone.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.origin.address()
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

    /// Since when no request is in flight; `None` where one is, and where the connection is about to end.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let since = match self.phase.get() {
            Phase::Idle(since) | Phase::Head(since) => Some(since),
            Phase::Driven { rests_since, .. } => rests_since,
            _ => None,
        };
        since.filter(|_| !self.leaving.get())
    }

    /// Whether nothing of a head or a handshake has arrived either.
    pub(crate) fn is_silent(&self) -> bool {
        !matches!(self.phase.get(), Phase::Head(_) | Phase::Handshake(_))
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
            emit(&ClientEnded {
                peer: self.peer,
                listener: self.origin.newest().name(),
                why,
            });
        }
    }

    /// The process was suspended: deadlines move by that time.
    pub(crate) fn extend_by(&self, by: Duration, now: Instant) {
        self.phase.set(self.phase.get().moved(by, now));
        let blocked = self.write_blocked_since.get();
        let moved = |since: Instant| (since + by).min(now);
        self.write_blocked_since.set(blocked.map(moved));
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

    /// What came is no request, or none that can be served; what it is answered with, where it is.
    pub(crate) fn refuse(&self, refusal: Refusal, status: Option<StatusCode>) {
        self.hub.refuse(self.account, self.peer, refusal, status);
    }

    /// Requests that were entered have ended.
    pub(crate) fn close(&self, tickets: impl IntoIterator<Item = Ticket>, end: RequestEnd) {
        let end = match end {
            RequestEnd::Aborted if self.is_expelled.get() => RequestEnd::AbortedByServer,
            end => end,
        };
        self.hub.close_requests(tickets, end);
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

    /// Whether a response is to be the last of its connection, where nothing else that was read waits
    /// for an answer. P5: a handler may have blocked the thread since anything was read, so the kernel
    /// is asked too: a strict client does not read answers behind `Connection: close`.
    pub(crate) fn closes_with_response(&self) -> bool {
        self.is_to_close() && !self.may_move() && !self.stream().has_received()
    }

    /// Whether it goes on elsewhere once it is idle: in the new process, or at another worker.
    fn may_move(&self) -> bool {
        !self.stays.get()
            && self.origin.closes_since().is_none()
            && self.hub.has_transfer(self.origin.newest().name())
    }

    /// Whether it can move right now: this process holds nothing of it, neither a byte that was
    /// read nor one that is to be written. What has arrived in the kernel moves along.
    fn moves(&self) -> bool {
        matches!(self.phase.get(), Phase::Idle(_)) && self.may_move()
    }

    /// Passes it on. Whether somebody else has it now; it must not be read any more then.
    async fn pass_on(&self) -> bool {
        let Some(transfer) = self.hub.transfer() else {
            return false;
        };
        let listener = self.origin.newest().name().clone();
        let clone = || self.stream.borrow().try_clone();
        transfer.pass(listener, clone).await
    }
}
