//! Single flight: whoever asks for the same user at the same time shares one query, one
//! request to the engine and one wait. Nobody waits for another user's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::caller::{Key, Who};
use super::core::{Blind, Core, REFUSED};
use super::directory::Rows;
use super::presence::Recall;
use super::provisioner::{Delivery, Provisioner, Purpose, Streams, Waiting};
use crate::user::User;

/// Pauses between two looks into the directory: at first, after a reply, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const REPLIED_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How far a flight has come.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// The directory, or the engine, is being asked.
    Asking,
    /// The engine was certainly asked; `blind` tells that the directory cannot be asked now.
    Sent { blind: bool },
    /// Landed.
    Done(Ending),
}

/// Where a flight lands.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    /// A row has the caller's id.
    Known(Arc<User>),
    /// A row has the caller's e-mail and another id.
    Held(Arc<User>),
    /// The engine was asked, and there is no row yet.
    Pending,
    /// There is no row, and nobody who would make one.
    Unknown,
    /// Cannot tell.
    Unavailable,
    /// No row could ever belong to this caller.
    Refused(&'static str),
}

/// Whether linking is allowed decides what an e-mail match means, so it is part of the key.
type FlightKey = (Key, bool);

/// All that are under way.
#[derive(Debug, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<FlightKey, watch::Receiver<Stage>>>>);

impl Flights {
    /// Joins the user's flight, or starts one; `None` when too many are under way.
    ///
    /// A flight is a task of its own: whoever started it may leave, and the others still land.
    pub(super) fn board(&self, core: &Arc<Core>, who: &Arc<Who>) -> Option<watch::Receiver<Stage>> {
        let key = (who.key, who.may_link);
        let mut flights = self.0.lock();
        if let Some(flight) = flights.get(&key) {
            return Some(flight.clone());
        }
        // A flight may have landed since presence was asked.
        if let Recall::Fresh(user) | Recall::Renew(user, _) = core.presence.recall(&who.key) {
            return Some(watch::channel(Stage::Done(Ending::Known(user))).1);
        }
        if flights.len() >= core.settings.max_waiters {
            return None;
        }
        let (stage, flight) = watch::channel(Stage::Asking);
        flights.insert(key, flight.clone());
        let landing = Landing {
            flights: self.0.clone(),
            key,
        };
        let (core, who) = (core.clone(), who.clone());
        tokio::spawn(async move {
            let ending = fly(&core, &who, &stage).await;
            // Off the list first: whoever sees the ending and asks again gets a new flight.
            drop(landing);
            stage.send_replace(Stage::Done(ending));
        });
        Some(flight)
    }
}

/// Takes a flight off the list, also when its task ends in another way.
struct Landing {
    flights: Arc<Mutex<HashMap<FlightKey, watch::Receiver<Stage>>>>,
    key: FlightKey,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

async fn fly(core: &Core, who: &Arc<Who>, stage: &watch::Sender<Stage>) -> Ending {
    let deadline = Instant::now() + core.settings.wait;
    match core.look(who, deadline).await {
        Ok(rows) => {
            if let Some(ending) = settle(&rows, who.may_link) {
                return ending;
            }
        }
        Err(blind) => return blind.into(),
    }
    match &core.provisioner {
        Provisioner::None => Ending::Unknown,
        Provisioner::Direct => match core.insert(who, deadline).await {
            // usher never gives a row another id, so here an e-mail match is always another's.
            Ok(inserted) => settle(&inserted.rows, false).unwrap_or(Ending::Unavailable),
            Err(blind) => blind.into(),
        },
        Provisioner::Streams(streams) => provision(core, streams, who, stage, deadline).await,
    }
}

/// What rows mean, unless they leave somebody to be created.
fn settle(rows: &Rows, may_link: bool) -> Option<Ending> {
    match (&rows.by_id, &rows.by_email) {
        (Some(user), _) => Some(Ending::Known(user.clone())),
        (None, Some(holder)) if !may_link => Some(Ending::Held(holder.clone())),
        _ => None,
    }
}

async fn provision(
    core: &Core,
    streams: &Streams,
    who: &Arc<Who>,
    stage: &watch::Sender<Stage>,
    deadline: Instant,
) -> Ending {
    // The storage writer gives the row with the request's e-mail to the request's id. An
    // empty e-mail would make all who have none share one row.
    let Some(email) = &who.email else {
        return Ending::Refused("the token has no e-mail, and the engine needs one");
    };
    let asking = streams.ask(Purpose::FirstSight, who, email);
    let (ticket, ours) = match tokio::time::timeout_at(deadline, asking).await {
        Ok(Delivery::Sent(ticket)) => (ticket, true),
        Ok(Delivery::Joined(ticket)) => (ticket, false),
        Ok(Delivery::NotSent(why)) => {
            tracing::debug!(why, "the engine was not asked");

            return Ending::Unavailable;
        }
        Ok(Delivery::InDoubt(why)) => {
            tracing::debug!(why, "the engine may not have been asked");

            return Ending::Unavailable;
        }
        Err(_) => return Ending::Unavailable,
    };
    stage.send_replace(Stage::Sent { blind: false });
    let waiting = streams.listen(&ticket, who);
    let ending = wait_for_row(core, who, stage, waiting, deadline).await;
    if ours && matches!(ending, Ending::Known(_)) {
        let request_id = &ticket.request_id;
        tracing::info!(issuer = %who.issuer, id = ?who.id, request_id, "user created");
    }
    ending
}

/// Looks until the row is there. A reply only makes the next look come sooner: the engine
/// answers before the row is written, and may answer nobody at all.
async fn wait_for_row(
    core: &Core,
    who: &Arc<Who>,
    stage: &watch::Sender<Stage>,
    mut waiting: Waiting,
    deadline: Instant,
) -> Ending {
    let mut pause = FIRST_PAUSE;
    let mut replied = false;
    loop {
        let next = (Instant::now() + pause).min(deadline);
        tokio::select! {
            () = tokio::time::sleep_until(next) => pause = (pause * 3 / 2).min(LONGEST_PAUSE),
            _ = &mut waiting.reply, if !replied => {
                replied = true;
                pause = REPLIED_PAUSE;
            }
        }
        let last = Instant::now() >= deadline;
        // The last look has a moment of its own, so that it can tell "not there" from "cannot say".
        let limit = if last {
            deadline + REPLIED_PAUSE
        } else {
            deadline
        };
        let blind = match core.look(who, limit).await {
            Ok(rows) => match settle(&rows, who.may_link) {
                Some(ending) => return ending,
                None => false,
            },
            Err(Blind::Refused) => return Blind::Refused.into(),
            Err(Blind::Unavailable) => true,
        };
        match (last, blind) {
            (true, true) => return Ending::Unavailable,
            (true, false) => return Ending::Pending,
            (false, blind) => stage.send_replace(Stage::Sent { blind }),
        };
    }
}

impl From<Blind> for Ending {
    fn from(blind: Blind) -> Self {
        match blind {
            Blind::Unavailable => Self::Unavailable,
            Blind::Refused => Self::Refused(REFUSED),
        }
    }
}
