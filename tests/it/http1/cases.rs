//! Framing, case by case (RFC 9112 §2, §3, §6, §7, §9): each is answered, refused or closed, and no
//! request is ever made of another one's body.
use super::Stand;
use crate::support::Conn;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const LAST: &str = "GET /last HTTP/1.1\r\nHost: a\r\n\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// The statuses with which these bytes are answered. A last request stands behind them, which is
/// answered where the connection goes on; that is told too.
fn answers(stand: &Stand, sent: &str) -> (Vec<u16>, bool) {
    let mut conn = stand.connect();
    conn.send(format!("{sent}{LAST}").as_bytes());
    conn.half_close();
    let (mut statuses, mut is_kept) = (Vec::new(), false);
    while let Some((status, body)) = next(&mut conn) {
        is_kept = body == "last";
        if !is_kept {
            statuses.push(status);
        }
    }
    (statuses, is_kept)
}

/// The next answer, where there is one.
fn next(conn: &mut Conn) -> Option<(u16, String)> {
    let answer = conn.read().ok()?;
    Some((answer.status, answer.text()))
}

fn head(first: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{first}\r\nHost: a\r\n{lines}\r\n")
}

/// Each is refused with this status, and nothing behind it is answered.
fn all_are_refused(status: u16, cases: impl IntoIterator<Item = String>) {
    let stand = Stand::open(&[]);
    for case in cases {
        let shown = &case[..case.len().min(200)];
        assert_eq!(answers(&stand, &case), (vec![status], false), "{shown:?}");
    }
    stand.assert_nothing_smuggled();
    let books = stand.settled();
    assert_eq!(books.received, 0, "none was a request: {books:?}");
}

