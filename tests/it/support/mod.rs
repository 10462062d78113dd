//! What every test stands on: the program as a child process, an HTTP/1.1 client that counts to the byte,
//! a load that keeps books, and the reading of the program's own books.
mod books;
pub mod frames;
mod h2;
mod http;
mod load;
mod log;
mod program;
mod setup;
mod successors;
mod tls;

pub use books::{AttemptLine, Books, StopReport};
pub use h2::{H2, H2Load, h2_request};
pub use http::{Address, Conn, Quiet, Response, request};
pub use load::{Kind, Load, LoadBooks, LoadSetup};
use log::Log;
pub use program::Program;
pub use setup::Setup;
pub use successors::{install, replace_program};
pub use tls::{Identity, client as tls_client};

use everup::{Running, Service, Settings, Sources};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// The longest that any test waits for an event before it fails and says what it waited for.
pub const CEILING: Duration = Duration::from_secs(20);

/// Looks until `look` finds something; what it finds is the event.
///
/// # Panics
/// When the ceiling is reached first.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < CEILING, "waited {CEILING:?} for {what}");
        // Only spares the processor between two looks: nothing relies on its length.
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Starts an author's service with one worker and HTTP/2 on its public listener, all on port 0; each
/// `more` is a setting.
pub fn start_h2c<S: Settings>(service: Service<S>, more: &[(&str, &str)]) -> Running {
    let sources = Sources::builtin()
        .set("server.workers", "1")
        .set("server.listeners.public.address", "127.0.0.1:0")
        .set("server.listeners.public.h2c", "true")
        .set("admin.address", "127.0.0.1:0");
    let sources = more
        .iter()
        .fold(sources, |sources, (key, value)| sources.set(key, value));
    let running = service.start(sources);
    running.unwrap_or_else(|errors| panic!("it does not start: {errors:?}"))
}

/// Writes beside, then renames: a reader sees the old content or the new.
pub fn replace(file: &Path, bytes: impl AsRef<[u8]>) {
    let beside = file.with_extension("next");
    fs::write(&beside, bytes).expect("write a file beside");
    fs::rename(&beside, file).expect("rename it into place");
}
