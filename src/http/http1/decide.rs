//! Decides how a request's body and its response's are framed, and whether the connection goes on (RFC 9112
//! §6, §9). Pure decisions: no I/O.

use actix_http::{
    ConnectionType, HttpMessage as _, Method, Request, StatusCode, Version, body::BodySize,
    h1::MessageType, header,
};

/// How a request's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    None,
    Length(u64),
    Chunked,
    /// There is none; behind the answer that agrees to it, another protocol's bytes follow.
    Upgrade,
}

/// What a request's head says of its connection and of the bodies on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestTraits {
    pub(super) incoming: Incoming,
    /// The answer has no body, whatever it says of one.
    pub(super) is_head: bool,
    /// HTTP/1.0: it knows no chunks, and closes unless it says otherwise.
    pub(super) is_old: bool,
    pub(super) keeps_alive: bool,
    pub(super) offers_upgrade: bool,
    /// It sends its body once that is asked for.
    pub(super) expects_continue: bool,
}

impl RequestTraits {
    /// Of a request that the parser took; `kind` is what the parser expects behind it.
    ///
    /// # Errors
    /// The status with which the request is refused.
    pub(super) fn of(request: &Request, kind: MessageType) -> Result<Self, StatusCode> {
        let head = request.head();
        if head.method == Method::CONNECT {
            return Err(StatusCode::NOT_IMPLEMENTED);
        }
        let is_old = head.version < Version::HTTP_11;
        let connection = head.connection_type();
        let offers_upgrade = connection == ConnectionType::Upgrade && !is_old;
        let incoming = match kind {
            MessageType::None => Incoming::None,
            MessageType::Payload if head.headers.contains_key(header::TRANSFER_ENCODING) => {
                Incoming::Chunked
            }
            MessageType::Payload => Incoming::Length(length(request).unwrap_or(0)),
            // For the sake of `Upgrade: websocket` the parser passes over a length. What is behind the
            // head would be taken for a request.
            MessageType::Stream if length(request).is_some_and(|length| length > 0) => {
                return Err(StatusCode::BAD_REQUEST);
            }
            MessageType::Stream if offers_upgrade => Incoming::Upgrade,
            MessageType::Stream => Incoming::None,
        };
        let has_body = matches!(incoming, Incoming::Length(_) | Incoming::Chunked);
        if has_body && !is_old && has_other_expectation(request) {
            return Err(StatusCode::EXPECTATION_FAILED);
        }
        Ok(Self {
            incoming,
            is_head: head.method == Method::HEAD,
            is_old,
            keeps_alive: match connection {
                ConnectionType::KeepAlive => true,
                ConnectionType::Upgrade => !is_old,
                ConnectionType::Close => false,
            },
            offers_upgrade,
            expects_continue: has_body && head.expect(),
        })
    }
}

/// What a request says of its body's length; the parser has taken it for a number.
fn length(request: &Request) -> Option<u64> {
    let length = request.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.trim().parse().ok()
}

/// Whether a request expects something that is not 100-continue (RFC 9110 §10.1.1).
fn has_other_expectation(request: &Request) -> bool {
    let is_other = |value: &header::HeaderValue| {
        !value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"100-continue")
    };
    request.headers().get_all(header::EXPECT).any(is_other)
}

/// What a response is, as far as that decides how it is framed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) size: BodySize,
    /// It is not to be sent in chunks.
    pub(super) is_unchunked: bool,
    /// The length that it says of itself; heeded where `size` does not tell.
    pub(super) says_length: Option<u64>,
    /// The connection is to end with it.
    pub(super) closes: bool,
}

/// How a response's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    None,
    Length(u64),
    Chunked,
    /// It ends with the connection, or the connection with it.
    UntilClose,
}

/// What a response's head says of the body's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LengthField {
    /// Nothing.
    Omitted,
    Length(u64),
    Chunked,
    /// What the response says of itself, if anything.
    AsSaid,
}

