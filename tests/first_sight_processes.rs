//! The headline: however many processes of usher there are, and whatever happens to them, to
//! Redis and to PostgreSQL, a user is created once and exists before the app sees them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::common::app::{Answer, Received, answer};
use crate::common::exness::{self, token};
use crate::common::{App, Client, Peers, Served, eventually};
use crate::users::engine::Habits;

/// Ids that reached the app although their row was not there.
type Early = Arc<Mutex<HashSet<String>>>;

/// An app that asks a witness about each user it is told of. A witness who is restarted at that
/// moment knows nothing, so it is asked again before anybody is blamed.
fn strict_app(written: impl Fn(&str) -> bool + Send + Sync + 'static) -> (App, Early) {
    let early = Early::default();
    let shared = early.clone();
    let app = App::with(move |received: &Received| {
        let id = received.header("x-user-id").expect("somebody");
        let begun = Instant::now();
        while !written(id) {
            if begun.elapsed() > Duration::from_millis(500) {
                shared.lock().unwrap().insert(id.to_owned());
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Answer::Bytes(answer("200 OK", "", ""))
    });
    (app, early)
}

fn request(token: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// Sends a request on a connection that stays, and reads the status of the answer.
async fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 2048];
    loop {
        let count = stream.read(&mut piece).await.unwrap();
        assert_ne!(
            count,
            0,
            "closed after {:?}",
            String::from_utf8_lossy(&answer)
        );
        answer.extend_from_slice(&piece[..count]);
        if let Some(length) = whole(&answer) {
            assert_eq!(answer.len(), length, "more than one answer");
            return String::from_utf8_lossy(&answer[9..12]).into_owned();
        }
    }
}

/// The length of the answer, once all of it is there.
fn whole(answer: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(answer);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let body = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))?;
    let length = head.len() + 4 + body.parse::<usize>().unwrap();
    (answer.len() >= length).then_some(length)
}

/// What the processes complained of, for whoever reads why a test failed.
fn warnings(served: &[Served]) -> String {
    let logs: String = served.iter().map(Served::log).collect();
    let complaints = logs.lines().filter(|line| !line.contains("\"INFO\""));
    complaints.take(50).collect::<Vec<_>>().join("\n")
}

/// Each of 200 users asks each of eight processes 50 times at once: 80,000 requests, in waves of
/// five users.
#[test]
fn eight_processes_create_each_user_once() {
    const USERS: usize = 200;
    const WAVE: usize = 5;
    const EACH: usize = 8 * 50;
    let peers = Peers::start();
    peers.start_engine(Habits {
        row_after: Duration::from_millis(100),
        ..Habits::default()
    });
    let (app, early) = strict_app(peers.witness());
    // Two thousand connections at once are more than the app's backlog holds.
    let patient = "timeouts: { connect: 30s }\n";
    let users = peers.users("  wait: 30s\n");
    let served = Served::all(&exness::yaml(&app, &users, patient), 8);
    let begun = Instant::now();
    peers.wait(async {
        let mut connections = Vec::new();
        for at in 0..WAVE * EACH {
            let address = served[at % served.len()].address;
            connections.push(TcpStream::connect(address).await.unwrap());
        }
        for wave in 0..USERS / WAVE {
            let mut tasks = JoinSet::new();
            for (at, mut stream) in connections.drain(..).enumerate() {
                let user = wave * WAVE + at / EACH;
                let request = request(&token(&format!("u-{user}"), &format!("{user}@e")));
                tasks.spawn(async move {
                    let status = ask(&mut stream, &request).await;
                    (stream, status)
                });
            }
            while let Some(done) = tasks.join_next().await {
                let (stream, status) = done.unwrap();
                assert_eq!(status, "200", "{}", warnings(&served));
                connections.push(stream);
            }
        }
    });
    let took = begun.elapsed();
    println!("{} requests in {took:?}", USERS * EACH);
    assert_eq!(app.count(), USERS * EACH);
    assert_eq!(*early.lock().unwrap(), HashSet::new(), "before their row");
    let requests = peers.requests();
    let users: HashSet<_> = requests
        .iter()
        .map(|one| one["userId"].to_string())
        .collect();
    assert_eq!((requests.len(), users.len()), (USERS, USERS));
    assert_eq!(peers.rows(), USERS as i64);
    let logs: String = served.iter().map(Served::log).collect();
    assert_eq!(logs.matches("user created").count(), USERS, "one line each");
}

