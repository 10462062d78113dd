//! Processes that take over from the program: found, followed, waited for; and what is put in the
//! program's place for them to be.
use super::{CEILING, Program, eventually};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::{fs, os::unix::process::ExitStatusExt, path::Path, process::Command};

impl Program {
    /// Learns of the next process that took over, after a [`Program::mark`], and where it serves;
    /// from now on this is about that one. Its exit can be waited for where the test has called
    /// [`Program::adopt_successors`] before.
    pub fn wait_successor(&mut self, mark: usize) -> u32 {
        let line = self
            .log
            .wait(mark, CEILING, |line| line.contains(" upgraded: pid "))
            .unwrap_or_else(|| self.fail("nobody took over"));
        let (_, rest) = line
            .split_once("upgraded: pid ")
            .expect("it was waited for");
        let (pid, _) = rest.split_once(' ').expect("more follows");
        self.adopt(pid.parse().expect("a pid"));
        self.wait_serving();
        self.pid
    }

    /// The next process that serves, after a [`Program::mark`]; `None` where the last one has ended.
    pub fn next_to_serve(&self, mark: usize) -> Option<u32> {
        let line = self
            .log
            .wait(mark, CEILING, |line| line.contains(" serving: "))?;
        let (_, pid) = line.rsplit_once(", pid ").expect("it says which");
        Some(pid.parse().expect("a pid"))
    }

    /// From now on this is about that process.
    pub fn adopt(&mut self, pid: u32) {
        self.pid = pid;
        self.successors.push(pid);
    }

    /// Makes this test the parent of processes that outlive theirs, so that it can wait for them.
    pub fn adopt_successors() {
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own)).expect("any process may");
    }

    /// The exit code of the first process, or 128 and its signal, while others live on.
    pub fn wait_first_exit(&mut self) -> i32 {
        let child = &mut self.child;
        let status = eventually("the first process to end", || {
            child.try_wait().expect("a child can be waited for")
        });
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }

    /// The exit code of a process that took over, or 128 and its signal.
    pub fn wait_successor_exit(&self, pid: u32) -> i32 {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let status = eventually("a process that took over to end", || {
            // Not ours to wait for until its parent, the process before it, has ended.
            waitpid(pid, WaitOptions::NOHANG).ok().flatten()
        });
        let (_, status) = status;
        let code = status.exit_status();
        code.unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or_default())
    }
}

/// Puts a script into a program's place, by rename.
pub fn replace_program(program: &Path, script: &str) {
    let (text, beside) = (
        program.with_extension("text"),
        program.with_extension("next"),
    );
    fs::write(&text, script).expect("write a script");
    install(&text, &beside);
    fs::rename(&beside, program).expect("rename it into place");
}

/// Copies a file and makes it a program. Another process does it: one that this process forks
/// meanwhile would hold the copy open for writing, and it could not be started.
pub fn install(from: &Path, to: &Path) {
    let mut command = Command::new("install");
    let status = command.args(["-m", "755"]).args([from, to]).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "install {from:?}"
    );
}
