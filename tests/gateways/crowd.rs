//! Many users at once through a proxy's few connections: each request is its own user's.

use std::collections::HashMap;
use std::thread;

use crate::common::Client;
use crate::common::app::Received;

use super::cases::only;
use super::stage::Stage;

const CROWDS: usize = 8;
const USERS: usize = 250;

/// What one of the crowd asks for, and what comes of it: a status, and who the app hears of.
struct Visit {
    target: String,
    token: bool,
    status: u16,
    known: bool,
}

/// Mixed so that good, bad and anonymous requests follow each other in every order.
fn visit(crowd: usize, turn: usize) -> Visit {
    let (folder, token, status, known) = match (turn * 7 + turn / 5 + crowd) % 5 {
        0 => ("feed", false, 200, false),
        1 => ("public", true, 200, false),
        2 => ("admin", true, 403, false),
        3 => ("x", false, 401, false),
        _ => ("x", true, 200, true),
    };
    Visit {
        target: format!("/{folder}/crowd-{crowd}-{turn}"),
        token,
        status,
        known,
    }
}

fn name(crowd: usize, turn: usize) -> String {
    format!("user-{crowd}-{turn}")
}

pub(super) fn many_users_at_once(stage: &Stage) {
    let before = stage.app.count();
    thread::scope(|scope| {
        for crowd in 0..CROWDS {
            scope.spawn(move || go(stage, crowd));
        }
    });
    let mut came: HashMap<String, Vec<Received>> = HashMap::new();
    for received in stage.app.received().into_iter().skip(before) {
        let target = received.target().to_owned();
        came.entry(target).or_default().push(received);
    }
    let mut known = 0;
    for (crowd, turn) in (0..CROWDS).flat_map(|crowd| (0..USERS).map(move |turn| (crowd, turn))) {
        let visit = visit(crowd, turn);
        let received = came.remove(&visit.target).unwrap_or_default();
        assert_eq!(received.is_empty(), visit.status != 200, "{}", visit.target);
        let user = visit.known.then(|| name(crowd, turn));
        for received in received {
            only(&received, "x-user-id", user.as_deref());
            let email = user.as_ref().map(|user| format!("{user}@example.com"));
            only(&received, "x-user-email", email.as_deref());
        }
        known += usize::from(visit.known);
    }
    assert_eq!((came.len(), known), (0, CROWDS * USERS / 5));
}

/// One after the other on a connection that the proxy keeps, if it does.
fn go(stage: &Stage, crowd: usize) {
    let mut client = Client::connect(stage.address);
    for turn in 0..USERS {
        let visit = visit(crowd, turn);
        let lines = match visit.token {
            true => stage.bearer(&name(crowd, turn)),
            false => String::new(),
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n",
            visit.target
        );
        client.send(&request);
        let reply = client.reply().unwrap_or_else(|| {
            client = Client::connect(stage.address);
            client.send(&request);
            client.reply().expect("an answer on a new connection")
        });
        assert_eq!(
            reply.status, visit.status,
            "{:?} {}",
            stage.door, visit.target
        );
        assert!(
            !reply.head.to_lowercase().contains("x-user"),
            "{}",
            reply.head
        );
    }
}
