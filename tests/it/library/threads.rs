//! What handlers leave on the threads of workers, and what they may stop there.
use super::{reload, wait};
use crate::support::{Address, Conn, Load, eventually, replace, request};
use actix_rt::{Arbiter, System};
use actix_web::{App, HttpResponse, web};
use everup::{Build, Lifecycle, Running, Service, Settings, Sources, StopMode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    error::Error,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, ThreadId},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
};

#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Plain {}

impl Settings for Plain {
    const NAME: &'static str = "plain";
    type State = ();

    async fn build(&self, _: &Build) -> Result<(), Box<dyn Error>> {
        Ok(())
    }
}

fn text(workers: usize) -> String {
    format!(
        "server.workers = {workers}\nserver.listeners.public.address = \"127.0.0.1:0\"\n\
         admin.address = \"\"\n"
    )
}

/// A service on a folder of its own, with so many workers.
struct Stand {
    folder: TempDir,
    running: Running,
}

impl Stand {
    fn open(service: Service<Plain>, workers: usize) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        fs::write(folder.path().join("default.toml"), text(workers)).expect("write the settings");
        let running = service.start(Sources::at(folder.path()));
        let running = running.unwrap_or_else(|errors| panic!("it does not start: {errors:?}"));
        Self { folder, running }
    }

    fn address(&self) -> Address {
        self.running.address("public").expect("it listens").into()
    }

    /// Waits until the service has so many workers, and none that goes.
    fn change_workers(&self, count: usize) {
        replace(&self.folder.path().join("default.toml"), text(count));
        let control = self.running.control();
        assert_eq!(reload(&control)["outcome"], "applied");
        eventually("workers that go to be gone", || {
            let status = wait(control.status()).expect("it runs");
            (status.inspection.workers.len() == count).then_some(())
        });
    }
}

/// A server that gives back each byte.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one");
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("a client");
            thread::spawn(move || {
                let mut byte = [0];
                while client.read_exact(&mut byte).is_ok() && client.write_all(&byte).is_ok() {}
            });
        }
    });
    address
}

/// What all handlers share: connections, each of which is of the runtime that opened it.
struct Pool {
    to: SocketAddr,
    idle: Mutex<Vec<TcpStream>>,
}

impl Pool {
    async fn ask(&self) -> std::io::Result<()> {
        // The oldest first, which another worker has opened.
        let known = {
            let mut idle = self.idle.lock().expect("no panic");
            (!idle.is_empty()).then(|| idle.remove(0))
        };
        let mut conn = match known {
            Some(conn) => conn,
            None => TcpStream::connect(self.to).await?,
        };
        conn.write_all(b"x").await?;
        conn.read_exact(&mut [0]).await?;
        self.idle.lock().expect("no panic").push(conn);
        Ok(())
    }
}

#[test]
fn a_shared_connection_pool_and_spawned_tasks_outlive_the_workers_that_made_them() {
    let pool = Arc::new(Pool {
        to: echo_server(),
        idle: Mutex::default(),
    });
    let go_on = Arc::new(Notify::new());
    let [begun, done] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let shared = (pool, go_on.clone(), begun.clone(), done.clone());
    let service = Service::<Plain>::new(move || {
        let shared = shared.clone();
        let ask = move || {
            let (pool, go_on, begun, done) = shared.clone();
            async move {
                begun.fetch_add(1, SeqCst);
                actix_web::rt::spawn(async move {
                    go_on.notified().await;
                    done.fetch_add(1, SeqCst);
                });
                match pool.ask().await {
                    Ok(()) => HttpResponse::Ok().finish(),
                    Err(error) => HttpResponse::BadGateway().body(error.to_string()),
                }
            }
        };
        App::new().route("/", web::get().to(ask))
    });
    let stand = Stand::open(service, 4);
    let load = Load::kept_alive(32, 2).start(&stand.address());
    for workers in [1, 3, 1] {
        load.wait_answered(load.answered() + 300);
        stand.change_workers(workers);
    }
    load.wait_answered(load.answered() + 300);
    load.stop().assert_nothing_lost();
    eventually("every task that a handler has spawned to go on", || {
        go_on.notify_waiters();
        (done.load(SeqCst) == begun.load(SeqCst)).then_some(())
    });
    stand.running.control().stop(StopMode::Graceful);
    wait(stand.running.finished());
}

/// Apps that there are, and whether one was dropped elsewhere than where it was made.
#[derive(Default)]
struct Apps {
    count: AtomicUsize,
    moved: AtomicUsize,
}

struct OfAnApp(Arc<Apps>, ThreadId);

impl OfAnApp {
    fn new(apps: &Arc<Apps>) -> Self {
        apps.count.fetch_add(1, SeqCst);
        Self(apps.clone(), thread::current().id())
    }
}

