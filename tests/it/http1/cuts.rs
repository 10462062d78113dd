//! Whatever is sent, however it is cut: whole requests are answered in their order, other bytes are
//! refused, nothing hangs, and the books balance.
use super::Stand;
use crate::support::Conn;
use std::time::{Duration, Instant};

/// How many more seconds each test tries seeds that no test has tried, where this variable says so.
const SECONDS: &str = "FUZZ_SECONDS";

/// The seeds that are always tried, then others for [`SECONDS`].
fn seeds(always: u64) -> impl Iterator<Item = u64> {
    let seconds = std::env::var(SECONDS).map_or(0, |value| {
        value.parse().expect("FUZZ_SECONDS is a number of seconds")
    });
    let end = Instant::now() + Duration::from_secs(seconds);
    (1..).take_while(move |seed| *seed <= always || Instant::now() < end)
}

/// A generator that begins anew with each seed, so that what fails can be repeated.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).expect("it is below")
    }

    fn text(&mut self, length: usize) -> String {
        let letters = "abc\r\n0123 :;GET /smuggled HTTP/1.1\r\n\r\n";
        let letter = |random: &mut Self| letters.as_bytes()[random.next(letters.len())];
        (0..length).map(|_| char::from(letter(self))).collect()
    }

    /// A request, and the body of its answer.
    fn request(&mut self) -> (String, String) {
        let path = ["/", "/echo"][self.next(2)];
        let length = self.next(300);
        let body = self.text(length);
        let line = ["\r\n", "\n"][self.next(2)];
        let head = |method: &str, also: &str| {
            format!("{method} {path} HTTP/1.1{line}Host: a{line}{also}{line}")
        };
        let told = |body: &str| match path {
            "/" => "here".to_owned(),
            _ => body.to_owned(),
        };
        match self.next(3) {
            0 => (head("GET", ""), told("")),
            1 => {
                let length = format!("Content-Length: {}{line}", body.len());
                (head("POST", &length) + &body, told(&body))
            }
            _ => {
                let mut chunks = String::new();
                for chunk in body.as_bytes().chunks(1 + self.next(50)) {
                    let chunk = std::str::from_utf8(chunk).expect("ASCII");
                    chunks += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
                }
                let coding = format!("Transfer-Encoding: chunked{line}");
                (head("POST", &coding) + &chunks + "0\r\n\r\n", told(&body))
            }
        }
    }
}

/// Sends the bytes in pieces of any size, each of which may arrive alone.
fn send_cut(conn: &mut Conn, mut bytes: &[u8], random: &mut Random) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let most = [1, 10, 100, 1000][random.next(4)];
        let (piece, rest) = bytes.split_at((1 + random.next(most)).min(bytes.len()));
        conn.write(piece)?;
        bytes = rest;
    }
    Ok(())
}

#[test]
fn requests_are_answered_in_their_order_however_they_are_cut() {
    let stand = Stand::open(&[]);
    let mut count = 0;
    let mut rounds = 0;
    for seed in seeds(40) {
        rounds += 1;
        let mut random = Random::new(seed);
        let requests: Vec<_> = (0..1 + random.next(12)).map(|_| random.request()).collect();
        count += requests.len() as u64;
        let mut conn = stand.connect();
        let sent: String = requests
            .iter()
            .map(|(request, _)| request.as_str())
            .collect();
        send_cut(&mut conn, sent.as_bytes(), &mut random).expect("nobody closes");
        for (request, body) in &requests {
            let answer = conn.answer();
            assert_eq!(
                (answer.status, answer.text()),
                (200, body.clone()),
                "{seed}: {request:?}"
            );
        }
        assert_eq!(conn.get("/").text(), "here", "{seed}");
    }
    println!("{rounds} rounds");
    stand.assert_nothing_smuggled();
    let books = stand.settled();
    assert_eq!(
        (books.received, books.answered),
        (count + rounds, count + rounds),
        "{books:?}"
    );
}

#[test]
fn bytes_that_are_wrong_somewhere_end_their_connection_and_nothing_else() {
    let stand = Stand::open(&[]);
    let mut rounds = 0;
    for seed in seeds(150) {
        rounds += 1;
        let mut random = Random::new(seed);
        let mut sent: Vec<u8> = Vec::new();
        for _ in 0..1 + random.next(4) {
            sent.extend(random.request().0.bytes());
        }
        for _ in 0..1 + random.next(4) {
            let at = random.next(sent.len());
            match random.next(3) {
                0 => sent[at] = b"\r\n\0 :;0a\x80"[random.next(9)],
                1 => drop(sent.remove(at)),
                _ => sent.insert(at, b"\r\n 0;"[random.next(5)]),
            }
            if sent.is_empty() {
                break;
            }
        }
        let mut conn = stand.connect();
        // The server may have closed before all is sent.
        if send_cut(&mut conn, &sent, &mut random).is_err() {
            continue;
        }
        conn.half_close();
        // Each answer is whole, until the connection ends.
        loop {
            match conn.read() {
                Ok(answer) => assert!(
                    matches!(
                        answer.status,
                        200 | 400 | 404 | 405 | 408 | 413 | 417 | 431 | 501 | 505
                    ),
                    "{seed}: {answer:?} to {:?}",
                    String::from_utf8_lossy(&sent)
                ),
                Err(error) => {
                    let shown = error.to_string();
                    let is_end = shown.contains("0 bytes of a head") || shown.contains("reset");
                    assert!(
                        is_end,
                        "{seed}: {error} behind {:?}",
                        String::from_utf8_lossy(&sent)
                    );
                    break;
                }
            }
        }
    }
    println!("{rounds} rounds");
    let mut conn = stand.connect();
    assert_eq!(conn.get("/").text(), "here");
    stand.settled();
}
