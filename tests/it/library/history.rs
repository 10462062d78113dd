//! What the library keeps of earlier generations: rollbacks to their settings, what waits for what, and when and where
//! states are dropped.
use super::{
    Stand,
    builds::{fifo, release},
    reload, wait,
};
use crate::support::{Conn, H2, Load, Quiet, eventually, replace, request};
use actix_web::{App, web};
use everup::{Build, Control, Live, Outcome, Service, Settings, Sources, StopMode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    error::Error,
    fs,
    future::{Future as _, poll_fn},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    task::Poll,
    time::Duration,
};
use tempfile::TempDir;

#[test]
fn a_rollback_builds_from_the_settings_that_are_kept_whatever_the_sources_hold() {
    let stand = Stand::open("one", "");
    stand.change("two");
    stand.edit("three", "fail", "");
    let control = stand.running.control();
    let back = wait(control.rollback(1)).expect("it runs");
    assert_eq!((back.outcome, back.generation), (Outcome::Applied, 3));
    assert_eq!(stand.get("/sign").text(), "3 one [one]");
    let none = wait(control.rollback(9)).expect("it runs");
    assert_eq!((none.outcome, none.generation), (Outcome::Rejected, 3));
    let history = wait(control.history()).expect("it runs");
    let numbers: Vec<_> = history.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [4, 3, 2, 1]);
}

#[test]
fn a_rollback_that_waits_may_go_back_to_what_is_served_as_it_is_asked_for() {
    let stand = Stand::open("one", "");
    let fifo = fifo(&stand);
    stand.edit("two", &fifo.display().to_string(), "");
    let control = stand.running.control();
    actix_web::rt::System::new().block_on(async {
        let mut reload = Box::pin(control.reload());
        let mut rollback = Box::pin(control.rollback(1));
        poll_fn(|cx| {
            assert!(reload.as_mut().poll(cx).is_pending());
            assert!(rollback.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        release(&fifo);
        let (reload, rollback) = (
            reload.await.expect("it runs"),
            rollback.await.expect("it runs"),
        );
        assert_eq!((reload.outcome, reload.generation), (Outcome::Applied, 2));
        assert_eq!(
            (rollback.outcome, rollback.generation),
            (Outcome::Applied, 3)
        );
    });
    assert_eq!(stand.get("/sign").text(), "3 one [one]");
}

#[test]
fn a_rollback_too_waits_until_a_build_that_hangs_has_returned() {
    let more = "reload.timeout = \"200ms\"";
    let stand = Stand::open("one", more);
    stand.edit("two", "", more);
    assert_eq!(stand.reload()["outcome"], "applied");
    let fifo = fifo(&stand);
    stand.edit("hangs", &fifo.display().to_string(), more);
    assert_eq!(stand.reload()["outcome"], "rejected");
    let control = stand.running.control();
    let back = wait(control.rollback(1)).expect("it runs");
    assert_eq!(back.outcome, Outcome::Rejected, "{back}");
    assert!(back.to_string().contains("attempt 3, begun at"), "{back}");
    assert_eq!(wait(control.rollback(9)).expect("it runs").errors.len(), 1);
    release(&fifo);
    eventually("a rollback that is carried out", || {
        let back = wait(control.rollback(1)).expect("it runs");
        (back.outcome == Outcome::Applied).then_some(())
    });
    assert_eq!(stand.get("/").text(), "one");
}

#[test]
fn so_many_wait_singly_and_the_others_are_told_to_come_again() {
    let stand = Stand::open("before", "");
    let fifo = fifo(&stand);
    stand.edit("hangs", &fifo.display().to_string(), "");
    let mut asking: Vec<Conn> = (0..40).map(|_| stand.admin()).collect();
    for conn in &mut asking {
        conn.send(&request("POST", "/reload?dry_run=true", &[], b""));
    }
    // One is under way in its build, 16 wait.
    eventually("all others are refused", || {
        let told = asking
            .iter_mut()
            .map(|conn| conn.quiet(Duration::ZERO))
            .filter(|quiet| *quiet == Quiet::Bytes);
        (told.count() == 40 - 17).then_some(())
    });
    // What waits will find nothing to build.
    stand.edit("before", "", "");
    let plain = std::thread::spawn({
        let control = stand.running.control();
        move || reload(&control)
    });
    release(&fifo);
    let mut statuses: Vec<u16> = asking.iter_mut().map(|conn| conn.answer().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![200; 17], vec![503; 23]].concat());
    assert_eq!(
        plain.join().expect("it is answered")["outcome"],
        "unchanged"
    );
}

/// How often a state was dropped where a runtime runs, and at all.
static IN_RUNTIME: AtomicUsize = AtomicUsize::new(0);
static DROPPED: AtomicUsize = AtomicUsize::new(0);

#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Owner {
    number: u32,
}

/// As a state that owns a runtime: it must not be dropped within one.
struct Brittle(u32);

impl Drop for Brittle {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
        if tokio::runtime::Handle::try_current().is_ok() {
            IN_RUNTIME.fetch_add(1, Ordering::SeqCst);
            panic!("dropped within a runtime");
        }
    }
}

