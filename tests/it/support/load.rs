//! Many clients at once, each with its own books: what it sent and what became of it, none left out.
use super::{Address, CEILING, Conn, Quiet, Response, eventually, request};
use std::{
    io::{self, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Of a body that is sent in two halves.
const UPLOAD: usize = 20_000;

/// What a client does between two requests.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Keeps its connection and thinks for up to so long, evenly spread: clients in phase hide losses.
    KeptAlive(Duration),
    /// A connection for each request.
    PerRequest,
    /// Writes so many requests at once on a kept connection.
    Pipelined(usize),
    /// Sends a body in two halves, for up to so long apart.
    Uploading(Duration),
}

/// One answered request.
#[derive(Debug)]
pub struct Record {
    pub sent: Instant,
    pub answered: Instant,
    pub body: String,
}

/// The clients' books: sent = answered + lost, once all of them have ended.
#[derive(Debug, Default)]
pub struct LoadBooks {
    pub sent: u64,
    pub answered: u64,
    /// Sent whole, but the connection ended without a whole answer. A client never sends after a `Connection: close`.
    pub lost: u64,
    /// Connections that the server closed after it had announced it.
    pub closed_announced: u64,
    /// Connections that the server closed while nothing was outstanding.
    pub closed_idle: u64,
    /// Connections refused before a stop was expected.
    pub refused: u64,
    /// The first losses, and answers that the check did not like, in words.
    pub complaints: Vec<String>,
    /// Each answer, where [`Load::recorded`] asked for them.
    pub records: Vec<Record>,
}

impl LoadBooks {
    pub fn assert_nothing_lost(&self) {
        assert!(
            self.complaints.is_empty(),
            "{} lost of {}: {:#?}",
            self.lost,
            self.sent,
            self.complaints
        );
        assert_eq!(
            (self.lost, self.refused),
            (0, 0),
            "lost, refused of {} sent",
            self.sent
        );
        assert_eq!(self.sent, self.answered);
    }

    /// Two loads' books in one.
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.lost += other.lost;
        self.closed_announced += other.closed_announced;
        self.closed_idle += other.closed_idle;
        self.refused += other.refused;
        self.complaints.extend(other.complaints);
        self.complaints.truncate(20);
        self.records.extend(other.records);
    }
}

type Check = Arc<dyn Fn(&Response) -> Result<(), String> + Send + Sync>;

/// What all clients of a load share.
struct Plan {
    to: Address,
    path: String,
    recorded: bool,
    check: Check,
    answered: AtomicU64,
    /// The test has asked the program to stop: a refused connection ends its client.
    stop_expected: AtomicBool,
    /// The test wants no more requests.
    over: AtomicBool,
}

/// A load under way.
pub struct Load {
    plan: Arc<Plan>,
    clients: Vec<JoinHandle<LoadBooks>>,
}

/// A load to be started.
pub struct LoadSetup {
    groups: Vec<(usize, Kind)>,
    path: String,
    recorded: bool,
    check: Check,
    seed: u64,
}

impl Load {
    pub fn of(clients: usize, kind: Kind) -> LoadSetup {
        LoadSetup {
            groups: vec![(clients, kind)],
            path: "/".into(),
            recorded: false,
            check: Arc::new(|answer| match answer.status {
                200 => Ok(()),
                other => Err(format!("answered {other}: {}", answer.text())),
            }),
            seed: 1,
        }
    }

    /// Kept-alive clients that think for up to so many milliseconds.
    pub fn kept_alive(clients: usize, think_ms: u64) -> LoadSetup {
        Self::of(clients, Kind::KeptAlive(Duration::from_millis(think_ms)))
    }

    /// Waits until the load has been answered so often in all.
    pub fn wait_answered(&self, count: u64) {
        eventually(&format!("{count} answers to the load"), || {
            (self.answered() >= count).then_some(())
        });
    }

    pub fn answered(&self) -> u64 {
        self.plan.answered.load(Relaxed)
    }

    /// From now on a refused connection ends its client: to be said before the program is told to stop.
    pub fn expect_stop(&self) {
        self.plan.stop_expected.store(true, Relaxed);
    }

    /// Waits for the clients, which end when they are refused.
    pub fn until_refused(mut self) -> LoadBooks {
        self.expect_stop();
        self.join()
    }

    /// Ends every client when its outstanding requests are answered.
    pub fn stop(mut self) -> LoadBooks {
        self.plan.over.store(true, Relaxed);
        self.join()
    }

    fn join(&mut self) -> LoadBooks {
        let mut books = LoadBooks::default();
        for client in self.clients.drain(..) {
            books.add(client.join().expect("a client does not panic"));
        }
        books
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.plan.over.store(true, Relaxed);
    }
}

impl LoadSetup {
    /// More clients, of another kind.
    pub fn and(mut self, clients: usize, kind: Kind) -> Self {
        self.groups.push((clients, kind));
        self
    }

    pub fn path(mut self, path: &str) -> Self {
        self.path = path.into();
        self
    }

    /// Keeps a [`Record`] of each answer.
    pub fn recorded(mut self) -> Self {
        self.recorded = true;
        self
    }

    /// What an answer must be (by default: a 200).
    pub fn check(
        mut self,
        check: impl Fn(&Response) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.check = Arc::new(check);
        self
    }

