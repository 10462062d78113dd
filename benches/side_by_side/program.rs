//! The program everup, on a settings directory of its own, and its operator.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    http::Client,
    process::{Process, Reader, Server},
};

/// Whatever else is set: ports that are free.
const PORTS: &str = "server.listeners.public.address = '127.0.0.1:0'
admin.address = '127.0.0.1:0'
";

pub struct Program {
    pub server: Server,
    folder: TempDir,
    admin: Option<Client>,
    /// Messages written until now.
    written: u64,
}

/// What it says of itself.
#[derive(Deserialize)]
pub struct Status {
    pub generation: u64,
    pub workers: Vec<Worker>,
}

#[derive(Deserialize)]
pub struct Worker {
    pub connections: u64,
}

#[derive(Deserialize)]
struct Attempt {
    outcome: String,
}

impl Program {
    /// Starts it on these settings, in TOML with dotted keys, then tables.
    pub fn start(settings: &str) -> anyhow::Result<Self> {
        Self::start_with(settings, Reader::Reads)
    }

    /// As [`start`](Self::start).
    pub fn start_with(settings: &str, reader: Reader) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        fs::write(
            folder.path().join("default.toml"),
            format!("{PORTS}{settings}"),
        )?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_everup"));
        let server = Server::start_with(command.arg("--settings").arg(folder.path()), reader)?;
        Ok(Self {
            server,
            folder,
            admin: None,
            written: 0,
        })
    }

    /// Replaces the message by another of the same length, as an editor should: by rename.
    pub fn change(&mut self) -> anyhow::Result<String> {
        self.written += 1;
        let message = format!("message {:010}", self.written);
        self.replace("local.toml", &format!("app.message = '{message}'\n"))?;
        Ok(message)
    }

    /// Replaces the settings that it was started on.
    pub fn write(&mut self, settings: &str) -> anyhow::Result<()> {
        self.replace("default.toml", &format!("{PORTS}{settings}"))
    }

    fn replace(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let new = self.folder.path().join("new");
        fs::write(&new, text)?;
        fs::rename(new, self.folder.path().join(file))?;
        Ok(())
    }

    /// Has it log to a file, emptied first, from now on.
    pub fn log_to(&mut self, file: &Path) -> anyhow::Result<()> {
        fs::write(file, "")?;
        let setting = format!("logging.file = '{}'\n", file.display());
        fs::write(self.folder.path().join("local.toml"), setting)?;
        self.reload().map(drop)
    }

    /// Asks for a reload by SIGHUP, and does not wait for it.
    pub fn hang_up(&self) -> anyhow::Result<()> {
        self.server.process.signal(Signal::HUP)
    }

    /// Asks for a reload of what has changed, waits until it is applied, and says how long it took.
    pub fn reload(&mut self) -> anyhow::Result<Duration> {
        self.attempt("POST /reload")
    }

    /// Goes back to the generation before the one that is served, and says how long it took.
    pub fn roll_back(&mut self) -> anyhow::Result<Duration> {
        let before = self.status()?.generation - 1;
        self.attempt(&format!("POST /rollback?generation={before}"))
    }

    fn attempt(&mut self, request: &str) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let answer = self.admin()?.ask(request)?;
        let took = start.elapsed();
        let Attempt { outcome } = serde_json::from_slice(answer)?;
        ensure!(outcome == "applied", "{request}: {outcome}");
        Ok(took)
    }

    pub fn status(&mut self) -> anyhow::Result<Status> {
        Ok(serde_json::from_slice(self.admin()?.ask("GET /status")?)?)
    }

    pub fn process(self) -> Process {
        self.server.process
    }

    fn admin(&mut self) -> anyhow::Result<&mut Client> {
        if self.admin.is_none() {
            let address = self.server.admin.context("the address of the admin API")?;
            self.admin = Some(Client::connect(address)?);
        }
        self.admin.as_mut().context("connected above")
    }
}
