//! Checks a request's head beyond what actix-http's parser checks, and finds its end. Pure decisions: no
//! I/O.

use actix_http::{Method, Request, Version, header};
use memchr::memchr;

/// Bytes that a head may have (RFC 9110 §15.5.15, RFC 6585 §5).
pub(super) const MOST: usize = 128 * 1024;

/// Looks for the end of a head, in bytes that arrive one after the other.
#[derive(Default)]
pub(super) struct Finder {
    /// Where the first line begins that is not known to be whole.
    line: usize,
    /// Where to look on for its end.
    looked: usize,
    /// Whether one of the lines names transfer codings.
    is_coded: bool,
}

/// A head that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) length: usize,
    pub(super) is_coded: bool,
}

impl Finder {
    /// Whether any byte of the head has been looked at.
    pub(super) fn has_begun(&self) -> bool {
        self.looked > 0
    }

    /// The head, where it is complete; `bytes` are those of the last call and more.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<Found> {
        const CODED: &[u8] = b"transfer-encoding";
        while let Some(length) = memchr(b'\n', &bytes[self.looked..]) {
            let end = self.looked + length;
            let line = &bytes[self.line..end];
            (self.line, self.looked) = (end + 1, end + 1);
            match line {
                [] | [b'\r'] => {
                    return Some(Found {
                        length: end + 1,
                        is_coded: self.is_coded,
                    });
                }
                [b't' | b'T', ..] => {
                    let name = line.get(..CODED.len());
                    self.is_coded |= name.is_some_and(|name| name.eq_ignore_ascii_case(CODED));
                }
                _ => {}
            }
        }
        self.looked = bytes.len();
        None
    }
}

/// How many bytes of line breaks stand before a request: to be ignored (RFC 9112 §2.2). A CR alone is none.
pub(super) fn line_breaks(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let [b'\r', b'\n', behind @ ..] | [b'\n', behind @ ..] = rest {
        rest = behind;
    }
    bytes.len() - rest.len()
}

/// Whether a head asks for a transfer coding that nobody here can undo: 501 (RFC 9112 §6.1). What is
/// wrong in another way is left to the parser.
pub(super) fn has_unknown_coding(head: &[u8]) -> bool {
    let mut is_unknown = false;
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = memchr(b':', line) else {
            continue;
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.eq_ignore_ascii_case(b"content-length") {
            return false;
        }
        if !name.eq_ignore_ascii_case(b"transfer-encoding") {
            continue;
        }
        for coding in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            // Parameters stand behind the name.
            let name = coding.split(|byte| *byte == b';').next().unwrap_or(coding);
            let name = name.trim_ascii_end();
            if name.is_empty() || !name.iter().copied().all(is_token) {
                return false;
            }
            let is_known = [b"chunked".as_slice(), b"identity"];
            is_unknown |= !is_known
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known));
        }
    }
    is_unknown
}

/// What is to be done about a version that the parser does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherVersion {
    /// A later one of the same kind: it is understood as HTTP/1.1 (RFC 9110 §2.5). Where its minor
    /// number stands.
    Later(usize),
    /// Of another kind: 505.
    Foreign,
    /// None at all.
    Malformed,
}

/// The version that a head's first line names.
pub(super) fn version(head: &[u8]) -> OtherVersion {
    let end = memchr(b'\n', head).unwrap_or(head.len());
    let line = head[..end].trim_ascii_end();
    let Some(at) = line.len().checked_sub(b"HTTP/1.1".len()) else {
        return OtherVersion::Malformed;
    };
    match &line[at..] {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            match (major, minor) {
                (b'1', b'2'..) => OtherVersion::Later(line.len() - 1),
                (b'1', _) => OtherVersion::Malformed,
                _ => OtherVersion::Foreign,
            }
        }
        _ => OtherVersion::Malformed,
    }
}

/// Whether a head's first line is longer than any address can be: 414.
pub(super) fn is_too_long(head: &[u8]) -> bool {
    let end = memchr(b'\n', head).unwrap_or(head.len());
    end > usize::from(u16::MAX)
}

/// Whether a request that the parser took names what it asks for as RFC 9112 §3.2 has it.
pub(super) fn is_well_addressed(request: &Request) -> bool {
    let head = request.head();
    let uri = &head.uri;
    let has_userinfo = |authority: &str| authority.contains('@');
    let is_target = match (uri.scheme(), uri.authority()) {
        (Some(_), Some(authority)) => !has_userinfo(authority.as_str()),
        // The form of CONNECT, which is not for others.
        (None, Some(_)) => head.method == Method::CONNECT,
        _ => uri.path() != "*" || head.method == Method::OPTIONS,
    };
    let host = head.headers.get(header::HOST);
    is_target
        && match host {
            Some(host) => is_host(host.as_bytes()),
            None => head.version < Version::HTTP_11,
        }
}

