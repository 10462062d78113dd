//! What one client may make the program keep or do, and that nobody else notices.
use super::{LARGE, PIECE, Shop, program, settings};
use crate::support::{
    Conn, H2, H2Load, Program, Setup,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, PADDED,
        PING, PREFACE, REFUSED_STREAM, RST_STREAM, RawH2, SETTINGS, WINDOW_UPDATE, fields, frame,
        get, post,
    },
    h2_request,
};
use http::Method;

/// What a flood sends in this turn.
type Next = Box<dyn FnMut(u32) -> Vec<u8>>;

/// Sends it 5,000 times, or until the program says that this is enough; the code of its GOAWAY.
fn flood(program: &Program, mut next: impl FnMut(u32) -> Vec<u8>) -> u32 {
    let mut beside = H2::open(program.public());
    assert_eq!(beside.get("/").text(), "here");
    let mut raw = RawH2::open(program.public());
    for round in 0..50 {
        let frames: Vec<u8> = (0..100).flat_map(|turn| next(round * 100 + turn)).collect();
        if raw.try_write(&frames).is_err() {
            break;
        }
    }
    assert_eq!(beside.get("/").text(), "here", "others do not notice");
    // What was said last may be lost with the connection: the other end was still writing.
    let frames = raw.rest();
    let said = frames.iter().rev().find_map(|frame| frame.goes_away());
    program.wait_connections(1);
    said.map_or(ENHANCE_YOUR_CALM, |(_, code)| code)
}

#[test]
fn floods_of_frames_that_bring_nothing_end_their_connection() {
    let program = program("", "[app.routes.\"/slow\"]\nrespond = { delay = \"10s\" }");
    let piece = |flags, payload: &'static [u8]| -> Next {
        Box::new(move |turn| match turn {
            0 => frame(HEADERS, END_HEADERS, 1, &post("/slow")),
            _ => frame(DATA, flags, 1, payload),
        })
    };
    let floods: [(&str, Next); 8] = [
        ("padding alone", piece(PADDED, &[7, 0, 0, 0, 0, 0, 0, 0])),
        ("a byte at a time", piece(0, b"x")),
        ("PING", Box::new(|_| frame(PING, 0, 0, b"12345678"))),
        ("SETTINGS", Box::new(|_| frame(SETTINGS, 0, 0, b""))),
        ("PRIORITY", Box::new(|_| frame(2, 0, 3, &[0, 0, 0, 0, 7]))),
        ("unknown", Box::new(|_| frame(77, 0, 0, b"?"))),
        ("empty DATA", piece(0, b"")),
        (
            // CVE-2023-44487
            "rapid reset",
            Box::new(|turn| {
                let stream = turn * 2 + 1;
                let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get("/slow"));
                [head, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
            }),
        ),
    ];
    for (name, next) in floods {
        assert_eq!(flood(&program, next), ENHANCE_YOUR_CALM, "{name}");
    }
    program.wait_in_flight(0);
    program.books().assert_balanced();
}

#[test]
fn what_a_client_does_wrong_fills_no_log_unless_that_is_asked_for() {
    let told = "PING ack that we never sent";
    for (tables, is_told) in [("", false), ("[logging]\ntargets.h2 = \"warn\"\n", true)] {
        let mut program = program("", tables);
        let mut raw = RawH2::open(program.public());
        for _ in 0..10 {
            raw.pong(b"whatever");
        }
        raw.get(1, "/");
        raw.answered(1);
        drop(raw);
        program.stop();
        assert_eq!(program.count_log(told), if is_told { 10 } else { 0 });
    }
}

#[test]
fn a_head_without_end_ends_its_connection() {
    let program = program("", "");
    let block = get("/");
    flood(&program, |turn| match turn {
        0 => frame(HEADERS, END_STREAM, 1, &block),
        _ => frame(CONTINUATION, 0, 1, &fields(&[("x-more", "and more")])),
    });
    assert_eq!(program.books().received, 2, "those of the client beside it");
}

