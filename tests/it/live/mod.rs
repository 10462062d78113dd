//! Listeners, workers and the admin API's address change by reload, and nothing is lost by it.
mod admin;
mod listeners;
mod workers;

use crate::support::{Address, Program};
use serde_json::Value;

/// Where the listener of this name listens, by the status.
fn address(program: &Program, name: &str) -> Option<Address> {
    let status = program.status();
    let listeners = status["listeners"].as_array().expect("a list");
    let found = listeners.iter().find(|listener| listener["name"] == name)?;
    Address::parse(found["address"].as_str().expect("a text"))
}

/// Applies these settings, and gives the attempt.
fn apply(program: &Program, settings: &str) -> Value {
    program.edit(settings);
    program.reload_applied()
}
