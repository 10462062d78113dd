//! What no single value says: how settings stand to each other, and what the author's own check finds.
//! Reads no file that settings name; what is wrong is told at its place.

use super::author::{Finding, Findings, Probe, Settings, Warning, Wrong};
use super::diagnostic::{Diagnostic, Fault, found_text, report};
use super::effective::Effective;
use super::schema::{Admin, LIVEZ, READYZ, Server, Tables};
use super::value::{At, Value};
use super::{Address, key};
use std::collections::HashSet;
use std::fs;
use std::net::IpAddr;
use std::path::Component;

/// Adds all that is wrong, and what the author's check warns of. Defaults stand in for the values that
/// have `failed` to be typed.
pub(super) fn check<A: Settings>(
    tables: &Tables<A>,
    effective: &Effective,
    failed: &HashSet<*const Value>,
    diagnostics: &mut Vec<Diagnostic>,
    warnings: &mut Vec<Diagnostic>,
) {
    warnings.extend(check_app(tables, effective, failed, diagnostics));
    check_admin(&tables.admin, effective, diagnostics);
    check_tls(&tables.server, effective, diagnostics);
    check_socket_paths(&tables.server, &tables.admin, effective, diagnostics);
    // Where anything is wrong, defaults may stand in for what was meant.
    if diagnostics.is_empty() {
        check_addresses(&tables.server, &tables.admin, effective, diagnostics);
    }
}

/// Runs the author's check, adds what it finds, and returns what it warns of.
fn check_app<A: Settings>(
    tables: &Tables<A>,
    effective: &Effective,
    failed: &HashSet<*const Value>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Diagnostic> {
    let mut findings = Findings {
        probes: probes(&tables.server),
        ..Findings::default()
    };
    tables.app.check(&mut findings);
    let sound = diagnostics.is_empty();
    for finding in findings.findings {
        // It is about the default, and not about what the sources have.
        if effective.is_within(&path_of(finding.key.clone()), failed) {
            continue;
        }
        let diagnostic = told(finding, effective);
        // Where a value was left out because it is wrong, its default is none of the author's
        // concern.
        let known = diagnostics.iter().any(|known| known.key == diagnostic.key);
        if sound || (diagnostic.place.is_some() && !known) {
            diagnostics.push(diagnostic);
        }
    }
    warned(findings.warnings, effective)
}

fn probes(server: &Server) -> Vec<Probe> {
    let prefixes = server.listeners.iter().filter_map(|(name, listener)| {
        let prefix = listener.probes.as_ref()?;
        Some([LIVEZ, READYZ].map(|probe| Probe {
            listener: name.clone(),
            path: format!("{prefix}{probe}"),
        }))
    });
    prefixes.flatten().collect()
}

/// What an author's build finds wrong, as it is told.
pub(crate) fn found_by_build(findings: Findings, effective: &Effective) -> Vec<Diagnostic> {
    let findings = findings.findings.into_iter();
    let diagnostics = findings.map(|finding| told(finding, effective)).collect();
    report(diagnostics, effective.sources(), effective.discretion())
}

/// What an author's build warns of.
pub(crate) fn warned_by_build(warnings: Vec<Warning>, effective: &Effective) -> Vec<Diagnostic> {
    report(
        warned(warnings, effective),
        effective.sources(),
        effective.discretion(),
    )
}

fn warned(warnings: Vec<Warning>, effective: &Effective) -> Vec<Diagnostic> {
    let warnings = warnings.into_iter().map(|Warning { key, message }| {
        let path = path_of(key);
        Diagnostic::settings(effective.place(&path), &path, message)
    });
    warnings.collect()
}

/// The path of a key below the author's table.
fn path_of(key: String) -> Vec<String> {
    let mut path = vec!["app".to_owned()];
    // A key that cannot be split is shown as it is: better than nothing.
    path.extend(key::split(&key).unwrap_or_else(|| vec![key]));
    path
}

fn told(finding: Finding, effective: &Effective) -> Diagnostic {
    let Finding { key, wrong } = finding;
    let path = path_of(key);
    // What failed may do better another time, with the same settings.
    let (message, kind) = match (wrong, effective.found(&path)) {
        // That a table is one says nothing: the finding is about its key, or what it holds.
        (Wrong::Expected(expected), Some(found)) if !["a table", "a list"].contains(&&*found) => {
            let message = format!("expected {expected}, found {found}");
            (message, Fault::Settings)
        }
        (Wrong::ExpectedKey(expected), _) => {
            let found = path.last().map_or("", String::as_str);
            let message = format!("expected {expected}, found {}", found_text(found));
            let place = effective.place_at(&path, At::Key);
            return Diagnostic::settings(place, &path, message);
        }
        (Wrong::Expected(expected), _) => (format!("expected {expected}"), Fault::Settings),
        (Wrong::Unreadable(fault, why), _) => (why, fault),
        (Wrong::Failed(why), _) => (why, Fault::Build),
        (Wrong::Refused(why), _) => (why, Fault::Settings),
    };
    let message = message + &effective.parts_elsewhere(&path);
    Diagnostic {
        kind,
        ..Diagnostic::settings(effective.place(&path), &path, message)
    }
}

/// Whom the admin API's address lets in.
fn check_admin(admin: &Admin, effective: &Effective, diagnostics: &mut Vec<Diagnostic>) {
    // A token that is named and wrong has its own diagnostic.
    let is_wrong = |known: &Diagnostic| known.key == "admin.token_file";
    let has_token = admin.token_file.is_some() || diagnostics.iter().any(is_wrong);
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
    let wanted = addresses(server, admin);
    for (index, (key, address)) in wanted.iter().enumerate() {
        let mut earlier = wanted[..index].iter();
        let Some((first, other)) = earlier.find(|(_, other)| clash(address, other)) else {
            continue;
        };
        let message = match address == other {
            true => format!("{address} is the address of {first} already"),
            false => format!("{address} overlaps with {other}, the address of {first}"),
        };
        let message = message + &effective.elsewhere(first, key);
        diagnostics.push(effective.diagnostic(Fault::Settings, key, &message));
    }
}

/// Whether no two sockets can listen at these. Port 0 is another each time.
fn clash(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Tcp(one), Address::Tcp(other)) => {
            let is_within = is_part(one.ip(), other.ip()) || is_part(other.ip(), one.ip());
            one.port() != 0 && one.port() == other.port() && is_within
        }
        // `unix:a` and `unix:./a` are one file.
        (Address::Unix(one), Address::Unix(other)) => {
            let [one, other] = [one, other].map(|path| {
                let components = path.components();
                components.filter(|component| !matches!(component, Component::CurDir))
            });
            one.eq(other)
        }
        (one, other) => one == other,
    }
}

