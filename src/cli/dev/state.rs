//! What `usher dev` keeps between two runs: the issuer's key.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::identify::mint::{SigningKey, generate_es256};

use super::Persona;

/// The name of the key in tokens and in the key set.
const KID: &str = "dev";

/// The folder, with the key in it.
#[derive(Debug)]
pub(in crate::cli) struct State {
    folder: PathBuf,
    key: SigningKey,
}

impl State {
    /// Opens the folder; makes the folder and the key when they are not there.
    pub(in crate::cli) fn open(folder: Option<&Path>) -> Result<Self, String> {
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => default_folder()?,
        };
        let failed = |path: &Path, error: io::Error| {
            format!(
                "{}: {error}. Use another folder with --state-dir",
                path.display()
            )
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| failed(&folder, error))?;
        let path = folder.join("key.pem");
        let pem = match fs::read(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(&path)?,
            Err(error) => return Err(failed(&path, error)),
        };
        let key = SigningKey::from_pem(&pem).map_err(|error| {
            format!(
                "{}: {error}. Delete the file, and a new key is made",
                path.display()
            )
        })?;
        let state = Self { folder, key };
        state.write_key_set()?;
        Ok(state)
    }

    /// The folder.
    pub(in crate::cli) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file with the public half of the key.
    pub(in crate::cli) fn key_set(&self) -> PathBuf {
        self.folder.join("jwks.json")
    }

    /// A token for a persona.
    pub(in crate::cli) fn mint(
        &self,
        persona: &Persona,
        now: i64,
        life: Duration,
    ) -> Result<String, String> {
        let claims = persona.claims(now, life);
        self.key
            .mint(&claims, Some(KID), Some("JWT"))
            .map_err(|error| error.to_string())
    }

    fn write_key_set(&self) -> Result<(), String> {
        let key = self
            .key
            .public_jwk(KID)
            .map_err(|error| error.to_string())?;
        let path = self.key_set();
        fs::write(&path, format!("{}\n", json!({ "keys": [key] })))
            .map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// Writes a new key that only its owner may read. Two first runs at once agree on one key:
/// the second finds the file of the first.
fn make_key(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let pem = generate_es256().map_err(|error| error.to_string())?;
    let fresh = path.with_extension(format!("pem.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(failed)?;
    file.write_all(pem.expose())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh).map_err(failed)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => fs::read(path).map_err(failed),
    }
}

fn default_folder() -> Result<PathBuf, String> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("usher-dev"))
        .ok_or_else(|| "neither XDG_STATE_HOME nor HOME is set: use --state-dir DIR".to_owned())
}
