//! The promises under storms, minutes long: `cargo test --release --test storms`.
//!
//! As in the tests, clients count, and their books are held against the program's.

mod changes;
mod kills;
mod stops;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use the rest of it")]
mod support;
mod upgrades;