#[test]
fn a_process_that_is_killed_after_sending_leaves_its_user_to_the_others() {
    let peers = Peers::start();
    let app = App::start();
    let served = Served::all(&exness::yaml(&app, &peers.users(""), ""), 2);
    let mut lost = served[0].connect();
    lost.send(request(&token("u", "u@e")));
    eventually("it is sent", || (peers.asked_for("u") == 1).then_some(()));
    served[0].kill();
    assert!(lost.reply().is_none());
    let mut joined = served[1].connect();
    joined.send(request(&token("u", "u@e")));
    peers.start_engine(Habits::default());
    assert_eq!(joined.reply().expect("answered").status, 200);
    assert_eq!(
        peers.asked_for("u"),
        1,
        "the request of the dead speaks for the user"
    );
}

#[test]
fn a_request_that_is_lost_with_its_process_is_sent_again_after_the_markers_life() {
    let peers = Peers::start();
    let app = App::start();
    let users = peers.users("  wait: 500ms\n  marker: 2s\n");
    let served = Served::all(&exness::yaml(&app, &users, ""), 2);
    let mut lost = served[0].connect();
    lost.send(request(&token("u", "u@e")));
    eventually("it is sent", || (peers.asked_for("u") == 1).then_some(()));
    let begun = Instant::now();
    served[0].kill();
    let _: u64 = peers.wait(peers.house.redis.run(&["DEL", "stream:exness"]));
    peers.start_engine(Habits::default());
    let mut client = served[1].connect();
    let mut refused = 0;
    loop {
        client.send(request(&token("u", "u@e")));
        match client.reply().expect("answered").status {
            200 => break,
            503 => refused += 1,
            other => panic!("{other}"),
        }
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{refused} refused"
        );
    }
    assert!(refused >= 1, "the marker spoke for the user");
    assert_eq!((peers.asked_for("u"), app.count()), (1, 1));
}

/// Clients that go on asking, and what they must never see.
struct Load {
    stop: AtomicBool,
    known: AtomicUsize,
    created: AtomicUsize,
    unavailable: AtomicUsize,
    number: AtomicUsize,
    slowest: Mutex<Duration>,
    wrong: Mutex<Vec<String>>,
}

/// How long a request waits, in the outages.
const WAIT: Duration = Duration::from_millis(1500);
/// The longest any answer may take: the wait, one last look, and a machine with two cores.
const DEADLINE: Duration = Duration::from_millis(2500);

