//! What asking for a user ends in.

use std::sync::Arc;

use crate::user::User;

/// What is known about a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The user exists.
    Known(Arc<User>),
    /// The directory says unknown, and the engine was certainly asked (`FirstSight::Background`).
    SentPending,
    /// The wait is over, and the user does not exist yet.
    Pending,
    /// There is no such user, and nobody was asked to make one (provisioner `none`).
    Unknown,
    /// A row with the caller's e-mail belongs to another id.
    Conflict,
    /// Too many requests wait already.
    Busy,
    /// Nobody can tell: the directory cannot be asked, or the engine was not certainly asked.
    Unavailable,
    /// No row could ever belong to this caller; why.
    Refused(&'static str),
    /// Nobody was asked (`FirstSight::Off`).
    Unasked,
}

/// What `verify_user` found (wire contract §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// 200: a row has the caller's id or e-mail.
    Exists(Arc<User>),
    /// 404: no row after the wait; the engine was asked.
    InProgress,
    /// 503: cannot tell.
    Unavailable,
    /// 503: too many requests wait already.
    Busy,
    /// 400: no row could ever belong to this caller; why.
    Refused(&'static str),
}

/// What `ensure_user` came to (wire contract §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// 200: the engine confirmed the user.
    Confirmed,
    /// 200: the engine was asked, and has not confirmed.
    Initiated,
    /// 500: the engine was certainly asked, and at the end its replies could not be read.
    Unheard,
    /// 503: the request could not be sent, or may not have been.
    Unavailable,
    /// 503: too many requests wait already.
    Busy,
    /// 429: this user asked too often; seconds to wait.
    Limited(u32),
    /// 400: no row could ever belong to this caller; why.
    Refused(&'static str),
}
