//! The controlling terminal: a closed window stops the service, and whoever has none reloads.
use crate::support::{Program, Setup};
use rustix::{
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use std::os::fd::OwnedFd;

/// A terminal's window: dropped, the line is hung up.
struct Window(OwnedFd);

impl Window {
    fn open() -> Self {
        let window = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("open a terminal");
        grantpt(&window).expect("grant the terminal");
        unlockpt(&window).expect("unlock the terminal");
        Self(window)
    }

    /// The program in a session of its own, of which this is the controlling terminal; what it makes of
    /// SIGHUP, it was started with.
    fn serve(&self, hup: &str) -> Program {
        let line = ptsname(&self.0, Vec::new()).expect("a terminal has a name");
        let line = line.to_str().expect("a path in ASCII");
        Setup::new("[app]\nmessage = \"here\"\n")
            .shell(&format!(
                "exec env --{hup}-signal=HUP setsid --ctty \"$0\" \"$@\" < {line}"
            ))
            .serve()
    }
}

#[test]
fn a_closed_window_is_a_graceful_stop_and_hup_before_it_a_reload() {
    let window = Window::open();
    // The tests themselves may run behind nohup.
    let mut program = window.serve("default");
    program.signal(Signal::HUP);
    program.wait_attempt(0, "unchanged");
    drop(window);
    program.expect_exit(0);
    program.wait_log("the controlling terminal has gone away");
    assert_eq!(program.report().cut, 0);
}

#[test]
fn behind_nohup_a_closed_window_is_a_reload_and_no_more() {
    let window = Window::open();
    let mut program = window.serve("ignore");
    let mark = program.mark();
    drop(window);
    program.wait_attempt(mark, "unchanged");
    assert_eq!(program.get("/").text(), "here");
    program.stop();
}
