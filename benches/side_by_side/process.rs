//! Child processes: started, watched through /proc, ended with whoever holds them.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    process::{Child, ChildStderr, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::{
    param::clock_ticks_per_second,
    process::{Pid, Signal, kill_process},
};

use crate::http::PATIENCE;

/// A child process that does not outlive this.
pub struct Process {
    child: Child,
    /// Its standard input: our own roles end when it does, should this process be killed.
    pub lifeline: Option<ChildStdin>,
}

impl Process {
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let lifeline = child.stdin.take();
        Ok(Self { child, lifeline })
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The CPU time that it has used.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu_of(self.child.id())
    }

    /// The CPU time that its children have used, as long as they live.
    pub fn cpu_of_children(&self) -> anyhow::Result<Duration> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let children = children.split_whitespace();
        children.map(|child| cpu_of(child.parse()?)).sum()
    }

    /// Its resident memory in MiB.
    pub fn memory(&self) -> anyhow::Result<f64> {
        self.mebibytes("VmRSS:")
    }

    /// The most that it has been.
    pub fn peak_memory(&self) -> anyhow::Result<f64> {
        self.mebibytes("VmHWM:")
    }

    fn mebibytes(&self, name: &str) -> anyhow::Result<f64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: f64 = kibibytes.context("/proc/PID/status")?.parse()?;
        Ok(kibibytes / 1024.0)
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// How long it takes from SIGTERM until it is gone.
    pub fn stop(mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        self.signal(Signal::TERM)?;
        let status = self.child.wait()?;
        let took = start.elapsed();
        ensure!(status.success(), "stopped: {status}");
        Ok(took)
    }

    fn proc(&self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(&path).context(path)
    }
}

/// The CPU time that a process has used.
fn cpu_of(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).context(path)?;
    // Its name, in brackets, may hold spaces; behind it the state is field 3 of proc(5).
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(str::parse::<u64>).sum::<Result<_, _>>()?;
    let seconds = ticks as f64 / clock_ticks_per_second() as f64;
    Ok(Duration::from_secs_f64(seconds))
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail where it has ended, and that is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server process that serves.
pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
    /// Of everup's admin API.
    pub admin: Option<SocketAddr>,
    /// Its standard error, where nobody reads that any more.
    _unread: Option<BufReader<ChildStderr>>,
}

/// What becomes of a server's standard error once it serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// It is read to its end.
    Reads,
    /// It stays open and is not read.
    Stalls,
}

impl Server {
    /// Starts it, and waits for the line on its standard error that says where it serves.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        Self::start_with(command, Reader::Reads)
    }

    /// As [`start`](Self::start).
    pub fn start_with(command: &mut Command, reader: Reader) -> anyhow::Result<Self> {
        let mut process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::piped()))?;
        let stderr = process.child.stderr.take().context("piped")?;
        let (said, says) = mpsc::channel();
        let (left, leaves) = mpsc::channel();
        thread::spawn(move || {
            let mut stderr = BufReader::new(stderr);
            // To the end, though nobody may listen any more: a full pipe would stall the server.
            for line in stderr.by_ref().lines().map_while(Result::ok) {
                let is_serving = address_after(&line, SERVING).is_some();
                let _ = said.send(line);
                if is_serving && reader == Reader::Stalls {
                    break;
                }
            }
            let _ = left.send(stderr);
        });
        let mut lines = Vec::new();
        loop {
            let Ok(line) = says.recv_timeout(PATIENCE) else {
                bail!("{command:?} does not serve: {}", lines.join("\n"));
            };
            if let Some(address) = address_after(&line, SERVING) {
                return Ok(Self {
                    process,
                    address,
                    admin: address_after(&line, "admin on "),
                    _unread: match reader {
                        Reader::Reads => None,
                        Reader::Stalls => Some(leaves.recv_timeout(PATIENCE)?),
                    },
                });
            }
            lines.push(line);
        }
    }
}

/// Before a server's address.
const SERVING: &str = "listener public on ";

fn address_after(line: &str, words: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(words)?;
    rest.split([',', ' ']).next()?.parse().ok()
}
