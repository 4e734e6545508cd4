//! `ensure_user`: a request of its own to the engine, every time (wire contract §3).

use std::sync::Arc;

use tokio::time::Instant;

use super::caller::Who;
use super::core::{Blind, Core, REFUSED};
use super::provisioner::{Delivery, Provisioner, Purpose, Streams};
use super::sight::Ensured;

pub(super) async fn ensure(core: &Core, who: &Arc<Who>) -> Ensured {
    let deadline = Instant::now() + core.settings.wait;
    match &core.provisioner {
        Provisioner::Streams(streams) => ask_engine(streams, who, deadline).await,
        Provisioner::Direct => match core.insert(who, deadline).await {
            Ok(_) => Ensured::Confirmed,
            Err(blind) => blind.into(),
        },
        Provisioner::None => match core.look(who, deadline).await {
            Ok(rows) if rows.by_id.is_some() || rows.by_email.is_some() => Ensured::Confirmed,
            Ok(_) => Ensured::Unavailable,
            Err(blind) => blind.into(),
        },
    }
}

async fn ask_engine(streams: &Streams, who: &Arc<Who>, deadline: Instant) -> Ensured {
    let Some(email) = &who.email else {
        return Ensured::Refused("the token has no e-mail, and the engine needs one");
    };
    let asking = streams.ask(Purpose::Ensure, who, email);
    let ticket = match tokio::time::timeout_at(deadline, asking).await {
        Ok(Delivery::Sent(ticket) | Delivery::Joined(ticket)) => ticket,
        Ok(Delivery::NotSent(why) | Delivery::InDoubt(why)) => {
            tracing::debug!(why, "the engine was not certainly asked");
            return Ensured::Unavailable;
        }
        Err(_) => return Ensured::Unavailable,
    };
    let mut waiting = streams.listen(&ticket, who);
    match tokio::time::timeout_at(deadline, &mut waiting.reply).await {
        Ok(Ok(reply)) if reply.confirms(&who.id) => Ensured::Confirmed,
        Ok(Ok(_)) => Ensured::Initiated,
        // Nothing was heard: because nothing was said, or because nobody could listen.
        Ok(Err(_)) | Err(_) if waiting.hears() => Ensured::Initiated,
        Ok(Err(_)) | Err(_) => Ensured::Unheard,
    }
}

impl From<Blind> for Ensured {
    fn from(blind: Blind) -> Self {
        match blind {
            Blind::Unavailable => Self::Unavailable,
            Blind::Refused => Self::Refused(REFUSED),
        }
    }
}