/// Where the target names a host, the field `Host` is to be ignored (RFC 9112 §3.2.2): handlers that ask
/// for the host, and caches before us, then mean the same one.
pub(super) fn take_host_of_target(request: &mut Request) {
    let head = request.head_mut();
    let named = head.uri.authority().map(|named| named.as_str().parse());
    if let Some(Ok(host)) = named {
        head.headers.insert(header::HOST, host);
    }
}

/// Whether this is a host, with a port or without (RFC 9110 §7.2); it may be empty.
pub(crate) fn is_host(value: &[u8]) -> bool {
    let port = match value {
        [b'[', rest @ ..] => {
            let Some(end) = memchr(b']', rest) else {
                return false;
            };
            if !is_ip_literal(&rest[..end]) {
                return false;
            }
            &rest[end + 1..]
        }
        name => {
            let end = memchr(b':', name).unwrap_or(name.len());
            if !name[..end].iter().copied().all(is_of_name) {
                return false;
            }
            &name[end..]
        }
    };
    match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// What stands between brackets (RFC 3986 §3.2.2): an IPv6 address, or of a later kind.
fn is_ip_literal(text: &[u8]) -> bool {
    match text {
        [b'v' | b'V', rest @ ..] => rest.iter().all(|byte| is_of_name(*byte) || *byte == b':'),
        _ => std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok()),
    }
}

/// Of a registered name: unreserved, percent-encoded, or a delimiter within (RFC 3986 §3.2.2).
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

/// Of a token (RFC 9110 §5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_ends_at_its_first_empty_line() {
        let length = |bytes: &[u8]| Finder::default().find(bytes).map(|found| found.length);
        assert_eq!(length(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET"), Some(27));
        assert_eq!(length(b"GET / HTTP/1.1\nhost: a\n\nGET"), Some(24));
        assert_eq!(length(b"GET / HTTP/1.1\r\nhost: a\r\n\r"), None);
        assert_eq!(length(b"GET / HTTP/1.1\r\nhost: a\r\n"), None);
    }

    #[test]
    fn codings_that_nobody_knows_are_told_from_what_is_wrong() {
        let is_unknown = |lines: &str| {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
            let found = Finder::default().find(head.as_bytes());
            let is_coded = found.is_some_and(|found| found.is_coded);
            is_coded && has_unknown_coding(head.as_bytes())
        };
        for unknown in [
            "Transfer-Encoding: gzip, chunked",
            "transfer-encoding: br",
            "Transfer-Encoding: x;q=1",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        ] {
            assert!(is_unknown(unknown), "{unknown:?}");
        }
        for other in [
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: \x0bchunked",
            "Transfer-Encoding:",
            "Transfer-Encoding: gzip\r\nContent-Length: 3",
            "Content-Length: 3\r\nTransfer-Encoding: gzip",
            "TE: gzip",
        ] {
            assert!(!is_unknown(other), "{other:?}");
        }
    }

    #[test]
    fn versions_are_told_apart() {
        let of = |line: &str| version(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(of("GET / HTTP/1.2"), OtherVersion::Later(13));
        assert_eq!(of("GET / HTTP/1.9"), OtherVersion::Later(13));
        assert_eq!(of("GET / HTTP/2.0"), OtherVersion::Foreign);
        assert_eq!(of("GET / HTTP/0.9"), OtherVersion::Foreign);
        for malformed in [
            "GET /",
            "GET / HTTP/1.x",
            "GET / http/1.2",
            "GET / HTTP/11",
            "",
        ] {
            assert_eq!(of(malformed), OtherVersion::Malformed, "{malformed:?}");
        }
    }

    #[test]
    fn hosts_are_told_from_what_is_none() {
        for host in [
            "",
            "a",
            "localhost:8080",
            "a.example",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:443",
            "a:",
            "xn--bcher-kva.example",
            "a_b",
            "a%20b",
            "[v1.x:y]",
        ] {
            assert!(is_host(host.as_bytes()), "{host:?}");
        }
        for other in [
            "a b", "u@a", "[::1", "[::1]x", "[a]", "a:b", "a:80:80", "a/b", "a?b", "a#b", "::1",
            "a\"", "\u{e4}", "a\\b", "<a>",
        ] {
            assert!(!is_host(other.as_bytes()), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn however_a_head_is_cut_it_ends_at_the_same_byte(
            cuts in prop::collection::vec(1..9_usize, 1..40),
            line_break in prop::sample::select(vec!["\r\n", "\n"]),
        ) {
            let head = ["GET / HTTP/1.1", "Transfer-Encoding: chunked", "a: b", "", "0"];
            let sent = head.join(line_break);
            let whole = Finder::default().find(sent.as_bytes());
            let (mut finder, mut at, mut cuts) = (Finder::default(), 0, cuts.into_iter().cycle());
            let found = loop {
                at = sent.len().min(at + cuts.next().expect("it cycles"));
                if let Some(found) = finder.find(&sent.as_bytes()[..at]) {
                    break found;
                }
            };
            prop_assert_eq!(Some(found), whole);
            prop_assert!(found.is_coded);
            prop_assert_eq!(found.length, sent.len() - 1);
        }
    }
}