/// Whether a socket at `all` takes the connections to `ip` too.
fn is_part(ip: IpAddr, all: IpAddr) -> bool {
    ip == all || all.is_unspecified() && (ip.is_ipv4() == all.is_ipv4() || is_dual(all))
}

/// Whether a socket at this address takes IPv4 too: at `[::]`, unless the machine is set otherwise.
fn is_dual(ip: IpAddr) -> bool {
    let is_v6_only = || fs::read_to_string("/proc/sys/net/ipv6/bindv6only");
    ip.is_ipv6() && is_v6_only().is_ok_and(|text| text.trim() == "0")
}

/// The bytes that a unix socket's path may have (unix(7): 108 with the NUL behind it).
const SOCKET_PATH: usize = 107;

/// A path that no socket can have is not a matter of trying again.
fn check_socket_paths(
    server: &Server,
    admin: &Admin,
    effective: &Effective,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for (key, address) in addresses(server, admin) {
        let Address::Unix(path) = address else {
            continue;
        };
        let length = path.as_os_str().len();
        if length > SOCKET_PATH {
            let message = format!(
                "expected a path of at most {SOCKET_PATH} bytes, which is what a unix socket may \
                 have, found {length}"
            );
            diagnostics.push(effective.diagnostic(Fault::Settings, &key, &message));
        }
    }
}

/// Every address that is wanted, with its key.
fn addresses(server: &Server, admin: &Admin) -> Vec<(String, Address)> {
    let listeners = server.listeners.iter().map(|(name, listener)| {
        let key = format!("server.listeners.{name}.address");
        (key, listener.address.clone())
    });
    let admin = admin.address.listener();
    let admin = admin.map(|address| ("admin.address".to_owned(), address));
    listeners.chain(admin).collect()
}

/// HTTP/2 is spoken within TLS anyway; `h2c` beside it is a mistake about one of the two.
fn check_tls(server: &Server, effective: &Effective, diagnostics: &mut Vec<Diagnostic>) {
    for (name, listener) in &server.listeners {
        if listener.tls.is_some() && listener.h2c {
            let message = "`h2c` is HTTP/2 without TLS, and this listener has `tls`, which brings \
                           HTTP/2 by itself";
            let [key, tls] = ["h2c", "tls"].map(|key| format!("server.listeners.{name}.{key}"));
            let message = message.to_owned() + &effective.elsewhere(&tls, &key);
            diagnostics.push(effective.diagnostic(Fault::Settings, &key, &message));
        }
    }
}