/// What becomes of the connection behind a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Request,
    Close,
    /// Another protocol, until the response's body ends.
    Upgrade,
    /// The response has failed in the middle: the connection ends without another word.
    Cut,
}

/// How a response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) outgoing: Outgoing,
    pub(super) length: LengthField,
    pub(super) next: Next,
}

/// Whether a response with this status ends a request of this kind. Another 1xx would leave the client
/// waiting, and take the next response for this one.
pub(super) fn is_final(asked: &RequestTraits, status: StatusCode) -> bool {
    !status.is_informational() || is_upgrade(asked, status)
}

fn is_upgrade(asked: &RequestTraits, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS && asked.incoming == Incoming::Upgrade
}

/// Decides how a response is sent, once and before its head is encoded.
pub(super) fn plan(asked: &RequestTraits, answered: &Answered) -> Plan {
    if is_upgrade(asked, answered.status) {
        return Plan {
            outgoing: Outgoing::UntilClose,
            length: LengthField::Omitted,
            next: Next::Upgrade,
        };
    }
    let has_none = asked.is_head
        || answered.status.is_informational()
        || matches!(
            answered.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let framed = match answered.size {
        BodySize::None => Outgoing::Length(0),
        BodySize::Sized(length) => Outgoing::Length(length),
        BodySize::Stream => match answered.says_length {
            Some(length) if answered.is_unchunked => Outgoing::Length(length),
            _ if asked.is_old || answered.is_unchunked => Outgoing::UntilClose,
            _ => Outgoing::Chunked,
        },
    };
    let outgoing = if has_none { Outgoing::None } else { framed };
    let length = match (answered.status, answered.size, framed) {
        (StatusCode::NO_CONTENT, ..) => LengthField::Omitted,
        (status, ..) if status.is_informational() => LengthField::Omitted,
        // What the response to a GET would have said.
        (StatusCode::NOT_MODIFIED, ..) => LengthField::AsSaid,
        (_, BodySize::None, _) if asked.is_head => LengthField::AsSaid,
        (_, _, Outgoing::Length(length)) => LengthField::Length(length),
        (_, _, Outgoing::Chunked) => LengthField::Chunked,
        (_, _, Outgoing::UntilClose | Outgoing::None) => LengthField::Omitted,
    };
    // An offer that was not taken: what a proxy takes for the other protocol must not be served.
    let closes = answered.closes
        || !asked.keeps_alive
        || asked.offers_upgrade
        || outgoing == Outgoing::UntilClose;
    Plan {
        outgoing,
        length,
        next: if closes { Next::Close } else { Next::Request },
    }
}

/// What is left of a request's body when it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing: the next request follows.
    None,
    /// So many bytes are to arrive, which nobody reads.
    Length(u64),
    /// That is to be seen: it comes in chunks, or somebody reads on.
    Open,
    /// Nobody will know: the client may send it or leave it, or what came of it is malformed.
    Unknown,
}

/// Bytes of a body that nobody reads which are read away, so that the connection goes on.
pub(super) const DRAINED: u64 = 64 * 1024;

