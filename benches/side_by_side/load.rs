//! The load: clients on kept-alive connections, in a process of their own, that count what they
//! send, what is answered, and the gaps between answers.
//!
//! A client is a task that writes, reads and counts: two system calls a request, so that the server
//! has most of the machine.

use std::{
    cell::RefCell,
    io::{self, BufRead as _, BufReader},
    net::SocketAddr,
    process::{ChildStdout, Stdio},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Args;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, sleep_until},
};

use crate::{
    http::{Buffer, PATIENCE},
    process::{Process, Server},
    roles::{Role, until_parent_ends},
};

const THREADS: usize = 2;

/// Before anything is counted.
const WARM_UP: Duration = Duration::from_millis(200);

const RUNNING: &str = "running\n";

/// What a load has counted.
#[derive(Default, Serialize, Deserialize)]
pub struct Report {
    /// Answers per second.
    pub rate: f64,
    /// Of one client, in milliseconds, between two answers.
    pub gap_p999: f64,
    pub gap_max: f64,
    /// Requests without a whole answer of status 200.
    pub lost: u64,
}

/// A load that runs.
pub struct Load {
    process: Process,
    stdout: BufReader<ChildStdout>,
}

impl Load {
    /// Starts it on `/`; it runs, warmed up, when this returns.
    pub fn start(server: &Server, clients: usize, rate: Option<f64>) -> anyhow::Result<Self> {
        Self::of(server, "/", clients, rate)
    }

    /// Starts it on a path.
    pub fn of(
        server: &Server,
        path: &str,
        clients: usize,
        rate: Option<f64>,
    ) -> anyhow::Result<Self> {
        Self::exchange(server.address, &Exchange::get(path), clients, rate)
    }

    /// Starts it with this exchange, again and again.
    pub fn exchange(
        address: SocketAddr,
        exchange: &Exchange,
        clients: usize,
        rate: Option<f64>,
    ) -> anyhow::Result<Self> {
        let role = Role::Load {
            address,
            clients,
            rate,
            exchange: exchange.clone(),
        };
        let mut process = Process::start(role.command()?.stdout(Stdio::piped()))?;
        let stdout = process.child().stdout.take().context("piped")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        ensure!(line == RUNNING, "the load does not run");
        Ok(Self { process, stdout })
    }

    /// The CPU time that the load itself has used.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        self.process.cpu()
    }

    /// Ends it: each client waits for its last answer.
    pub fn finish(mut self) -> anyhow::Result<Report> {
        self.process.lifeline.take();
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        serde_json::from_str(&line).context("the load's report")
    }
}

/// What a client writes at once, and how many answers it waits for.
#[derive(Args, Clone)]
pub struct Exchange {
    #[arg(long)]
    pub path: String,
    /// POSTs with a body of so many bytes; without it, GETs.
    #[arg(long)]
    pub body: Option<usize>,
    /// So many requests in one write.
    #[arg(long, default_value_t = 1)]
    pub pipelined: usize,
}

impl Exchange {
    pub fn get(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            body: None,
            pipelined: 1,
        }
    }

    /// What a client writes at once.
    pub fn bytes(&self) -> String {
        let path = &self.path;
        let request = match self.body {
            None => format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            Some(length) => format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{}",
                "x".repeat(length)
            ),
        };
        request.repeat(self.pipelined)
    }
}

/// What all clients go by.
struct Shared {
    phase: AtomicU8,
    /// Clients that have had their first answer.
    ready: AtomicUsize,
}

const WARMING: u8 = 0;
const COUNTING: u8 = 1;
const ENDING: u8 = 2;

/// One thread's answers, alone on its cache line.
#[repr(align(128))]
#[derive(Default)]
struct Answered(AtomicU64);

