//! Frames that RFC 9113 forbids: each ends its stream or its connection, and nothing else.
use super::program;
use crate::support::{
    H2,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, NO_ERROR, PADDED, PING, RST_STREAM,
        RawH2, SETTINGS, WINDOW_UPDATE, fields, frame, get, post,
    },
};

/// What has to become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// The stream, with RST_STREAM; a connection error is as good.
    Stream,
    /// The connection, with GOAWAY.
    Connection,
}

const WHOLE: u8 = END_HEADERS | END_STREAM;

/// A request whose fields are these.
fn request(with: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &fields(with))
}

/// A good request with these fields more.
fn and(more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &[get("/"), fields(more)].concat())
}

fn malformed() -> Vec<(&'static str, Vec<u8>, Ends)> {
    use Ends::{Connection, Stream};
    let setting = |id: u16, value: u32| {
        let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        frame(SETTINGS, 0, 0, &payload)
    };
    let posted = frame(HEADERS, END_HEADERS, 1, &post("/never"));
    let after = |more: Vec<u8>| [posted.clone(), more].concat();
    let method = (":method", "GET");
    let (scheme, path) = ((":scheme", "http"), (":path", "/"));
    vec![
        // Where a frame may stand (§5.1, §6).
        (
            "DATA on an idle stream",
            frame(DATA, 0, 1, b"x"),
            Connection,
        ),
        ("DATA on no stream", frame(DATA, 0, 0, b"x"), Connection),
        (
            "HEADERS on no stream",
            frame(HEADERS, WHOLE, 0, &get("/")),
            Connection,
        ),
        (
            "HEADERS on an even stream",
            frame(HEADERS, WHOLE, 2, &get("/")),
            Connection,
        ),
        (
            "RST_STREAM on an idle stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
            Connection,
        ),
        (
            "RST_STREAM on no stream",
            frame(RST_STREAM, 0, 0, &[0; 4]),
            Connection,
        ),
        (
            "WINDOW_UPDATE on an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            Connection,
        ),
        (
            "CONTINUATION after nothing",
            frame(CONTINUATION, END_HEADERS, 1, b""),
            Connection,
        ),
        (
            "SETTINGS on a stream",
            frame(SETTINGS, 0, 1, b""),
            Connection,
        ),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8]), Connection),
        (
            "PUSH_PROMISE from a client",
            frame(5, END_HEADERS, 1, &[0, 0, 0, 2]),
            Connection,
        ),
        (
            "DATA after the end",
            [request(&[method, scheme, path]), frame(DATA, 0, 1, b"x")].concat(),
            Stream,
        ),
        (
            "a head within a head",
            [
                frame(HEADERS, END_STREAM, 1, &get("/")),
                frame(HEADERS, WHOLE, 3, &get("/")),
            ]
            .concat(),
            Connection,
        ),
        (
            "PING within a head",
            [
                frame(HEADERS, END_STREAM, 1, &get("/")),
                frame(PING, 0, 0, &[0; 8]),
            ]
            .concat(),
            Connection,
        ),
        (
            "a stream with a lower number",
            [
                frame(HEADERS, END_HEADERS, 5, &post("/never")),
                frame(HEADERS, WHOLE, 3, &get("/")),
            ]
            .concat(),
            Connection,
        ),
        // Sizes (§4.2, §6).
        (
            "a frame above 16 KiB",
            after(frame(DATA, 0, 1, &vec![0; 16_385])),
            Connection,
        ),
        (
            "SETTINGS of 5 bytes",
            frame(SETTINGS, 0, 0, &[0; 5]),
            Connection,
        ),
        (
            "an acknowledgement with settings",
            frame(SETTINGS, 1, 0, &[0; 6]),
            Connection,
        ),
        ("PING of 6 bytes", frame(PING, 0, 0, &[0; 6]), Connection),
        (
            "RST_STREAM of 3 bytes",
            after(frame(RST_STREAM, 0, 1, &[0; 3])),
            Connection,
        ),
        (
            "WINDOW_UPDATE of 3 bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            Connection,
        ),
        // Padding (§6.1, §6.2).
        (
            "DATA padded beyond its length",
            after(frame(DATA, PADDED, 1, &[9, 0])),
            Connection,
        ),
        (
            "HEADERS padded beyond their length",
            frame(HEADERS, WHOLE | PADDED, 1, &[200, 0]),
            Connection,
        ),
        // Settings and windows (§6.5, §6.9).
        ("push neither on nor off", setting(2, 2), Connection),
        ("a window above 2^31-1", setting(4, u32::MAX), Connection),
        ("frames below 16 KiB", setting(5, 16_383), Connection),
        (
            "a window opened by nothing",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            Connection,
        ),
        (
            "a stream's window opened by nothing",
            after(frame(WINDOW_UPDATE, 0, 1, &[0; 4])),
            Stream,
        ),
        (
            "a window opened too far",
            frame(WINDOW_UPDATE, 0, 0, &i32::MAX.to_be_bytes()),
            Connection,
        ),
        (
            "a stream's window opened too far",
            after(frame(WINDOW_UPDATE, 0, 1, &i32::MAX.to_be_bytes())),
            Stream,
        ),
        // Compression (RFC 7541).
        (
            "an index of nothing",
            frame(HEADERS, WHOLE, 1, &[0xff, 0x80, 0x01]),
            Connection,
        ),
        ("index 0", frame(HEADERS, WHOLE, 1, &[0x80]), Connection),
        (
            "a string that is cut",
            frame(HEADERS, WHOLE, 1, &[0x00, 0x05, b'a']),
            Connection,
        ),
        (
            "an integer without end",
            frame(HEADERS, WHOLE, 1, &[0xff; 16]),
            Connection,
        ),
        (
            "a table above what was allowed",
            frame(HEADERS, WHOLE, 1, &[0x3f, 0xe2, 0x1f]),
            Connection,
        ),
        (
            "a wrong end of a Huffman code",
            frame(HEADERS, WHOLE, 1, &[0x00, 0x81, 0x00, 0x00]),
            Connection,
        ),
        // Fields (§8.2, §8.3).
        ("no method", request(&[scheme, path]), Stream),
        ("no scheme", request(&[method, path]), Stream),
        (
            "no path",
            request(&[method, scheme, (":authority", "a")]),
            Stream,
        ),
        (
            "an empty path",
            request(&[method, scheme, (":path", "")]),
            Stream,
        ),
        (
            "two methods",
            request(&[method, method, scheme, path]),
            Stream,
        ),
        (
            "an unknown pseudo-field",
            request(&[method, scheme, path, (":x", "y")]),
            Stream,
        ),
        (
            "a response's pseudo-field",
            request(&[method, scheme, path, (":status", "200")]),
            Stream,
        ),
        (
            "a pseudo-field after a field",
            and(&[("x-a", "b"), (":authority", "c")]),
            Stream,
        ),
        (
            "neither authority nor host",
            request(&[method, scheme, path]),
            Stream,
        ),
        ("another host", and(&[("host", "other")]), Stream),
        ("another port", and(&[("host", "localhost:81")]), Stream),
        (
            "two hosts",
            and(&[("host", "localhost"), ("host", "localhost")]),
            Stream,
        ),
        (
            "a host that is none",
            request(&[method, scheme, path, ("host", "a b")]),
            Stream,
        ),
        (
            "a user in the authority",
            request(&[method, scheme, path, (":authority", "u@a")]),
            Stream,
        ),
        (
            "a path without a slash",
            request(&[method, scheme, (":authority", "a"), (":path", "x")]),
            Stream,
        ),
        (
            "an asterisk for other than OPTIONS",
            request(&[method, scheme, (":authority", "a"), (":path", "*")]),
            Stream,
        ),
        (
            "a length and no body",
            and(&[("content-length", "1")]),
            Stream,
        ),
        (
            "two lengths",
            and(&[("content-length", "0"), ("content-length", "1")]),
            Stream,
        ),
        (
            "a length that is none",
            and(&[("content-length", "+0")]),
            Stream,
        ),
        ("a name in capitals", and(&[("X-A", "b")]), Stream),
        ("Connection", and(&[("connection", "close")]), Stream),
        (
            "Transfer-Encoding",
            and(&[("transfer-encoding", "chunked")]),
            Stream,
        ),
        ("TE other than trailers", and(&[("te", "gzip")]), Stream),
        (
            "a body longer than it said",
            [
                frame(
                    HEADERS,
                    END_HEADERS,
                    1,
                    &[post("/never"), fields(&[("content-length", "1")])].concat(),
                ),
                frame(DATA, END_STREAM, 1, b"xx"),
            ]
            .concat(),
            Stream,
        ),
        (
            "a body shorter than it said",
            [
                frame(
                    HEADERS,
                    END_HEADERS,
                    1,
                    &[post("/never"), fields(&[("content-length", "3")])].concat(),
                ),
                frame(DATA, END_STREAM, 1, b"xx"),
            ]
            .concat(),
            Stream,
        ),
    ]
}

