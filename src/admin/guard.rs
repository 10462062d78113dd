//! Who may ask the admin API: whoever bears the token, where there is one, and no page of a browser
//! that was lured to its address.
//!
//! A name that was rebound to our address shows in Host, another site's script in Origin or
//! Sec-Fetch-Site (Fetch Standard; W3C Fetch Metadata).

use std::net::IpAddr;

use actix_web::{
    Error, HttpMessage as _, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{self, HeaderMap},
    middleware::Next,
};
use futures_util::StreamExt as _;

use super::{LIVEZ, READYZ, answers};
use crate::{config::Access, server::pinned};

/// Bytes that a request's body may have: no endpoint reads any.
const MOST_BODY: usize = 64 * 1024;

/// Lets a request through, or answers with the reason.
pub(super) async fn admit(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let refused = match refusal(&request) {
        Some(refused) => Some(refused),
        None => read_away(&mut request).await?,
    };
    match refused {
        None => Ok(next.call(request).await?.map_into_boxed_body()),
        Some(refused) => Ok(request.into_response(refused)),
    }
}

fn refusal(request: &ServiceRequest) -> Option<HttpResponse> {
    if [LIVEZ, READYZ].contains(&request.path()) {
        return None;
    }
    let forbidden = |reason| Some(answers::error(HttpResponse::Forbidden(), reason));
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
        let reason = "expected `Authorization: Bearer` with the token of `admin.token_file`";
        return Some(answers::error(unauthorized, reason));
    }
    if !request.method().is_safe() && !is_same_origin(headers) {
        return forbidden("asked by another site's page");
    }
    None
}

/// Reads a body that nobody will read, so that the connection can go on; not without bound.
async fn read_away(request: &mut ServiceRequest) -> Result<Option<HttpResponse>, Error> {
    let has = |name| request.headers().contains_key(name);
    let has_body = has(header::CONTENT_LENGTH) || has(header::TRANSFER_ENCODING);
    // actix-http hands over another protocol's bytes, which may never end, as a body too.
    if !has_body || request.head().upgrade() {
        return Ok(None);
    }
    let mut body = request.take_payload();
    let mut length = 0;
    while let Some(piece) = body.next().await {
        length += piece?.len();
        if length > MOST_BODY {
            let mut too_large = HttpResponse::PayloadTooLarge();
            too_large.force_close();
            let reason = "no endpoint takes a body of more than 64 KiB";
            return Ok(Some(answers::error(too_large, reason)));
        }
    }
    Ok(None)
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
