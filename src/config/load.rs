//! From a file or text to [`Config`].

use std::fs::File;
use std::io::Read;
use std::path::Path;

use aws_lc_rs::digest;

use super::files::Files;
use super::problem::{Problem, Severity};
use super::report::Report;
use super::resolve::{Context, resolve};
use super::source::{Environment, MAX_BYTES, expand};
use super::{Config, read, source};

/// A configuration that usher can run with.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What somebody should look at all the same.
    pub warnings: Vec<Problem>,
}

/// What came of reading a configuration, and what was looked at for it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The configuration, or all that is wrong with it.
    pub outcome: Result<Loaded, Vec<Problem>>,
    /// The files, as they were.
    pub files: Files,
}

/// Reads a configuration file, with this process's environment. Paths in it are relative to
/// its folder.
///
/// # Errors
///
/// Everything that is wrong with it, in the order of the file, warnings included.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    attempt(path).outcome
}

/// The same, for whoever tries again when a file changes.
pub fn attempt(path: &Path) -> Attempt {
    let mut files = Files::default();
    files.note(path);
    let outcome = from_file(path, &mut files);
    Attempt { outcome, files }
}

fn from_file(path: &Path, files: &mut Files) -> Result<Loaded, Vec<Problem>> {
    let name = path.display().to_string();
    let text = read_text(path).map_err(|error| {
        let remedy = "Check that the file is there and may be read, or name another.";
        vec![unreadable(&name, &error.to_string(), remedy)]
    })?;
    // Text that is not UTF-8 cannot have been meant; saying so beats replacing it.
    let text = String::from_utf8(text).map_err(|_| {
        vec![unreadable(
            &name,
            "it is not UTF-8 text",
            "Save it as UTF-8.",
        )]
    })?;
    let env = |name: &str| std::env::var(name).ok();
    parse_in(&text, &name, path.parent(), &env, files)
}

/// Reads a configuration from text; `name` stands for it in messages. Paths in it are relative
/// to the working directory.
///
/// # Errors
///
/// Everything that is wrong with it, in the order of the text, warnings included.
pub fn parse(
    text: &str,
    name: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Vec<Problem>> {
    parse_in(text, name, None, env, &mut Files::default())
}

fn parse_in(
    text: &str,
    name: &str,
    folder: Option<&Path>,
    env: Environment<'_>,
    files: &mut Files,
) -> Result<Loaded, Vec<Problem>> {
    let mut report = Report::new(name);
    let Some(mut root) = source::read(text, &mut report) else {
        return Err(report.into_problems());
    };
    expand(&mut root, "", env, &mut report);
    let Some(file) = read::read(root, &mut report) else {
        return Err(report.into_problems());
    };
    let mut cx = Context {
        report,
        env,
        folder,
        files,
    };
    let mut config = resolve(file, &mut cx);
    config.hash = hash(text);
    let failed = cx.report.has_errors();
    let problems = cx.report.into_problems();
    if failed {
        return Err(problems);
    }
    Ok(Loaded {
        config,
        warnings: problems,
    })
}

fn hash(text: &str) -> u64 {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let first = digest.as_ref().iter().take(6);
    first.fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// One byte more than is allowed, so that `source` can tell.
fn read_text(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?
        .take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut text)?;
    Ok(text)
}

fn unreadable(name: &str, error: &str, remedy: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        file: name.to_owned(),
        line: None,
        column: None,
        key: String::new(),
        message: format!("cannot be read: {error}"),
        remedy: remedy.to_owned(),
    }
}
