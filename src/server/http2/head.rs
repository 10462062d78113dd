//! Heads, from HTTP/2 to actix-web and back.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_http::{
    HttpMessage as _, Payload, Request, ResponseHead, Uri, Version,
    body::BodySize,
    header::{self, HeaderName, HeaderValue, HttpDate, TryIntoHeaderValue as _},
};
use h2::RecvStream;
use http::uri::Scheme;

use crate::{config::Pin, server::connection::Conn};

/// A request as actix-web takes it, with its generation.
pub(super) fn request(received: http::Request<RecvStream>, conn: &Conn, pin: Pin) -> Request {
    let (parts, body) = received.into_parts();
    let mut request = match body.is_end_stream() {
        true => Request::new(),
        false => Request::with_payload(Payload::from(body)),
    };
    let head = request.head_mut();
    head.uri = truthful(parts.uri, conn.scheme());
    head.method = parts.method;
    head.version = Version::HTTP_2;
    head.headers = parts.headers.into();
    head.peer_addr = conn.peer();
    // HTTP/1 keeps it in the connection, where one request follows the other.
    request.extensions_mut().insert(pin);
    request
}

/// With the scheme that the connection has, whatever the client says.
fn truthful(uri: Uri, truth: Scheme) -> Uri {
    if uri.scheme().is_none_or(|scheme| *scheme == truth) {
        return uri;
    }
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(truth);
    Uri::from_parts(parts).unwrap_or(uri)
}

/// What belongs to an HTTP/1 connection (RFC 9113 §8.2.2) beside what has a constant's name.
const KEEP_ALIVE: &str = "keep-alive";
const PROXY_CONNECTION: &str = "proxy-connection";

/// A response's head as `h2` takes it.
pub(super) fn response(from: &ResponseHead, size: BodySize, date: &Date) -> http::Response<()> {
    let mut to = http::Response::new(());
    *to.status_mut() = from.status;
    let headers = to.headers_mut();
    headers.reserve(from.headers.len() + 2);
    for (name, value) in &from.headers {
        let is_ours = *name == header::CONTENT_LENGTH && size != BodySize::Stream;
        if !is_ours && !is_of_the_connection(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    if let BodySize::Sized(length) = size {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    headers.entry(header::DATE).or_insert_with(|| date.now());
    to
}

fn is_of_the_connection(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE
    ) || name == KEEP_ALIVE
        || name == PROXY_CONNECTION
}

/// The header `Date`, written anew once a second.
pub(super) struct Date {
    second: Cell<u64>,
    value: RefCell<HeaderValue>,
}

impl Date {
    pub(super) fn new() -> Self {
        Self {
            second: Cell::new(0),
            value: RefCell::new(written(0)),
        }
    }

    fn now(&self) -> HeaderValue {
        // A clock before 1970 is shown as 1970.
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let second = since.map_or(0, |since| since.as_secs());
        if self.second.replace(second) != second {
            self.value.replace(written(second));
        }
        self.value.borrow().clone()
    }
}

fn written(second: u64) -> HeaderValue {
    HttpDate::from(UNIX_EPOCH + Duration::from_secs(second))
        .try_into_value()
        .expect("a date is ASCII")
}
