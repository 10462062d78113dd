//! One request, and many at once: what the handler sees, what the client gets, what the books say.
use super::{LARGE, Shop, program, settings};
use crate::support::{
    Conn, H2, H2Load, eventually,
    frames::{self, DATA, HEADERS, PREFACE, RST_STREAM, RawH2, WINDOW_UPDATE},
    h2_request, request,
};
use http::Method;

#[test]
fn both_protocols_are_spoken_on_one_listener() {
    let shop = Shop::open(&[]);
    let (mut two, mut one) = (shop.connect(), Conn::open(&shop.address()));
    assert_eq!(two.get("/").text(), "here");
    assert_eq!(one.get("/").text(), "here");
    let answer = two.get("/none");
    assert_eq!((answer.status.as_u16(), answer.body.len()), (404, 0));
    let books = shop.settled();
    assert_eq!((books.received, books.answered), (3, 3), "{books:?}");
}

#[test]
fn handlers_see_the_truth_of_the_connection_whatever_the_client_says() {
    let shop = Shop::open(&[]);
    let mut conn = shop.connect();
    let truth = "http example.org:81 HTTP/2.0 peer true /who a=b drains false";
    for said in ["http", "https"] {
        let request = http::Request::builder().uri(format!("{said}://example.org:81/who?a=b"));
        let answer = conn.ask(request.body(()).expect("a request"), b"");
        assert_eq!(answer.text(), truth);
    }
}

#[test]
fn bodies_pass_both_ways_whatever_their_size() {
    static BODY: [u8; 700_000] = [b'x'; 700_000];
    let shop = Shop::open(&[]);
    let mut conn = shop.connect();
    for length in [0, 1, 16_384, 16_385, 200_000] {
        let answer = conn.ask(h2_request(Method::POST, "/echo"), &BODY[..length]);
        assert_eq!(answer.body.len(), length);
    }
    let large = conn.get("/large");
    let told = large.header("content-length");
    assert_eq!((large.body.len(), told), (LARGE, Some("3000000")));
    let pieces = conn.get("/pieces");
    assert_eq!(
        (pieces.text().as_str(), pieces.header("content-length")),
        ("one two three", None)
    );
    // What nobody reads gives its window back: more than the connection's in all.
    for _ in 0..5 {
        let answer = conn.ask(h2_request(Method::POST, "/early"), &BODY);
        assert_eq!(answer.text(), "not read");
    }
    assert_eq!(conn.get("/").text(), "here");
}

