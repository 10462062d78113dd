//! Upgrades between versions: messages of kinds that this version does not know, from a process before
//! or after it that the test plays.
use crate::support::{Conn, Setup, eventually, replace_program};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde_json::{Value, json};
use std::{
    env,
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

fn say(to: impl AsFd, message: &Value, with: &[BorrowedFd<'_>]) {
    let bytes = message.to_string();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    assert!(with.is_empty() || beside.push(SendAncillaryMessage::ScmRights(with)));
    let bytes = [IoSlice::new(bytes.as_bytes())];
    sendmsg(to, &bytes, &mut beside, SendFlags::NOSIGNAL).expect("the other process is there");
}

/// The next message; `None` where the other process has closed its end.
fn hear(from: impl AsFd) -> Option<(Value, Vec<OwnedFd>)> {
    let mut bytes = vec![0; 64 * 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(from, &mut into, &mut beside, flags).ok()?;
    let rights = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let descriptors = rights.flatten().collect();
    let message = serde_json::from_slice(bytes.get(..received.bytes)?).ok()?;
    Some((message, descriptors))
}

/// What no version of today says.
fn from_a_later_version() -> Value {
    json!({ "kind": "weather", "forecast": ["rain", { "later": "sun" }] })
}

/// How many are passed on to it.
const CONNECTIONS: usize = 5;

const PLAY: &str = "EVERUP_TEST_PLAYS_SUCCESSOR";

/// Not a test of its own: the program that the next one upgrades to. It says what this version does not
/// know, and takes one connection of those that are passed on.
#[test]
fn plays_the_successor() {
    if env::var_os(PLAY).is_none() {
        return;
    }
    let channel = io::stdin();
    let mut inherited = Vec::new();
    let mut passed = 0;
    let null = File::open("/dev/null").expect("a file");
    while let Some((message, mut descriptors)) = hear(&channel) {
        match message["kind"].as_str() {
            Some("sockets") => {
                let count = descriptors.len();
                inherited.append(&mut descriptors);
                say(&channel, &from_a_later_version(), &[null.as_fd()]);
                say(
                    &channel,
                    &json!({
                        "kind": "ready", "pid": std::process::id(), "generation": 2,
                        "taken": (0..count).collect::<Vec<_>>(), "mood": "fine",
                    }),
                    &[],
                );
            }
            Some("connections") => {
                let mut places = Vec::new();
                let is_first = passed == 0;
                passed += descriptors.len();
                if is_first {
                    places.push(0);
                    let socket = descriptors.swap_remove(0);
                    std::thread::spawn(|| answer_new(socket.into()));
                }
                say(&channel, &from_a_later_version(), &[]);
                say(&channel, &json!({ "kind": "taken", "places": places }), &[]);
                if passed == CONNECTIONS {
                    File::create("passed").expect("a file");
                }
            }
            _ => {}
        }
    }
}

fn answer_new(mut stream: TcpStream) {
    let _ = stream.set_nonblocking(false);
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        assert!(bytes[..count].ends_with(b"\r\n\r\n"));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew");
    }
}

#[test]
fn a_new_process_that_says_what_we_do_not_know_takes_over_all_the_same() {
    let old = "[app]\nmessage = \"old\"\n[shutdown]\nlinger = \"30s\"\n";
    let mut program = Setup::new(old).copied().serve();
    let mut conns: Vec<Conn> = (0..CONNECTIONS).map(|_| program.connect()).collect();
    for conn in &mut conns {
        assert_eq!(conn.get("/").text(), "old");
    }
    let this = env::current_exe().expect("a path");
    let script = format!(
        "#!/bin/sh\n{PLAY}=1 exec {} --exact upgrade_versions::plays_the_successor\n",
        this.display()
    );
    replace_program(&program.home().join("everup"), &script);
    let answer = program.post("/upgrade?wait=true");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["generation"], 2);
    eventually("all connections to be passed on", || {
        program.home().join("passed").exists().then_some(())
    });
    let mut answers: Vec<_> = conns.iter_mut().map(|conn| conn.get("/").text()).collect();
    answers.sort();
    assert_eq!(answers, ["new", "old", "old", "old", "old"]);
    drop(conns);
    program.expect_exit(0);
}

/// What the test, as the process before, says first: its end of the pair, and the program's.
fn offer(offer: &Value) -> (OwnedFd, OwnedFd) {
    let (ours, theirs) = pair(SocketType::SEQPACKET);
    let null = File::open("/dev/null").expect("a file");
    let history = tempfile::tempfile().expect("a file");
    say(&ours, offer, &[null.as_fd(), history.as_fd()]);
    (ours, theirs)
}

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).expect("descriptors")
}

#[test]
fn an_old_process_that_says_what_we_do_not_know_is_taken_over_from_all_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let setup = Setup::new(&format!(
        "[server.listeners.public]\naddress = \"{address}\"\n"
    ));
    let (mut watched, passed) = io::pipe().expect("descriptors");
    let (channel, theirs) =
        offer(&json!({ "everup_upgrade": 2, "generation": 4, "attempts": 6, "mood": "fine" }));
    say(&channel, &from_a_later_version(), &[passed.as_fd()]);
    let socket = json!({
        "name": "public", "asked": address, "address": address, "file": null,
        "access": "Anyone", "is_managed": false, "mood": "fine",
    });
    let sockets = json!({ "kind": "sockets", "sockets": [socket] });
    say(&channel, &sockets, &[listener.as_fd()]);
    let mut program = setup.input(theirs).spawn();
    program.wait_serving();
    let (ready, _) = hear(&channel).expect("it is ready");
    assert_eq!(
        (&ready["kind"], &ready["generation"], &ready["taken"]),
        (&json!("ready"), &json!(5), &json!([0]))
    );
    say(&channel, &json!({ "kind": "commit" }), &[]);
    say(&channel, &from_a_later_version(), &[passed.as_fd()]);
    drop(passed);
    let ended = watched.read(&mut [0]).expect("a pipe");
    assert_eq!(ended, 0, "what came with an unknown message is closed");

    // A connection that ends up with the process before, as if it had been idle there.
    let (ours, theirs) = pair(SocketType::STREAM);
    let connections = json!({ "kind": "connections", "listeners": ["public"], "mood": "fine" });
    say(&channel, &connections, &[theirs.as_fd()]);
    drop(theirs);
    let (taken, _) = hear(&channel).expect("an answer");
    assert_eq!(taken, json!({ "kind": "taken", "places": [0] }));
    let mut conn = Conn::over(ours.into()).expect("a live socket");
    assert_eq!(conn.get("/").status, 200);
    drop(channel);
    assert_eq!(program.get("/").status, 200);
    drop(conn);
    program.stop();
}

#[test]
fn an_old_process_of_another_protocol_is_told_so() {
    let (channel, theirs) = offer(&json!({ "everup_upgrade": 99, "served": { "generation": 4 } }));
    let mut program = Setup::new("").input(theirs).spawn();
    let (failed, _) = hear(&channel).expect("a reason");
    assert_eq!(failed["kind"], "failed");
    let reasons = failed["reasons"].to_string();
    assert!(reasons.contains("version 99"), "{reasons}");
    program.expect_exit(1);
}
