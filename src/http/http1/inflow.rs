//! Reads what arrives while a request is answered: its body on demand, another protocol's bytes after an
//! upgrade, or pipelined requests, to notice a client that hangs up.

use std::{
    io, mem,
    rc::Rc,
    task::{Context, Poll},
};

use actix_http::{Payload, StatusCode};
use bytes::{Bytes, BytesMut};

use super::{
    body::{BodyEnd, Feed},
    chunked::{Chunks, Piece},
    decide::{Incoming, RequestTraits, Rest},
    encode::CONTINUE,
    wire::H1Wire,
};
use crate::http::{
    body::{BodyError, Limits},
    connection::{Conn, Phase},
    misconduct::Misconduct,
    pace::{Pace, Wait},
};

pub(super) enum Inflow {
    /// There is no body, or it has been read to its end.
    Done,
    Body(H1RequestBody),
    /// Its limits are those of a body as long as it is not agreed on.
    Upgrade {
        feed: Feed,
        limits: Rc<Limits>,
        pace: Pace,
        is_agreed: bool,
    },
}

/// A body that is not whole.
pub(super) struct H1RequestBody {
    feed: Feed,
    limits: Rc<Limits>,
    framing: Framing,
    /// Bytes that it may still have.
    most: u64,
    /// How fast the client sends it, where it is waited for.
    pace: Pace,
    /// What was read before the body was first asked for.
    first: Bytes,
    /// The client waits to be asked for it.
    owes_continue: bool,
    /// Nothing more of it can be read.
    has_failed: bool,
}

enum Framing {
    /// So many bytes are to come.
    Length(u64),
    Chunked(Chunks),
}

/// A request's body as its handler gets it.
pub(super) struct Opened {
    pub(super) inflow: Inflow,
    pub(super) payload: Payload,
    /// What tells the request's [`Handling`](crate::http::request::Handling) of a broken limit.
    pub(super) limits: Option<Rc<Limits>>,
}

impl Inflow {
    /// Of a request whose head was just decoded; `most` is the limit of its body's length.
    ///
    /// # Errors
    /// The status with which the request is refused: what has arrived of its body is malformed.
    pub(super) fn open(
        asked: &RequestTraits,
        most: u64,
        input: &mut BytesMut,
    ) -> Result<Opened, StatusCode> {
        let framing = match asked.incoming {
            Incoming::None => return Ok(Opened::without_body()),
            Incoming::Upgrade => return Ok(Opened::upgrade()),
            Incoming::Length(length) if length > most => return Ok(Opened::too_large(length)),
            Incoming::Length(length) => Framing::Length(length),
            Incoming::Chunked => Framing::Chunked(Chunks::new()),
        };
        let mut body = H1RequestBody {
            feed: Feed::new(),
            limits: Rc::default(),
            framing,
            most,
            pace: Pace::default(),
            first: Bytes::new(),
            owes_continue: asked.expects_continue,
            has_failed: false,
        };
        let mut arrived = Vec::new();
        let is_whole = loop {
            match body.take(input) {
                Ok(Piece::Data(data)) => arrived.push(data),
                Ok(Piece::BodyEnd) => break true,
                Ok(Piece::Nothing) => break false,
                Err(BodyEnd::TooLarge) => {
                    body.fail(BodyError::TooLarge, BodyEnd::TooLarge);
                    break false;
                }
                Err(_) => return Err(StatusCode::BAD_REQUEST),
            }
        };
        let first = match arrived.len() {
            0 => Bytes::new(),
            1 => arrived.swap_remove(0),
            _ => Bytes::from(arrived.concat()),
        };
        if is_whole {
            return Ok(Opened {
                payload: Payload::from(first),
                ..Opened::without_body()
            });
        }
        body.owes_continue &= first.is_empty();
        body.first = first;
        Ok(Opened {
            payload: body.feed.payload(),
            limits: Some(body.limits.clone()),
            inflow: Self::Body(body),
        })
    }

    /// Feeds whoever reads; whether they got anything, and so are to be polled again.
    ///
    /// # Errors
    /// Where the connection has failed.
    pub(super) fn poll_feed(
        &mut self,
        wire: &mut H1Wire,
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        match self {
            Self::Done => {
                wire.read_ahead(cx)?;
                Ok(false)
            }
            Self::Body(body) => match body.poll_feed(wire, cx)? {
                Fed::Nothing => Ok(false),
                Fed::Piece => Ok(true),
                Fed::All => {
                    *self = Self::Done;
                    Ok(true)
                }
            },
            Self::Upgrade {
                feed,
                limits,
                pace,
                is_agreed,
            } => {
                if feed.is_dropped() && *is_agreed {
                    wire.input.clear();
                } else if feed.is_wanted(cx) {
                    return match is_agreed {
                        true => feed_bytes(feed, wire, cx),
                        false => Ok(await_agreement(feed, limits, pace, wire.conn())),
                    };
                }
                wire.read_ahead(cx)?;
                Ok(false)
            }
        }
    }

