//! The settings of `[ingest]` as the server takes them.

use std::time::Duration;

use anyhow::{Result, anyhow};
use net::endpoint::{EndpointError, server_config};
use net::identity::Identity;
use net::server::{NodeKeys, ServerConfig, ServerError};

use crate::settings::Ingest;
use crate::threads;

/// What the server is started with on this machine.
pub(crate) fn config(settings: &Ingest, identity: Identity) -> ServerConfig {
    let mut config = ServerConfig::new(settings.addr, identity);
    config.reactors = threads::ingest(threads::cores(), settings).threads;

    config.max_handshakes = settings.max_handshakes;
    config.handshakes_per_address = count(settings.handshakes_per_address);
    config.handshake_burst = count(settings.handshake_burst);
    config.max_connections_per_address = settings.max_connections_per_address;
    config.max_sessions = settings.max_sessions;
    config.max_sessions_per_key = settings.max_sessions_per_key;

    config.window_memory_bytes = settings.window_memory.0 as usize;
    config.unproven_window_bytes = settings.unproven_window.0 as u32;
    config.max_window_bytes = settings.max_window.0 as u32;
    config.frame_memory_bytes = settings.frame_memory.0 as usize;
    config.session_frame_bytes = settings.session_frame_memory.0 as usize;
    config.max_frame_bytes = settings.max_frame.0 as usize;

    config.max_refused_chains = settings.max_refused_chains;

    config.max_questions = settings.max_questions;
    config.answer_timeout = Duration::from_millis(settings.answer_timeout_ms);
    config.answer_memory_bytes = settings.answer_memory.0 as usize;

    config.hello_timeout = Duration::from_millis(settings.hello_timeout_ms);
    config.frame_timeout = Duration::from_millis(settings.frame_timeout_ms);
    config.frame_least_rate = settings.frame_least_rate.0 as u32;
    config.control_timeout = Duration::from_millis(settings.control_timeout_ms);
    config.ack_pace = Duration::from_millis(settings.ack_pace_ms);
    config.header_pace = Duration::from_millis(settings.header_pace_ms);
    config.claims_pace = Duration::from_millis(settings.claims_pace_ms);
    config.takeover_after = Duration::from_millis(settings.takeover_after_ms);

    let transport = &mut config.transport;
    transport.data_streams = count(settings.data_streams);
    transport.stream_window_bytes = settings.stream_window.0 as u32;
    transport.connection_window_bytes = settings.connection_window.0 as u32;
    transport.send_window_bytes = settings.send_window.0 as u32;
    transport.idle_timeout = Duration::from_millis(settings.idle_timeout_ms);
    transport.keep_alive =
        (settings.keep_alive_ms > 0).then(|| Duration::from_millis(settings.keep_alive_ms));
    transport.migration = settings.migration;
    transport.initial_mtu = settings.initial_mtu as u16;
    transport.max_mtu = settings.max_mtu as u16;
    config
}

/// What is wrong with the settings together; what is wrong with one alone was refused when it was read.
///
/// # Errors
/// Names the setting, its value, and what would be right.
pub(crate) fn check(settings: &Ingest) -> Result<()> {
    // Of the key nothing depends on here.
    let identity = Identity::from_seed([0; 32]);
    let config = config(settings, identity.clone());
    let named = |field, value: &str, expected: &str| {
        anyhow!("{} = {value}: expected {}", setting(field), in_settings(expected))
    };
    config.check().map_err(|error| match error {
        ServerError::Config { field, value, expected } => named(field, &value, &expected),
        other => anyhow!(other),
    })?;
    match server_config(&identity, NodeKeys::new(&[]), &config.transport) {
        Err(EndpointError::Limit { field, value, expected }) => Err(named(field, &value, expected)),
        Err(other) => Err(anyhow!(other)),
        Ok(_) => Ok(()),
    }
}

