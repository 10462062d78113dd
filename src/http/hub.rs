//! What the connections of one worker share: its limits, its standing in a stop, its books.

use std::{
    cell::{Cell, RefCell},
    cmp::Ordering,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_http::StatusCode;
use slab::Slab;
use tokio::sync::{Notify, watch};

use super::{
    books::{AccountId, Books, RequestEnd, Ticket},
    connection::Conn,
    extract::Lifecycle,
    open_files::OpenFiles,
    readiness::Readiness,
    refused::Refusal,
    suspension::SuspensionClock,
    transfer::Transfer,
};
use crate::{
    generation::Generation,
    telemetry::{Access, AccessEnd, AccessLog, AccessRequest, Sent},
};

/// The times that every connection keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) keep_alive: Duration,
    pub(crate) request: Duration,
    pub(crate) body: Duration,
    pub(crate) write: Duration,
    pub(crate) handshake: Duration,
    /// How long an idle one that is to end may still bring a request.
    pub(crate) linger: Duration,
    /// Bytes a second that a client brings or takes of a body, at the least; 0: as slowly as it likes.
    pub(crate) min_rate: u64,
    /// How long it may be slower.
    pub(crate) min_rate_grace: Duration,
}

impl Times {
    /// Those of the service's own connections.
    pub(crate) fn of(generation: &Generation) -> Self {
        let server = &generation.server;
        Self {
            linger: generation.shutdown.linger,
            keep_alive: server.keep_alive,
            request: server.client_request_timeout,
            body: server.body_timeout,
            write: server.write_timeout,
            handshake: server.tls_handshake_timeout,
            min_rate: server.min_rate.0,
            min_rate_grace: server.min_rate_grace,
        }
    }
}

/// What a worker does where connections wait and it has as many as it may have. Either way the connection
/// that was idle for the longest is closed in the place of one more, after a last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowd {
    /// They stay in the queue, where another worker may take them, as long as no connection has been idle
    /// for [`IDLE`].
    Waits,
    /// One more is taken at once.
    MakesRoom,
}

/// How soon a worker that has no room looks again what waits, and for a connection to close.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a connection has been idle before another takes its place at a [`Crowd::Waits`]: a client that
/// asks all the time is not shut out between two requests.
const IDLE: Duration = Duration::from_secs(1);

/// Where a worker stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Standing {
    Serving,
    /// A stop was requested: all is accepted and served, and connections that were open are to close.
    Delaying,
    /// Other workers go on without this one: idle connections pass on to them or linger, what is in
    /// flight takes the time that it takes.
    Retiring(Linger),
    /// A stop: nothing is accepted, and idle connections linger.
    Draining(Linger),
}

/// Since when and for how long idle connections may linger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linger {
    pub(crate) since: Instant,
    /// How long an idle connection stays open.
    pub(crate) linger: Duration,
}

/// One worker's common ground. Lives on the worker's thread; only the books are shared.
pub(crate) struct Hub {
    books: Arc<Books>,
    access: AccessLog,
    times: Cell<Times>,
    max_connections: Cell<usize>,
    crowd: Crowd,
    /// A connection was taken beyond the limit: another is to leave for it.
    owes_room: Cell<bool>,
    files: OpenFiles,
    readiness: Readiness,
    standing: Cell<Standing>,
    connections: RefCell<Slab<Rc<Conn>>>,
    /// A connection has ended, or there is room for more.
    room: Notify,
    /// Where idle connections go instead of being closed.
    transfer: RefCell<Option<Transfer>>,
    /// Tells handlers of the drain. The worker's own, so that a request's copy of it touches no
    /// other worker's cache line.
    lifecycle: watch::Sender<Option<Instant>>,
    suspension: SuspensionClock,
    /// How long the process was suspended, as far as the connections' clocks know.
    suspended_for: Cell<Duration>,
    /// Bytes of responses that HTTP/2 connections hold, because their clients have not taken them.
    held: Cell<usize>,
}