impl Settings for Owner {
    const NAME: &'static str = "owner";
    type State = Brittle;

    async fn build(&self, with: &Build) -> Result<Brittle, Box<dyn Error>> {
        with.read(Path::new("read"))?;
        if self.number == 13 {
            // The build is stable only when the file no longer changes: it is made again.
            let path = with.read(Path::new("path"))?;
            let path = String::from_utf8(path)?;
            if fs::read(&path)? == b"a" {
                replace(Path::new(&path), "b");
            }
        }
        Ok(Brittle(self.number))
    }
}

#[test]
fn a_state_that_panics_when_it_is_dropped_in_a_runtime_ends_no_actor() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let edit = |number: u32| {
        let text = format!(
            "server.workers = 1\nserver.listeners.public.address = \"127.0.0.1:0\"\n\
             admin.address = \"127.0.0.1:0\"\nreload.history = 1\napp.number = {number}\n"
        );
        replace(&path("default.toml"), text);
    };
    fs::write(path("read"), "a").expect("write a file");
    fs::write(path("path"), path("read").display().to_string()).expect("write a file");
    edit(1);
    let service = Service::<Owner>::new(|| {
        let number = |state: Live<Brittle>| async move { state.0.to_string() };
        App::new().route("/", web::get().to(number))
    });
    let running = service.start(Sources::at(folder.path()));
    let running = running.unwrap_or_else(|_| panic!("the service does not start"));
    let control: Control = running.control();
    let mut dry = Conn::open(&running.admin_address().expect("an admin").into());
    for number in 2..=5 {
        edit(number);
        dry.send(&request("POST", "/reload?dry_run=true", &[], b""));
        assert_eq!(dry.answer().json()["outcome"], "would_apply");
        assert_eq!(reload(&control)["outcome"], "applied");
    }
    edit(13);
    assert_eq!(reload(&control)["outcome"], "applied", "built twice");
    wait(control.rollback(5)).expect("it runs");
    let mut conn = Conn::open(&running.address("public").expect("it listens").into());
    assert_eq!(conn.get("/").text(), "5");
    control.stop(StopMode::Graceful);
    wait(running.finished());
    // Four dry runs, five generations, two builds of the sixth, one of the rollback.
    eventually("every state is dropped", || {
        (DROPPED.load(Ordering::SeqCst) == 12).then_some(())
    });
    assert_eq!(IN_RUNTIME.load(Ordering::SeqCst), 0);
}

/// States of [`Depot`] that are alive.
static DEPOTS: AtomicUsize = AtomicUsize::new(0);

#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Depot {
    name: String,
}

/// What the build has made of the file `stock`.
struct Stock(String);

