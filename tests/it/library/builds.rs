//! An author's build that fails, panics or hangs: the reload is rejected, the service goes on.
use super::{Shop, Stand, text};
use crate::support::eventually;
use actix_web::App;
use everup::{Fault, Service, Sources};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use std::{
    fs,
    future::poll_fn,
    path::{Path, PathBuf},
    task::Poll,
};
use tempfile::TempDir;

/// A FIFO for a build to hang at.
pub fn fifo(stand: &Stand) -> PathBuf {
    let fifo = stand.folder.path().join("hangs");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("make a FIFO");
    fifo
}

/// Waits until a build hangs at the FIFO, and lets it go on.
pub fn release(fifo: &Path) {
    let other_end = fs::File::options().write(true).open(fifo);
    drop(other_end.expect("open the other end"));
}

/// The messages of an attempt's errors.
fn messages(attempt: &Value) -> String {
    let errors = attempt["errors"]
        .as_array()
        .unwrap_or_else(|| panic!("no errors in {attempt:#}"));
    errors
        .iter()
        .filter_map(|error| error["message"].as_str())
        .collect::<Vec<_>>()
        .join("\n")
}

fn assert_rejected(attempt: &Value, says: &str) {
    assert_eq!(attempt["outcome"], "rejected", "{attempt:#}");
    assert!(
        messages(attempt).contains(says),
        "{says:?} is not in {attempt:#}"
    );
}

#[test]
fn a_build_that_fails_is_rejected_in_its_own_words() {
    let stand = Stand::open("before", "");
    stand.edit("chalk", "fail", "");
    assert_rejected(&stand.reload(), "no sign can be painted with chalk");
    assert_eq!(stand.get("/sign").text(), "1 before [before]");
    stand.change("after");
    assert_eq!(stand.get("/sign").text(), "2 after [after]");
}

#[test]
fn a_build_that_awaits_for_ever_is_given_up_and_holds_up_nothing() {
    let stand = Stand::open("before", "reload.timeout = \"2s\"");
    stand.edit("never", "await", "reload.timeout = \"200ms\"");
    assert_rejected(&stand.reload(), "did not end within `reload.timeout`");
    assert_eq!(stand.get("/sign").text(), "1 before [before]");
    // The thread is back by now, or in a moment.
    eventually("a reload that is not held up", || {
        stand.edit("after", "", "");
        (stand.reload()["outcome"] == "applied").then_some(())
    });
    assert_eq!(stand.get("/sign").text(), "2 after [after]");
}

#[test]
fn a_build_that_panics_is_rejected_with_the_panic_s_words() {
    let stand = Stand::open("before", "");
    for _ in 0..3 {
        stand.edit("a ladder", "panic", "");
        assert_rejected(&stand.reload(), "the painter fell over a ladder");
        assert_eq!(stand.get("/sign").text(), "1 before [before]");
    }
    stand.change("after");
    assert_eq!(stand.get("/").text(), "after");
}

#[test]
fn a_build_that_hangs_is_rejected_at_the_timeout_and_named_until_it_returns() {
    let more = "reload.timeout = \"300ms\"";
    let stand = Stand::open("before", more);
    let fifo = fifo(&stand);
    stand.edit("hangs", &fifo.display().to_string(), more);
    let hung = stand.reload();
    assert_eq!(hung["outcome"], "rejected", "{hung:#}");
    let number = hung["attempt"].as_u64().expect("attempts are numbered");
    stand.edit("meanwhile", "", more);
    for _ in 0..2 {
        // It is still in its build: no other may start beside it.
        assert_rejected(&stand.reload(), &number.to_string());
        assert_eq!(stand.get("/").text(), "before");
    }
    release(&fifo);
    eventually("a reload that is applied again", || {
        (stand.reload()["outcome"] == "applied").then_some(())
    });
    assert_eq!(stand.get("/").text(), "meanwhile", "and never what hung");
}

#[test]
fn a_burst_during_a_build_costs_one_attempt_more() {
    let stand = Stand::open("before", "");
    let fifo = fifo(&stand);
    stand.edit("first", &fifo.display().to_string(), "");
    let control = stand.running.control();
    actix_web::rt::System::new().block_on(async {
        let mut asking: Vec<_> = (0..=100).map(|_| Box::pin(control.reload())).collect();
        poll_fn(|cx| {
            for requester in &mut asking {
                assert!(requester.as_mut().poll(cx).is_pending());
            }
            Poll::Ready(())
        })
        .await;
        // All have asked, and the first attempt cannot end before this.
        release(&fifo);
        let mut answers = Vec::new();
        for requester in asking {
            answers.push(requester.await.expect("it does not stop"));
        }
        assert_eq!((answers[0].number, answers[0].folded), (2, 0));
        for answer in &answers[1..] {
            assert_eq!((answer.number, answer.folded), (3, 99), "{answer}");
        }
    });
    assert_eq!(stand.get("/").text(), "first");
}

#[test]
fn a_start_whose_build_fails_panics_or_hangs_fails_with_its_reason() {
    let folder = TempDir::new().expect("a temporary folder");
    let fifo = folder.path().join("hangs");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("make a FIFO");
    for (build, reason) in [
        ("fail", "no sign can be painted with chalk"),
        ("panic", "the painter fell over chalk"),
        (
            &*fifo.display().to_string(),
            "did not end within `reload.timeout`",
        ),
    ] {
        let settings = text("chalk", build, "reload.timeout = \"300ms\"");
        fs::write(folder.path().join("default.toml"), settings).expect("write the settings");
        let started = Service::<Shop>::new(App::new).start(Sources::at(folder.path()));
        let errors = started.err().expect("it cannot start");
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].kind, Fault::Build, "{errors:?}");
        assert!(errors[0].message.contains(reason), "{errors:?}");
    }
    release(&fifo);
}