#[test]
fn a_head_that_stops_halfway_ends_its_connection_in_time() {
    let program = program("client_request_timeout = \"300ms\"", "");
    let mut raw = RawH2::open(program.public());
    raw.get(1, "/");
    raw.answered(1);
    raw.frame(HEADERS, END_STREAM, 3, &get("/")[..10]);
    let last = raw.until("GOAWAY", |frame| frame.kind == GOAWAY);
    assert_eq!(last.goes_away(), Some((1, ENHANCE_YOUR_CALM)));
    raw.rest();
    let begun = b"PRI * HTTP/2.0\r\n";
    let mut half = Conn::open(program.public());
    half.send(begun);
    assert_eq!(half.answer().status, 408, "half a preface is half a head");
}

#[test]
fn headers_beyond_16_kib_are_431() {
    let shop = Shop::open(&[]);
    let mut conn = shop.connect();
    let mut request = h2_request(Method::GET, "/");
    let large = "x".repeat(20_000).parse().expect("a value");
    request.headers_mut().insert("x-large", large);
    assert_eq!(conn.ask(request, b"").status.as_u16(), 431);
    assert_eq!(conn.get("/").text(), "here");
    assert_eq!(shop.settled().received, 1);
}

#[test]
fn more_streams_than_100_at_once_are_refused_and_may_be_asked_again() {
    let shop = Shop::open(&[]);
    let mut raw = shop.raw();
    let told = raw.until("SETTINGS", |frame| frame.kind == SETTINGS);
    let limit = told.payload.chunks_exact(6).find(|it| it[..2] == [0, 3]);
    assert_eq!(limit, Some(&[0, 3, 0, 0, 0, 100][..]));
    for turn in 0..100 {
        raw.get(turn * 2 + 1, "/wait");
    }
    // Its body and its trailers were under way when it was refused.
    raw.frame(HEADERS, END_HEADERS, 201, &post("/echo"));
    let refused = raw.until("refusal", |frame| frame.kind == RST_STREAM);
    assert_eq!(
        (refused.stream, refused.resets()),
        (201, Some(REFUSED_STREAM))
    );
    raw.frame(DATA, 0, 201, b"x");
    let trailers = fields(&[("x-sum", "1")]);
    raw.frame(HEADERS, END_HEADERS | END_STREAM, 201, &trailers);
    shop.wait_in_flight(100);
    raw.frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    shop.wait_in_flight(99);
    raw.get(203, "/");
    raw.answered(203);
}

#[test]
fn heads_that_are_large_in_all_are_refused_and_may_be_asked_again() {
    let shop = Shop::open(&[]);
    let mut raw = shop.raw();
    let large = "x".repeat(15 * 1024);
    let block = [get("/wait"), fields(&[("x-large", &large)])].concat();
    for turn in 0..40 {
        raw.frame(HEADERS, END_HEADERS | END_STREAM, turn * 2 + 1, &block);
    }
    let refused = raw.until("refusal", |frame| frame.kind == RST_STREAM);
    assert_eq!(refused.resets(), Some(REFUSED_STREAM));
    assert!((60..80).contains(&refused.stream), "{refused:?}");
}

#[test]
fn responses_that_nobody_takes_are_not_made_without_bound() {
    let shop = Shop::open(&[]);
    let mut raw = shop.raw();
    for turn in 0..100 {
        raw.get(turn * 2 + 1, "/endless");
    }
    for _ in 0..100 {
        raw.until("head of a response", |frame| frame.kind == HEADERS);
    }
    // What is kept, what the connection's window has let through, and a piece more.
    let most = 512 * 1024 / PIECE + 2;
    assert!(shop.taken() <= most, "{} pieces", shop.taken());
}

/// The program with a large file.
fn with_large_file() -> Program {
    let route = "[app.routes.\"/files/{path}*\"]\nfiles = \"pages\"\n";
    let setup = Setup::new(&settings("", "here", route));
    std::fs::create_dir(setup.settings().join("pages")).expect("a fresh folder");
    setup.file("pages/large", "x".repeat(1_000_000)).serve()
}

