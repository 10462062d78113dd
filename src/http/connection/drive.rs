//! The task of a connection, from accept to end: serves it, watches its clock, and transfers it.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use futures_util::future::LocalBoxFuture;
use tokio::time::sleep_until;

use super::{Conn, phase::Due};
use crate::http::clock::Clock;

/// Drives a connection to its end: what serves it, and the clock beside that. It counts as open from
/// now on, not from its first poll: a drain that begins meanwhile waits for it.
pub(crate) fn drive(
    conn: Rc<Conn>,
    mut serving: LocalBoxFuture<'static, ()>,
) -> impl Future<Output = ()> {
    let open = HubEntry::new(conn);
    async move {
        let sleep = pin!(sleep_until(Instant::now().into()));
        let mut clock = Clock::new(sleep);
        let conn = &open.conn;
        while let Turn::Moves = poll_fn(|cx| poll(conn, &mut serving, &mut clock, cx)).await {
            // Boxed: most connections never pass on, and need no room for it.
            let mut passing = Box::pin(conn.pass_on());
            let passed = poll_fn(|cx| {
                remember(&conn.waker, cx.waker());
                match conn.cut.get() {
                    true => Poll::Ready(true),
                    false => passing.as_mut().poll(cx),
                }
            });
            if passed.await {
                break;
            }
            conn.stays.set(true);
        }
    }
}

/// What a connection has come to.
enum Turn {
    Over,
    /// It is idle, and there is somebody else to take it.
    Moves,
}

fn poll(
    conn: &Conn,
    serving: &mut LocalBoxFuture<'static, ()>,
    clock: &mut Clock<'_>,
    cx: &mut Context<'_>,
) -> Poll<Turn> {
    remember(&conn.waker, cx.waker());
    let mut looked_at = None;
    loop {
        if conn.cut.get() {
            return Poll::Ready(Turn::Over);
        }
        let now = Instant::now();
        conn.now.set(now);
        if serving.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Turn::Over);
        }
        if conn.moves() {
            return Poll::Ready(Turn::Moves);
        }
        let Some((at, due)) = conn.due() else {
            return Poll::Pending;
        };
        if now < at {
            if clock.is_pending_until(at, now, cx) {
                return Poll::Pending;
            }
            continue;
        }
        if conn.hub.note_suspension(now) {
            continue;
        }
        let is_over = match due {
            // What is still due after a look will not be seen to: it waits for something else.
            Due::Look => looked_at.replace(at) == Some(at),
            Due::Drop => true,
            Due::Expel(why) => {
                conn.expel(why);
                true
            }
        };
        if is_over {
            return Poll::Ready(Turn::Over);
        }
    }
}

fn remember(place: &RefCell<Option<Waker>>, waker: &Waker) {
    match &mut *place.borrow_mut() {
        Some(known) => known.clone_from(waker),
        none => *none = Some(waker.clone()),
    }
}

/// A connection's place at its worker, from accept to end, however it ends.
struct HubEntry {
    conn: Rc<Conn>,
    key: usize,
}

impl HubEntry {
    fn new(conn: Rc<Conn>) -> Self {
        conn.hub.books().connected(conn.account);
        let key = conn.hub.opened(conn.clone());
        Self { conn, key }
    }
}

impl Drop for HubEntry {
    fn drop(&mut self) {
        self.conn.hub.books().disconnected(self.conn.account);
        self.conn.hub.closed(self.key);
    }
}
