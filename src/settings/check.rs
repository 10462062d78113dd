//! What no single value says: how settings stand to each other, and what the author's own check finds.
//! Reads nothing; what is wrong is told at its place.

use super::author::{Finding, Findings, Settings};
use super::diagnostic::{Diagnostic, Fault};
use super::effective::Effective;
use super::schema::{Admin, Server, Tables};
use super::{AdminAddress, key};
use std::net::SocketAddr;

/// Adds all that is wrong.
pub(super) fn check<A: Settings>(
    tables: &Tables<A>,
    effective: &Effective,
    diagnostics: &mut Vec<Diagnostic>,
) {
    check_app(&tables.app, effective, diagnostics);
    check_admin(&tables.admin, effective, diagnostics);
    // Where anything is wrong, defaults may stand in for what was meant.
    if diagnostics.is_empty() {
        check_addresses(&tables.server, &tables.admin, effective, diagnostics);
    }
}

/// Runs the author's check and adds what it finds.
fn check_app(app: &impl Settings, effective: &Effective, diagnostics: &mut Vec<Diagnostic>) {
    let mut findings = Findings::default();
    app.check(&mut findings);
    let sound = diagnostics.is_empty();
    for Finding { key, expected } in findings.findings {
        let mut path = vec!["app".to_owned()];
        // A key that cannot be split is shown as it is: better than nothing.
        path.extend(key::split(&key).unwrap_or_else(|| vec![key]));
        let place = effective.place(&path);
        let message = match effective.found(&path) {
            Some(found) => format!("expected {expected}, found {found}"),
            None => format!("expected {expected}"),
        };
        let diagnostic = Diagnostic::settings(place, &path, message);
        // Where a value was left out because it is wrong, its default is none of the author's
        // concern.
        let known = diagnostics.iter().any(|known| known.key == diagnostic.key);
        if sound || (diagnostic.place.is_some() && !known) {
            diagnostics.push(diagnostic);
        }
    }
}

/// Whom the admin API's address lets in.
fn check_admin(admin: &Admin, effective: &Effective, diagnostics: &mut Vec<Diagnostic>) {
    // One that is named and wrong has its own diagnostic.
    let has_token = effective.found(&["admin", "token_file"]).is_some();
    if admin.address.is_open() && !has_token {
        let message = "other machines can reach this address, so it needs `admin.token_file`";
        diagnostics.push(effective.diagnostic(Fault::Settings, "admin.address", message));
    }
}

/// Two listeners that want one address: the second could never listen.
fn check_addresses(
    server: &Server,
    admin: &Admin,
    effective: &Effective,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let listeners = server.listeners.iter();
    let mut wanted: Vec<(String, SocketAddr)> = listeners
        .map(|(name, listener)| (format!("server.listeners.{name}.address"), listener.address))
        .collect();
    if let AdminAddress::Tcp(address) = admin.address {
        wanted.push(("admin.address".to_owned(), address));
    }
    for (index, (key, address)) in wanted.iter().enumerate() {
        let mut earlier = wanted[..index].iter();
        let Some((first, other)) = earlier.find(|(_, other)| clash(*address, *other)) else {
            continue;
        };
        let message = match address == other {
            true => format!("{address} is the address of {first} already"),
            false => format!("{address} and {other}, the address of {first}, are one"),
        };
        diagnostics.push(effective.diagnostic(Fault::Settings, key, &message));
    }
}

/// Whether no two sockets can listen at these. Port 0 is another each time.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let is_one_ip = one.ip() == other.ip();
    let is_within = one.is_ipv4() == other.is_ipv4()
        && (one.ip().is_unspecified() || other.ip().is_unspecified());
    one.port() != 0 && one.port() == other.port() && (is_one_ip || is_within)
}
