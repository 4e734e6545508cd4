//! An identity provider's outage is not an outage of the app: keys outlive restarts, come from
//! mirrors, and come from nowhere else.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use usher::clock::{Clock, ManualClock};

use crate::common::app::answer;
use crate::common::authority::{Authority, Pair};
use crate::common::issuer::now;
use crate::common::{App, Issuer, KeyServer, Mood, Served, Usher, eventually};

/// `iss` of somebody else.
const OTHER: &str = "https://other.test/";

/// A configuration with keys from `urls`, and `more` lines.
fn yaml(app: &App, urls: &[String], more: &str) -> String {
    format!(
        "upstream: http://{}\nissuers: [{{ name: idp, issuer: \"{}\", audiences: [app], algorithms: [ES256], \
         jwks_uri: {urls:?}, fetch: {{ cooldown: 1s, timeout: 300ms }} }}]\n{more}",
        app.address,
        Issuer::NAME,
    )
}

fn report(usher: &Usher) -> Value {
    serde_json::from_str(&usher.admin("/readyz").body).unwrap()
}

fn ready(usher: &Usher) {
    eventually("readiness", || {
        (usher.admin("/readyz").status == 200).then_some(())
    });
}

/// What the last fetch failed with.
fn error(usher: &Usher) -> String {
    eventually("an error", || {
        let error = report(usher)["degraded"][0]["error"].clone();
        error.as_str().map(str::to_owned)
    })
}

fn broken() -> Mood {
    Mood::Bytes(answer("500 Oops", "", ""))
}

