//! Customers whose servers sign for their users.

use crate::config::Audiences;
use crate::config::accounts::{Project, ProjectLimits, PublicKey};
use crate::config::file::{self, List, OneOrMany};
use crate::config::report::member;
use crate::config::resolve::{Context, bounds, flag, key_source};

const ID: &str = "Write a short name of letters, digits, `-`, `_` and `.`, such as `id: acme`.";
const AUDIENCES: &str = "Write the values of `aud` that count, or `any`.";

/// Resolves every project, and compares them with each other.
pub(super) fn all(
    file: Option<&List<file::Project>>,
    preset: bool,
    cx: &mut Context<'_>,
) -> Vec<Project> {
    let listed = file.map(|list| list.keyed("projects")).unwrap_or_default();
    if listed.is_empty() {
        let remedy =
            "Write whose users may log in: `projects: [{ id: acme, public_key_file: acme.pem }]`.";
        cx.report.missing("projects", remedy);
    }
    let mut projects: Vec<Project> = Vec::new();
    for (key, file) in listed {
        let project = one(&key, file, preset, cx);
        if !project.id.is_empty() && projects.iter().any(|other| other.id == project.id) {
            let message = format!("is taken: two projects are called `{}`", project.id);
            cx.error(&member(&key, "id"), message, "Give each an id of its own.");
        }
        projects.push(project);
    }
    projects
}

fn one(key: &str, file: &file::Project, preset: bool, cx: &mut Context<'_>) -> Project {
    let link_by_email = flag(file.link_by_email, preset);
    let relink = flag(file.relink, false);
    if relink && !link_by_email {
        cx.error(
            &member(key, "relink"),
            "says how `link_by_email` works, which is off",
            "Write `link_by_email: true` beside it, or remove it.",
        );
    }
    let current = current(key, file, cx);
    let project = Project {
        id: id(&member(key, "id"), file.id.as_deref(), cx),
        previous: previous(key, file, cx),
        audiences: audiences(&member(key, "audiences"), file.audiences.as_ref(), cx),
        require_exp: flag(file.require_exp, !preset),
        link_by_email,
        relink,
        limits: limits(&member(key, "limits"), file.limits.as_ref(), cx),
        current,
    };
    if project.current.is_none() && !cx.report.is_spoilt(key) {
        cx.report.warn(
            key,
            "has no public key, so nobody can log in",
            "Write `public_key_file` or `public_key`.",
        );
    }
    project
}

fn id(key: &str, given: Option<&str>, cx: &mut Context<'_>) -> String {
    let Some(id) = given else {
        cx.report.missing(key, ID);
        return String::new();
    };
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if id.is_empty() || id.len() > 64 || matches!(id, "." | "..") || !id.chars().all(good) {
        cx.error(key, format!("is not a short plain name: {id:?}"), ID);
    }
    id.to_owned()
}

fn current(key: &str, file: &file::Project, cx: &mut Context<'_>) -> Option<PublicKey> {
    let inline = file.public_key.as_ref();
    let place = one_place(key, "public_key", inline, file.public_key_file.as_ref(), cx)?;
    if let PublicKey::File(path) = &place {
        let key = member(key, "public_key_file");
        let bytes = key_source::read_file(&key, path, cx)?;
        is_public(&key, &String::from_utf8_lossy(&bytes), cx)?;
    }
    Some(place)
}

/// A file that is gone says that the key is, too: that is how rotation ends.
fn previous(key: &str, file: &file::Project, cx: &mut Context<'_>) -> Option<PublicKey> {
    let (inline, path) = (&file.previous_public_key, &file.previous_public_key_file);
    let place = one_place(
        key,
        "previous_public_key",
        inline.as_ref(),
        path.as_ref(),
        cx,
    )?;
    if let PublicKey::File(path) = &place {
        let key = member(key, "previous_public_key_file");
        match std::fs::metadata(path) {
            Ok(found) if found.len() > 0 => {
                let bytes = key_source::read_file(&key, path, cx)?;
                is_public(&key, &String::from_utf8_lossy(&bytes), cx)?;
            }
            _ => cx.report.warn(
                &key,
                format!(
                    "names a file that is empty or not there, so there is no previous key: {}",
                    path.display()
                ),
                "Remove it, unless the file is still to come.",
            ),
        }
    }
    Some(place)
}

fn one_place(
    key: &str,
    name: &str,
    inline: Option<&String>,
    file: Option<&String>,
    cx: &mut Context<'_>,
) -> Option<PublicKey> {
    match (inline, file) {
        (None, None) => None,
        (None, Some(path)) => Some(PublicKey::File(cx.path(path))),
        (Some(text), None) => {
            is_public(&member(key, name), text, cx)?;
            Some(PublicKey::Inline(text.clone()))
        }
        (Some(_), Some(_)) => {
            let key = member(key, &format!("{name}_file"));
            cx.error(
                &key,
                format!("is a second key beside `{name}`"),
                "Keep one of the two.",
            );
            None
        }
    }
}

fn is_public(key: &str, text: &str, cx: &mut Context<'_>) -> Option<()> {
    if !text.contains("PRIVATE KEY-----") {
        return Some(());
    }
    cx.error(
        key,
        "holds a private key, which usher must not have",
        "Make the public key of it: `openssl pkey -in private.pem -pubout -out public.pem`.",
    );
    None
}

fn audiences(key: &str, file: Option<&OneOrMany<String>>, cx: &mut Context<'_>) -> Audiences {
    let Some(file) = file else {
        return Audiences::Any;
    };
    if matches!(file, OneOrMany::One(word) if word == "any") {
        return Audiences::Any;
    }
    let listed = file.keyed(key);
    if listed.is_empty() && !cx.report.is_spoilt(key) {
        cx.error(key, "is an empty list", AUDIENCES);
    }
    for (key, audience) in &listed {
        if audience.is_empty() || audience.as_str() == "any" {
            cx.error(key, "is empty, or `any` in a list", AUDIENCES);
        }
    }
    Audiences::OneOf(listed.into_iter().map(|(_, one)| one.clone()).collect())
}

fn limits(key: &str, file: Option<&file::ProjectLimits>, cx: &mut Context<'_>) -> ProjectLimits {
    let default = ProjectLimits::default();
    let Some(file) = file else {
        return default;
    };
    let mut size = |name, value, usual: usize| {
        bounds::size(&member(key, name), value, usual as u64, 2..=4 << 20, cx)
    };
    let metadata = size("metadata", file.metadata, default.metadata);
    let secure_metadata = size(
        "secure_metadata",
        file.secure_metadata,
        default.secure_metadata,
    );
    ProjectLimits {
        bio: bounds::whole(&member(key, "bio"), file.bio, default.bio, 1..=100_000, cx),
        metadata,
        secure_metadata,
    }
}
