//! Decides who may use the admin API. If a token is set, every request but probes must carry it. Without one,
//! only processes of the service's own user and of root may change something over TCP. Pages of other
//! sites in a browser are refused.
//!
//! A name that was rebound to our address shows in Host, another site's script in Origin or
//! Sec-Fetch-Site (Fetch Standard; W3C Fetch Metadata).

use std::net::IpAddr;

use actix_web::{
    Error, HttpMessage as _, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::{
        ConnectionType,
        header::{self, HeaderMap},
    },
    middleware::Next,
};
use futures_util::{FutureExt as _, StreamExt as _};

use super::{LIVEZ, READYZ, answers};
use crate::{
    generation::Access,
    http::{Client, client, pinned},
};

/// Bytes that a request's body may have: no endpoint reads any.
const MOST_BODY: usize = 64 * 1024;

/// Lets a request through, or answers with the reason.
pub(super) async fn admit(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut body = Unread::of(&mut request);
    let mut response = match refusal(&request) {
        None => next.call(request).await?.map_into_boxed_body(),
        Some(refused) => request.into_response(refused),
    };
    if !body.has_arrived() {
        // Nobody waits for the rest of it, so the connection can serve nothing more.
        let head = response.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

fn refusal(request: &ServiceRequest) -> Option<HttpResponse> {
    if declared_length(request.headers()) > MOST_BODY {
        let reason = "no endpoint takes a body of more than 64 KiB";
        return Some(answers::error(HttpResponse::PayloadTooLarge(), reason));
    }
    if [LIVEZ, READYZ].contains(&request.path()) {
        return None;
    }
    let forbidden = |reason: &str| Some(answers::error(HttpResponse::Forbidden(), reason));
    // The generation of this request: who asks is held to the settings of one moment.
    let Some(generation) = pinned(request.request()) else {
        return forbidden("nothing is served yet");
    };
    let access = &generation.access;
    let headers = request.headers();
    // Who reaches a unix socket has been let in by its mode.
    let is_tcp = request.peer_addr().is_some();
    if is_tcp && !has_our_name(request, access) {
        return forbidden("Host is not a name of the admin API (`admin.hosts` adds some)");
    }
    if !bears_token(headers, access) {
        let mut unauthorized = HttpResponse::Unauthorized();
        unauthorized.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        let reason = "expected the token of `admin.token_file` in `Authorization: Bearer TOKEN`";
        return Some(answers::error(unauthorized, reason));
    }
    if request.method().is_safe() {
        return None;
    }
    if !is_same_origin(headers) {
        return forbidden("asked by another site's page");
    }
    let client = client(request.request());
    if is_tcp
        && access.token.is_none()
        && let Some(reason) = another_users(&client)
    {
        return forbidden(&reason);
    }
    // For the handler, which names it as who asked.
    request.extensions_mut().insert(client);
    None
}

/// Why a client without a token may change nothing over TCP, if it is not a process of the service's own
/// user or root.
fn another_users(client: &Client) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    let found = match client.uid {
        Some(uid) if uid == own || uid == 0 => return None,
        Some(uid) => format!("this one is of uid {uid}"),
        None => "the kernel does not report the user of this process".to_owned(),
    };
    Some(format!(
        "without a token, only processes of uid {own} or root on this machine may change anything \
         over TCP, and {found}: `admin.token_file` lets in who bears the token, a unix socket whom \
         its mode lets in"
    ))
}

/// A request's body, which no endpoint reads.
struct Unread(Option<Payload>);

impl Unread {
    fn of(request: &mut ServiceRequest) -> Self {
        let has = |name| request.headers().contains_key(name);
        let has_body = has(header::CONTENT_LENGTH) || has(header::TRANSFER_ENCODING);
        // actix-http hands over another protocol's bytes, which may never end, as a body too.
        let is_body = has_body && !request.head().upgrade();
        Self(is_body.then(|| request.take_payload()))
    }

    /// Whether all of it has arrived; waits for nothing.
    fn has_arrived(&mut self) -> bool {
        let Some(body) = &mut self.0 else {
            return true;
        };
        let mut length = 0;
        while let Some(piece) = body.next().now_or_never() {
            match piece {
                None => return true,
                Some(Ok(piece)) if length <= MOST_BODY => length += piece.len(),
                Some(_) => return false,
            }
        }
        false
    }
}

/// What `Content-Length` says, if anything: actix-http has checked it.
fn declared_length(headers: &HeaderMap) -> usize {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.trim().parse().ok());
    length.unwrap_or(0)
}