impl Hub {
    pub(crate) fn new(
        books: Arc<Books>,
        access: AccessLog,
        times: Times,
        max_connections: usize,
        crowd: Crowd,
        readiness: Readiness,
        suspension: SuspensionClock,
    ) -> Rc<Self> {
        Rc::new(Self {
            books,
            access,
            times: Cell::new(times),
            max_connections: Cell::new(max_connections),
            crowd,
            owes_room: Cell::default(),
            files: OpenFiles::default(),
            readiness,
            standing: Cell::new(Standing::Serving),
            connections: RefCell::default(),
            room: Notify::new(),
            transfer: RefCell::default(),
            lifecycle: watch::Sender::new(None),
            suspended_for: Cell::new(suspension.look(Instant::now())),
            held: Cell::default(),
            suspension,
        })
    }

    pub(crate) fn books(&self) -> &Books {
        &self.books
    }

    /// Requests have ended: enters it in the books, and in the access log where that is on.
    pub(crate) fn close_requests(
        &self,
        tickets: impl IntoIterator<Item = Ticket>,
        end: RequestEnd,
    ) {
        let is_told = self.access.is_on();
        for ticket in tickets {
            let closed = self.books.close(&ticket, end);
            let Some(closed) = closed.filter(|_| is_told) else {
                continue;
            };
            self.access.record(&Access {
                asked: Some(AccessRequest {
                    method: &closed.method,
                    path: closed.uri.path(),
                    generation: closed.generation,
                    took: closed.since.elapsed(),
                }),
                peer: closed.peer,
                sent: ticket.sent(),
                end: match end {
                    RequestEnd::Answered => AccessEnd::Answered,
                    RequestEnd::Aborted => AccessEnd::Aborted,
                    RequestEnd::AbortedByServer => AccessEnd::AbortedByServer,
                },
            });
        }
    }

    /// Something was refused that is no request: enters it in the books, and in the access log.
    pub(crate) fn refuse(
        &self,
        account: AccountId,
        peer: Option<SocketAddr>,
        refusal: Refusal,
        status: Option<StatusCode>,
    ) {
        self.books.refuse(account, refusal);
        if self.access.is_on() {
            self.access.record(&Access {
                asked: None,
                peer,
                sent: status.map(|status| Sent { status, bytes: 0 }),
                end: AccessEnd::Refused(refusal.name()),
            });
        }
    }

    /// Hands over what the access log holds here.
    pub(crate) fn flush_access(&self) {
        self.access.flush();
    }

    pub(crate) fn times(&self) -> Times {
        self.times.get()
    }

