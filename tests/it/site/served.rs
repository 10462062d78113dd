//! What is said of a file: tags that copies share, ranges at their limits, and files that may not be
//! read.

use super::{ask, folder};
use crate::support::{Program, Setup, eventually};
use rustix::{
    fs::{AtFlags, CWD, Mode, Timespec, Timestamps, chmodat, utimensat},
    process::geteuid,
};
use std::{fs, path::Path, process::Command, time::Instant};

const ROUTE: &str = "[app.routes.\"/{path}*\"]\nfiles = \"public\"\n";

/// A program with these files, each of this time of modification.
fn with_files(files: &[(&str, &str)], modified: Timespec) -> Program {
    let setup = Setup::new(ROUTE);
    folder(&setup, "public");
    for (name, content) in files {
        let path = setup.settings().join("public").join(name);
        fs::write(&path, content).expect("write a file");
        let times = Timestamps {
            last_access: modified,
            last_modification: modified,
        };
        utimensat(CWD, &path, &times, AtFlags::empty()).expect("a time");
    }
    setup.serve()
}

/// A second of 2020, and a part of it.
fn moment(nanoseconds: i64) -> Timespec {
    Timespec {
        tv_sec: 1_600_000_000,
        tv_nsec: nanoseconds,
    }
}

#[test]
fn copies_of_a_file_on_two_machines_have_one_etag() {
    // Copying with `rsync -t` or from an archive keeps whole seconds alone.
    let (one, other) = (
        with_files(&[("a.txt", "same")], moment(0)),
        with_files(
            &[
                ("b.txt", "another inode"),
                ("a.txt", "same"),
                ("c.txt", "longer"),
            ],
            moment(5),
        ),
    );
    let tag = |program: &Program, path: &str| {
        let answer = program.get(path);
        answer.header("etag").expect("it has a tag").to_owned()
    };
    assert_eq!(tag(&one, "/a.txt"), tag(&other, "/a.txt"));
    assert_ne!(tag(&one, "/a.txt"), tag(&other, "/c.txt"));
    let tag = tag(&one, "/a.txt");
    let known = ask(&other, "GET", "/a.txt", &[("If-None-Match", &tag)]);
    assert_eq!(known.status, 304);
    let part = [("Range", "bytes=1-2"), ("If-Range", &*tag)];
    assert_eq!(ask(&other, "GET", "/a.txt", &part).text(), "am");
}

#[test]
fn ranges_at_their_limits_are_answered_as_rfc_9110_has_it() {
    let program = with_files(&[("ten", "0123456789"), ("empty", "")], moment(0));
    for (path, range, status, content_range, body) in [
        (
            "/ten",
            "bytes=0-99999999999999999999",
            206,
            Some("bytes 0-9/10"),
            "0123456789",
        ),
        (
            "/ten",
            "bytes=-99999999999999999999",
            206,
            Some("bytes 0-9/10"),
            "0123456789",
        ),
        (
            "/ten",
            "bytes=99999999999999999999-",
            416,
            Some("bytes */10"),
            "",
        ),
        ("/ten", "bytes=8-,20-", 206, Some("bytes 8-9/10"), "89"),
        ("/ten", "bytes=0-0, 2-2", 200, None, "0123456789"),
        ("/ten", "bytes=4-2", 200, None, "0123456789"),
        ("/empty", "bytes=-1", 200, None, ""),
        ("/empty", "bytes=0-", 416, Some("bytes */0"), ""),
        ("/empty", "bytes=-0", 416, Some("bytes */0"), ""),
    ] {
        let answer = ask(&program, "GET", path, &[("Range", range)]);
        let found = (answer.status, answer.header("content-range"), answer.text());
        assert_eq!(
            found,
            (status, content_range, body.to_owned()),
            "{range} of {path}"
        );
    }
}

/// Takes from root what lets it read everything; says where that cannot be done.
fn without_privileges(setup: Setup) -> Option<Setup> {
    if !geteuid().is_root() {
        return Some(setup);
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        eprintln!("skipped: root reads every file, and there is no setpriv to change that");
        return None;
    }
    let drop = "exec setpriv --bounding-set=-dac_override,-dac_read_search \"$0\" \"$@\"";
    Some(setup.shell(drop))
}

#[test]
fn a_file_that_may_not_be_read_is_403_and_a_warning_with_its_path() {
    let setup = Setup::new(ROUTE);
    folder(&setup, "public/closed");
    let public = setup.settings().join("public");
    for name in ["secret.txt", "closed/a.txt"] {
        fs::write(public.join(name), "secret").expect("write a file");
    }
    let close = |path: &Path| chmodat(CWD, path, Mode::empty(), AtFlags::empty()).expect("chmod");
    close(&public.join("secret.txt"));
    close(&public.join("closed"));
    let Some(setup) = without_privileges(setup) else {
        return;
    };
    let program = setup.serve();
    let begun = Instant::now();
    for path in ["/secret.txt", "/closed/a.txt", "/closed/"] {
        let answer = program.get(path);
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
    }
    assert_eq!(program.get("/absent.txt").status, 404);
    let path = public.join("secret.txt");
    let says = format!("cannot serve `{}`: permission denied", path.display());
    let line = program.wait_log(&says);
    assert!(line.contains("WARN"), "{line}");
    for _ in 0..100 {
        program.get("/secret.txt");
    }
    program.reload();
    eventually("the reload's line", || {
        (program.count_log("unchanged") > 0).then_some(())
    });
    // One, and one more for each ten seconds that a slow machine takes.
    let most = 1 + begun.elapsed().as_secs() / 10;
    let logged = program.count_log("permission denied");
    assert!((1..=most).contains(&(logged as u64)), "{logged} lines");
}
