//! The log of a service that is embedded: the facade belongs to the program around it.
use super::Stand;
use crate::support::eventually;
use log::{LevelFilter, Log, Metadata, Record};
use std::sync::Mutex;

/// The test process's own logger; each test reads only what bears its mark.
struct Collector(Mutex<Vec<String>>);

static COLLECTOR: Collector = Collector(Mutex::new(Vec::new()));

impl Log for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}", record.target(), record.args());
        let mut lines = self.0.lock().expect("no panic in the collector");
        lines.push(line);
    }

    fn flush(&self) {}
}

impl Collector {
    fn find(&self, text: &str) -> Option<String> {
        let lines = self.0.lock().expect("no panic in the collector");
        lines.iter().find(|line| line.contains(text)).cloned()
    }
}

#[test]
fn a_service_in_anothers_process_logs_its_requests_to_the_facade_and_opens_no_file() {
    log::set_logger(&COLLECTOR).expect("the library has left the facade alone");
    log::set_max_level(LevelFilter::Info);
    let stand = Stand::open(
        "logged",
        "logging.access = true\nlogging.file = \"embedded.log\"",
    );
    assert_eq!(stand.get("/embedded").status, 404);
    let line = eventually("the request's record", || COLLECTOR.find("/embedded"));
    assert!(
        line.starts_with("everup::access GET /embedded 404 0 "),
        "{line}"
    );
    // It would lie in this process's working directory.
    assert!(!std::path::Path::new("embedded.log").exists());

    stand.change("not logged");
    assert_eq!(stand.get("/unlogged").status, 404);
    stand.settled();
    assert_eq!(COLLECTOR.find("/unlogged"), None);
}