/// Each is answered with these, and so is what is behind it, or not.
fn all_are_answered(is_kept: bool, cases: impl IntoIterator<Item = (&'static str, String)>) {
    let stand = Stand::open(&[]);
    for (statuses, case) in cases {
        let statuses: Vec<u16> = statuses
            .split_whitespace()
            .map(|status| status.parse().expect("a status"))
            .collect();
        assert_eq!(answers(&stand, &case), (statuses, is_kept), "{case:?}");
    }
    stand.assert_nothing_smuggled();
    stand.settled();
}

#[test]
fn what_is_well_formed_is_answered_and_its_connection_goes_on() {
    let post = |path: &str, lines: &[&str], body: &str| {
        head(&format!("POST {path} HTTP/1.1"), lines) + body
    };
    let length = format!("Content-Length: {}", SMUGGLED.len());
    let chunk = format!(
        "{:X};x=\"y\"\r\n{SMUGGLED}\r\n0\r\nT: 1\r\n\r\n",
        SMUGGLED.len()
    );
    let chunked = "Transfer-Encoding: chunked";
    all_are_answered(
        true,
        [
            ("200", GET.to_owned()),
            ("200", format!("\r\n\n\r\n{GET}")),
            ("200", "GET / HTTP/1.1\nHost: a\n\n".to_owned()),
            ("200 200", GET.repeat(2)),
            ("200", head("GET / HTTP/1.2", &[])),
            ("200", head("GET / HTTP/1.9", &[])),
            ("200", head("GET http://a/ HTTP/1.1", &[])),
            ("404", head("OPTIONS * HTTP/1.1", &[])),
            ("200", "GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned()),
            ("200", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n".to_owned()),
            (
                "200",
                "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned(),
            ),
            ("200", post("/", &[&length], SMUGGLED)),
            ("200", post("/echo", &[&length], SMUGGLED)),
            ("200", post("/", &["Content-Length: 00"], "")),
            ("200", post("/echo", &["Content-Length:  3 "], "abc")),
            ("200", post("/", &[chunked], &chunk)),
            ("200", post("/echo", &[chunked], &chunk)),
            (
                "200",
                post("/echo", &["transfer-encoding:\tCHUNKED "], &chunk),
            ),
            ("200", post("/echo", &[chunked], "0\r\n\r\n")),
            (
                "200",
                post("/echo", &[&length, "Expect: 100-continue"], SMUGGLED),
            ),
            (
                "200",
                post("/", &["Upgrade: websocket", "Content-Length: 0"], ""),
            ),
            ("200", head("GET / HTTP/1.1", &["Upgrade: websocket"])),
        ],
    );
}

#[test]
fn what_is_answered_for_the_last_time_is_not_followed_by_another_answer() {
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket"];
    let length = format!("Content-Length: {}", SMUGGLED.len());
    let chunk = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    let chunked = "Transfer-Encoding: chunked";
    let post = |path: &str, lines: &[&str], body: &str| {
        head(&format!("POST {path} HTTP/1.1"), lines) + body
    };
    all_are_answered(
        false,
        [
            ("200", head("GET / HTTP/1.1", &["Connection: close"])),
            ("200", head("GET / HTTP/1.1", &["Connection: x, Close"])),
            ("200", "GET / HTTP/1.0\r\n\r\n".to_owned()),
            ("200", head("GET / HTTP/1.1", &upgrade)),
            (
                "200",
                post("/", &["Connection: Upgrade", &length], SMUGGLED),
            ),
            (
                "200",
                post("/echo", &["Connection: Upgrade", &length], SMUGGLED),
            ),
            (
                "200",
                post("/echo", &[&upgrade[..], &[chunked]].concat(), &chunk),
            ),
            (
                "200",
                post("/", &[&upgrade[..], &[chunked]].concat(), &chunk),
            ),
            (
                "413",
                post("/", &["Content-Length: 9223372036854775807"], SMUGGLED),
            ),
            (
                "413",
                post("/echo", &["Content-Length: 18446744073709551615"], SMUGGLED),
            ),
            (
                "200",
                post("/", &[chunked], &format!("fffffffffffffff0\r\n{SMUGGLED}")),
            ),
            (
                "400",
                post(
                    "/echo",
                    &[chunked],
                    &format!("fffffffffffffff0\r\n{SMUGGLED}"),
                ),
            ),
            ("400", post("/echo", &["Content-Length: 500"], SMUGGLED)),
        ],
    );
}

#[test]
fn a_body_of_which_two_things_are_said_is_refused() {
    let lines: &[&[&str]] = &[
        &["Content-Length: 3", "Content-Length: 3"],
        &["Content-Length: 3", "Content-Length: 0"],
        &["Content-Length: 3, 3"],
        &["Content-Length: 3", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding: chunked", "Content-Length: 3"],
        &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        &["Transfer-Encoding: chunked, chunked"],
        &["Transfer-Encoding: identity"],
        &["Transfer-Encoding: chunked, identity"],
        &["Upgrade: websocket", "Content-Length: 5"],
        &[
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Content-Length: 5",
        ],
    ];
    let cases = lines.iter().flat_map(|lines| {
        ["/", "/echo"].map(|path| head(&format!("POST {path} HTTP/1.1"), lines) + SMUGGLED)
    });
    all_are_refused(400, cases);
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let neither = "POST / HTTP/1.0\r\n\r\n";
    all_are_refused(400, [old, neither].map(|case| format!("{case}{SMUGGLED}")));
}

#[test]
fn a_length_that_is_no_number_is_refused() {
    let lengths = [
        "",
        "+3",
        "-3",
        "0x3",
        "3 3",
        "3x",
        "3;",
        "\u{663}",
        "18446744073709551616",
        "3.0",
        "\"3\"",
        "\x0b3",
    ];
    let cases = lengths.iter().map(|length| {
        let line = format!("Content-Length: {length}");
        head("POST /echo HTTP/1.1", &[&line]) + SMUGGLED
    });
    all_are_refused(400, cases);
}

#[test]
fn a_head_that_is_malformed_is_refused() {
    let lines = [
        "Content-Length : 3",
        " Content-Length: 3",
        "X: a\r\n folded",
        "X: a\r\n\tfolded",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: \x0bchunked",
        "X: a\rY: b",
        "X: \0",
        "X\0: a",
        "X Y: a",
        ": a",
        "no colon",
        "X(: a",
        "X: \x7f",
    ];
    let lines = lines.map(|line| head("POST /echo HTTP/1.1", &[line]) + SMUGGLED);
    let firsts = [
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        " GET / HTTP/1.1",
        "\rGET / HTTP/1.1",
        "\r\n\r\r\nGET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1x",
        "GET / HTTP/1.",
        "GET / HTTP/11",
        "GET / http/1.1",
        "GET / HTTP /1.1",
        "GE(T / HTTP/1.1",
        "GET a HTTP/1.1",
        "GET * HTTP/1.1",
        "GET http://u@a/ HTTP/1.1",
        "GET /\x01 HTTP/1.1",
        "\u{16}\u{3}\u{1}",
        "garbage",
    ];
    let firsts = firsts.map(|first| head(first, &[]));
    all_are_refused(400, lines.into_iter().chain(firsts));
}

#[test]
fn a_line_break_that_comes_in_halves_may_stand_before_a_request() {
    let stand = Stand::open(&[]);
    let (mut conn, mut other) = (stand.connect(), stand.connect());
    conn.send(b"\r");
    // The worker has read the one half when it answers this.
    other.get("/");
    conn.send(format!("\n{GET}").as_bytes());
    assert_eq!(conn.answer().status, 200);
}

#[test]
fn a_host_that_is_none_is_refused() {
    let hosts = [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a b\r\n",
        "Host: u@a\r\n",
        "Host: [::1\r\n",
        "Host: a/b\r\n",
        "Host: a:b\r\n",
        "Host: a:80:80\r\n",
    ];
    all_are_refused(
        400,
        hosts.map(|host| format!("GET / HTTP/1.1\r\n{host}\r\n")),
    );
}

#[test]
fn chunks_that_are_malformed_are_refused_whoever_reads_them() {
    let chunks = [
        "\r\n",
        "x\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        "-1\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "1 1\r\na\r\n0\r\n\r\n",
        "1\na\n0\n\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1;\0\r\na\r\n0\r\n\r\n",
        "1;x\ny\r\na\r\n0\r\n\r\n",
        "10000000000000000\r\n",
        "fffffffffffffffffff\r\n",
        "0\r\nT: 1\n\r\n",
        "0\r\nT: 1\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "0\r\n folded\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
    ];
    let cases = chunks.iter().flat_map(|chunks| {
        ["/", "/echo"].map(|path| {
            let first = format!("POST {path} HTTP/1.1");
            head(&first, &["Transfer-Encoding: chunked"]) + chunks + SMUGGLED
        })
    });
    all_are_refused(400, cases);
}

#[test]
fn what_nobody_here_can_do_is_refused_by_name() {
    let codings = [
        "gzip",
        "gzip, chunked",
        "xchunked",
        "chunked, gzip",
        "x;q=1",
    ];
    let codings = codings.map(|coding| {
        let line = format!("Transfer-Encoding: {coding}");
        head("POST /echo HTTP/1.1", &[&line]) + SMUGGLED
    });
    let connect = head("CONNECT a:80 HTTP/1.1", &[]);
    all_are_refused(501, codings.into_iter().chain([connect]));
    let versions = ["HTTP/2.0", "HTTP/0.9", "HTTP/3.0"];
    all_are_refused(
        505,
        versions.map(|version| head(&format!("GET / {version}"), &[])),
    );
    let expectation = ["Expect: x", "Content-Length: 3"];
    all_are_refused(417, [head("POST / HTTP/1.1", &expectation) + "abc"]);
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let many = vec!["X: y"; 97];
    let long = format!("X: {}", "y".repeat(200_000));
    let heads = [
        head("GET / HTTP/1.1", &many),
        head("GET / HTTP/1.1", &[&long]),
    ];
    all_are_refused(431, heads);
    let path = format!("GET /{} HTTP/1.1", "y".repeat(70_000));
    all_are_refused(414, [head(&path, &[])]);
}
