//! Listeners, workers and the admin API's address change by reload, and nothing is lost by it.
mod admin;
mod listeners;
mod workers;

use crate::support::{Address, Program};
use serde_json::Value;

/// Where the listener of this name listens, by the status.
fn address(program: &Program, name: &str) -> Option<Address> {
    Address::of_listener(&program.status(), name)
}

/// Applies these settings, and gives the attempt.
fn apply(program: &Program, settings: &str) -> Value {
    program.edit(settings);
    program.reload_applied()
}
