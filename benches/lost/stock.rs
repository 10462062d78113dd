//! actix-web's own server, reloaded as well as it can be: a new `HttpServer` on the same listening
//! socket takes over, then the old one is stopped gracefully.

use std::{
    env,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
};

use actix_web::{App, HttpServer, dev::ServerHandle, web};
use futures_util::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook_tokio::Signals;

use crate::support::Address;

/// The first argument of a process in this role.
pub const ROLE: &str = "stock";

/// Of either side.
pub const WORKERS: usize = 2;

/// The role's process, seen from outside.
pub struct Stock {
    child: Child,
    says: BufReader<ChildStdout>,
    address: Address,
}

impl Stock {
    pub fn start() -> Self {
        let mut child = Command::new(env::current_exe().expect("this program has a path"))
            .arg(ROLE)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let mut says = BufReader::new(child.stdout.take().expect("piped"));
        let address = Address::parse(&line(&mut says)).expect("it says where it listens");
        Self {
            child,
            says,
            address,
        }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits until the new server has taken over and the old one has stopped.
    pub fn reload(&mut self) {
        self.signal(Signal::HUP);
        assert_eq!(line(&mut self.says), "reloaded");
    }

    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        self.child.wait().expect("a child can be waited for");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is alive");
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        // Fails where it has ended, and that is what it is for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(says: &mut impl BufRead) -> String {
    let mut line = String::new();
    says.read_line(&mut line).expect("it speaks UTF-8");
    line.trim_end().to_owned()
}

/// Serves until SIGTERM; SIGHUP reloads.
pub fn play() -> ExitCode {
    let played = actix_web::rt::System::new().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut signals = Signals::new([SIGHUP, SIGTERM])?;
        let mut serving = serve(&listener)?;
        println!("{}", listener.local_addr()?);
        while let Some(SIGHUP) = signals.next().await {
            let old = std::mem::replace(&mut serving, serve(&listener)?);
            old.stop(true).await;
            println!("reloaded");
        }
        drop(listener);
        serving.stop(true).await;
        std::io::Result::Ok(())
    });
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(listener: &TcpListener) -> std::io::Result<ServerHandle> {
    let server = HttpServer::new(|| App::new().route("/", web::get().to(async || "0")))
        .workers(WORKERS)
        .disable_signals()
        .listen(listener.try_clone()?)?
        .run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok(handle)
}