#[test]
fn what_rfc_9113_forbids_ends_its_stream_or_its_connection_and_nothing_else() {
    let program = program("", "[app.routes.\"/never\"]\nrespond = { delay = \"60s\" }");
    let mut beside = H2::open(program.public());
    let mut wrong = Vec::new();
    for (name, bytes, expected) in malformed() {
        let mut raw = RawH2::open(program.public());
        raw.write(&bytes);
        let found = ended(&mut raw);
        let is_right = found == Some(expected) || found == Some(Ends::Connection);
        if !is_right {
            wrong.push(format!("{name}: {found:?} instead of {expected:?}"));
        }
        assert_eq!(beside.get("/").text(), "here", "after {name}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    program.wait_in_flight(0);
    program.books().assert_balanced();
}

#[test]
fn hosts_and_paths_that_http_2_allows_are_served() {
    let program = program("", "");
    let mut raw = RawH2::open(program.public());
    let (get, options) = ((":method", "GET"), (":method", "OPTIONS"));
    let (scheme, path) = ((":scheme", "http"), (":path", "/"));
    let authority = (":authority", "localhost:80");
    let heads: [&[(&str, &str)]; 4] = [
        &[get, scheme, path, ("host", "localhost")],
        &[get, scheme, path, authority, ("host", "LOCALHOST")],
        &[get, scheme, path, authority, ("host", "localhost:80")],
        &[options, scheme, authority, (":path", "*")],
    ];
    for (stream, head) in (1..).step_by(2).zip(heads) {
        raw.frame(HEADERS, WHOLE, stream, &fields(head));
        let first = raw.until("answer", |frame| frame.stream == stream);
        assert_eq!(first.kind, HEADERS, "{head:?}");
        if !first.ends_stream() {
            raw.answered(stream);
        }
    }
    assert_eq!(program.books().answered, 4);
}

/// What has ended by the time that two PINGs are answered, one after the other: what was caused by
/// earlier frames is sent before the second answer.
fn ended(raw: &mut RawH2) -> Option<Ends> {
    let mut found = None;
    for _ in 0..2 {
        // The connection may be closed already; what it said is read all the same.
        let _closed = raw.try_write(&frame(PING, 0, 0, b"the end!"));
        loop {
            let Some(frame) = raw.read() else {
                return found;
            };
            if frame.resets().is_some_and(|code| code != NO_ERROR) {
                found = Some(Ends::Stream);
            } else if frame.goes_away().is_some_and(|(_, code)| code != NO_ERROR) {
                return Some(Ends::Connection);
            } else if frame.kind == PING && frame.payload == b"the end!" {
                break;
            }
        }
    }
    found
}
