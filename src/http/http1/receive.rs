//! Waits for a request's head, and accepts or refuses it.

use std::{
    io,
    task::{Context, Poll},
};

use actix_http::{
    Request, ServiceConfig, StatusCode,
    error::ParseError,
    h1::{Codec, Message, MessageType},
};
use tokio_util::codec::Decoder as _;

use super::{
    decide::RequestTraits,
    head::{self, Finder, OtherVersion},
    wire::H1Wire,
};
use crate::http::connection::Phase;

/// What came of waiting for a request.
pub(super) enum Received {
    Request {
        request: Request,
        asked: RequestTraits,
    },
    /// None comes, and nothing is to be said.
    Nothing,
    /// What came is answered with this status, and the connection ends.
    Refused(StatusCode),
}

/// Receives the heads of one connection.
pub(super) struct Receiver {
    codec: Codec,
    config: ServiceConfig,
    finder: Finder,
    /// Bytes of the head under way that the parser has seen, and line breaks before it.
    seen: usize,
}

impl Receiver {
    pub(super) fn new(config: &ServiceConfig) -> Self {
        Self {
            codec: Codec::new(config.clone()),
            config: config.clone(),
            finder: Finder::default(),
            seen: 0,
        }
    }

    /// The next request, in its time. What waits to be written is flushed before more is read.
    ///
    /// # Errors
    /// Where the connection has failed.
    pub(super) fn poll_next(
        &mut self,
        wire: &mut H1Wire,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Received>> {
        loop {
            if let Some(received) = self.decode(wire) {
                wire.conn().takes_request();
                return Poll::Ready(Ok(received));
            }
            if wire.has_hung_up() {
                return Poll::Ready(Ok(match wire.input.is_empty() {
                    true => Received::Nothing,
                    false => Received::Refused(StatusCode::BAD_REQUEST),
                }));
            }
            if wire.poll_flush(cx)?.is_pending() {
                wire.conn().enter_phase(Phase::Answer);
                return Poll::Pending;
            }
            if wire.poll_fill(cx)?.is_ready() {
                continue;
            }
            return self.wait(wire).map(Ok);
        }
    }

    /// Nothing more has arrived.
    fn wait(&self, wire: &mut H1Wire) -> Poll<Received> {
        wire.rest();
        let conn = wire.conn();
        // A TLS record that has arrived in part is taken for a head's first byte.
        let has_begun = !wire.input.is_empty() || conn.stream().is_amid_record();
        conn.awaits_head(has_begun);
        if !conn.is_out_of_time() {
            return Poll::Pending;
        }
        // P5: a request, or the rest of its head, may have arrived since the runtime last looked.
        if conn.stream().has_received() {
            conn.begins_anew();
            return Poll::Pending;
        }
        Poll::Ready(match conn.phase() {
            Phase::Head(_) => Received::Refused(StatusCode::REQUEST_TIMEOUT),
            _ => Received::Nothing,
        })
    }

    /// Decodes one head from what has arrived. `None` where it is not whole.
    fn decode(&mut self, wire: &mut H1Wire) -> Option<Received> {
        let input = &mut wire.input;
        if !self.finder.has_begun() {
            let breaks = head::line_breaks(input);
            let _ = input.split_to(breaks);
            self.seen += breaks;
        }
        // The parser is slow to say that nothing is no head. A CR may be half a line break.
        if input.is_empty() || (!self.finder.has_begun() && **input == b"\r"[..]) {
            return (self.seen > head::MOST).then_some(Received::Refused(StatusCode::BAD_REQUEST));
        }
        let is_first = !self.finder.has_begun();
        let found = self.finder.find(input);
        let length = found.map_or(input.len(), |found| found.length);
        if length > head::MOST {
            let is_too_long = head::is_too_long(input);
            return Some(Received::Refused(match is_too_long {
                true => StatusCode::URI_TOO_LONG,
                false => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            }));
        }
        // The first bytes show what is no request. The rest is parsed only once it is complete, so that
        // each byte is not parsed again for every later one.
        if found.is_none() && !is_first {
            return None;
        }
        if found.is_some_and(|found| found.is_coded && head::has_unknown_coding(&input[..length])) {
            return Some(Received::Refused(StatusCode::NOT_IMPLEMENTED));
        }
        let received = match self.parse(wire, found.is_some()) {
            Ok(None) => return None,
            Ok(Some((request, asked))) => Received::Request { request, asked },
            Err(status) => Received::Refused(status),
        };
        (self.finder, self.seen) = (Finder::default(), 0);
        Some(received)
    }

    fn parse(
        &mut self,
        wire: &mut H1Wire,
        is_whole: bool,
    ) -> Result<Option<(Request, RequestTraits)>, StatusCode> {
        let input = &mut wire.input;
        let is_too_long = input.len() > usize::from(u16::MAX) && head::is_too_long(input);
        let mut decoded = self.codec.decode(input);
        if let Err(ParseError::Version) = decoded {
            match head::version(input) {
                // Its line may not be whole.
                _ if !is_whole => return Ok(None),
                OtherVersion::Later(minor) => {
                    input[minor] = b'1';
                    decoded = self.codec.decode(input);
                }
                OtherVersion::Foreign => return Err(StatusCode::HTTP_VERSION_NOT_SUPPORTED),
                OtherVersion::Malformed => {}
            }
        }
        let mut request = match decoded {
            Ok(None) => return Ok(None),
            Ok(Some(Message::Item(request))) => request,
            Err(ParseError::TooLarge) => return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Err(_) if is_too_long => return Err(StatusCode::URI_TOO_LONG),
            // There is no body under way: the parser is a new one then.
            Err(_) | Ok(Some(Message::Chunk(_))) => return Err(StatusCode::BAD_REQUEST),
        };
        let kind = self.codec.message_type();
        if !matches!(kind, MessageType::None) {
            // It would go on with the body, which is not read by it.
            self.codec = Codec::new(self.config.clone());
        }
        if !head::is_well_addressed(&request) {
            return Err(StatusCode::BAD_REQUEST);
        }
        head::take_host_of_target(&mut request);
        let asked = RequestTraits::of(&request, kind)?;
        Ok(Some((request, asked)))
    }
}
