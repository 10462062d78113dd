//! `kill -9` at moments that are spread over a reload, a stop and an upgrade: the next start has
//! the same port, socket and pid file at once.

use std::{fs, path::PathBuf, thread, time::Duration};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Address, Conn, Load, Program, Setup, eventually};

/// Of each thing that is under way when the kill comes.
const KILLS: u64 = 10;

/// A place that outlives the programs that serve from it.
struct Place {
    home: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            home: TempDir::new().expect("a temporary folder"),
        };
        place.settle("127.0.0.1:0".into());
        let mut first = place.serve();
        let picked = first.public().to_string();
        first.stop();
        place.settle(picked);
        place
    }

    fn settle(&self, address: String) {
        let socket = self.home.path().join("local.sock");
        let settings = format!(
            "admin.address = \"127.0.0.1:0\"\n[shutdown]\nlinger = \"100ms\"\n\
             [server.listeners]\npublic.address = \"{address}\"\n\
             local.address = \"unix:{}\"\n",
            socket.display()
        );
        fs::write(self.file("default.toml"), settings).expect("write the settings");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Starts on the same addresses and the same pid file.
    fn serve(&self) -> Program {
        let program = Setup::empty()
            .unnamed()
            .arg("--settings")
            .arg(self.home.path())
            .arg("--pid-file")
            .arg(self.file("everup.pid"))
            .serve();
        let answers = |to: &Address| assert_eq!(Conn::open(to).get("/").status, 200);
        answers(program.public());
        answers(program.listener("local"));
        let pid = format!("{}\n", program.id());
        eventually("the pid file to name it", || {
            let found = fs::read_to_string(self.file("everup.pid"));
            (found.ok()? == pid).then_some(())
        });
        program
    }
}

/// Kills under load, `begin` having begun what is under way.
fn kills(begin: impl Fn(&Program)) {
    Program::adopt_successors();
    let place = Place::new();
    for step in 0..KILLS {
        let mut program = place.serve();
        let mark = program.mark();
        let load = Load::kept_alive(8, 5).start(program.public());
        load.wait_answered(50);
        load.expect_stop();
        begin(&program);
        // Spread over what takes some milliseconds; no moment has to be met.
        thread::sleep(Duration::from_micros(step * 1_300));
        program.signal(Signal::KILL);
        program.wait_first_exit();
        if let Some(successor) = program.next_to_serve(mark) {
            program.adopt(successor);
            program.signal(Signal::KILL);
        }
        program.wait_exit();
        drop(load);
    }
    place.serve().stop();
}

#[test]
fn killed_during_a_reload() {
    kills(|program| program.signal(Signal::HUP));
}

#[test]
fn killed_during_a_stop() {
    kills(|program| program.signal(Signal::TERM));
}

#[test]
fn killed_during_an_upgrade() {
    kills(|program| program.signal(Signal::USR2));
}