/// The program's memory in KiB.
fn memory(program: &Program) -> u64 {
    status_field(program, "VmRSS:")
}

/// The most that it was so far.
fn peak(program: &Program) -> u64 {
    status_field(program, "VmHWM:")
}

fn status_field(program: &Program, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let size = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    size.expect("a size")
}

/// Twenty connections that begin thus ask for a hundred large files each, and read the heads alone. They,
/// and what each costs in KiB.
fn ask_for_files(program: &Program, begin: &[u8]) -> (Vec<RawH2>, u64) {
    let mut open = Vec::new();
    let before = memory(program);
    for _ in 0..20 {
        let mut raw = RawH2::dial(program.public());
        raw.write(&[PREFACE, begin].concat());
        for turn in 0..100 {
            raw.get(turn * 2 + 1, "/files/large");
        }
        for _ in 0..100 {
            raw.until("head of a response", |frame| frame.kind == HEADERS);
        }
        open.push(raw);
    }
    let each = (memory(program) - before) / 20;
    (open, each)
}

#[test]
fn files_that_nobody_takes_are_not_read_without_bound() {
    let program = with_large_file();
    let (mut open, each) = ask_for_files(&program, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    assert!(each < 3 * 1024, "{each} KiB for each connection");
    let mut raw = open.swap_remove(0);
    raw.frame(WINDOW_UPDATE, 0, 199, &1_000_000_u32.to_be_bytes());
    raw.frame(WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes());
    raw.answered(199);
}

#[test]
fn files_that_there_is_room_for_are_not_read_all_at_once() {
    let program = with_large_file();
    let before = peak(&program);
    let window = frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    let opened = frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    let stalled: Vec<_> = (0..20)
        .map(|_| {
            let mut raw = RawH2::dial(program.public());
            raw.write(&[PREFACE, &window, &opened].concat());
            for turn in 0..100 {
                raw.get(turn * 2 + 1, "/files/large");
            }
            raw
        })
        .collect();
    program.wait_in_flight(2000);
    // What they have asked for before has been read when this one's is.
    assert_eq!(program.get("/files/large").body.len(), 1_000_000);
    let each = (peak(&program) - before) / 20;
    drop(stalled);
    assert!(each < 2560, "{each} KiB for each connection");
}

#[test]
fn a_client_with_small_windows_is_served() {
    let shop = Shop::open(&[]);
    let mut raw = RawH2::dial(&shop.address());
    let window = [0, 4, 0, 0, 4, 0];
    raw.write(&[PREFACE, &frame(SETTINGS, 0, 0, &window)].concat());
    raw.get(1, "/large");
    let mut taken = 0;
    while taken < LARGE {
        let data = raw.until("DATA", |frame| {
            assert_eq!(frame.goes_away(), None);
            frame.kind == DATA
        });
        taken += data.payload.len();
        // In two halves, as a careful client may do it.
        let opens = u32::try_from(data.payload.len()).expect("it is short");
        for half in [opens / 2, opens - opens / 2] {
            for stream in [0, 1].into_iter().filter(|_| half > 0) {
                raw.frame(WINDOW_UPDATE, 0, stream, &half.to_be_bytes());
            }
        }
    }
    assert_eq!(shop.settled().answered, 1);
}

#[test]
fn who_takes_a_response_too_slowly_is_ended() {
    let shop = Shop::open(&[
        ("server.min_rate", "1TiB"),
        ("server.min_rate_grace", "100ms"),
    ]);
    let mut raw = RawH2::dial(&shop.address());
    let window = [0, 4, 0, 0, 4, 0];
    raw.write(&[PREFACE, &frame(SETTINGS, 0, 0, &window)].concat());
    raw.get(1, "/endless");
    let reset = loop {
        let next = raw.until("DATA", |frame| {
            frame.kind == DATA || frame.kind == RST_STREAM
        });
        if next.kind == RST_STREAM {
            break next;
        }
        let opens = u32::try_from(next.payload.len()).expect("it is short");
        for stream in [0, 1] {
            raw.frame(WINDOW_UPDATE, 0, stream, &opens.to_be_bytes());
        }
    };
    assert_eq!(reset.stream, 1);
    let books = shop.settled();
    assert_eq!((books.aborted, books.aborted_by_server), (1, 1));
}

#[test]
fn who_sends_a_body_too_slowly_is_answered_408() {
    let shop = Shop::open(&[
        ("server.min_rate", "1TiB"),
        ("server.min_rate_grace", "100ms"),
    ]);
    let mut raw = shop.raw();
    raw.frame(HEADERS, END_HEADERS, 1, &post("/echo"));
    // It is not silent, and far from a flood.
    for _ in 0..3 {
        raw.frame(DATA, 0, 1, b"x");
        raw.frame(PING, 0, 0, b"and now?");
        raw.until("PING", |frame| frame.payload == b"and now?");
    }
    let answer = raw.until("answer", |frame| frame.kind == HEADERS);
    assert_eq!(answer.stream, 1);
    assert_eq!(shop.settled().answered, 1);
}

#[test]
fn who_is_ended_for_a_flood_is_told_of_once_and_the_books_do_not_call_it_the_clients_doing() {
    let program = program("", "[app.routes.\"/slow\"]\nrespond = { delay = \"60s\" }");
    let mut raw = RawH2::open(program.public());
    raw.get(1, "/slow");
    program.wait_in_flight(1);
    let _ended = raw.try_write(&frame(PING, 0, 0, b"12345678").repeat(5_000));
    raw.rest();
    program.wait_connections(0);
    let books = program.books();
    assert_eq!(
        (books.aborted, books.aborted_by_server),
        (1, 1),
        "{books:?}"
    );
    program.wait_log("on listener public was disconnected: it sent too many frames");
    assert_eq!(program.count_log("was disconnected"), 1);
    // A client that goes on its own is another thing.
    let mut gone = RawH2::open(program.public());
    gone.get(1, "/slow");
    program.wait_in_flight(1);
    drop(gone);
    program.wait_in_flight(0);
    let books = program.books();
    assert_eq!(
        (books.aborted, books.aborted_by_server),
        (2, 1),
        "{books:?}"
    );
    assert_eq!(program.count_log("was disconnected"), 1);
}

#[test]
fn busy_clients_use_up_no_patience() {
    let program = program("", "");
    let load = H2Load::start(program.public(), (1, 16), "/", b"", b"here");
    load.wait_answered(20_000);
    let clients = load.end();
    assert_eq!((clients.lost, clients.redials), (0, 0), "{clients:?}");
}

#[test]
fn heads_of_many_fields_are_refused_as_large_ones_are() {
    let shop = Shop::open(&[]);
    let mut raw = shop.raw();
    let names: Vec<_> = (0..400).map(|number| format!("{number:04x}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let block = [get("/wait"), fields(&many)].concat();
    for turn in 0..10 {
        raw.frame(HEADERS, END_HEADERS | END_STREAM, turn * 2 + 1, &block);
    }
    let refused = raw.until("refusal", |frame| frame.kind == RST_STREAM);
    assert_eq!(refused.resets(), Some(REFUSED_STREAM));
    // What each field costs is more than its bytes.
    assert!(refused.stream < 10, "{refused:?}");
}

#[test]
fn a_handler_that_skips_errors_of_a_body_comes_to_its_end() {
    let shop = Shop::open(&[]);
    let mut raw = shop.raw();
    raw.frame(HEADERS, END_HEADERS, 1, &post("/skips"));
    raw.frame(DATA, 0, 1, b"abc");
    raw.hang_up();
    let data = raw.until("the answer", |frame| frame.kind == DATA);
    assert_eq!(data.payload, b"1");
    assert_eq!(shop.connect().get("/").text(), "here");
}
