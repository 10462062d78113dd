//! Translates heads between HTTP/2 and actix-web.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_http::{
    Method, Request, ResponseHead, Uri, Version,
    body::BodySize,
    header::{HeaderMap, HeaderName, HeaderValue, HttpDate},
    uri::{Authority, PathAndQuery},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::header;

use crate::http::connection::Conn;

/// A request that cannot be translated: its stream is to be reset.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Fields that a request of actix-http has room for at its beginning.
const FIELDS: usize = 28;

/// Bytes that each field beyond those costs beside its value: a place in a map that doubles where it grows.
const FIELD: usize = 448;

/// Translates the head of a request for actix-web. What is kept of it in bytes, and the request.
///
/// actix-web uses version 0.2 of `http`, `h2` uses version 1. All values are copied into one buffer,
/// so that a request costs one allocation and not one for each value.
pub(super) fn request(
    parts: &http::request::Parts,
    conn: &Conn,
) -> Result<(usize, Request), Malformed> {
    let mut values = values(parts);
    let fields = parts.headers.len();
    let size = values.len() + FIELD * fields.saturating_sub(FIELDS);
    let mut request = Request::new();
    let head = request.head_mut();
    // Room for fields that do not come would be kept for each of a connection's requests.
    if head.headers.capacity() > 2 * fields.max(7) {
        head.headers = HeaderMap::with_capacity(fields);
    }
    head.method = Method::from_bytes(parts.method.as_str().as_bytes()).map_err(|_| Malformed)?;
    head.uri = uri(&parts.uri, &mut values, conn)?;
    head.version = Version::HTTP_2;
    for (name, from) in &parts.headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).map_err(|_| Malformed)?;
        let value = HeaderValue::from_maybe_shared(values.split_to(from.len()));
        let mut value = value.map_err(|_| Malformed)?;
        value.set_sensitive(from.is_sensitive());
        head.headers.append(name, value);
    }
    head.peer_addr = conn.peer();
    match has_true_host(parts, conn) && has_true_path(parts) {
        true => Ok((size, request)),
        false => Err(Malformed),
    }
}

/// Whether a request names one host (RFC 9113 §8.3.1): by `:authority`, by `host`, or by both alike.
fn has_true_host(parts: &http::request::Parts, conn: &Conn) -> bool {
    let default_port = match conn.scheme() == actix_http::uri::Scheme::HTTPS {
        true => ":443",
        false => ":80",
    };
    let without_port = |named: &str| {
        let name = named.strip_suffix(default_port).unwrap_or(named);
        name.to_ascii_lowercase()
    };
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    let host = host.map(|host| http::uri::Authority::try_from(host.as_bytes()).ok());
    let named = match (parts.uri.authority(), &host) {
        (_, Some(None)) | (None, None) => return false,
        (Some(authority), None) | (None, Some(Some(authority))) => authority,
        (Some(authority), Some(Some(host))) => {
            let is_one = authority == host
                || without_port(authority.as_str()) == without_port(host.as_str());
            if !is_one {
                return false;
            }
            authority
        }
    };
    another.is_none() && !named.as_str().contains('@')
}

/// Whether its path is one that a request may have (RFC 9113 §8.3.1).
fn has_true_path(parts: &http::request::Parts) -> bool {
    match parts.uri.path_and_query().map(|it| it.as_str()) {
        None => parts.method == http::Method::CONNECT,
        Some("*") => parts.method == http::Method::OPTIONS,
        Some(path) => path.starts_with('/'),
    }
}

/// What a request is answered with that no App can answer: no tunnels are made, and nothing but 100 can
/// be expected (RFC 9110 §10.1.1).
pub(super) fn refusal(parts: &http::request::Parts) -> Option<http::StatusCode> {
    if parts.method == http::Method::CONNECT {
        return Some(http::StatusCode::NOT_IMPLEMENTED);
    }
    let mut expectations = parts.headers.get_all(header::EXPECT).iter();
    let is_known = expectations.all(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    (!is_known).then_some(http::StatusCode::EXPECTATION_FAILED)
}

/// A response that is a head alone.
pub(super) fn bare(status: http::StatusCode, date: &DateHeader) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = status;
    response.headers_mut().insert(header::DATE, date.now());
    response
}