    /// The answer has agreed to another protocol.
    pub(super) fn agree(&mut self) {
        if let Self::Upgrade { is_agreed, .. } = self {
            *is_agreed = true;
        }
    }

    /// What is left of the body where the answer is about to begin; from now on it is not asked for
    /// any more.
    pub(super) fn rest(&mut self, input: &mut BytesMut) -> Rest {
        let Self::Body(body) = self else {
            return Rest::None;
        };
        if body.feed.is_dropped() {
            body.first.clear();
            while let Ok(Piece::Data(_)) = body.take(input) {}
            if body.has_ended() {
                *self = Self::Done;
                return Rest::None;
            }
        }
        if mem::take(&mut body.owes_continue) || body.has_failed {
            return Rest::Unknown;
        }
        match &body.framing {
            Framing::Length(left) if body.feed.is_dropped() => Rest::Length(*left),
            Framing::Length(_) | Framing::Chunked(_) => Rest::Open,
        }
    }

    /// Reads away what nobody has read, `left` bytes at the most. Ready with whether the next request can be told from it.
    ///
    /// # Errors
    /// Where the connection has failed.
    pub(super) fn poll_drain(
        &mut self,
        wire: &mut H1Wire,
        left: &mut u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let Self::Body(body) = self else {
            return Poll::Ready(Ok(true));
        };
        body.feed.end(BodyEnd::Incomplete);
        loop {
            let before = wire.input.len();
            let taken = body.take(&mut wire.input);
            // What is beside the body's own bytes counts too.
            match left.checked_sub((before - wire.input.len()) as u64) {
                Some(rest) => *left = rest,
                None => return Poll::Ready(Ok(false)),
            }
            match taken {
                Ok(Piece::Data(data)) => body.record_arrival(wire.conn(), data.len()),
                Ok(Piece::BodyEnd) => return Poll::Ready(Ok(true)),
                Err(_) => return Poll::Ready(Ok(false)),
                Ok(Piece::Nothing) if wire.has_hung_up() => return Poll::Ready(Ok(false)),
                Ok(Piece::Nothing) => {
                    if wire.poll_fill(cx)?.is_pending() {
                        return match late(wire.conn(), &body.pace) {
                            Some(_) => Poll::Ready(Ok(false)),
                            None => Poll::Pending,
                        };
                    }
                }
            }
        }
    }
}

/// Another protocol's bytes, as they come.
fn feed_bytes(feed: &Feed, wire: &mut H1Wire, cx: &mut Context<'_>) -> io::Result<bool> {
    loop {
        if !wire.input.is_empty() {
            feed.give(wire.input.split().freeze());
            return Ok(true);
        }
        if wire.has_hung_up() {
            feed.end(BodyEnd::Whole);
            return Ok(true);
        }
        if wire.poll_fill(cx)?.is_pending() {
            wire.conn().enter_phase(Phase::Answer);
            return Ok(false);
        }
    }
}

/// Somebody reads before the answer. There is nothing to be read as yet.
fn await_agreement(feed: &Feed, limits: &Limits, pace: &Pace, conn: &Conn) -> bool {
    let late = late(conn, pace);
    if let Some(error) = late {
        limits.fail(error);
        feed.end(BodyEnd::Late);
    }
    late.is_some()
}

/// What is wrong with more of a body, which has not arrived, where it is out of time.
fn late(conn: &Conn, pace: &Pace) -> Option<BodyError> {
    let times = conn.hub().times();
    let wait = pace.wait(&times, times.body);
    if !matches!(conn.phase(), Phase::Body { .. }) {
        conn.enter_phase(Phase::Body {
            since: conn.now(),
            limit: wait.time(),
        });
    }
    if !conn.is_out_of_time() {
        return None;
    }
    // P5: it may have come while a handler blocked the thread.
    if conn.stream().has_received() {
        conn.begins_anew();
        return None;
    }
    Some(match wait {
        Wait::Silent(_) => BodyError::Late,
        Wait::Slow(_) => {
            conn.blame(Misconduct::Slow);
            BodyError::Slow
        }
    })
}

impl Opened {
    fn without_body() -> Self {
        Self {
            inflow: Inflow::Done,
            payload: Payload::None,
            limits: None,
        }
    }

