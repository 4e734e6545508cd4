//! What makes usher read its configuration again.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::stage::{Stage, ask};
use crate::common::{App, Issuer, eventually};

const OLD: &str = "headers: { X-User-Id: id }";
const NEW: &str = "headers: { X-Name: name }";

/// The app sees what the new configuration says.
#[track_caller]
fn sees_the_new(stage: &Stage) {
    stage.until_reloaded(1.0);
    let token = stage.issuer.token("alice");
    assert_eq!(ask(&mut stage.connect(), "/a", &token).status, 200);
    assert_eq!(stage.app.last().header("x-name"), Some("Alice"));
}

#[test]
fn a_file_that_is_written_in_place_is_read_again() {
    let stage = Stage::start(OLD);
    std::fs::write(stage.file(), stage.text(&[stage.issuer.yaml()], NEW)).unwrap();
    sees_the_new(&stage);
    assert_eq!(stage.reloads(), (1.0, 0.0));
}

#[test]
fn a_file_that_is_renamed_into_place_is_read_again() {
    let stage = Stage::start(OLD);
    stage.write(NEW);
    sees_the_new(&stage);
    // A bad one is tried once, not with each look.
    stage.write("headers: 7");
    eventually("a failure", || (stage.reloads().1 > 0.0).then_some(()));
    stage.write(OLD);
    stage.until_reloaded(2.0);
    assert_eq!(stage.reloads(), (2.0, 1.0));
}

/// A folder as Kubernetes mounts a ConfigMap: names that lead through `..data` to a folder that is
/// replaced whole.
fn mount(folder: &Path, version: &str, text: &str) {
    let data = folder.join(format!("..{version}"));
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("usher.yaml"), text).unwrap();
    let beside = folder.join("..data_tmp");
    symlink(format!("..{version}"), &beside).unwrap();
    std::fs::rename(beside, folder.join("..data")).unwrap();
}

#[test]
fn a_config_map_that_is_swapped_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (app, issuer) = (App::start(), Issuer::new());
    let file = folder.path().join("usher.yaml");
    // Written by the stage's own hand, then put behind links.
    let text = |more: &str| {
        format!(
            "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nupstream: http://{}\nissuers: [{}]\n{more}\n",
            app.address,
            issuer.yaml()
        )
    };
    mount(folder.path(), "2026_1", &text(OLD));
    symlink("..data/usher.yaml", &file).unwrap();
    let new = text(NEW);
    let stage = Stage::of(folder, file, app, issuer);
    mount(stage.folder.path(), "2026_2", &new);
    std::fs::remove_dir_all(stage.folder.path().join("..2026_1")).unwrap();
    sees_the_new(&stage);
}

#[test]
fn a_file_that_the_configuration_names_is_read_again() {
    let stage = Stage::start(OLD);
    let other = Issuer::new();
    let (mine, theirs) = (stage.issuer.token("alice"), other.token("alice"));
    let mut client = stage.connect();
    assert_eq!(ask(&mut client, "/a", &mine).status, 200);
    assert_eq!(ask(&mut client, "/a", &theirs).status, 401);
    std::fs::write(stage.issuer.key_set(), other.jwks().to_string()).unwrap();
    stage.until_reloaded(1.0);
    assert_eq!(ask(&mut client, "/a", &theirs).status, 200);
    assert_eq!(ask(&mut client, "/a", &mine).status, 401, "its key is gone");
}

#[test]
fn a_secret_that_was_missing_comes() {
    let stage = Stage::start(OLD);
    let secret = stage.folder.path().join("jwt");
    let issuer = format!(
        "{{ name: shared, issuer: \"https://shared.test/\", audiences: any, secret_file: {} }}",
        secret.display()
    );
    stage.write_with(&[stage.issuer.yaml(), issuer], NEW);
    eventually("a failure", || (stage.reloads().1 > 0.0).then_some(()));
    std::fs::write(secret, "kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To").unwrap();
    sees_the_new(&stage);
}
