//! The projects, with the keys that their servers sign with now, and signed with before.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::config::accounts::{self as settings, PublicKey};
use crate::identify::VouchingKey;
use crate::stamp::Stamp;

/// How often files are looked at: a rotation need not wait longer.
const LOOK: Duration = Duration::from_secs(2);

/// Larger files are no keys.
const MAX_FILE: u64 = 1 << 20;

/// All projects.
#[derive(Debug)]
pub struct Projects(Vec<Project>);

/// One of them.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) settings: settings::Project,
    keys: ArcSwap<Keys>,
    /// What the files were when they were read.
    seen: Mutex<[Option<Stamp>; 2]>,
}

/// The keys of a project: the one that signs now, then the one before.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys([Option<Arc<VouchingKey>>; 2]);

impl Keys {
    pub(super) fn iter(&self) -> impl Iterator<Item = &VouchingKey> {
        self.0.iter().flatten().map(Arc::as_ref)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

impl Projects {
    /// Reads the keys of all of them.
    pub(super) fn read(settings: &[settings::Project]) -> Result<Self, String> {
        let read = |project: &settings::Project| {
            let told = |why| format!("project `{}`: {why}", project.id);
            Project::read(project.clone()).map_err(told)
        };
        settings
            .iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The project with this id.
    pub(super) fn find(&self, id: &str) -> Option<&Project> {
        self.0.iter().find(|project| project.settings.id == id)
    }

    /// Reads files again when they have changed, as long as somebody polls.
    pub async fn watch(self: Arc<Self>) {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tick.tick().await;
            let projects = self.clone();
            let looked = tokio::task::spawn_blocking(move || projects.look());
            if let Err(error) = looked.await {
                tracing::error!(%error, "the keys of projects could not be looked at");
            }
        }
    }

    fn look(&self) {
        for project in &self.0 {
            project.look();
        }
    }
}

impl Project {
    fn read(settings: settings::Project) -> Result<Self, String> {
        let mut keys = Keys::default();
        let mut seen = [None; 2];
        let places = [settings.current.as_ref(), settings.previous.as_ref()];
        for (place, source) in places.into_iter().enumerate() {
            let Some(source) = source else {
                continue;
            };
            seen[place] = stamp(source);
            // A previous key whose file is gone or empty is over; the check has warned.
            if place == 1 && seen[place].is_none() && matches!(source, PublicKey::File(_)) {
                continue;
            }
            keys.0[place] = Some(Arc::new(key(source)?));
        }
        Ok(Self {
            settings,
            keys: ArcSwap::from_pointee(keys),
            seen: Mutex::new(seen),
        })
    }

    /// The keys, as they are now.
    pub(super) fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    fn look(&self) {
        let places = [
            self.settings.current.as_ref(),
            self.settings.previous.as_ref(),
        ];
        for (place, source) in places.into_iter().enumerate() {
            let Some(source @ PublicKey::File(_)) = source else {
                continue;
            };
            let now = stamp(source);
            if std::mem::replace(&mut self.seen.lock()[place], now) != now {
                self.change(place, source, now.is_some());
            }
        }
    }

    /// A key that cannot be read stays what it was; only that of before may go with its file.
    fn change(&self, place: usize, source: &PublicKey, there: bool) {
        let (project, which) = (&self.settings.id, ["current", "previous"][place]);
        let mut keys = (**self.keys.load()).clone();
        match key(source) {
            Ok(key) => {
                tracing::info!(project, which, "a public key was read again");
                keys.0[place] = Some(Arc::new(key));
            }
            Err(_) if place == 1 && !there => {
                tracing::info!(project, which, "a public key is gone with its file");
                keys.0[place] = None;
            }
            Err(error) => {
                tracing::warn!(
                    project,
                    which,
                    error,
                    "a public key stays in force, since its file holds no other: write the new key \
                     there, or take the file out of the configuration"
                );
                return;
            }
        }
        self.keys.store(Arc::new(keys));
    }
}

fn key(source: &PublicKey) -> Result<VouchingKey, String> {
    match source {
        PublicKey::Inline(text) => VouchingKey::of_customer(text.as_bytes()),
        PublicKey::File(path) => {
            let told = |why: String| format!("{}: {why}", path.display());
            let bytes = read(path).map_err(|error| told(error.to_string()))?;
            VouchingKey::of_customer(&bytes).map_err(told)
        }
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_FILE)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `None` where there is no file, or nothing in it.
fn stamp(source: &PublicKey) -> Option<Stamp> {
    let PublicKey::File(path) = source else {
        return None;
    };
    Stamp::of(path).filter(Stamp::has_content)
}
