//! A worker's accept loop over all of its listeners in turn. It also empties the queues of listeners that
//! close. Its [`WorkerActor`](super::worker::WorkerActor) says which sockets those are.

use std::{
    cell::{Cell, RefCell},
    convert::identity,
    future::poll_fn,
    io,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::sync::Notify;

use crate::{
    generation::{Generation, Slot},
    http::{Conn, Hub, Serve, connection},
    net::{Accepted, Origin, Queue, Share, Speaks, is_clients_fault, is_shut},
};

/// How long a worker waits before it accepts again where the system had nothing left to give, if
/// no connection ends meanwhile.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Accepts for one worker, from all of its listeners in turn.
pub(super) struct Acceptor {
    hub: Rc<Hub>,
    serve: Rc<dyn Serve>,
    slot: Rc<RefCell<Slot>>,
    /// What the connections of the listener of this name may speak in each generation.
    speaks: fn(&Generation, &str) -> Speaks,
    shares: RefCell<Vec<Share>>,
    /// Shares that are being emptied.
    queues: Cell<usize>,
    /// Some have been.
    emptied: Notify,
    waker: RefCell<Option<Waker>>,
}

impl Acceptor {
    pub(super) fn new(
        hub: Rc<Hub>,
        serve: Rc<dyn Serve>,
        slot: Rc<RefCell<Slot>>,
        speaks: fn(&Generation, &str) -> Speaks,
    ) -> Rc<Self> {
        Rc::new(Self {
            hub,
            serve,
            slot,
            speaks,
            shares: RefCell::default(),
            queues: Cell::default(),
            emptied: Notify::new(),
            waker: RefCell::default(),
        })
    }

    pub(super) fn add(&self, shares: Vec<Share>) {
        if !shares.is_empty() {
            self.shares.borrow_mut().extend(shares);
            self.wake();
        }
    }

    pub(super) fn close(&self) {
        self.shares.borrow_mut().clear();
    }

    /// Leaves the queues to the other workers, but for those that are about to be emptied.
    pub(super) fn retire(&self) {
        let mut shares = self.shares.borrow_mut();
        shares.retain(|share| share.origin().is_closing());
    }

    /// Waits until there is no queue left to accept from.
    pub(super) async fn wait_until_let_go(&self) {
        while self.queues.get() > 0 || !self.shares.borrow().is_empty() {
            self.emptied.notified().await;
        }
    }

    pub(super) fn let_go(&self) {
        let mut shares = self.shares.borrow_mut();
        shares.retain(|share| !share.origin().has_passed());
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(super) async fn run(self: Rc<Self>) {
        let mut turn = 0;
        let mut is_exhausted = false;
        loop {
            // The permit comes before the accept: what finds no room here stays in the queue that
            // all workers share.
            let has_room = self.hub.has_room().await;
            turn += 1;
            let accepted = poll_fn(|cx| match self.poll_accept(turn, cx) {
                // Only what waits already is taken then: another worker may have room.
                Poll::Pending if !has_room => Poll::Ready(None),
                accepted => accepted.map(Some),
            });
            let Some(accepted) = accepted.await else {
                continue;
            };
            match accepted {
                Ok((origin, accepted)) => {
                    is_exhausted = false;
                    self.open(&origin, accepted, identity);
                    self.hub.accepted();
                    // Let the next worker take the next one.
                    tokio::task::yield_now().await;
                }
                Err(error) if is_clients_fault(&error) => {}
                Err(error) => {
                    if !is_exhausted {
                        log::error!(target: "everup::server", "cannot accept connections: {error}; those that wait are served as others end");
                    }
                    is_exhausted = true;
                    self.pause().await;
                }
            }
        }
    }

    fn poll_accept(
        &self,
        turn: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Arc<Origin>, Accepted)>> {
        self.waker.replace(Some(cx.waker().clone()));
        let mut shares = self.shares.borrow_mut();
        let mut tried = 0;
        while tried < shares.len() {
            let next = (turn + tried) % shares.len();
            match shares[next].poll_accept(cx) {
                Poll::Ready(Err(error)) if is_shut(&error) => drop(shares.swap_remove(next)),
                Poll::Ready(accepted) => {
                    let origin = shares[next].origin().clone();
                    return Poll::Ready(accepted.map(|accepted| (origin, accepted)));
                }
                Poll::Pending => tried += 1,
            }
        }
        Poll::Pending
    }

    /// Waits until something may have been given back.
    async fn pause(&self) {
        // Either way the next accept tells.
        let _ = tokio::time::timeout(EXHAUSTED, self.hub.wait_for_end()).await;
    }

    /// Where a connection is from that another has accepted.
    pub(super) fn origin(&self, listener: &str) -> Arc<Origin> {
        let shares = self.shares.borrow();
        let mut origins = shares.iter().map(Share::origin);
        let known = origins.find(|origin| **origin.name() == *listener);
        // The listener is gone meanwhile: its last connections are served all the same.
        known.cloned().unwrap_or_else(|| {
            let gone = Origin::new(listener, None, false);
            gone.mark_closing();
            gone
        })
    }

    pub(super) fn open(
        &self,
        origin: &Arc<Origin>,
        (socket, peer): Accepted,
        but: impl FnOnce(Speaks) -> Speaks,
    ) {
        // P2: asked at each accept, so that no connection heeds an older generation.
        let pin = self.slot.borrow_mut().pin();
        let origin = origin.at(pin.number);
        let speaks = but(origin.speaks(&pin, self.speaks));
        let account = self.hub.books().account(origin.name());
        let (stream, how) = speaks.begin(socket);
        let conn = Conn::new(stream, self.hub.clone(), origin.clone(), account, peer);
        let dispatcher = self.serve.serve(conn.clone(), how);
        actix_rt::spawn(connection::drive(conn, dispatcher));
    }

    /// P5: serves what is queued at listeners that close, then lets go of them. What is queued at a
    /// socket that lives on elsewhere is left to be served there.
    pub(super) async fn empty(self: Rc<Self>) -> bool {
        let closes = |share: &mut Share| share.origin().is_closing();
        let closing: Vec<Share> = self.shares.borrow_mut().extract_if(.., closes).collect();
        let count = closing.len();
        self.queues.update(|queues| queues + count);
        for queue in closing
            .into_iter()
            .filter(|share| !share.origin().lives_on())
            .filter_map(|share| share.into_queue().ok())
        {
            while let Some(accepted) = self.next_of(&queue).await {
                self.open(queue.origin(), accepted, identity);
            }
        }
        self.queues.update(|queues| queues - count);
        self.emptied.notify_waiters();
        self.hub.wake_connections();
        count > 0
    }

    async fn next_of(&self, queue: &Queue) -> Option<Accepted> {
        loop {
            match queue.next() {
                Ok(accepted) => return accepted,
                Err(error) if is_clients_fault(&error) => {}
                Err(_) => self.pause().await,
            }
        }
    }
}