impl Drop for OfAnApp {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, SeqCst);
        let is_elsewhere = thread::current().id() != self.1;
        self.0.moved.fetch_add(usize::from(is_elsewhere), SeqCst);
    }
}

#[test]
fn the_app_of_a_worker_that_goes_is_dropped_on_its_thread_and_all_end_with_the_service() {
    let apps = Arc::new(Apps::default());
    let of = apps.clone();
    let service = Service::<Plain>::new(move || App::new().app_data(OfAnApp::new(&of)));
    let stand = Stand::open(service, 4);
    // Another is made for each address that connections are accepted at.
    let wait_apps = |workers: usize| {
        eventually("the Apps of workers that are gone to be dropped", || {
            (apps.count.load(SeqCst) == workers).then_some(())
        });
    };
    for workers in [1, 4, 2] {
        stand.change_workers(workers);
        wait_apps(workers);
    }
    stand.running.control().stop(StopMode::Graceful);
    wait(stand.running.finished());
    wait_apps(0);
    assert_eq!(apps.moved.load(SeqCst), 0);
}

/// How many arbiters of the test's own live.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[test]
fn threads_that_a_worker_has_left_and_arbiters_of_handlers_end_with_an_embedded_service() {
    let alive = Arc::new(AtomicUsize::new(0));
    let of = alive.clone();
    let service = Service::<Plain>::new(move || {
        let alive = of.clone();
        let begin = move || {
            alive.fetch_add(2, SeqCst);
            let [here, there] = [(); 2].map(|()| Alive(alive.clone()));
            actix_web::rt::spawn(async move {
                let _here = here;
                std::future::pending::<()>().await;
            });
            Arbiter::new().spawn(async move {
                let _there = there;
                std::future::pending::<()>().await;
            });
            async { "begun" }
        };
        App::new().route("/", web::get().to(begin))
    });
    let stand = Stand::open(service, 4);
    for _ in 0..16 {
        assert_eq!(Conn::open(&stand.address()).get("/").text(), "begun");
    }
    stand.change_workers(1);
    assert_eq!(alive.load(SeqCst), 32);
    stand.running.control().stop(StopMode::Graceful);
    wait(stand.running.finished());
    eventually("what handlers have begun to end", || {
        (alive.load(SeqCst) == 0).then_some(())
    });
}

/// Handlers that stop what they run on, and one that answers when the service stops.
fn stopping() -> Service<Plain> {
    Service::new(|| {
        App::new()
            .route("/", web::get().to(|| async { "here" }))
            .route(
                "/system",
                web::get().to(|| async {
                    System::current().stop();
                    "stopped"
                }),
            )
            .route(
                "/arbiter",
                web::get().to(|| async {
                    Arbiter::current().stop();
                    std::future::pending::<&str>().await
                }),
            )
            .route(
                "/slow",
                web::get().to(|mut lifecycle: Lifecycle| async move {
                    lifecycle.draining().await;
                    "slow"
                }),
            )
    })
}

#[test]
fn a_handler_that_stops_the_system_ends_the_service_as_failed_and_loses_nothing() {
    let stand = Stand::open(stopping(), 2);
    let mut slow: Vec<Conn> = (0..8).map(|_| Conn::open(&stand.address())).collect();
    for conn in &mut slow {
        conn.send(&request("GET", "/slow", &[], b""));
    }
    assert_eq!(
        Conn::open(&stand.address()).get("/system").text(),
        "stopped"
    );
    for conn in &mut slow {
        assert_eq!(conn.answer().text(), "slow");
    }
    let report = wait(stand.running.finished());
    assert!(report.is_failure, "{report:?}");
    assert_eq!((report.aborted, report.cut), (0, 0), "{report:?}");
    assert_eq!(report.totals.answered, 9, "{report:?}");
}

#[test]
fn a_handler_that_stops_its_arbiter_ends_the_service_as_failed_and_the_other_workers_answer() {
    let stand = Stand::open(stopping(), 2);
    // Each worker has some of them.
    let mut slow: Vec<Conn> = (0..16).map(|_| Conn::open(&stand.address())).collect();
    let mut stops = Conn::open(&stand.address());
    for conn in &mut slow {
        conn.send(&request("GET", "/slow", &[], b""));
    }
    stops.send(&request("GET", "/arbiter", &[], b""));
    let answered = slow.iter_mut().filter_map(|conn| conn.read().ok());
    let answered = answered.filter(|answer| answer.text() == "slow").count() as u64;
    let report = wait(stand.running.finished());
    assert!(report.is_failure, "{report:?}");
    assert!(report.totals.balance(), "{report:?}");
    assert_eq!(report.totals.answered, answered, "{report:?}");
    assert_eq!(report.totals.in_flight + report.cut, 0, "{report:?}");
    assert!(answered > 0, "{report:?}");
}
