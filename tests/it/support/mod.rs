//! What every test stands on: the program as a child process, an HTTP/1.1 client that counts to the byte,
//! a load that keeps books, and the reading of the program's own books.
mod books;
pub mod frames;
mod h2;
mod heirs;
mod http;
mod load;
mod log;
mod program;
mod tls;

pub use books::{AttemptLine, Books, StopReport};
pub use h2::{H2, H2Load, h2_request};
pub use heirs::{install, replace_program};
pub use http::{Address, Conn, Quiet, Response, request};
pub use load::{Kind, Load, LoadBooks, LoadSetup};
use log::Log;
pub use program::{Program, Setup};
pub use tls::{Identity, client as tls_client};

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

/// Writes beside, then renames: a reader sees the old content or the new.
pub fn replace(file: &Path, bytes: impl AsRef<[u8]>) {
    let beside = file.with_extension("next");
    fs::write(&beside, bytes).expect("write a file beside");
    fs::rename(&beside, file).expect("rename it into place");
}
