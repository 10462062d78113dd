//! nginx, where it is installed: answers every request with the same text, as fast as it can.

use std::{
    fs,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::{http::PATIENCE, process::Process, requests::Measured};

pub struct Nginx {
    /// Its workers, one process each, are its children.
    master: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    /// What it calls itself; `None` where it is not installed.
    pub fn version() -> anyhow::Result<Option<String>> {
        match Command::new("nginx").arg("-v").output() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            output => {
                let said = output.context("nginx -v")?.stderr;
                let said = String::from_utf8_lossy(&said).trim().to_owned();
                Ok(Some(said.replace("nginx version: ", "")))
            }
        }
    }

    /// Starts it, and waits until it accepts.
    pub fn start(workers: usize) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let address = free_address()?;
        let path = folder.path().display();
        let settings = format!(
            "worker_processes {workers};\ndaemon off;\npid {path}/pid;\nerror_log {path}/error;\n\
             events {{ worker_connections 8192; }}\n\
             http {{ access_log off; keepalive_requests 1000000000;\n\
             client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c;\n\
             uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;\n\
             server {{ listen {address} backlog=4096; default_type text/plain;\n\
             location / {{ return 200 'Before hot reload'; }} }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, settings)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&file).arg("-p").arg(folder.path());
        let master = Process::start(command.stderr(Stdio::null()))?;
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(started.elapsed() < PATIENCE, "nginx does not accept");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Self {
            master,
            address,
            _folder: folder,
        })
    }
}

impl Measured for Nginx {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn cpu(&self) -> anyhow::Result<Duration> {
        self.master.cpu_of_children()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // By a signal that it passes on: its workers would outlive a killed master.
        let _ = self.master.signal(rustix::process::Signal::TERM);
        let _ = self.master.child().wait();
    }
}

/// Where nobody listened a moment ago: nginx does not say which port 0 has become.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