/// The authority, the path and the values of the headers, one after the other.
fn values(parts: &http::request::Parts) -> Bytes {
    let authority = parts.uri.authority().map_or("", |it| it.as_str());
    let path = parts.uri.path_and_query().map_or("", |it| it.as_str());
    let in_headers: usize = parts.headers.values().map(http::HeaderValue::len).sum();
    let mut values = BytesMut::with_capacity(authority.len() + path.len() + in_headers);
    values.put_slice(authority.as_bytes());
    values.put_slice(path.as_bytes());
    for value in parts.headers.values() {
        values.put_slice(value.as_bytes());
    }
    values.freeze()
}

/// Takes the address from the beginning of `values`. Its scheme is the connection's, whatever the
/// client says.
fn uri(from: &http::Uri, values: &mut Bytes, conn: &Conn) -> Result<Uri, Malformed> {
    let mut uri = Uri::builder();
    if let Some(authority) = from.authority() {
        let authority = values.split_to(authority.as_str().len());
        uri = uri.authority(Authority::from_maybe_shared(authority).map_err(|_| Malformed)?);
        if from.path_and_query().is_some() {
            uri = uri.scheme(conn.scheme());
        }
    }
    if let Some(path) = from.path_and_query() {
        let path = values.split_to(path.as_str().len());
        uri = uri.path_and_query(PathAndQuery::from_maybe_shared(path).map_err(|_| Malformed)?);
    }
    uri.build().map_err(|_| Malformed)
}

/// What belongs to an HTTP/1 connection (RFC 9113 §8.2.2) beside what has a constant's name.
const KEEP_ALIVE: &str = "keep-alive";
const PROXY_CONNECTION: &str = "proxy-connection";

/// Translates a response's head for `h2`. All values are copied into one buffer.
///
/// # Errors
/// Where HTTP/2 has no such head.
pub(super) fn response(
    from: &ResponseHead,
    size: BodySize,
    date: &DateHeader,
) -> Result<http::Response<()>, http::Error> {
    let is_sent = |name: &HeaderName| {
        let is_ours = name == header::CONTENT_LENGTH.as_str() && size != BodySize::Stream;
        !is_ours && !is_of_the_connection(name)
    };
    let sent = || from.headers.iter().filter(|(name, _)| is_sent(name));
    let mut values = BytesMut::with_capacity(sent().map(|(_, value)| value.len()).sum());
    for (_, value) in sent() {
        values.put_slice(value.as_bytes());
    }
    let mut values = values.freeze();

    let mut to = http::Response::new(());
    *to.status_mut() = http::StatusCode::from_u16(from.status.as_u16())?;
    let headers = to.headers_mut();
    headers.reserve(from.headers.len() + 2);
    for (name, value) in sent() {
        let to_name = header::HeaderName::from_bytes(name.as_str().as_bytes())?;
        let bytes = values.split_to(value.len());
        let mut to_value = header::HeaderValue::from_maybe_shared(bytes)?;
        to_value.set_sensitive(value.is_sensitive());
        headers.append(to_name, to_value);
    }
    if let BodySize::Sized(length) = size {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    headers.entry(header::DATE).or_insert_with(|| date.now());
    Ok(to)
}

fn is_of_the_connection(name: &HeaderName) -> bool {
    use actix_http::header;
    matches!(
        *name,
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE
    ) || name == KEEP_ALIVE
        || name == PROXY_CONNECTION
}

/// The header `Date`, written anew once a second.
pub(super) struct DateHeader {
    second: Cell<u64>,
    value: RefCell<http::HeaderValue>,
}

impl DateHeader {
    pub(super) fn new() -> Self {
        Self {
            second: Cell::new(0),
            value: RefCell::new(written(0)),
        }
    }

    fn now(&self) -> http::HeaderValue {
        // A clock before 1970 is shown as 1970.
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let second = since.map_or(0, |since| since.as_secs());
        if self.second.replace(second) != second {
            self.value.replace(written(second));
        }
        self.value.borrow().clone()
    }
}

fn written(second: u64) -> http::HeaderValue {
    let date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(second)).to_string();
    http::HeaderValue::from_maybe_shared(Bytes::from(date)).expect("a date is ASCII")
}