/// Whether the connection cannot go on behind what is left of a request's body.
pub(super) fn is_too_much(rest: Rest) -> bool {
    match rest {
        Rest::None | Rest::Open => false,
        Rest::Length(length) => length > DRAINED,
        Rest::Unknown => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GET: RequestTraits = RequestTraits {
        incoming: Incoming::None,
        is_head: false,
        is_old: false,
        keeps_alive: true,
        offers_upgrade: false,
        expects_continue: false,
    };

    const OK: Answered = Answered {
        status: StatusCode::OK,
        size: BodySize::Sized(4),
        is_unchunked: false,
        says_length: None,
        closes: false,
    };

    fn status(code: u16) -> StatusCode {
        StatusCode::from_u16(code).expect("it is one")
    }

    #[test]
    fn a_response_without_a_body_has_none_whatever_it_says() {
        let head = RequestTraits {
            is_head: true,
            ..GET
        };
        let plan_of = |asked: &RequestTraits, answered| plan(asked, &answered);
        let to_head = plan_of(&head, OK);
        assert_eq!(to_head.outgoing, Outgoing::None);
        assert_eq!(to_head.length, LengthField::Length(4));
        for (code, length) in [(204, LengthField::Omitted), (304, LengthField::AsSaid)] {
            let none = plan_of(
                &GET,
                Answered {
                    status: status(code),
                    ..OK
                },
            );
            assert_eq!((none.outgoing, none.length), (Outgoing::None, length));
            assert_eq!(none.next, Next::Request);
        }
    }

    #[test]
    fn a_stream_is_chunked_but_for_clients_that_know_no_chunks() {
        let stream = Answered {
            size: BodySize::Stream,
            ..OK
        };
        assert_eq!(plan(&GET, &stream).length, LengthField::Chunked);
        let old = RequestTraits {
            is_old: true,
            ..GET
        };
        let to_old = plan(&old, &stream);
        assert_eq!(to_old.outgoing, Outgoing::UntilClose);
        assert_eq!(
            (to_old.length, to_old.next),
            (LengthField::Omitted, Next::Close)
        );
        let said = Answered {
            is_unchunked: true,
            says_length: Some(7),
            ..stream
        };
        assert_eq!(plan(&old, &said).outgoing, Outgoing::Length(7));
        assert_eq!(plan(&old, &said).next, Next::Request);
    }

    #[test]
    fn only_an_offer_that_was_made_can_be_taken() {
        let offer = RequestTraits {
            incoming: Incoming::Upgrade,
            offers_upgrade: true,
            ..GET
        };
        let taken = Answered {
            status: status(101),
            size: BodySize::Stream,
            ..OK
        };
        assert!(is_final(&offer, status(101)) && !is_final(&GET, status(101)));
        assert!(!is_final(&offer, status(103)) && is_final(&GET, status(404)));
        assert_eq!(plan(&offer, &taken).next, Next::Upgrade);
        assert_eq!(plan(&offer, &OK).next, Next::Close);
    }

    fn any_size() -> impl Strategy<Value = BodySize> {
        prop_oneof![
            Just(BodySize::None),
            Just(BodySize::Stream),
            (0..9_u64).prop_map(BodySize::Sized),
        ]
    }

    proptest! {
        /// Of whatever is sent, client and server know alike where it ends.
        #[test]
        fn the_head_says_where_the_body_ends(
            is_head: bool, is_old: bool, keeps_alive: bool, offers_upgrade: bool,
            code in prop::sample::select(vec![200, 204, 206, 304, 404, 500]),
            size in any_size(), is_unchunked: bool,
            says_length in prop::option::of(0..9_u64), closes: bool,
        ) {
            let asked = RequestTraits { is_head, is_old, keeps_alive, offers_upgrade, ..GET };
            let answered = Answered { status: status(code), size, is_unchunked, says_length, closes };
            let plan = plan(&asked, &answered);
            match plan.outgoing {
                Outgoing::None => prop_assert!(is_head || [204, 304].contains(&code)),
                Outgoing::Length(length) => {
                    prop_assert_eq!(plan.length, LengthField::Length(length));
                }
                Outgoing::Chunked => {
                    prop_assert!(!is_old);
                    prop_assert_eq!(plan.length, LengthField::Chunked);
                }
                Outgoing::UntilClose => {
                    prop_assert_eq!(plan.length, LengthField::Omitted);
                    prop_assert_eq!(plan.next, Next::Close);
                }
            }
            prop_assert!(plan.length != LengthField::Chunked || !is_old);
            prop_assert!(plan.next != Next::Upgrade);
            if closes || !keeps_alive {
                prop_assert_eq!(plan.next, Next::Close);
            }
        }
    }
}
