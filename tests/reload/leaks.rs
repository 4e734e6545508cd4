//! Two hundred reloads leave no more behind than forty.

use std::fs;

use super::stage::{Stage, ask};
use crate::common::http2::{Http2, get};
use crate::common::{App, Issuer, KeyServer, eventually};

/// Threads, open files, and kilobytes in memory of a process.
fn holds(id: u32) -> (usize, usize, u64) {
    let count = |folder: &str| {
        fs::read_dir(format!("/proc/{id}/{folder}"))
            .unwrap()
            .count()
    };
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.unwrap().trim().split(' ').next().unwrap();
    (count("task"), count("fd"), resident.parse().unwrap())
}

#[test]
fn two_hundred_reloads_leave_nothing_behind() {
    let idp = Issuer::with_kid("idp");
    let server = KeyServer::start(idp.jwks());
    let folder = tempfile::tempdir().unwrap();
    let config = |turn: usize| {
        // Other keys, other users with a thread and a file, other accounts, another pool.
        let place = |name: &str| folder.path().join(format!("{name}{}.db", turn % 2));
        let issuer = format!(
            "{{ name: idp, issuer: \"{}\", audiences: [app], algorithms: [ES256], \
             jwks_uri: \"{}\", fetch: {{ timeout: {}s }} }}",
            Issuer::NAME,
            server.jwks_uri(),
            3 + turn % 2
        );
        let more = format!(
            "users: {{ directory: \"sqlite:{}\", provisioner: direct, shared_ids: true }}\n\
             accounts: \"sqlite:{}\"\nprojects: [{{ id: acme }}]\nissued_tokens: {{ \
             access: {{ secret: aq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To }}, \
             refresh: {{ secret: rq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To }} }}\n\
             timeouts: {{ connect: {}s }}\nroutes: [{{ path: /r{}/** }}]",
            place("users").display(),
            place("accounts").display(),
            1 + turn % 2,
            turn % 7
        );
        (vec![issuer], more)
    };
    let (issuers, more) = config(0);
    let stage = Stage::with(App::start(), Issuer::new(), &issuers, &more);
    eventually("ready", || {
        (stage.admin("/readyz").status == 200).then_some(())
    });
    let token = idp.token("alice");
    // Idle between requests, one in each protocol, all the time.
    let (mut kept, over_http2) = (stage.connect(), Http2::connect(stage.address));
    let mut turn = |number: usize| {
        let (issuers, more) = config(number);
        stage.write_with(&issuers, &more);
        stage.reload();
        assert_eq!(ask(&mut kept, "/a", &token).status, 200, "{number}");
        assert_eq!(
            over_http2.ask(get("/b", &token)).unwrap().status,
            200,
            "{number}"
        );
    };
    (1..=40).for_each(&mut turn);
    let settled = || {
        // What ends by itself has a moment for it.
        let mut last = holds(stage.running.id());
        eventually("it rests", || {
            std::thread::sleep(std::time::Duration::from_millis(200));
            let now = holds(stage.running.id());
            let rests = (now.0, now.1) == (last.0, last.1);
            last = now;
            rests.then_some(last)
        })
    };
    let early = settled();
    (41..=200).for_each(&mut turn);
    let late = settled();
    println!("threads, files, kB: after 40 reloads {early:?}, after 200 {late:?}");
    assert!(
        late.0 <= early.0 && late.1 <= early.1 + 2,
        "{early:?} {late:?}"
    );
    // 160 reloads that each left 100 kB behind would show.
    assert!(late.2 < early.2 + 8 * 1024, "{early:?} {late:?}");
    // One refresher, not two hundred: each reload has fetched once, and nobody else fetches.
    let (done, failed) = stage.reloads();
    assert_eq!((server.fetches().len() as f64, failed), (done + 1.0, 0.0));
    assert!(done >= 200.0, "{done}");
}