#[test]
fn heads_are_those_of_http_2() {
    let shop = Shop::open(&[]);
    let mut conn = shop.connect();
    let answer = conn.get("/headers");
    for gone in ["connection", "keep-alive", "transfer-encoding"] {
        assert_eq!(answer.header(gone), None);
    }
    let twice: Vec<_> = answer.headers.get_all("x-a").iter().collect();
    assert_eq!(twice, ["1", "2"]);
    assert_eq!(answer.header("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert!(
        conn.get("/")
            .header("date")
            .is_some_and(|date| date.ends_with(" GMT"))
    );
    let head = conn.ask(h2_request(Method::HEAD, "/"), b"");
    assert_eq!(
        (head.header("content-length"), head.body.len()),
        (Some("4"), 0)
    );
    let empty = conn.get("/empty");
    assert_eq!(
        (empty.status.as_u16(), empty.header("content-length")),
        (204, None)
    );
}

#[test]
fn a_hundred_requests_are_under_way_at_once_on_one_connection() {
    let slow = "[app.routes.\"/slow\"]\nrespond = { body = \"slow\", delay = \"300ms\" }";
    let program = program("", slow);
    let mut conn = H2::open(program.public());
    let begun = std::time::Instant::now();
    for answer in conn.get_at_once("/slow", 100) {
        assert_eq!(answer.text(), "slow");
    }
    assert!(
        begun.elapsed().as_secs() < 15,
        "one after the other would take 30 s"
    );
    program.wait_in_flight(0);
    assert_eq!(program.books().answered, 100);
}

#[test]
fn what_fails_costs_its_own_stream_only() {
    let shop = Shop::open(&[]);
    let mut conn = shop.connect();
    assert_eq!(conn.get("/panic").status.as_u16(), 500);
    assert_eq!(conn.get("/").text(), "here");
    let mut raw = shop.raw();
    for (stream, path) in [
        (1, "/breaks"),
        (3, "/panics"),
        (5, "/short"),
        (7, "/switch"),
    ] {
        raw.get(stream, path);
        let reset = raw.until("reset", |frame| {
            assert!(!frame.ends_stream(), "{path} seems whole");
            frame.stream == stream && frame.kind == RST_STREAM
        });
        assert_ne!(reset.resets(), Some(frames::NO_ERROR), "{path}");
    }
    raw.get(9, "/");
    raw.answered(9);
    let books = shop.settled();
    assert_eq!(
        (books.received, books.answered, books.aborted),
        (7, 3, 4),
        "{books:?}"
    );
}

#[test]
fn a_client_that_resets_its_stream_ends_the_handler_and_is_aborted() {
    let shop = Shop::open(&[]);
    let mut raw = shop.raw();
    for stream in [1, 3, 5] {
        raw.get(stream, "/wait");
    }
    shop.wait_in_flight(3);
    raw.frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    eventually("one handler dropped", || {
        (shop.dropped() == 1).then_some(())
    });
    assert_eq!(shop.books().aborted, 1);
    drop(raw);
    eventually("all handlers dropped", || {
        (shop.dropped() == 3).then_some(())
    });
    let books = shop.settled();
    assert_eq!((books.received, books.aborted), (3, 3), "{books:?}");
}

#[test]
fn a_response_counts_as_answered_once_its_last_byte_is_with_the_socket() {
    let shop = Shop::open(&[]);
    let mut raw = shop.raw();
    raw.get(1, "/large");
    // The client's window is full, and the response is not at its end.
    let mut taken = 0;
    while taken < 65_535 {
        let data = raw.until("DATA", |frame| frame.kind == DATA);
        taken += data.payload.len();
    }
    let books = shop.books();
    assert_eq!((books.answered, books.in_flight), (0, 1), "{books:?}");
    let more = u32::try_from(LARGE).expect("it is less").to_be_bytes();
    raw.frame(WINDOW_UPDATE, 0, 0, &more);
    raw.frame(WINDOW_UPDATE, 0, 1, &more);
    raw.answered(1);
    assert_eq!(shop.settled().answered, 1);
}

#[test]
fn the_preface_is_known_however_it_is_split() {
    let shop = Shop::open(&[]);
    for split in 1..PREFACE.len() {
        let mut raw = RawH2::dial(&shop.address());
        raw.write(&PREFACE[..split]);
        raw.write(&PREFACE[split..]);
        raw.frame(frames::SETTINGS, 0, 0, &[]);
        raw.get(1, "/");
        raw.answered(1);
    }
    let mut late = Conn::open(&shop.address());
    late.send(&PREFACE[..20]);
    late.send(b"not this\r\n\r\n");
    assert_eq!(late.answer().status, 505, "HTTP/2.0, without its preface");
    let mut pri = Conn::open(&shop.address());
    pri.send(b"P");
    pri.send(b"OST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(pri.answer().text(), "ok");
}

#[test]
fn every_stream_has_the_generation_that_was_published_when_its_head_was_complete() {
    let program = program("", "");
    let mut conn = H2::open(program.public());
    for round in 0..20 {
        let message = format!("round {round}");
        program.edit(&settings("", &message, ""));
        program.reload_applied();
        let answers = conn.get_at_once("/", 10);
        assert!(
            answers.iter().all(|answer| answer.text() == message),
            "{message}"
        );
    }
}

#[test]
fn a_load_over_reloads_loses_nothing_and_the_books_agree() {
    let mut program = program("", "");
    let load = H2Load::start(program.public(), (4, 8), "/", b"", b"here");
    for round in 1..=20_u64 {
        load.wait_answered(round * 100);
        program.edit(&settings(
            &format!("max_connections = {}", 1000 + round),
            "here",
            "",
        ));
        program.reload_applied();
    }
    let clients = load.end();
    assert_eq!((clients.lost, clients.redials), (0, 0), "{clients:?}");
    program.wait_in_flight(0);
    let books = program.books();
    assert_eq!(
        (books.received, books.answered),
        (clients.sent, clients.answered)
    );
    assert_eq!(program.stop().in_all.aborted, 0);
}

#[test]
fn h2c_changes_by_reload_for_connections_accepted_later() {
    let program = program("", "");
    let mut before = H2::open(program.public());
    assert_eq!(before.get("/").text(), "here");
    program.edit(&settings("", "off", "").replace("h2c = true", "h2c = false"));
    program.reload_applied();
    let mut raw = RawH2::open(program.public());
    let first = raw.rest();
    assert!(first.iter().all(|frame| frame.kind != HEADERS), "{first:?}");
    assert_eq!(
        before.get("/").text(),
        "off",
        "the connection of before goes on"
    );
    program.edit(&settings("", "on", ""));
    program.reload_applied();
    assert_eq!(H2::open(program.public()).get("/").text(), "on");
}

#[test]
fn a_body_that_stalls_is_408_and_the_connection_goes_on() {
    let shop = Shop::open(&[("server.body_timeout", "300ms")]);
    let mut conn = shop.connect();
    let stalled = conn.stall(h2_request(Method::POST, "/echo"), b"abc");
    assert_eq!(stalled.status.as_u16(), 408);
    assert_eq!(conn.get("/").text(), "here");
    let books = shop.settled();
    assert_eq!((books.received, books.answered), (2, 2), "{books:?}");
}

#[test]
fn a_body_that_never_ends_is_413_and_not_read_away_for_ever() {
    let shop = Shop::open(&[("server.max_body", "10B")]);
    let mut endless = Conn::open(&shop.address());
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    endless.send(format!("{head}b\r\n0123456789a\r\n").as_bytes());
    let answer = endless.answer();
    assert_eq!((answer.status, answer.closes()), (413, true));
    endless.closed();
    let books = shop.settled();
    assert_eq!((books.received, books.answered), (1, 1), "{books:?}");
}

#[test]
fn a_body_that_no_handler_reads_is_read_away_as_far_as_one_might_be_read() {
    let shop = Shop::open(&[("server.max_body", "100B")]);
    let mut conn = Conn::open(&shop.address());
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    for _ in 0..3 {
        conn.send(head.as_bytes());
        let answer = conn.answer();
        assert_eq!((answer.text().as_str(), answer.closes()), ("here", false));
        conn.send(b"3\r\nabc\r\n");
        conn.send(b"0\r\n\r\n");
    }
    conn.send(head.as_bytes());
    assert_eq!(conn.answer().text(), "here");
    conn.send(&b"10\r\n0123456789abcdef\r\n".repeat(5));
    conn.closed();
    let books = shop.settled();
    assert_eq!((books.received, books.answered), (4, 4), "{books:?}");
}

#[test]
fn a_body_that_is_too_large_is_413_on_both_protocols() {
    let shop = Shop::open(&[("server.max_body", "10B")]);
    let mut two = shop.connect();
    for (body, status) in [(&b"0123456789"[..], 200), (b"0123456789a", 413)] {
        let mut sized = Conn::open(&shop.address());
        sized.send(&request("POST", "/echo", &[], body));
        assert_eq!(sized.answer().status, status, "HTTP/1, sized");

        let mut chunked = Conn::open(&shop.address());
        let text = String::from_utf8_lossy(body);
        let chunks = format!("{:x}\r\n{text}\r\n0\r\n\r\n", body.len());
        let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        chunked.send(format!("{head}{chunks}").as_bytes());
        assert_eq!(chunked.answer().status, status, "HTTP/1, in chunks");

        let mut sized = h2_request(Method::POST, "/echo");
        let length = body.len().into();
        sized.headers_mut().insert("content-length", length);
        assert_eq!(
            two.ask(sized, body).status.as_u16(),
            status,
            "HTTP/2, sized"
        );
        let open = h2_request(Method::POST, "/echo");
        assert_eq!(two.ask(open, body).status.as_u16(), status, "HTTP/2, open");
    }
    let books = shop.settled();
    assert_eq!((books.received, books.answered), (8, 8), "{books:?}");
}

#[test]
fn connect_is_answered_on_both_protocols() {
    let program = program("", "");
    let mut two = H2::open(program.public());
    let connect = http::Request::connect("example.com:80").body(());
    let answer = two.ask(connect.expect("a request"), b"");
    assert_eq!(answer.status.as_u16(), 501, "no tunnels are made");
    assert_eq!(two.get("/").text(), "here");
    let mut one = program.connect();
    one.send(b"CONNECT example.com:80 HTTP/1.1\r\nHost: example.com\r\n\r\n");
    let answer = one.answer();
    assert_eq!((answer.status, answer.closes()), (501, true));
    one.closed();
    assert_eq!(program.books().received, 1);
}

#[test]
fn who_waits_for_100_before_a_body_gets_it_where_the_body_is_read() {
    let shop = Shop::open(&[("server.max_body", "10B")]);
    let mut conn = shop.connect();
    let post = |path, expected: &'static str| {
        let mut request = h2_request(Method::POST, path);
        let expected = http::HeaderValue::from_static(expected);
        request.headers_mut().insert("expect", expected);
        request
    };
    let (continues, answer) = conn.expect(post("/echo", "100-continue"), b"a body");
    assert_eq!((continues, answer.text().as_str()), (true, "a body"));
    let (continues, answer) = conn.expect(post("/early", "100-Continue"), b"a body");
    assert_eq!((continues, answer.text().as_str()), (false, "not read"));
    let mut large = post("/echo", "100-continue");
    large.headers_mut().insert("content-length", 11.into());
    let (continues, answer) = conn.expect(large, b"of 11 bytes");
    assert_eq!((continues, answer.status.as_u16()), (false, 413));
    let (continues, answer) = conn.expect(post("/echo", "wonders"), b"a body");
    assert_eq!((continues, answer.status.as_u16()), (false, 417));
    assert_eq!(shop.settled().received, 3);
}