    /// Other think times than another load's.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    pub fn start(self, to: &Address) -> Load {
        let plan = Arc::new(Plan {
            to: to.clone(),
            path: self.path,
            recorded: self.recorded,
            check: self.check,
            answered: AtomicU64::new(0),
            stop_expected: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        let kinds = self
            .groups
            .into_iter()
            .flat_map(|(clients, kind)| std::iter::repeat_n(kind, clients));
        let clients = kinds.enumerate().map(|(number, kind)| {
            let plan = Arc::clone(&plan);
            let dice = Dice(
                self.seed
                    .wrapping_mul(1_000_003)
                    .wrapping_add(number as u64),
            );
            thread::spawn(move || {
                Client {
                    plan: &plan,
                    kind,
                    dice,
                    books: LoadBooks::default(),
                }
                .run()
            })
        });
        let clients = clients.collect();
        Load { plan, clients }
    }
}

/// One client, on its own thread.
struct Client<'a> {
    plan: &'a Plan,
    kind: Kind,
    dice: Dice,
    books: LoadBooks,
}

impl Client<'_> {
    fn run(mut self) -> LoadBooks {
        let headers: &[_] = if matches!(self.kind, Kind::PerRequest) {
            &[("Connection", "close")]
        } else {
            &[]
        };
        let count = if let Kind::Pipelined(count) = self.kind {
            count
        } else {
            1
        };
        let batch = match self.kind {
            Kind::Uploading(_) => request("POST", &self.plan.path, &[], &[b'x'; UPLOAD]),
            _ => request("GET", &self.plan.path, headers, b"").repeat(count),
        };
        let mut kept = None;
        while !self.plan.over.load(Relaxed) {
            let Some(mut conn) = kept.take().or_else(|| self.dial()) else {
                break;
            };
            let think = match self.kind {
                Kind::KeptAlive(most) => self.dice.up_to(most),
                Kind::PerRequest | Kind::Pipelined(_) | Kind::Uploading(_) => Duration::ZERO,
            };
            // A close while nothing is outstanding is within the rules, and seen before the next request is sent.
            let quiet = conn.quiet(think);
            let sent = Instant::now();
            if quiet != Quiet::Open || self.write(&mut conn, &batch).is_err() {
                self.books.closed_idle += 1;
                continue;
            }
            self.books.sent += count as u64;
            if self.read(&mut conn, sent, count) {
                kept = Some(conn);
            }
        }
        self.books
    }

    fn write(&mut self, conn: &mut Conn, batch: &[u8]) -> io::Result<()> {
        let Kind::Uploading(most) = self.kind else {
            return conn.write(batch);
        };
        let (first, second) = batch.split_at(batch.len() - UPLOAD / 2);
        conn.write(first)?;
        thread::sleep(self.dice.up_to(most)); // a slow client: nothing is waited for
        // A server may answer, and announce its close, without reading the rest: the answer tells.
        let _ = conn.write(second);
        Ok(())
    }

    /// Reads the answers; whether the connection can be kept.
    fn read(&mut self, conn: &mut Conn, sent: Instant, count: usize) -> bool {
        let mut announced = false;
        for read in 0..count {
            match conn.read() {
                Ok(answer) => {
                    announced |= answer.closes();
                    self.books.answered += 1;
                    self.plan.answered.fetch_add(1, Relaxed);
                    if let Err(complaint) = (self.plan.check)(&answer) {
                        self.complain(complaint);
                    }
                    if self.plan.recorded {
                        let body = answer.text();
                        self.books.records.push(Record {
                            sent,
                            answered: Instant::now(),
                            body,
                        });
                    }
                }
                Err(error) => {
                    self.books.lost += (count - read) as u64;
                    self.complain(format!(
                        "{:?} from {}: {} of {count} lost after {:?}: {error}",
                        self.kind,
                        conn.local(),
                        count - read,
                        sent.elapsed()
                    ));
                    return false;
                }
            }
        }
        // A client with a connection a request asks for the close itself.
        let kept = !matches!(self.kind, Kind::PerRequest);
        self.books.closed_announced += u64::from(announced && kept);
        kept && !announced
    }

    /// A new connection; `None` where the listener is gone and was expected to go.
    fn dial(&mut self) -> Option<Conn> {
        let begun = Instant::now();
        loop {
            let error = match Conn::dial(&self.plan.to) {
                Ok(conn) => return Some(conn),
                Err(error) => error,
            };
            let reset = matches!(
                error.kind(),
                ErrorKind::ConnectionRefused
                    | ErrorKind::ConnectionReset
                    // A unix socket's name is gone.
                    | ErrorKind::NotFound
            );
            if reset && self.plan.stop_expected.load(Relaxed) {
                return None;
            }
            self.books.refused += 1;
            self.complain(format!("{:?}: connect: {error}", self.kind));
            if self.plan.over.load(Relaxed) || begun.elapsed() > CEILING {
                return None;
            }
            thread::sleep(Duration::from_millis(5)); // a client's pause before it dials again
        }
    }

    fn complain(&mut self, complaint: String) {
        if self.books.complaints.len() < 20 {
            self.books.complaints.push(complaint);
        }
    }
}

/// Spread think times, the same in each run (splitmix64).
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let micros = u64::try_from(most.as_micros()).expect("think times are short");
        Duration::from_micros(mixed % (micros + 1))
    }
}
