//! Who may ask the admin API: no page of a browser that was lured to its address.
//!
//! A name that was rebound to our address shows in Host, another site's script in Origin or
//! Sec-Fetch-Site (Fetch Standard; W3C Fetch Metadata).

use std::net::IpAddr;

use actix_web::{
    Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{self, HeaderMap},
    middleware::Next,
};

use super::{LIVEZ, READYZ, answers};

/// Lets a request through, or answers 403 with the reason.
pub(super) async fn admit(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match refusal(&request) {
        None => Ok(next.call(request).await?.map_into_boxed_body()),
        Some(reason) => {
            Ok(request.into_response(answers::error(HttpResponse::Forbidden(), reason)))
        }
    }
}

fn refusal(request: &ServiceRequest) -> Option<&'static str> {
    if [LIVEZ, READYZ].contains(&request.path()) {
        return None;
    }
    let headers = request.headers();
    // Who reaches a unix socket has been let in by its mode.
    let is_tcp = request.peer_addr().is_some();
    if is_tcp
        && !headers
            .get_all(header::HOST)
            .all(|host| host.to_str().is_ok_and(is_ours))
    {
        return Some("Host is not a name of the admin API");
    }
    let is_foreign = !request.method().is_safe() && !is_same_origin(headers);
    is_foreign.then_some("asked by another site's page")
}

/// Whether a Host is one that no other site's name can be: an IP literal, or localhost.
fn is_ours(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let literal = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost") || literal.unwrap_or(name).parse::<IpAddr>().is_ok()
}

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
        for ours in [
            "localhost",
            "LocalHost:8081",
            "127.0.0.1",
            "127.0.0.1:8081",
            "[::1]:8081",
            "[::1]",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for foreign in [
            "",
            "evil.example",
            "localhost.evil.example:80",
            "127.0.0.1.evil.example",
            "[::1",
            "a:b",
        ] {
            assert!(!is_ours(foreign), "{foreign}");
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