    pub(crate) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.get()
    }

    pub(crate) fn lifecycle(&self) -> Lifecycle {
        Lifecycle::new(self.lifecycle.subscribe())
    }

    /// Bytes of responses that all HTTP/2 connections hold.
    pub(crate) fn held(&self) -> usize {
        self.held.get()
    }

    pub(crate) fn holds_more(&self, bytes: usize) {
        self.held.set(self.held.get() + bytes);
    }

    pub(crate) fn release_held(&self, bytes: usize) {
        self.held.set(self.held.get() - bytes);
    }

    /// What answers hold open beside the connections.
    pub(crate) fn files(&self) -> OpenFiles {
        self.files.clone()
    }

    /// How long the process was suspended in all, as far as is known.
    pub(crate) fn suspended_for(&self) -> Duration {
        self.suspended_for.get()
    }

    /// Moves every connection's clock by the time that the process was suspended since this was
    /// called last; whether there was any. To be called where a clock has run out.
    pub(crate) fn note_suspension(&self, now: Instant) -> bool {
        let suspended_for = self.suspension.look(now);
        let by = suspended_for - self.suspended_for.replace(suspended_for);
        if by.is_zero() {
            return false;
        }
        let mut standing = self.standing.get();
        if let Standing::Draining(linger) | Standing::Retiring(linger) = &mut standing {
            linger.since += by;
        }
        self.standing.set(standing);
        for (_, conn) in &*self.connections.borrow() {
            conn.extend_by(by, now);
        }
        true
    }

    /// Takes up a generation's limits.
    pub(crate) fn limit(&self, times: Times, max_connections: usize, max_files: usize) {
        self.access.refresh();
        self.files.limit(max_files);
        if self.times.replace(times) != times {
            self.wake_connections();
        }
        if self.max_connections.replace(max_connections) < max_connections {
            self.room.notify_waiters();
        }
    }

    /// Waits until there is room for one connection more. `false` where there is none, but another would leave
    /// for one that waits to be accepted.
    pub(crate) async fn has_room(&self) -> bool {
        loop {
            match self.to_limit() {
                Ordering::Less => return true,
                Ordering::Equal => {
                    let was_owed = self.owes_room.replace(false);
                    if self.crowd == Crowd::MakesRoom {
                        return true;
                    }
                    // No other worker has taken what waited: nor will it the next.
                    if was_owed && self.longest_idle().is_some() {
                        return false;
                    }
                }
                // Once more: what was idle may have received something.
                Ordering::Greater if self.owes_room.get() => self.make_room(),
                Ordering::Greater => {}
            }
            let ended = tokio::time::timeout(LOOK_AGAIN, self.room.notified()).await;
            let is_full = self.crowd == Crowd::Waits && self.to_limit() == Ordering::Equal;
            if ended.is_err() && is_full && self.longest_idle().is_some() {
                return false;
            }
        }
    }

    /// A connection was accepted: where it is one too many, another is to leave for it.
    pub(crate) fn accepted(&self) {
        if self.to_limit() == Ordering::Greater {
            self.owes_room.set(true);
            self.make_room();
        }
    }

    /// How many connections there are, to how many there may be.
    fn to_limit(&self) -> Ordering {
        let open = self.connections.borrow().len();
        open.cmp(&self.max_connections.get())
    }

    fn make_room(&self) {
        if let Some(conn) = self.longest_idle() {
            conn.make_room();
        }
    }

    fn longest_idle(&self) -> Option<Rc<Conn>> {
        let now = Instant::now();
        let may_leave = |since: Instant, conn: &Conn| match self.crowd {
            Crowd::Waits => conn.is_silent() && now.saturating_duration_since(since) >= IDLE,
            Crowd::MakesRoom => true,
        };
        let connections = self.connections.borrow();
        let idle = connections.iter().filter_map(|(_, conn)| {
            let since = conn.idle_since()?;
            may_leave(since, conn).then_some((since, conn))
        });
        let (_, conn) = idle.min_by_key(|(since, _)| *since)?;
        Some(conn.clone())
    }

    /// Waits until a connection has ended.
    pub(crate) async fn wait_for_end(&self) {
        self.room.notified().await;
    }

    /// Waits until no connection is left.
    pub(crate) async fn wait_until_empty(&self) {
        while !self.connections.borrow().is_empty() {
            self.room.notified().await;
        }
    }

    /// A stop was asked for, with a delay.
    pub(crate) fn delay(&self) {
        self.standing.set(Standing::Delaying);
        self.wake_connections();
    }

    /// Other workers go on without this one.
    pub(crate) fn retire(&self, linger: Linger) {
        self.standing.set(Standing::Retiring(linger));
        self.wake_connections();
    }

    /// From now on idle connections pass on, to the new process or to other workers.
    pub(crate) fn open_transfer(&self, transfer: Transfer) {
        self.transfer.replace(Some(transfer));
    }

    /// The way out.
    pub(crate) fn transfer(&self) -> Option<Transfer> {
        self.transfer.borrow().clone()
    }

    /// Whether there is a way out for connections of this listener.
    pub(crate) fn has_transfer(&self, listener: &str) -> bool {
        let transfer = self.transfer.borrow();
        transfer.as_ref().is_some_and(|it| it.is_of(listener))
    }

    /// What is in flight is finished until the deadline; idle connections linger.
    pub(crate) fn drain(&self, since: Instant, linger: Duration, deadline: Instant) {
        self.standing
            .set(Standing::Draining(Linger { since, linger }));
        self.lifecycle.send_replace(Some(deadline));
        self.wake_connections();
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        for (_, conn) in &*self.connections.borrow() {
            conn.cut();
        }
    }

    pub(crate) fn opened(&self, conn: Rc<Conn>) -> usize {
        self.connections.borrow_mut().insert(conn)
    }

    pub(crate) fn closed(&self, key: usize) {
        self.connections.borrow_mut().remove(key);
        self.room.notify_waiters();
    }

    /// Something changed that every connection should look at.
    pub(crate) fn wake_connections(&self) {
        for (_, conn) in &*self.connections.borrow() {
            conn.wake();
        }
    }
}
