//! The built program as a child process: its log, its addresses, its admin API, its end. How it is started is
//! `setup`'s.
use super::{
    Address, AttemptLine, Books, CEILING, Conn, Log, Response, Setup, StopReport, eventually,
    replace, request, setup::complete,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::HashMap,
    io,
    os::unix::{
        fs::MetadataExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::PathBuf,
    process::{Child, ExitStatus},
};
use tempfile::TempDir;

/// The exit code, or 128 and the signal that ended the process.
pub(super) fn code(status: ExitStatus) -> i32 {
    let signal = || 128 + status.signal().unwrap_or_default();
    status.code().unwrap_or_else(signal)
}

/// A program that runs; killed when dropped, and its log shown where the test fails.
pub struct Program {
    pub(super) child: Child,
    /// The process that serves: the child, or the newest successor.
    pub(super) pid: u32,
    /// Processes that took over, oldest first.
    pub(super) successors: Vec<u32>,
    home: TempDir,
    pub(super) log: Log,
    listeners: HashMap<String, Address>,
    admin: Option<Address>,
}

impl Program {
    /// A child in this folder, whose standard error is piped.
    pub(super) fn of(mut child: Child, home: TempDir) -> Self {
        let log = Log::follow(child.stderr.take().expect("standard error is piped"));
        Self {
            pid: child.id(),
            child,
            successors: Vec::new(),
            home,
            log,
            listeners: HashMap::new(),
            admin: None,
        }
    }

    /// Starts it on this `default.toml` (see [`Setup::new`]) and waits until it serves.
    pub fn serve(settings: &str) -> Self {
        Setup::new(settings).serve()
    }

    /// Learns the real addresses from
    /// `serving: listener public on 127.0.0.1:41234, admin on 127.0.0.1:41235, generation 1, …`.
    pub fn wait_serving(&mut self) {
        self.wait_serving_as(self.pid);
    }

    /// As [`Program::wait_serving`], of a process that takes itself for that pid.
    pub fn wait_serving_as(&mut self, pid: u32) {
        let pid = format!(", pid {pid}");
        let line = self.wait_line("serving", |line| {
            line.contains("serving: ") && line.trim_end_matches("\"}").ends_with(&pid)
        });
        let (_, text) = line.split_once("serving: ").expect("it was waited for");
        for part in text.split(", ") {
            let Some((who, address)) = part.split_once(" on ") else {
                continue;
            };
            let address = Address::parse(address)
                .unwrap_or_else(|| panic!("no address in {part:?} of {line:?}"));
            match who.strip_prefix("listener ") {
                Some(name) => {
                    let address = self.beneath_home(address);
                    self.listeners.insert(name.into(), address);
                }
                None if who == "admin" => self.admin = Some(self.beneath_home(address)),
                None => {}
            }
        }
    }

    /// The address of the listener `public`.
    pub fn public(&self) -> &Address {
        &self.listeners["public"]
    }

    /// The address of a listener.
    pub fn listener(&self, name: &str) -> &Address {
        &self.listeners[name]
    }

    pub fn admin(&self) -> &Address {
        self.admin
            .as_ref()
            .expect("the program has an admin listener")
    }

    /// The process that serves.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// The folder that it works in.
    pub fn home(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    pub fn settings(&self) -> PathBuf {
        self.home.path().join("settings")
    }

    /// Replaces `default.toml` by rename, its listeners and admin as in [`Setup::new`].
    pub fn edit(&self, settings: &str) {
        self.write("default.toml", complete(settings));
    }

    /// Removes a settings file.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.settings().join(name)).expect("remove a settings file");
    }

    /// Replaces a settings file by rename.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        replace(&self.settings().join(name), bytes);
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a child has a pid");
        kill_process(pid, signal)
            .unwrap_or_else(|error| panic!("{signal:?}: {error}\n{}", self.log()));
    }

    /// Gives the process another limit, such as `--nproc=1:` (soft and hard, as prlimit(1) takes them).
    pub fn limit(&self, limit: &str) {
        let owner = std::fs::metadata(format!("/proc/{}", self.id())).expect("it lives");
        let mut command = std::process::Command::new("prlimit");
        command.args(["--pid", &self.id().to_string(), limit]);
        // Root may not do it for another user's process in a container.
        command.uid(owner.uid()).gid(owner.gid());
        let done = command.status();
        assert!(done.is_ok_and(|status| status.success()), "{command:?}");
    }

    /// A new connection to `public`.
    pub fn connect(&self) -> Conn {
        Conn::open(self.public())
    }

    /// `GET path` at `public` on a connection of its own.
    pub fn get(&self, path: &str) -> Response {
        let mut conn = self.connect();
        conn.send(&request("GET", path, &[("Connection", "close")], b""));
        conn.read()
            .unwrap_or_else(|error| self.fail(&format!("GET {path}: {error}")))
    }

    /// One request at the admin listener on a connection of its own.
    pub fn admin_ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let asked = Conn::dial(self.admin()).and_then(|mut conn| {
            conn.write(&request(method, path, headers, b""))?;
            conn.read()
        });
        asked.unwrap_or_else(|error| self.fail(&format!("{method} {path} at admin: {error}")))
    }

    /// `POST path` at the admin listener.
    pub fn post(&self, path: &str) -> Response {
        self.admin_ask("POST", path, &[])
    }

    /// `POST /reload`: its status code and answer.
    pub fn reload(&self) -> (u16, Value) {
        let answer = self.post("/reload");
        (answer.status, answer.json())
    }

    /// A reload that must be applied; its answer.
    pub fn reload_applied(&self) -> Value {
        let (status, attempt) = self.reload();
        assert_eq!(
            (status, &attempt["outcome"]),
            (200, &"applied".into()),
            "{attempt:#}"
        );
        attempt
    }

    pub fn status(&self) -> Value {
        let answer = self.admin_ask("GET", "/status", &[]);
        assert_eq!(answer.status, 200, "GET /status: {}", answer.text());
        answer.json()
    }

    pub fn books(&self) -> Books {
        Books::of(&self.status()["requests"])
    }

    pub fn readyz(&self) -> u16 {
        self.admin_ask("GET", "/readyz", &[]).status
    }

    /// Waits until so many requests are in flight. A client may hold an answer a moment before the books
    /// do: where the next request is to be waited for, wait for 0 first.
    pub fn wait_in_flight(&self, count: u64) {
        eventually(&format!("{count} requests in flight"), || {
            let books = self.books();
            (books.in_flight == count).then_some(())
        });
    }

    /// Waits until so many connections are open at all listeners.
    pub fn wait_open(&self, count: u64) {
        eventually(&format!("{count} connections"), || {
            let status = self.status();
            let listeners = status["listeners"].as_array()?.iter();
            let open: u64 = listeners.filter_map(|it| it["connections"].as_u64()).sum();
            (open == count).then_some(())
        });
    }

    /// Waits until so many connections are open.
    pub fn wait_connections(&self, count: u64) {
        eventually(&format!("{count} connections"), || {
            let connections = &self.status()["listeners"][0]["connections"];
            (*connections == count).then_some(())
        });
    }

    /// Stops the process as SIGSTOP does, and waits until it stands.
    pub fn suspend(&self) {
        self.suspend_by(Signal::STOP);
    }

    /// Stops the process by this signal, and waits until it stands.
    pub fn suspend_by(&self, signal: Signal) {
        self.signal(signal);
        let stat = format!("/proc/{}/stat", self.id());
        eventually("the process to stand still", || {
            let stat = std::fs::read_to_string(&stat).expect("it is alive");
            stat.rsplit_once(") ")
                .is_some_and(|(_, state)| state.starts_with('T'))
                .then_some(())
        });
    }

    /// Waits until a stop has begun.
    pub fn wait_stopping(&self) {
        eventually("/readyz to say 503", || {
            (self.readyz() == 503).then_some(())
        });
    }

    /// Waits for a line with that text, from the start of the log.
    pub fn wait_log(&self, text: &str) -> String {
        self.wait_line(text, |line| line.contains(text))
    }

    /// Waits for a line with that text, after a [`Program::mark`].
    pub fn wait_after(&self, mark: usize, text: &str) -> String {
        let line = self.log.wait(mark, CEILING, |line| line.contains(text));
        line.unwrap_or_else(|| self.fail(&format!("no line with {text:?} in the log")))
    }

    /// Waits for a line that `is` accepts, from the start of the log.
    pub fn wait_line(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let line = self.log.wait(0, CEILING, is);
        line.unwrap_or_else(|| self.fail(&format!("no line with {what:?} in the log")))
    }

    /// Waits for the line of the next attempt with that outcome after a [`Program::mark`].
    pub fn wait_attempt(&self, mark: usize, outcome: &str) -> AttemptLine {
        let is =
            |line: &str| AttemptLine::parse(line).is_some_and(|attempt| attempt.outcome == outcome);
        let line = self.log.wait(mark, CEILING, is);
        let line = line.unwrap_or_else(|| self.fail(&format!("no attempt became {outcome}")));
        AttemptLine::parse(&line).expect("it was accepted")
    }

    /// How many lines the log has so far.
    pub fn mark(&self) -> usize {
        self.log.mark()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.log.lines().join("\n")
    }

    /// How many lines of the log so far have that text.
    pub fn count_log(&self, text: &str) -> usize {
        self.log
            .lines()
            .iter()
            .filter(|line| line.contains(text))
            .count()
    }

    /// The reports of all processes that have ended so far.
    pub fn reports(&self) -> Vec<StopReport> {
        let lines = self.log.lines();
        lines
            .iter()
            .filter_map(|line| StopReport::parse(line))
            .collect()
    }

    /// The attempts that the log tells of so far.
    pub fn attempts(&self) -> Vec<AttemptLine> {
        self.log
            .lines()
            .iter()
            .filter_map(|line| AttemptLine::parse(line))
            .collect()
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.child.try_wait();
        ended.expect("a child can be waited for").is_some()
    }

    /// Waits for the end of the process: its exit code, or 128 and the signal that ended it.
    pub fn wait_exit(&mut self) -> i32 {
        if !self.log.wait_end(CEILING) {
            self.fail("the program does not end")
        }
        code(self.child.wait().expect("a child can be waited for"))
    }

    /// Asks for a graceful stop by SIGTERM, waits for exit code 0, and reads the report.
    pub fn stop(&mut self) -> StopReport {
        self.signal(Signal::TERM);
        self.expect_exit(0);
        self.report()
    }

    pub fn expect_exit(&mut self, code: i32) {
        let found = self.wait_exit();
        assert_eq!(found, code, "exit code; the log:\n{}", self.log());
    }

    /// The report with which the log of a stopped program ends.
    pub fn report(&self) -> StopReport {
        let line = self.wait_log("stopped: ");
        StopReport::parse(&line).unwrap_or_else(|| self.fail(&format!("no report in {line:?}")))
    }

    /// Fails the test, with the program's log.
    pub fn fail(&self, what: &str) -> ! {
        panic!("{what}; the log:\n{}", self.log())
    }

    fn beneath_home(&self, address: Address) -> Address {
        match address {
            Address::Unix(path) => Address::Unix(self.home.path().join(path)),
            tcp => tcp,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may be over already: then there is nothing to kill.
        let _over: io::Result<()> = self.child.kill();
        let _over = self.child.wait();
        for &successor in &self.successors {
            let successor = i32::try_from(successor).ok().and_then(Pid::from_raw);
            let _over = successor.map(|successor| kill_process(successor, Signal::KILL));
        }
        if std::thread::panicking() {
            eprintln!("--- log of pid {} ---\n{}\n---", self.id(), self.log());
        }
    }
}
