//! Drives one connection: accepts streams, keeps deadlines, sends GOAWAY.

use std::{
    future::Future,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use h2::{
    Ping, PingPong, Reason, RecvStream,
    server::{Connection, SendResponse},
};

use super::{session::Session, wire::H2Wire};
use crate::http::misconduct::Misconduct;

/// How long an idle client that was told to go has at the least to acknowledge it. Until it does, a
/// request may be under way (RFC 9113 §6.8).
const ACKNOWLEDGES: Duration = Duration::from_secs(1);

/// How long it then has to be quiet: it may have had requests to send before it read of our goodbye.
const QUIET: Duration = Duration::from_millis(25);

/// How soon, and how late, it is looked whether a client that has closed its end is gone altogether.
const GONE_AFTER: Duration = Duration::from_millis(25);
const GONE_BY: Duration = Duration::from_secs(1);

/// One connection.
pub(super) struct Driver {
    h2: Connection<H2Wire, Bytes>,
    pings: Option<PingPong>,
    session: Rc<Session>,
    go_away: GoAway,
    /// When a client that said nothing for long was asked whether it is there.
    asked_at: Option<Instant>,
    /// When it was looked last whether a client that has closed its end is gone.
    looked_at: Option<Instant>,
}

/// How far the end has come.
#[derive(Clone, Copy)]
enum GoAway {
    NotSent,
    /// GOAWAY for no stream in particular and a PING are under way: once the client has answered,
    /// it is quiet, and its streams have ended, the connection does.
    Sent(Instant),
    /// The last GOAWAY is under way, and nothing more is read.
    Final,
}

impl Driver {
    pub(super) fn new(mut h2: Connection<H2Wire, Bytes>, session: Rc<Session>) -> Self {
        Self {
            pings: h2.ping_pong(),
            h2,
            session,
            go_away: GoAway::NotSent,
            asked_at: None,
            looked_at: None,
        }
    }

    /// Ready at the connection's end. `answer` takes each request; the future that it returns is driven
    /// along with the connection.
    pub(super) fn poll<F: Future<Output = ()>>(
        &mut self,
        cx: &mut Context<'_>,
        streams: &mut FuturesUnordered<F>,
        mut answer: impl FnMut(http::Request<RecvStream>, SendResponse<Bytes>) -> Option<F>,
    ) -> Poll<Result<(), h2::Error>> {
        self.note_suspension();
        if self.is_dead(cx) || self.is_gone() {
            return Poll::Ready(Ok(()));
        }
        self.apply_due_times();
        loop {
            while let Poll::Ready(accepted) = self.h2.poll_accept(cx) {
                match accepted.transpose()? {
                    Some((request, respond)) => streams.extend(answer(request, respond)),
                    None => return Poll::Ready(Ok(())),
                }
            }
            if self.session.is_spent() && self.expel(Misconduct::Flood) {
                continue;
            }
            let given = self.session.given();
            while let Poll::Ready(Some(())) = streams.poll_next_unpin(cx) {}
            if self.hangs_up() {
                continue;
            }
            if self.session.given() == given {
                break;
            }
        }
        let rests_since = self.is_idle().then(|| self.session.idle_since());
        self.session.conn().look_at(self.due(), rests_since);
        Poll::Pending
    }

    /// Where the client has closed its end: once all is answered, the connection ends. Until then it is
    /// told that no more is expected; a client that is gone altogether answers that with a reset.
    /// Whether `h2` is to look.
    fn hangs_up(&mut self) -> bool {
        if self.session.hung_up_at().is_none() || self.session.is_over() {
            return false;
        }
        if !self.session.has_streams() {
            self.session.mark_done();
            return true;
        }
        let is_sent = !matches!(self.go_away, GoAway::NotSent);
        if !is_sent {
            self.send_go_away();
        }
        !is_sent
    }

    /// Whether a client that has closed its end is gone altogether.
    fn is_gone(&mut self) -> bool {
        let conn = self.session.conn();
        let now = conn.now();
        if self.gone_look().is_none_or(|at| now < at) {
            return false;
        }
        self.looked_at = Some(now);
        conn.stream().is_reset()
    }

    /// When to look for that: the longer it takes, the more seldom.
    fn gone_look(&self) -> Option<Instant> {
        let hung_up_at = self.session.hung_up_at()?;
        let last = self.looked_at.unwrap_or(hung_up_at);
        Some(last + (last - hung_up_at).clamp(GONE_AFTER, GONE_BY))
    }

    /// Where a clock has run out, it may have done so while the process was suspended.
    fn note_suspension(&mut self) {
        let conn = self.session.conn();
        let now = conn.now();
        if now >= self.due() {
            conn.hub().note_suspension(now);
        }
        let by = self.session.note_suspension();
        let moved = |since: Instant| (since + by).min(now);
        if let GoAway::Sent(at) = &mut self.go_away {
            *at = moved(*at);
        }
        self.asked_at = self.asked_at.map(moved);
        self.looked_at = self.looked_at.map(moved);
    }

    /// Asks a client that has said nothing for long, while it waits for a response, whether it is
    /// there. Whether it was asked, and did not answer.
    fn is_dead(&mut self, cx: &mut Context<'_>) -> bool {
        if self.session.hung_up_at().is_some() {
            return false;
        }
        let conn = self.session.conn();
        let (now, times) = (conn.now(), conn.hub().times());
        let (heard_at, pings) = (self.session.heard_at(), &mut self.pings);
        match self.asked_at {
            None if now >= heard_at + times.keep_alive && self.session.has_streams() => {
                // It fails where the connection does, which the next poll tells.
                let asked = pings.as_mut().map(|pings| pings.send_ping(Ping::opaque()));
                self.asked_at = asked.map(|_| now);
            }
            Some(asked_at) if heard_at > asked_at => {
                // Only then can it be asked again.
                let answered = pings.as_mut().map(|pings| pings.poll_pong(cx).is_ready());
                self.asked_at = (answered == Some(false)).then_some(heard_at);
            }
            Some(asked_at) if now >= asked_at + times.write => {
                // The answer may have come while a handler blocked the thread.
                let has_answered = conn.stream().has_received();
                self.asked_at = Some(now);
                return !has_answered;
            }
            None | Some(_) => {}
        }
        false
    }

    /// Does what is due by the clock, or by a stop.
    fn apply_due_times(&mut self) {
        let conn = self.session.conn().clone();
        let (now, times) = (conn.now(), conn.hub().times());
        let head_since = self.session.head_since();
        if head_since.is_some_and(|since| now >= since + times.request) {
            // P5: the rest may have come while a handler blocked the thread.
            if conn.stream().has_received() {
                self.session.head_goes_on();
            } else {
                self.expel(Misconduct::Head);
            }
        }
        match self.go_away {
            GoAway::NotSent if conn.is_to_close() || self.has_idled(now) => {
                self.send_go_away();
            }
            GoAway::Sent(at) if self.is_idle() && now >= self.over_by(at) => {
                // P5: a last look.
                if conn.stream().has_received() {
                    self.go_away = GoAway::Sent(now);
                } else {
                    self.end(Reason::NO_ERROR);
                }
            }
            GoAway::NotSent | GoAway::Sent(_) | GoAway::Final => {}
        }
    }

    fn send_go_away(&mut self) {
        self.h2.graceful_shutdown();
        self.go_away = GoAway::Sent(self.session.conn().now());
    }

    /// Ends the connection for what the client did; `false` where it is ending already.
    fn expel(&mut self, why: Misconduct) -> bool {
        if matches!(self.go_away, GoAway::Final) {
            return false;
        }
        self.session.conn().expel(why);
        self.end(Reason::ENHANCE_YOUR_CALM)
    }

    /// Ends the connection and its streams, after a last GOAWAY; `false` where that is under way.
    fn end(&mut self, reason: Reason) -> bool {
        if matches!(self.go_away, GoAway::Final) {
            return false;
        }
        self.h2.abrupt_shutdown(reason);
        self.go_away = GoAway::Final;
        true
    }

    fn is_idle(&self) -> bool {
        !self.session.has_streams() && self.session.head_since().is_none()
    }

    fn has_idled(&self, now: Instant) -> bool {
        let conn = self.session.conn();
        let until = self.session.idle_since() + conn.hub().times().keep_alive;
        self.is_idle() && (conn.is_leaving() || now >= until)
    }

    /// When an idle client that was told to go is left.
    fn over_by(&self, told_at: Instant) -> Instant {
        let (conn, session) = (self.session.conn(), &self.session);
        let since = told_at.max(session.idle_since());
        match conn.linger() {
            _ if session.has_acknowledged() => since.max(session.heard_at()) + QUIET,
            Some(leave) => since + leave.linger.max(ACKNOWLEDGES),
            None => since + conn.hub().times().write,
        }
    }

    /// When to look at the connection again, if nothing happens.
    fn due(&self) -> Instant {
        let (conn, session) = (self.session.conn(), &self.session);
        let (now, times) = (conn.now(), conn.hub().times());
        let head = session.head_since().map(|since| since + times.request);
        let idle = self.is_idle().then(|| match self.go_away {
            GoAway::NotSent => session.idle_since() + times.keep_alive,
            GoAway::Sent(at) => self.over_by(at),
            GoAway::Final => now + times.write,
        });
        let silent = session.has_streams().then(|| match self.asked_at {
            _ if session.hung_up_at().is_some() => now + times.write,
            Some(at) => at.max(session.heard_at()) + times.write,
            None => session.heard_at() + times.keep_alive,
        });
        let due = [head, idle, silent, self.gone_look()]
            .into_iter()
            .flatten()
            .min();
        due.unwrap_or(now + times.write)
    }
}