/// Settings of this type have bounds far below.
fn count(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Fields of the server's configuration whose settings have other names: those of sizes and times do without or with a
/// unit.
const NAMES: [(&str, &str); 21] = [
    ("window_memory_bytes", "window_memory"),
    ("unproven_window_bytes", "unproven_window"),
    ("max_window_bytes", "max_window"),
    ("frame_memory_bytes", "frame_memory"),
    ("session_frame_bytes", "session_frame_memory"),
    ("max_frame_bytes", "max_frame"),
    ("stream_window_bytes", "stream_window"),
    ("connection_window_bytes", "connection_window"),
    ("send_window_bytes", "send_window"),
    ("answer_timeout", "answer_timeout_ms"),
    ("answer_memory_bytes", "answer_memory"),
    ("hello_timeout", "hello_timeout_ms"),
    ("frame_timeout", "frame_timeout_ms"),
    ("control_timeout", "control_timeout_ms"),
    ("idle_timeout", "idle_timeout_ms"),
    ("keep_alive", "keep_alive_ms"),
    ("ack_pace", "ack_pace_ms"),
    ("header_pace", "header_pace_ms"),
    ("claims_pace", "claims_pace_ms"),
    ("takeover_after", "takeover_after_ms"),
    ("addr", "addr"),
];

/// The setting that fills a field of the server's configuration.
fn setting(field: &str) -> String {
    let name = NAMES.iter().find(|(known, _)| *known == field).map_or(field, |(_, name)| name);
    format!("ingest.{name}")
}

/// The same for fields that are mentioned.
fn in_settings(text: &str) -> String {
    let word = |word: &str| match NAMES.iter().find(|(known, _)| *known == word) {
        Some((field, _)) => setting(field),
        None => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ByteSize, settings};

    #[test]
    fn the_settings_and_the_server_have_the_same_defaults() {
        let settings = Ingest::default();
        let identity = Identity::from_seed([1; 32]);
        let mut server = ServerConfig::new(settings.addr, identity.clone());
        let ours = config(&settings, identity);
        // Here it is as many as the machine wants.
        server.reactors = ours.reactors;
        // Its fields are many, and all of them are shown.
        assert_eq!(format!("{ours:?}"), format!("{server:?}"));
        check(&settings).unwrap();
    }

    #[test]
    fn every_field_that_may_be_refused_is_a_setting() {
        for (field, _) in NAMES {
            let path = setting(field);
            assert!(settings().iter().any(|setting| setting.path == path), "{path}");
        }
    }

    #[test]
    fn every_limit_of_the_server_is_a_setting() {
        let config = config(&Ingest::default(), Identity::from_seed([1; 32]));
        // Its own fields and those of `transport`.
        let shown = format!("{config:#?}");
        let fields: Vec<_> = shown.lines().filter_map(|line| line.trim().split_once(": ")).collect();
        assert!(fields.len() > 30, "{shown}");
        for (field, _) in fields {
            if !["identity", "public", "transport"].contains(&field) {
                let path = setting(field);
                assert!(settings().iter().any(|setting| setting.path == path), "{path}");
            }
        }
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused_by_name() {
        type Change = fn(&mut Ingest);
        let cases: [(&str, Change); 6] = [
            ("ingest.window_memory = 1048576: expected at least ", |ingest| {
                ingest.window_memory = ByteSize::mib(1);
            }),
            ("ingest.unproven_window = 16384: expected ingest.connection_window", |ingest| {
                ingest.connection_window = ByteSize::kib(17);
                ingest.unproven_window = ByteSize::kib(16);
            }),
            ("ingest.max_window = 65536: expected ingest.unproven_window", |ingest| {
                ingest.max_window = ByteSize::kib(64);
            }),
            ("ingest.session_frame_memory = 1048576: expected ingest.max_frame", |ingest| {
                ingest.session_frame_memory = ByteSize::mib(1);
            }),
            ("ingest.keep_alive_ms = ", |ingest| ingest.keep_alive_ms = 50_000),
            ("ingest.max_mtu = 1200: expected ", |ingest| ingest.initial_mtu = 1_201),
        ];
        for (said, change) in cases {
            let mut ingest = Ingest::default();
            change(&mut ingest);
            if said.starts_with("ingest.max_mtu") {
                ingest.max_mtu = 1_200;
            }
            let error = check(&ingest).unwrap_err().to_string();
            assert!(error.starts_with(said), "{said:?} in {error:?}");
        }
    }
}
