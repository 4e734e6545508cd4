//! Standard error that takes nothing: a full disk, or a pipe whose reader is gone.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::common::process::Process;
use crate::common::{App, Client, Issuer, eventually, free_port};

/// Whether usher answers, and goes on to, with events that have nowhere to go.
fn goes_on(errors: impl Into<Stdio>) {
    let (app, issuer) = (App::start(), Issuer::new());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("usher.yaml");
    let port = free_port();
    let good = format!(
        "listen: 127.0.0.1:{port}\nadmin: off\nworkers: 1\nupstream: http://{}\nissuers: [{}]\n",
        app.address,
        issuer.yaml()
    );
    std::fs::write(&file, &good).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
    command.args(["serve", "--config"]).arg(&file);
    let usher = Process::start(command.stdout(Stdio::null()).stderr(errors));
    let address = ([127, 0, 0, 1], port).into();
    eventually("usher listens", || {
        std::net::TcpStream::connect(address).ok()
    });
    let token = issuer.token("alice");
    for _ in 0..3 {
        let mut client = Client::connect(address);
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        assert_eq!(client.reply().unwrap().status, 200);
        // That it is bad is an event.
        std::fs::write(&file, "upstrem: x").unwrap();
        usher.signal("HUP");
    }
    assert!(!usher.has_ended());
}

#[test]
fn a_full_disk_for_events_ends_nobody() {
    goes_on(File::options().write(true).open("/dev/full").unwrap());
}

#[test]
fn a_pipe_that_nobody_reads_ends_nobody() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    goes_on(writer);
}
