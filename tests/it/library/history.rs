//! What the library keeps of before: rollbacks to it, what waits for what, and states that must not
//! be dropped just anywhere.
use super::{
    Stand,
    builds::{fifo, release},
    reload, wait,
};
use crate::support::{Conn, Quiet, eventually, replace, request};
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
fn a_rollback_takes_up_the_state_that_was_built() {
    let stand = Stand::open("one", "");
    stand.change("two");
    // Were it built anew, it would fail.
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
fn a_rollback_is_carried_out_while_a_build_hangs_in_the_background() {
    let more = "reload.timeout = \"200ms\"";
    let stand = Stand::open("one", more);
    stand.edit("two", "", more);
    assert_eq!(stand.reload()["outcome"], "applied");
    let fifo = fifo(&stand);
    stand.edit("hangs", &fifo.display().to_string(), more);
    assert_eq!(stand.reload()["outcome"], "rejected");
    let back = wait(stand.running.control().rollback(1)).expect("it runs");
    assert_eq!(back.outcome, Outcome::Applied, "{back}");
    assert_eq!(stand.get("/").text(), "one");
    release(&fifo);
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
    // Four dry runs, five generations, two builds of the last.
    eventually("every state is dropped", || {
        (DROPPED.load(Ordering::SeqCst) == 11).then_some(())
    });
    assert_eq!(IN_RUNTIME.load(Ordering::SeqCst), 0);
}