/// Whether the request is for us by every name that it gives.
fn has_our_name(request: &ServiceRequest, access: &Access) -> bool {
    let mut hosts = request.headers().get_all(header::HOST);
    let authority = request.head().uri.authority();
    hosts.all(|host| host.to_str().is_ok_and(|host| is_ours(host, access)))
        && authority.is_none_or(|authority| is_ours(authority.as_str(), access))
}

/// Whether a Host is one that no other site's name can be, an IP literal or localhost, or one that
/// the settings name.
fn is_ours(host: &str, access: &Access) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let literal = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let is_known = |known: &str| name.eq_ignore_ascii_case(known);
    is_known("localhost")
        || literal.unwrap_or(name).parse::<IpAddr>().is_ok()
        || access.hosts.iter().any(|host| is_known(host))
}

/// Whether the request bears the token, if one is asked for: once, or it is not clear which counts.
fn bears_token(headers: &HeaderMap, access: &Access) -> bool {
    let Some(token) = &access.token else {
        return true;
    };
    let mut given = headers.get_all(header::AUTHORIZATION);
    let (Some(value), None) = (given.next(), given.next()) else {
        return false;
    };
    let value = value.as_bytes();
    match value.split_at_checked(BEARER.len()) {
        Some((scheme, presented)) if scheme.eq_ignore_ascii_case(BEARER) => {
            token.is(presented.trim_ascii_start())
        }
        _ => false,
    }
}

const BEARER: &[u8] = b"Bearer ";

fn is_same_origin(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let is_host = |origin: &str| {
        let authority = ["http://", "https://"]
            .iter()
            .find_map(|scheme| origin.strip_prefix(scheme));
        authority.is_some()
            && authority
                .zip(host)
                .is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
    };
    headers
        .get_all(header::ORIGIN)
        .all(|origin| origin.to_str().is_ok_and(is_host))
        && headers
            .get_all(SEC_FETCH_SITE)
            .all(|site| site == "same-origin" || site == "none")
}

const SEC_FETCH_SITE: &str = "sec-fetch-site";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_ours_where_no_site_can_claim_it() {
        let access = Access {
            token: None,
            hosts: vec!["admin.example".to_owned()],
        };
        for ours in [
            "localhost",
            "LocalHost:8081",
            "127.0.0.1",
            "127.0.0.1:8081",
            "[::1]:8081",
            "[::1]",
            "Admin.Example",
            "admin.example:80",
        ] {
            assert!(is_ours(ours, &access), "{ours}");
        }
        for foreign in [
            "",
            "evil.example",
            "localhost.evil.example:80",
            "127.0.0.1.evil.example",
            "[::1",
            "a:b",
            "admin.example.evil.example",
            "evil.admin.example",
        ] {
            assert!(!is_ours(foreign, &access), "{foreign}");
        }
    }

    #[test]
    fn an_origin_is_the_same_where_it_is_the_hosts() {
        let with = |origin: &'static str| {
            let mut headers = HeaderMap::new();
            let value = header::HeaderValue::from_static;
            headers.insert(header::HOST, value("localhost:8081"));
            headers.insert(header::ORIGIN, value(origin));
            is_same_origin(&headers)
        };
        assert!(with("http://localhost:8081"));
        for foreign in [
            "null",
            "",
            "http://localhost",
            "http://evil.example",
            "localhost:8081",
        ] {
            assert!(!with(foreign), "{foreign}");
        }
    }
}