impl Drop for Stock {
    fn drop(&mut self) {
        DEPOTS.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Settings for Depot {
    const NAME: &'static str = "depot";
    type State = Stock;

    async fn build(&self, with: &Build) -> Result<Stock, Box<dyn Error>> {
        let stock = String::from_utf8(with.read(Path::new("stock"))?)?;
        if stock == "none" {
            return Err("there is nothing to put in".into());
        }
        DEPOTS.fetch_add(1, Ordering::SeqCst);
        Ok(Stock(stock))
    }
}

/// A depot that serves on a folder of its own.
struct Yard {
    folder: TempDir,
    running: everup::Running,
}

impl Yard {
    fn open(gate: &super::Gate) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let gate = gate.clone();
        let service = Service::<Depot>::new(move || {
            let gate = gate.clone();
            let hold = move |stock: Live<Stock>| {
                let gate = gate.clone();
                async move {
                    let passing = web::block(move || gate.pass());
                    passing.await.expect("it is opened");
                    stock.0.clone()
                }
            };
            let tell = |depot: Live<Depot>, stock: Live<Stock>| async move {
                format!("{} {} {}", depot.generation(), depot.name, stock.0)
            };
            App::new()
                .route("/", web::get().to(tell))
                .route("/hold", web::get().to(hold))
        });
        fs::write(folder.path().join("stock"), "a").expect("write a file");
        edit(folder.path(), "one");
        let running = service.start(Sources::at(folder.path()));
        let running = running.unwrap_or_else(|errors| panic!("it does not start: {errors:?}"));
        Self { folder, running }
    }

    fn change(&self, name: &str) {
        edit(self.folder.path(), name);
        assert_eq!(reload(&self.running.control())["outcome"], "applied");
    }

    fn stock(&self, stock: &str) {
        replace(&self.folder.path().join("stock"), stock);
    }

    fn address(&self) -> crate::support::Address {
        self.running.address("public").expect("it listens").into()
    }
}

fn edit(folder: &Path, name: &str) {
    let text = format!(
        "server.workers = 2\nserver.listeners.public.address = \"127.0.0.1:0\"\n\
         server.listeners.public.h2c = true\nadmin.address = \"127.0.0.1:0\"\napp.name = \"{name}\"\n"
    );
    replace(&folder.join("default.toml"), text);
}

fn wait_depots(count: usize) {
    eventually(&format!("{count} states"), || {
        (DEPOTS.load(Ordering::SeqCst) == count).then_some(())
    });
}

#[test]
fn no_state_outlives_its_last_request_and_a_rollback_builds_a_new_one() {
    let gate = super::Gate::default();
    let yard = Yard::open(&gate);
    let control = yard.running.control();
    let load = Load::kept_alive(16, 2).start(&yard.address());
    let mut http2 = H2::open(&yard.address());
    for number in 2..=20 {
        load.wait_answered(load.answered() + 20);
        assert_eq!(http2.get("/").status, 200);
        yard.change(&number.to_string());
        wait_depots(1);
    }
    load.stop().assert_nothing_lost();

    let mut held = Conn::open(&yard.address());
    held.send(&request("GET", "/hold", &[], b""));
    gate.wait_for(1);
    yard.change("after");
    assert_eq!(reload(&control)["outcome"], "unchanged");
    edit(yard.folder.path(), "dry");
    let admin = yard.running.admin_address().expect("an admin");
    let mut admin = Conn::open(&admin.into());
    admin.send(&request("POST", "/reload?dry_run=true", &[], b""));
    assert_eq!(admin.answer().json()["outcome"], "would_apply");
    wait_depots(2);
    gate.open();
    assert_eq!(held.answer().text(), "a");
    wait_depots(1);

    yard.stock("b");
    let back = wait(control.rollback(10)).expect("it runs");
    assert_eq!((back.outcome, back.generation), (Outcome::Applied, 22));
    assert_eq!(held.get("/").text(), "22 10 b");
    yard.stock("none");
    let back = wait(control.rollback(20)).expect("it runs");
    assert_eq!((back.outcome, back.generation), (Outcome::Rejected, 22));
    assert!(back.to_string().contains("nothing to put in"), "{back}");
    admin.send(&request("POST", "/rollback?generation=20", &[], b""));
    assert_eq!(admin.answer().status, 422);
    assert_eq!(held.get("/").text(), "22 10 b");
    wait_depots(1);
    control.stop(StopMode::Graceful);
    wait(yard.running.finished());
    wait_depots(0);
}