/// An issuer's server, a state directory, and the app.
struct Scene {
    app: App,
    issuer: Issuer,
    server: KeyServer,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let issuer = Issuer::new();
        Self {
            app: App::start(),
            server: KeyServer::start(issuer.jwks()),
            issuer,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn yaml(&self) -> String {
        let state = format!("state_dir: {}\n", self.folder.path().display());
        yaml(&self.app, &[self.server.jwks_uri()], &state)
    }

    fn snapshot(&self) -> PathBuf {
        self.folder.path().join("keys-idp.json")
    }

    /// Lets an usher fetch the keys and end; the issuer is broken from then on.
    fn fetched(&self) {
        let usher = Usher::configured(&self.yaml());
        ready(&usher);
        eventually("the snapshot", || self.snapshot().exists().then_some(()));
        drop(usher);
        self.server.set_mood(broken());
    }

    /// An usher that starts from a snapshot that must not count.
    #[track_caller]
    fn does_not_believe(&self, yaml: &str, clock: Clock, what: &str) {
        let usher = Usher::with_clock(yaml, clock);
        let iss = match yaml.contains(Issuer::NAME) {
            true => Issuer::NAME,
            false => OTHER,
        };
        let token = self.issuer.token_with("alice", json!({ "iss": iss }));
        assert_eq!(usher.admin("/readyz").status, 503, "{what}");
        assert_eq!(usher.get("/", &token).status, 503, "{what}");
        assert_eq!(snapshots(&usher, "not_restored"), 1.0, "{what}");
        assert_eq!(snapshots(&usher, "restored"), 0.0, "{what}");
    }
}

fn snapshots(usher: &Usher, outcome: &str) -> f64 {
    usher.metric(&format!(
        "usher_key_snapshots_total{{issuer=\"idp\",outcome=\"{outcome}\"}}"
    ))
}

#[test]
fn a_restart_during_an_outage_is_ready_at_once() {
    let scene = Scene::new();
    scene.fetched();
    assert_eq!(mode(&scene.snapshot()), 0o600);
    scene.server.set_mood(Mood::Hang);
    // Nothing is waited for.
    let usher = Usher::configured(&scene.yaml());
    assert_eq!(usher.admin("/readyz").status, 200);
    assert_eq!(usher.get("/", &scene.issuer.token("alice")).status, 200);
    assert_eq!(scene.app.last().header("x-user-id"), Some("alice"));
    assert_eq!(snapshots(&usher, "restored"), 1.0);
    // That it is an old set is told, and a name it lacks is no 401 while nobody can tell.
    assert!(error(&usher).contains("no whole answer"));
    let stranger = Issuer::with_kid("stranger").token("eve");
    assert_eq!(usher.get("/", &stranger).status, 503);
    // Once the issuer is back, what it has withdrawn is withdrawn.
    scene.server.set_keys(Issuer::with_kid("new").jwks());
    scene.server.set_mood(Mood::Good);
    eventually("the end of the old key", || {
        (usher.get("/", &scene.issuer.token("alice")).status == 401).then_some(())
    });
}

#[test]
fn a_snapshot_that_somebody_else_could_have_made_is_not_believed() {
    let scene = Scene::new();
    scene.fetched();
    let good = fs::read_to_string(scene.snapshot()).unwrap();
    let path = scene.snapshot();
    let here = || Clock::System;
    // Whoever may write it could put in keys of their own.
    fs::set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
    scene.does_not_believe(&scene.yaml(), here(), "writable by the group");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    scene.does_not_believe(&scene.yaml(), here(), "readable by everybody");
    fs::remove_file(&path).unwrap();
    fs::write(path.with_extension("real"), &good).unwrap();
    std::os::unix::fs::symlink(path.with_extension("real"), &path).unwrap();
    scene.does_not_believe(&scene.yaml(), here(), "a link");
    fs::remove_file(&path).unwrap();
    for (what, text) in [
        ("empty", String::new()),
        ("cut off", good[..good.len() / 2].to_owned()),
        ("another form", good.replace("\"form\":1", "\"form\":2")),
        (
            "a member more",
            good.replace("\"form\":1", "\"form\":1,\"x\":1"),
        ),
        ("no keys", good.replace("\\\"keys\\\"", "\\\"kegs\\\"")),
        ("large", format!("{good}{}", " ".repeat(2 << 20))),
    ] {
        assert_ne!(text, good, "{what}");
        own(&path, &text);
        scene.does_not_believe(&scene.yaml(), here(), what);
    }
    // The same bytes count again where they are ours alone.
    own(&path, &good);
    let usher = Usher::configured(&scene.yaml());
    assert_eq!(usher.admin("/readyz").status, 200);
}

#[test]
fn a_snapshot_of_another_configuration_or_time_is_not_believed() {
    let scene = Scene::new();
    scene.fetched();
    let elsewhere = KeyServer::start(json!({ "keys": [] }));
    let moved = scene
        .yaml()
        .replace(&scene.server.jwks_uri(), &elsewhere.jwks_uri());
    scene.does_not_believe(&moved, Clock::System, "another jwks_uri");
    let renamed = scene.yaml().replace(Issuer::NAME, OTHER);
    scene.does_not_believe(&renamed, Clock::System, "another issuer");
    // A set that holds nothing for the algorithms of now is as good as none.
    let other_kind = Usher::configured(&scene.yaml().replace("[ES256]", "[RS256]"));
    assert_eq!(other_kind.admin("/readyz").status, 503);
    assert_eq!(snapshots(&other_kind, "not_restored"), 1.0);
    let at = |seconds| Clock::Manual(ManualClock::new(now() + seconds));
    // Fresh for ten minutes, and then for another day.
    let bound = 10 * 60 + 24 * 3600;
    scene.does_not_believe(&scene.yaml(), at(bound + 60), "too old");
    scene.does_not_believe(&scene.yaml(), at(-3600), "of the future");
    let usher = Usher::with_clock(&scene.yaml(), at(bound - 60));
    assert_eq!(usher.admin("/readyz").status, 200);
}

#[test]
fn a_state_directory_that_cannot_be_used_is_said() {
    let scene = Scene::new();
    let folder = scene.folder.path();
    fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
    let file = folder.join("usher.yaml");
    fs::write(&file, scene.yaml()).unwrap();
    let file = file.display().to_string();
    let (code, _, said) = crate::common::command::run(&["serve", "--config", &file]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("state_dir: ") && said.contains("chmod o-w"),
        "{said}"
    );
}

/// A file of ours alone.
fn own(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn another_mirror_is_asked_when_one_is_away() {
    let (app, issuer, bell) = (App::start(), Issuer::new(), Issuer::with_kid("bell"));
    let both = json!({ "keys": [issuer.jwks()["keys"][0], bell.jwks()["keys"][0]] });
    let (one, two) = (
        KeyServer::start(both.clone()),
        KeyServer::start(issuer.jwks()),
    );
    for mood in [
        broken(),
        Mood::Hang,
        Mood::Bytes(answer("200 OK", "", "{\"keys\":[]}")),
    ] {
        one.set_mood(mood);
        let usher = Usher::configured(&yaml(&app, &[one.jwks_uri(), two.jwks_uri()], ""));
        ready(&usher);
        assert_eq!(usher.get("/", &issuer.token("alice")).status, 200);
        assert_eq!(report(&usher)["degraded"], json!([]));
    }
    // The one that answered is asked first from then on, and the other when that one is away.
    let usher = Usher::configured(&yaml(&app, &[one.jwks_uri(), two.jwks_uri()], ""));
    ready(&usher);
    let asked = one.fetches().len();
    assert_eq!(usher.get("/", &bell.token("bob")).status, 401);
    assert_eq!(one.fetches().len(), asked);
    two.set_mood(broken());
    one.set_mood(Mood::Good);
    eventually("the key that only the first has", || {
        (usher.get("/", &bell.token("bob")).status == 200).then_some(())
    });
    // With all of them away, the last good set stays.
    one.set_mood(broken());
    let stranger = Issuer::with_kid("stranger").token("eve");
    eventually("the outage", || {
        assert_eq!(usher.get("/", &issuer.token("carol")).status, 200);
        let _ = usher.get("/", &stranger);
        (report(&usher)["degraded"][0]["issuer"] == "idp").then_some(())
    });
    let said = error(&usher);
    assert!(
        said.contains(&one.jwks_uri()) && said.contains(&two.jwks_uri()),
        "{said}"
    );
}

#[test]
fn a_redirect_leads_nowhere() {
    let (app, issuer) = (App::start(), Issuer::new());
    let (server, other) = (
        KeyServer::start(issuer.jwks()),
        KeyServer::start(issuer.jwks()),
    );
    for status in [
        "301 Moved",
        "302 Found",
        "303 See",
        "307 Temporary",
        "308 Permanent",
    ] {
        let location = format!("location: {}\r\n", other.jwks_uri());
        server.set_mood(Mood::Bytes(answer(status, &location, "")));
        let usher = Usher::configured(&yaml(&app, &[server.jwks_uri()], ""));
        assert!(
            error(&usher).contains("redirects are not followed"),
            "{status}"
        );
        assert_eq!(usher.admin("/readyz").status, 503);
    }
    assert_eq!(other.requests(), 0);
}

/// A name may lead anywhere: what is looked at is the address that is connected to.
#[test]
fn a_name_that_leads_to_a_metadata_service_is_not_connected_to() {
    let (app, issuer) = (App::start(), Issuer::new());
    let server = KeyServer::start(issuer.jwks());
    // The resolver of the system makes 169.254.169.254 of these, as it would of any name that
    // somebody points there.
    for host in ["0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe", "0xa9.0xfea9fe"] {
        let link = format!("https://{host}/keys");
        server.set_discovery(&json!({ "issuer": server.issuer(), "jwks_uri": link }).to_string());
        let entry = format!(
            "upstream: http://{}\nissuers: [{{ name: idp, issuer: \"{}\", audiences: [app] }}]\n",
            app.address,
            server.issuer()
        );
        let usher = Usher::configured(&entry);
        let said = error(&usher);
        assert!(
            said.contains("169.254.169.254 is link-local") && said.contains("allow_addresses"),
            "{host}: {said}"
        );
        assert_eq!(usher.admin("/readyz").status, 503);
    }
}

/// An issuer's entry for keys at `https://localhost`, trusting `root`.
fn over_tls(app: &App, server: &KeyServer, root: &Path, how: &str) -> String {
    format!(
        "upstream: http://{}\nissuers: [{{ name: idp, issuer: \"{}\", audiences: [app], algorithms: [ES256], {how} \
         fetch: {{ ca_file: \"{}\", timeout: 2s }} }}]\n",
        app.address,
        server.issuer(),
        root.display()
    )
}

#[test]
fn keys_come_over_https_by_discovery_and_by_url() {
    let (app, issuer, authority) = (App::start(), Issuer::new(), Authority::new());
    let pair = authority.server("idp", &["localhost"]);
    let server = KeyServer::secure(issuer.jwks(), &pair);
    let token = issuer.token_with("alice", json!({ "iss": server.issuer() }));
    for how in [
        String::new(),
        format!("jwks_uri: \"{}\",", server.jwks_uri()),
    ] {
        let usher = Usher::configured(&over_tls(&app, &server, &authority.root, &how));
        ready(&usher);
        assert_eq!(usher.get("/", &token).status, 200, "{how}");
    }
    assert_eq!(server.fetches().len(), 2);
}

#[test]
fn a_server_that_cannot_prove_who_it_is_gives_no_keys() {
    let (app, issuer) = (App::start(), Issuer::new());
    let (authority, other) = (Authority::new(), Authority::new());
    let good: Pair = authority.server("idp", &["localhost"]);
    for (pair, root, told) in [
        (good.clone(), &other.root, "UnknownIssuer"),
        (
            authority.server("elsewhere", &["idp.example.com"]),
            &authority.root,
            "not valid for name",
        ),
        (
            authority.expired("old", &["localhost"]),
            &authority.root,
            "expired",
        ),
    ] {
        let server = KeyServer::secure(issuer.jwks(), &pair);
        let usher = Usher::configured(&over_tls(&app, &server, root, ""));
        let said = error(&usher);
        assert!(said.contains(told), "{said}");
        assert_eq!(usher.admin("/readyz").status, 503);
        assert_eq!(server.requests(), 0, "{told}");
    }
    // Something that speaks no TLS at all.
    let plain = KeyServer::start(issuer.jwks());
    let url = plain
        .jwks_uri()
        .replace("http://127.0.0.1", "https://localhost");
    let how = format!("jwks_uri: \"{url}\",");
    let usher = Usher::configured(&over_tls(&app, &plain, &authority.root, &how));
    assert!(!error(&usher).is_empty());
    assert_eq!(plain.requests(), 0);
}

#[test]
fn an_outage_is_told_once_and_its_end_too() {
    let scene = Scene::new();
    scene.fetched();
    scene.server.set_mood(Mood::Drip);
    // Ready at once, by the snapshot.
    let usher = &Served::all(&scene.yaml(), 1)[0];
    let asked = scene.server.fetches().len();
    eventually("more attempts", || {
        (scene.server.fetches().len() >= asked + 2).then_some(())
    });
    let told = |what: &str| usher.log().matches(what).count();
    assert_eq!(told("\"key set not fetched\""), 1, "{}", usher.log());
    scene.server.set_mood(Mood::Good);
    eventually("the end", || {
        (told("\"key set fetched again\"") == 1).then_some(())
    });
    assert_eq!(told("\"key set not fetched\""), 1, "{}", usher.log());
}

#[test]
fn a_flood_of_unknown_names_does_not_wear_the_disk_or_the_issuer() {
    let scene = Scene::new();
    // The usual cooldown: ten seconds.
    let yaml = scene.yaml().replace("cooldown: 1s, ", "");
    let usher = Usher::configured(&yaml);
    ready(&usher);
    let begun = std::time::Instant::now();
    let mut client = usher.connect();
    for number in 0..500 {
        let token = Issuer::with_kid(&format!("unknown-{number}")).token("eve");
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        assert_eq!(client.reply().unwrap().status, 503);
    }
    let windows = begun.elapsed().as_secs() / 10;
    assert!(begun.elapsed() < Duration::from_secs(60));
    let most = usize::try_from(windows).unwrap() + 1;
    assert!(
        scene.server.fetches().len() <= most,
        "{}",
        scene.server.fetches().len()
    );
    assert!(snapshots(&usher, "kept") <= most as f64);
    // No signature was looked at: each was refused for its name alone.
    assert_eq!(usher.get("/", &scene.issuer.token("alice")).status, 200);
}
