//! What this program is as a child process of itself: a server of either side, or the load.
//!
//! All servers have the same routes and workers, and but for the bare one the same timeouts: they
//! differ in what runs them.

use std::{
    env,
    error::Error,
    ffi::OsStr,
    io::{self, Read as _},
    net::SocketAddr,
    path::PathBuf,
    process::{self, Command},
    thread,
    time::Duration,
};

use actix_files::Files;
use actix_web::{App, HttpResponse, HttpServer, body::SizedStream, web};
use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use everup::{Build, Diagnostic, Service, Settings, Sources, StopMode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    bare,
    figure::Side,
    load::{self, Exchange},
};

/// The first argument of a process in a role.
const ROLE: &str = "role";

/// Of both servers.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Parser)]
pub enum Role {
    /// An author's service on the library.
    Everup {
        workers: usize,
        /// Also speaks HTTP/2 by prior knowledge.
        #[arg(long)]
        h2c: bool,
    },
    /// actix-web's own server.
    Stock {
        workers: usize,
        /// A directory that actix-files serves below `/files/`.
        #[arg(long)]
        files: Option<PathBuf>,
    },
    /// An App served by the `h2` crate alone.
    Bare { workers: usize },
    /// Clients that keep a server busy until standard input ends.
    Load {
        address: SocketAddr,
        clients: usize,
        /// Requests per second, of all clients; without it, as many as they can.
        #[arg(long)]
        rate: Option<f64>,
        #[command(flatten)]
        exchange: Exchange,
    },
}

impl Role {
    /// An author's service, on HTTP/1.
    pub fn everup(workers: usize) -> Self {
        Self::Everup {
            workers,
            h2c: false,
        }
    }

    /// The same on actix-web's own server, without files.
    pub fn stock(workers: usize) -> Self {
        Self::Stock {
            workers,
            files: None,
        }
    }

    /// Both, where they are compared: ours, and stock.
    pub fn of(side: Side, workers: usize) -> Self {
        match side {
            Side::Ours => Self::everup(workers),
            Side::Other => Self::stock(workers),
        }
    }

    /// The role that this process was started in.
    pub fn of_this_process() -> Option<Self> {
        let is_in_role = env::args().nth(1).is_some_and(|first| first == ROLE);
        is_in_role.then(|| Self::parse_from(env::args().skip(1)))
    }

    /// What starts this program in that role.
    pub fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(ROLE);
        match self {
            Self::Everup { workers, h2c } => {
                command.args(["everup", &workers.to_string()]);
                command.args(h2c.then_some("--h2c"))
            }
            Self::Bare { workers } => command.args(["bare", &workers.to_string()]),
            Self::Stock { workers, files } => {
                command.args(["stock", &workers.to_string()]);
                command.args(
                    files
                        .iter()
                        .flat_map(|files| [OsStr::new("--files"), files.as_os_str()]),
                )
            }
            Self::Load {
                address,
                clients,
                rate,
                exchange,
            } => {
                command.args(["load", &address.to_string(), &clients.to_string()]);
                command.args(["--path", &exchange.path]);
                command.args(["--pipelined", &exchange.pipelined.to_string()]);
                command.args(exchange.body.map(|length| format!("--body={length}")));
                command.args(rate.map(|rate| format!("--rate={rate}")))
            }
        };
        Ok(command)
    }

    pub fn play(self) -> anyhow::Result<()> {
        match self {
            Self::Everup { workers, h2c } => everup(workers, h2c),
            Self::Stock { workers, files } => stock(workers, files),
            Self::Bare { workers } => {
                exit_with_parent();
                bare::serve(workers, say_serving)
            }
            Self::Load {
                address,
                clients,
                rate,
                exchange,
            } => load::run(address, &exchange, clients, rate),
        }
    }
}

pub fn routes(app: &mut web::ServiceConfig) {
    app.route("/", web::get().to(answer))
        .route("/", web::post().to(answer))
        .route("/read", web::post().to(read))
        .route("/large", web::get().to(large))
        .route("/stream", web::get().to(stream));
}

/// Reads nothing of the request's body.
async fn answer() -> &'static str {
    "Before hot reload"
}

async fn read(body: Bytes) -> String {
    body.len().to_string()
}

/// 100 KiB at once.
async fn large() -> &'static [u8] {
    &[b'x'; 100 * 1024]
}

/// 1 MiB, 16 KiB at a time.
async fn stream() -> HttpResponse {
    const PIECE: &[u8] = &[b'x'; 16 * 1024];
    const PIECES: usize = 64;
    let pieces = (0..PIECES).map(|_| Ok::<_, io::Error>(Bytes::from_static(PIECE)));
    let body = SizedStream::new(
        (PIECES * PIECE.len()) as u64,
        futures_util::stream::iter(pieces),
    );
    HttpResponse::Ok().body(body)
}

/// A service that has nothing to set.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Plain {}

impl Settings for Plain {
    const NAME: &'static str = "plain";
    type State = ();

    async fn build(&self, _: &Build) -> Result<(), Box<dyn Error>> {
        Ok(())
    }
}

fn everup(workers: usize, h2c: bool) -> anyhow::Result<()> {
    let seconds = |duration: Duration| format!("{}s", duration.as_secs());
    let sources = Sources::builtin()
        .set("server.workers", &workers.to_string())
        .set("server.keep_alive", &seconds(KEEP_ALIVE))
        .set("server.client_request_timeout", &seconds(REQUEST_TIMEOUT))
        .set("server.listeners.public.address", "127.0.0.1:0")
        .set("server.listeners.public.h2c", &h2c.to_string())
        .set("admin.address", "");
    let running = Service::<Plain>::new(|| App::new().configure(routes))
        .start(sources)
        .map_err(|wrong| {
            let wrong: Vec<String> = wrong.iter().map(Diagnostic::to_string).collect();
            anyhow::anyhow!(wrong.join("\n"))
        })?;
    say_serving(
        running
            .address("public")
            .context("the address of a listener")?,
    );
    until_parent_ends();
    running.control().stop(StopMode::Now);
    Ok(())
}

fn stock(workers: usize, files: Option<PathBuf>) -> anyhow::Result<()> {
    exit_with_parent();
    actix_web::rt::System::new().block_on(async {
        let app = move || {
            let files = files.clone().map(|root| Files::new("/files", root));
            App::new().configure(|app| {
                routes(app);
                if let Some(files) = files {
                    app.service(files);
                }
            })
        };
        let server = HttpServer::new(app)
            .workers(workers)
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(REQUEST_TIMEOUT)
            .bind(("127.0.0.1", 0))?;
        // It listens already: who connects before it runs waits in the backlog.
        say_serving(server.addrs()[0]);
        Ok(server.run().await?)
    })
}

fn say_serving(address: SocketAddr) {
    eprintln!("serving: listener public on {address}");
}

fn exit_with_parent() {
    thread::spawn(|| {
        until_parent_ends();
        process::exit(0);
    });
}

/// Waits for the end of standard input, which the parent holds open as long as it lives.
pub fn until_parent_ends() {
    // An error ends it too.
    let _ = io::stdin().read_to_end(&mut Vec::new());
}
