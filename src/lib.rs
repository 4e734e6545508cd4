//! usher stands between the street and an app: it checks each caller's ticket (a bearer
//! token), and announces them to the app in headers the app can trust.
//!
//! # The map
//!
//! A request walks a straight line, which [`sidecar`] spells out:
//!
//! ```text
//! listener ─▶ edge ─▶ route ─▶ gate ─▶ endpoint or upstream ─▶ respond ─▶ telemetry
//! ```
//!
//! | layer | modules |
//! |---|---|
//! | words | [`secret`], [`clock`], [`certificate`], [`denial`], [`fields`], [`head`], [`headers`], [`hints`], [`body`], [`wire`], [`identity`], [`user`], [`limit`], [`drain`], [`activity`], [`deadline`], [`caught`], [`stamp`], [`stream`], [`surroundings`], [`breaker`], [`pause`], [`cause`], [`revoked`], [`roots`] |
//! | settings | [`config`] |
//! | storage | [`database`], [`state`] |
//! | abilities | [`identify`], [`users`], [`accounts`], [`revocation`], [`route`], [`edge`], [`tls`], [`telemetry`] |
//! | decision | [`gate`] |
//! | after the gate | [`upstream`], [`endpoint`], [`respond`], [`announced`], [`cors`] |
//! | the line | [`sidecar`] |
//! | outside | [`listener`], `aside`, [`ext_authz`], [`admin`], [`control`], [`cli`] |
//!
//! [`bind`] makes all of it from a configuration.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod activity;
pub mod admin;
pub mod announced;
mod aside;
mod assemble;
pub mod body;
pub mod breaker;
pub mod caught;
pub mod cause;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod cors;
pub mod database;
pub mod deadline;
pub mod denial;
pub mod drain;
pub mod edge;
pub mod endpoint;
pub mod ext_authz;
pub mod fields;
pub mod gate;
pub mod head;
pub mod headers;
pub mod hints;
pub mod identify;
pub mod identity;
pub mod limit;
pub mod listener;
pub mod pause;
pub mod respond;
pub mod revocation;
pub mod revoked;
pub mod roots;
pub mod route;
mod run;
pub mod secret;
pub mod sidecar;
pub mod stamp;
pub mod state;
pub mod stream;
pub mod surroundings;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod user;
pub mod users;
pub mod wire;

pub use assemble::{Assembled, Options, StartError, assemble};
pub use run::{Bound, Ended, Source, bind};
