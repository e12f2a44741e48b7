//! The commands, one a file: each its arguments, its help, and what it does.

pub(crate) mod bench;
pub(crate) mod chains;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod follow;
pub(crate) mod health;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod keys;
pub(crate) mod log;
pub(crate) mod man;
mod pages;
pub(crate) mod peers;
pub(crate) mod profile;
pub(crate) mod proof;
pub(crate) mod prune;
pub(crate) mod record;
pub(crate) mod reload;
pub(crate) mod replay;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod snapshot;
mod table;
pub(crate) mod top;
pub(crate) mod trace;
pub(crate) mod verify;
mod which;
pub(crate) mod words;

pub(crate) use which::Which;
