//! Files that settings name: missing ones, ones that must not be served, and what a reload reports
//! where their content has changed.

use crate::support::{Identity, Setup, replace};
use serde_json::{Value, json};
use std::fs;

/// Each setting of the program that names a file or directory to read, with one that is not there.
const MISSING: [(&str, &str); 5] = [
    (
        "app.routes.\"/x\".respond.body_file",
        "[app.routes.\"/x\"]\nrespond.body_file = \"nope\"\n",
    ),
    (
        "app.routes.\"/{x}*\".files",
        "[app.routes.\"/{x}*\"]\nfiles = \"nope\"\n",
    ),
    (
        "admin.token_file",
        "[admin]\naddress = \"127.0.0.1:0\"\ntoken_file = \"nope\"\n",
    ),
    (
        "server.listeners.public.tls.certificate",
        "[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
         tls = { certificate = \"nope\", key = \"key.pem\" }\n",
    ),
    (
        "server.listeners.public.tls.key",
        "[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
         tls = { certificate = \"cert.pem\", key = \"nope\" }\n",
    ),
];

#[test]
fn a_missing_file_exits_78_and_is_named_by_its_absolute_path_whichever_setting_names_it() {
    let identity = Identity::new();
    for (key, text) in MISSING {
        let setup = || {
            Setup::new(text)
                .file("cert.pem", &identity.certificate)
                .file("key.pem", &identity.key)
        };
        let setup = setup();
        let path = setup.settings().join("nope");
        let says = format!(
            "{key}: cannot read `{}`: no such file or directory",
            path.display()
        );
        let (code, log) = setup.run();
        assert_eq!(code, 78, "{key}: {log}");
        assert!(log.contains(&says), "{says:?} is not in\n{log}");
    }
}

#[test]
fn a_body_file_that_is_a_settings_file_is_rejected() {
    for name in ["local.toml", "default.toml", "link"] {
        let text = format!("[app.routes.\"/x\"]\nrespond.body_file = \"{name}\"\n");
        let setup = Setup::new(&text).file("local.toml", "");
        let link = setup.settings().join("link");
        std::os::unix::fs::symlink("local.toml", &link).expect("link");
        let (code, log) = setup.run();
        assert_eq!(code, 78, "{name}: {log}");
        assert!(
            log.contains("holds settings, which would be served"),
            "{name}: {log}"
        );
    }
    let served = Setup::new("[app.routes.\"/x\"]\nrespond.body_file = \"openapi.json\"\n")
        .file("openapi.json", "{}")
        .serve();
    assert_eq!(
        served.get("/x").text(),
        "{}",
        "a name alone makes no settings"
    );
}

#[test]
fn a_file_whose_content_changed_is_listed_in_changes_with_both_fingerprints() {
    let setup = Setup::new(
        "[app.routes.\"/page\"]\nrespond.body_file = \"page.txt\"\n\
         [app.routes.\"/same\"]\nrespond.body_file = \"page.txt\"\n\
         [app.routes.\"/{path}*\"]\nfiles = \"current\"\n",
    )
    .file("page.txt", "one");
    for release in ["one", "two"] {
        fs::create_dir(setup.settings().join(release)).expect("a folder");
    }
    let link = setup.settings().join("current");
    std::os::unix::fs::symlink("one", &link).expect("link");
    let program = setup.serve();
    program.write("page.txt", "two");
    fs::remove_file(&link).expect("it is there");
    std::os::unix::fs::symlink("two", &link).expect("link");
    let attempt = program.reload_applied();
    let changes = attempt["changes"].as_array().expect("a list");
    let keys: Vec<_> = changes
        .iter()
        .map(|change| change["key"].as_str().unwrap_or(""))
        .collect();
    assert_eq!(
        keys,
        [
            "app.routes.\"/page\".respond.body_file",
            "app.routes.\"/same\".respond.body_file",
            "app.routes.\"/{path}*\".files",
        ]
    );
    let path = program.settings().join("page.txt");
    // The SHA-256 of each text.
    let print = |sum: &str| json!({ "path": path, "fingerprint": format!("sha256:{sum}") });
    assert_eq!(
        changes[0]["from"],
        print("7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed")
    );
    assert_eq!(
        changes[0]["to"],
        print("3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3")
    );
    assert_eq!(changes[0]["origin"], "settings/default.toml:2:21");
    assert_ne!(changes[2]["from"], changes[2]["to"]);
    assert_eq!(changes[2]["to"]["path"], link.to_str().expect("text"));
    program.wait_log("3 changes (app.routes.\"/page\".respond.body_file");
}

#[test]
fn a_file_that_no_setting_names_any_more_is_no_change_of_its_own() {
    let identity = Identity::new();
    let text = |certificate: &str, more: &str| {
        format!(
            "[admin]\naddress = \"127.0.0.1:0\"\n\
             [server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
             tls = {{ certificate = \"{certificate}\", key = \"key.pem\" }}\n{more}"
        )
    };
    let route = "[app.routes.\"/page\"]\nrespond.body_file = \"page.txt\"\n";
    let program = Setup::new(&text("one.pem", route))
        .file("one.pem", &identity.certificate)
        .file("two.pem", &identity.certificate)
        .file("key.pem", &identity.key)
        .file("page.txt", "page")
        .serve();
    program.write("default.toml", text("two.pem", ""));
    let attempt = program.reload_applied();
    let changes = attempt["changes"].as_array().expect("a list");
    let keys: Vec<_> = changes
        .iter()
        .map(|change| change["key"].as_str().unwrap_or(""))
        .collect();
    let of_the_author = |key: &&str| *key == "app";
    assert!(!keys.iter().any(of_the_author), "{changes:#?}");
    assert!(
        keys.contains(&"server.listeners.public.tls.certificate"),
        "{keys:?}"
    );
}

#[test]
fn a_renewed_certificate_is_listed_with_subject_serial_and_expiry_and_its_key_without_a_trace() {
    let (before, after) = (Identity::new(), Identity::new());
    let program = Setup::new(
        "[admin]\naddress = \"127.0.0.1:0\"\n[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
         tls = { certificate = \"cert.pem\", key = \"key.pem\" }\n",
    )
    .file("cert.pem", &before.certificate)
    .file("key.pem", &before.key)
    .serve();
    replace(&program.settings().join("cert.pem"), &after.certificate);
    replace(&program.settings().join("key.pem"), &after.key);
    let attempt = program.reload_applied();
    let changes = attempt["changes"].as_array().expect("a list");
    assert_eq!(changes.len(), 2, "{changes:#?}");
    let certificate = &changes[0];
    assert_eq!(
        certificate["key"],
        "server.listeners.public.tls.certificate"
    );
    for end in ["from", "to"] {
        let facts = &certificate[end];
        assert_eq!(facts["subject"], "CN=rcgen self signed cert");
        assert!(
            facts["expires"].is_string() && facts["fingerprint"].is_string(),
            "{facts:#}"
        );
    }
    assert_ne!(certificate["from"]["serial"], certificate["to"]["serial"]);
    let path = program.settings().join("key.pem");
    let redacted = json!({ "path": path, "fingerprint": "[redacted]" });
    assert_eq!(changes[1]["key"], "server.listeners.public.tls.key");
    assert_eq!(
        [&changes[1]["from"], &changes[1]["to"]],
        [&redacted, &redacted]
    );
    let again: Value = program.reload().1;
    assert_eq!(
        (&again["outcome"], &again["changes"]),
        (&json!("unchanged"), &json!([]))
    );
}

#[test]
fn a_changed_token_is_listed_as_no_more_than_that() {
    let text = "[admin]\naddress = \"127.0.0.1:0\"\ntoken_file = \"token\"\n";
    let program = Setup::new(text).file("token", "0123456789abcdef").serve();
    program.write("token", "fedcba9876543210");
    let bearer = [("Authorization", "Bearer 0123456789abcdef")];
    let answer = program.admin_ask("POST", "/reload", &bearer);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let changes = &answer.json()["changes"];
    assert_eq!(changes[0]["key"], "admin.token_file");
    assert_eq!(changes[0]["to"]["fingerprint"], "[redacted]");
    assert!(!answer.text().contains("fedcba") && !answer.text().contains("sha256:fe"));
}