    fn upgrade() -> Self {
        let (feed, limits) = (Feed::new(), Rc::<Limits>::default());
        Self {
            payload: feed.payload(),
            limits: Some(limits.clone()),
            inflow: Inflow::Upgrade {
                feed,
                limits,
                pace: Pace::default(),
                is_agreed: false,
            },
        }
    }

    /// Its head says that it is: it is answered at once.
    fn too_large(length: u64) -> Self {
        let limits = Rc::<Limits>::default();
        limits.fail(BodyError::TooLarge);
        Self {
            inflow: Inflow::Body(H1RequestBody {
                feed: Feed::new(),
                limits: limits.clone(),
                framing: Framing::Length(length),
                most: 0,
                pace: Pace::default(),
                first: Bytes::new(),
                owes_continue: false,
                has_failed: true,
            }),
            payload: Payload::None,
            limits: Some(limits),
        }
    }
}

/// What the reader got.
enum Fed {
    Nothing,
    Piece,
    /// The end, or an error.
    All,
}

impl H1RequestBody {
    fn poll_feed(&mut self, wire: &mut H1Wire, cx: &mut Context<'_>) -> io::Result<Fed> {
        if self.has_failed || self.feed.is_dropped() || !self.feed.is_wanted(cx) {
            wire.conn().enter_phase(Phase::Answer);
            wire.read_ahead(cx)?;
            return Ok(Fed::Nothing);
        }
        if !self.first.is_empty() {
            self.feed.give(mem::take(&mut self.first));
            return Ok(Fed::Piece);
        }
        loop {
            match self.take(&mut wire.input) {
                Ok(Piece::Data(data)) => {
                    self.record_arrival(wire.conn(), data.len());
                    self.feed.give(data);
                    return Ok(Fed::Piece);
                }
                Ok(Piece::BodyEnd) => {
                    wire.conn().enter_phase(Phase::Answer);
                    self.feed.end(BodyEnd::Whole);
                    return Ok(Fed::All);
                }
                Err(BodyEnd::TooLarge) => {
                    self.fail(BodyError::TooLarge, BodyEnd::TooLarge);
                    return Ok(Fed::Piece);
                }
                Err(end) => return Ok(self.fails(end)),
                Ok(Piece::Nothing) if wire.has_hung_up() => {
                    return Ok(self.fails(BodyEnd::Incomplete));
                }
                Ok(Piece::Nothing) => {}
            }
            if mem::take(&mut self.owes_continue) {
                wire.output().extend_from_slice(CONTINUE);
            }
            // What was answered before is not to wait for this client's bytes.
            let _ = wire.poll_flush(cx)?;
            if wire.poll_fill(cx)?.is_pending() {
                break;
            }
        }
        if let Some(error) = late(wire.conn(), &self.pace) {
            self.fail(error, BodyEnd::Late);
            return Ok(Fed::Piece);
        }
        Ok(Fed::Nothing)
    }

    /// So much of it has arrived: whoever waited for it waits no more.
    fn record_arrival(&mut self, conn: &Conn, bytes: usize) {
        if let Phase::Body { since, .. } = conn.phase() {
            self.pace
                .waited(conn.now().saturating_duration_since(since));
        }
        self.pace.goes_on(bytes);
        conn.enter_phase(Phase::Answer);
    }

    /// The next piece of what has arrived.
    fn take(&mut self, input: &mut BytesMut) -> Result<Piece, BodyEnd> {
        let piece = match &mut self.framing {
            Framing::Length(0) => Piece::BodyEnd,
            Framing::Length(_) if input.is_empty() => Piece::Nothing,
            Framing::Length(left) => {
                let here = input
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= here as u64;
                Piece::Data(match here == input.len() {
                    true => mem::take(input).freeze(),
                    false => input.split_to(here).freeze(),
                })
            }
            Framing::Chunked(chunks) => match chunks.take(input) {
                Ok(piece) => piece,
                Err(_) => {
                    self.has_failed = true;
                    return Err(BodyEnd::Malformed);
                }
            },
        };
        if let Piece::Data(data) = &piece {
            let left = self.most.checked_sub(data.len() as u64);
            self.most = left.ok_or(BodyEnd::TooLarge)?;
        }
        Ok(piece)
    }

    fn has_ended(&self) -> bool {
        match &self.framing {
            Framing::Length(left) => *left == 0,
            Framing::Chunked(chunks) => chunks.have_ended(),
        }
    }

    /// The request is to be answered with this.
    fn fail(&mut self, error: BodyError, end: BodyEnd) {
        self.limits.fail(error);
        self.fails(end);
    }

    fn fails(&mut self, end: BodyEnd) -> Fed {
        self.has_failed = true;
        self.feed.end(end);
        Fed::Piece
    }
}
