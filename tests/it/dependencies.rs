//! What may be in the tree of dependencies, as far as `Cargo.lock` tells; `deny.toml` says more.
use serde::Deserialize;

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

/// The versions of this crate that are locked.
fn versions(of: &str) -> Vec<String> {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock"));
    let lock: Lock = toml::from_str(&lock.expect("it is beside Cargo.toml")).expect("it is TOML");
    let named = lock.package.into_iter().filter(|it| it.name == of);
    named.map(|it| it.version).collect()
}

#[test]
fn h2_is_in_the_tree_once_and_in_a_version_that_is_mended() {
    let found = versions("h2");
    let [version] = &found[..] else {
        panic!("h2 is in the tree as {found:?}");
    };
    let numbers: Vec<u32> = version.split('.').flat_map(str::parse).collect();
    // 0.4.14 answers a client that says GOAWAY, 0.4.16 bounds small DATA frames.
    assert!(numbers >= vec![0, 4, 20], "h2 is {version}");
}