/// Runs the load in this process: says so, goes on until standard input ends, prints the report.
pub fn run(
    address: SocketAddr,
    exchange: &Exchange,
    clients: usize,
    rate: Option<f64>,
) -> anyhow::Result<()> {
    let requests: Arc<str> = exchange.bytes().into();
    let pipelined = exchange.pipelined;
    let shared = Arc::new(Shared {
        phase: AtomicU8::new(WARMING),
        ready: AtomicUsize::new(0),
    });
    let interval = rate.map(|rate| Duration::from_secs_f64(clients as f64 / rate));
    let answered: [Arc<Answered>; THREADS] = std::array::from_fn(|_| Arc::default());
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (shared, answered) = (shared.clone(), answered[thread].clone());
            let requests = requests.clone();
            let mine: Vec<_> = (thread..clients).step_by(THREADS).collect();
            thread::spawn(move || -> io::Result<Tally> {
                let tally = Rc::new(RefCell::new(Tally::new()));
                let runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = { runtime }.enable_all().build()?;
                let all = mine.into_iter().map(|client| Client {
                    address,
                    requests: requests.clone(),
                    pipelined,
                    shared: shared.clone(),
                    answered: answered.clone(),
                    tally: tally.clone(),
                    // Spread over the interval, so that they do not all ask at once.
                    pace: interval
                        .map(|interval| (interval * client as u32 / clients as u32, interval)),
                });
                runtime.block_on(join_all(all.map(Client::run)));
                Ok(tally.take())
            })
        })
        .collect();

    let started = Instant::now();
    while shared.ready.load(Ordering::Relaxed) < clients {
        ensure!(started.elapsed() < PATIENCE, "not all clients are answered");
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(WARM_UP);
    let total = || {
        answered
            .iter()
            .map(|all| all.0.load(Ordering::Relaxed))
            .sum::<u64>()
    };
    shared.phase.store(COUNTING, Ordering::Relaxed);
    let (since, before) = (Instant::now(), total());
    print!("{RUNNING}");
    until_parent_ends();
    let (seconds, after) = (since.elapsed().as_secs_f64(), total());
    shared.phase.store(ENDING, Ordering::Relaxed);

    let mut tally = Tally::new();
    for thread in threads {
        let other = thread
            .join()
            .map_err(|_| anyhow::anyhow!("a load thread panicked"))?;
        tally.merge(&other?);
    }
    let report = Report {
        rate: (after - before) as f64 / seconds,
        gap_p999: tally.gaps.quantile(0.999),
        gap_max: tally.gaps.max.as_secs_f64() * 1000.0,
        lost: tally.lost,
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// What one thread has counted.
#[derive(Default)]
struct Tally {
    gaps: Gaps,
    lost: u64,
}

impl Tally {
    fn new() -> Self {
        Self {
            gaps: Gaps::new(),
            lost: 0,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.gaps.merge(&other.gaps);
        self.lost += other.lost;
    }
}

struct Client {
    address: SocketAddr,
    requests: Arc<str>,
    /// How many those are.
    pipelined: usize,
    shared: Arc<Shared>,
    answered: Arc<Answered>,
    tally: Rc<RefCell<Tally>>,
    /// When it asks first, from now, and how often then.
    pace: Option<(Duration, Duration)>,
}

impl Client {
    /// Asks until the load ends, on a new connection whenever one is lost.
    async fn run(self) {
        let mut is_ready = false;
        while self.shared.phase.load(Ordering::Relaxed) != ENDING {
            if self.converse(&mut is_ready).await.is_err() {
                self.tally.borrow_mut().lost += 1;
                sleep(Duration::from_millis(10)).await;
            }
        }
    }

    async fn converse(&self, is_ready: &mut bool) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        // Closed without TIME_WAIT: thousands of those would be there for the next measurement.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        let mut buffer = Buffer::new();
        let mut next = self
            .pace
            .map(|(first, _)| tokio::time::Instant::now() + first);
        let mut last: Option<Instant> = None;
        loop {
            if let (Some(next), Some((_, interval))) = (&mut next, self.pace) {
                sleep_until(*next).await;
                *next += interval;
            }
            let phase = self.shared.phase.load(Ordering::Relaxed);
            if phase == ENDING {
                return Ok(());
            }
            stream.write_all(self.requests.as_bytes()).await?;
            let mut is_last = false;
            for _ in 0..self.pipelined {
                while !buffer.has_answer()? {
                    let count = stream.read(buffer.space()).await?;
                    buffer.take(count)?;
                }
                let answer = buffer.answer()?;
                if answer.status != 200 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                is_last = answer.is_last;
            }
            // More than was asked for is nobody's answer.
            if !buffer.is_empty() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.answered
                .0
                .fetch_add(self.pipelined as u64, Ordering::Relaxed);
            if !*is_ready {
                *is_ready = true;
                self.shared.ready.fetch_add(1, Ordering::Relaxed);
            }
            if is_last {
                return Ok(());
            }
            let now = Instant::now();
            if let Some(last) = last.filter(|_| phase == COUNTING) {
                self.tally.borrow_mut().gaps.add(now - last);
            }
            last = Some(now);
        }
    }
}

/// Gaps between answers, in steps of 10 µs up to a second.
#[derive(Default)]
struct Gaps {
    steps: Vec<u64>,
    max: Duration,
}

const STEP: Duration = Duration::from_micros(10);
const STEPS: usize = 100_000;

impl Gaps {
    fn new() -> Self {
        Self {
            steps: vec![0; STEPS],
            max: Duration::ZERO,
        }
    }

    fn add(&mut self, gap: Duration) {
        let step = (gap.as_micros() / STEP.as_micros()) as usize;
        self.steps[step.min(STEPS - 1)] += 1;
        self.max = self.max.max(gap);
    }

    fn merge(&mut self, other: &Self) {
        for (step, more) in self.steps.iter_mut().zip(&other.steps) {
            *step += more;
        }
        self.max = self.max.max(other.max);
    }

    /// In milliseconds, rounded up to a step.
    fn quantile(&self, q: f64) -> f64 {
        let all: u64 = self.steps.iter().sum();
        let mut left = (q * all as f64).ceil() as u64;
        let step = self.steps.iter().position(|count| {
            left = left.saturating_sub(*count);
            left == 0
        });
        (step.unwrap_or(STEPS) + 1) as f64 * STEP.as_secs_f64() * 1000.0
    }
}