impl Load {
    fn new() -> Self {
        Self {
            stop: AtomicBool::new(false),
            known: AtomicUsize::new(0),
            created: AtomicUsize::new(0),
            unavailable: AtomicUsize::new(0),
            number: AtomicUsize::new(0),
            slowest: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    fn ask(&self, client: &mut Client, token: &str) -> u16 {
        let begun = Instant::now();
        client.send(request(token));
        let reply = client.reply().expect("answered");
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = (*slowest).max(begun.elapsed());
        if reply.status == 503 && reply.header("retry-after").is_none() {
            self.blame("a 503 without Retry-After".to_owned());
        }
        reply.status
    }

    fn blame(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    /// Somebody new with every request: in, or told to come back.
    fn ask_as_new(&self, client: &mut Client) -> u16 {
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        let status = self.ask(
            client,
            &token(&format!("new-{number}"), &format!("{number}@new")),
        );
        match status {
            200 => &self.created,
            503 => &self.unavailable,
            other => return self.blame_status("somebody new", other),
        }
        .fetch_add(1, Ordering::SeqCst);
        status
    }

    /// Somebody known is never refused.
    fn ask_as_known(&self, client: &mut Client, token: &str) {
        match self.ask(client, token) {
            200 => _ = self.known.fetch_add(1, Ordering::SeqCst),
            other => _ = self.blame_status("somebody known", other),
        }
    }

    fn blame_status(&self, who: &str, status: u16) -> u16 {
        self.blame(format!("{who} got {status}"));
        status
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }
}

/// Asks as somebody new until one gets in; five seconds are allowed.
fn recovers(load: &Load, served: &Served, what: &str) -> Duration {
    let begun = Instant::now();
    let mut client = served.connect();
    while load.ask_as_new(&mut client) != 200 {
        assert!(begun.elapsed() < Duration::from_secs(5), "after {what}");
    }
    begun.elapsed()
}

#[test]
fn outages_under_load_refuse_nobody_known_and_let_nobody_unknown_in() {
    let mut peers = Peers::start();
    peers.start_engine(Habits::default());
    let (app, early) = strict_app(peers.witness());
    let members = format!("  wait: {}ms\n", WAIT.as_millis());
    let served = Served::all(&exness::yaml(&app, &peers.users(&members), ""), 3);
    let load = Load::new();
    let known = token("known", "known@e");
    for one in &served {
        assert_eq!(load.ask(&mut one.connect(), &known), 200);
    }
    std::thread::scope(|scope| {
        for one in &served {
            scope.spawn(|| {
                let mut client = one.connect();
                while load.goes_on() {
                    load.ask_as_known(&mut client, &known);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            scope.spawn(|| {
                let mut client = one.connect();
                while load.goes_on() {
                    load.ask_as_new(&mut client);
                }
            });
        }
        for outage in [
            "redis stands still",
            "redis is killed",
            "postgres stands still",
            "postgres is killed",
        ] {
            recovers(&load, &served[0], "the beginning");
            let refused = load.unavailable.load(Ordering::SeqCst);
            match outage {
                "redis stands still" => peers.house.redis.signal("STOP"),
                "redis is killed" => peers.house.redis.kill(),
                "postgres stands still" => peers.house.postgres.signal_all("STOP"),
                _ => peers.house.postgres.kill(),
            }
            eventually("somebody new is turned away", || {
                (load.unavailable.load(Ordering::SeqCst) >= refused + 6).then_some(())
            });
            let passed = load.known.load(Ordering::SeqCst);
            eventually("who is known goes on", || {
                (load.known.load(Ordering::SeqCst) >= passed + 100).then_some(())
            });
            match outage {
                "redis stands still" => peers.house.redis.signal("CONT"),
                "redis is killed" => peers.restart_redis(),
                "postgres stands still" => peers.house.postgres.signal_all("CONT"),
                _ => peers.restart_postgres(),
            }
            let times: Vec<_> = served
                .iter()
                .map(|one| recovers(&load, one, outage))
                .collect();
            println!("{outage}: recovered after {times:?}");
        }
        load.stop.store(true, Ordering::SeqCst);
    });
    let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    let slowest = *load.slowest.lock().unwrap();
    println!(
        "known {}, created {}, turned away {}, slowest {slowest:?}",
        count(&load.known),
        count(&load.created),
        count(&load.unavailable)
    );
    assert_eq!(*load.wrong.lock().unwrap(), [""; 0]);
    assert_eq!(*early.lock().unwrap(), HashSet::new(), "before their row");
    assert!(slowest < DEADLINE, "{slowest:?}");
    // The app has seen those who got in, and nobody else.
    let seen: HashSet<_> = app
        .received()
        .iter()
        .map(|one| one.header("x-user-id").unwrap().to_owned())
        .collect();
    assert_eq!(seen.len(), count(&load.created) + 1);
}
