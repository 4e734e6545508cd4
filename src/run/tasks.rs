//! Tasks that go on beside requests, and what each is for: one that ends unasked is noticed.

use std::collections::HashMap;
use std::future::pending;

use tokio::task::{Id, JoinError, JoinSet};

use crate::assemble::StartError;

/// Tasks that end when this is dropped.
#[derive(Default)]
pub(super) struct Tasks {
    set: JoinSet<Result<(), StartError>>,
    all: HashMap<Id, Task>,
}

struct Task {
    what: &'static str,
    /// Whether it ends by itself once nobody needs it any more.
    may_end: bool,
}

impl Tasks {
    /// Starts a task that goes on for ever.
    pub(super) fn spawn(
        &mut self,
        what: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn_unless(what, well(task));
    }

    /// Starts a task that goes on for ever, unless it says why not.
    pub(super) fn spawn_unless(
        &mut self,
        what: &'static str,
        task: impl Future<Output = Result<(), StartError>> + Send + 'static,
    ) {
        let id = self.set.spawn(task).id();
        let may_end = false;
        self.all.insert(id, Task { what, may_end });
    }

    /// Starts a task that ends when nobody needs it any more.
    pub(super) fn spawn_until_needless(
        &mut self,
        what: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let id = self.set.spawn(well(task)).id();
        let may_end = true;
        self.all.insert(id, Task { what, may_end });
    }

    /// Waits until one has ended that should not have, for ever if need be: why.
    pub(super) async fn ended(&mut self) -> StartError {
        while let Some(ended) = self.set.join_next_with_id().await {
            let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
            let task = self.all.remove(&id);
            let what = task.as_ref().map_or("a task", |task| task.what);
            let why = match ended {
                Ok((_, Ok(()))) if task.is_some_and(|task| task.may_end) => continue,
                Ok((_, Ok(()))) => "it has ended".to_owned(),
                Ok((_, Err(error))) => return error,
                Err(error) => why(error),
            };
            return StartError::Stopped { what, why };
        }
        pending().await
    }

    /// Ends all of them, and waits until they have ended.
    pub(super) async fn shutdown(mut self) {
        self.set.shutdown().await;
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.set.len()
    }
}

/// A task that has nothing to say at its end.
async fn well(task: impl Future<Output = ()>) -> Result<(), StartError> {
    task.await;
    Ok(())
}

fn why(error: JoinError) -> String {
    let panic = match error.try_into_panic() {
        Ok(panic) => panic,
        Err(cancelled) => return cancelled.to_string(),
    };
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("it does not say why"))
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    async fn told(tasks: &mut Tasks) -> String {
        tasks.ended().await.to_string()
    }

    #[tokio::test]
    async fn whoever_ends_unasked_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("one", pending());
        tasks.spawn("two", ready(()));
        let two = told(&mut tasks).await;
        assert!(two.contains("two") && two.contains("has ended"), "{two}");
        // One that ended does not hide the next.
        tasks.spawn("three", async { panic!("ouch {}", 3) });
        let three = told(&mut tasks).await;
        assert!(
            three.contains("three") && three.contains("ouch 3"),
            "{three}"
        );
        tasks.spawn_unless("four", ready(Err(StartError::Tls("five".to_owned()))));
        assert_eq!(told(&mut tasks).await, "TLS: five");
    }

    #[tokio::test]
    async fn whoever_is_not_needed_any_more_may_end_but_not_panic() {
        let mut tasks = Tasks::default();
        tasks.spawn_until_needless("one", ready(()));
        tasks.spawn_until_needless("two", async { panic!("ouch") });
        let two = told(&mut tasks).await;
        assert!(two.contains("two") && two.contains("ouch"), "{two}");
        assert!(tasks.all.is_empty() && tasks.set.is_empty());
    }
}
