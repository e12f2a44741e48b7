//! Whether the settings are right, for the engine and for each other.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use engine::pipeline::{ConfigError, PipelineConfig};
use engine::state::Genesis;

use crate::data_dir::DataDir;
use crate::external;
use crate::ingest;
use crate::otel::Traces;
use crate::registry::{Room, named};
use crate::settings::{Mode, Settings};
use crate::threads::{self, Plan, pin};
use crate::watch;

/// The settings as the engine takes them.
pub(crate) fn pipeline(settings: &Settings, plan: &Plan) -> PipelineConfig {
    let (seal, cache) = (&settings.seal, &settings.cache);
    PipelineConfig {
        seal_interval: Duration::from_millis(seal.interval_ms),
        seal_leaves: seal.leaves,
        max_leaves: seal.max_leaves,
        max_per_chain: seal.max_per_chain,
        catch_up: seal.catch_up,
        lane_blocks: cache.lane_blocks,
        cache_bytes: cache.bytes.0,
        sync_interval: Duration::from_millis(settings.storage.sync_interval_ms),
        rules: seal.rules,
        hash_threads: plan.hashing.threads.get(),
    }
}

/// What is wrong with the settings for this genesis document, as far as can be said without a log.
///
/// # Errors
/// Names the setting or the document, the value, and what would be right.
pub(crate) fn check(settings: &Settings, dir: &DataDir, genesis: &Genesis) -> Result<()> {
    let plan = Plan::of(threads::cores(), settings);
    pipeline(settings, &plan).validate(genesis.chains.len()).map_err(wrong_setting)?;
    ingest::check(&settings.ingest)?;
    watch::check(&settings.watch)?;
    let (streams, connections) = (settings.api.max_streams, settings.api.max_connections);
    if streams >= connections {
        bail!(
            "api.max_streams = {streams}: expected less than api.max_connections = {connections}, for each stream holds a \
             connection, and others want to ask as well"
        );
    }
    if settings.main.mode == Mode::External {
        external::token(&settings.external, dir)?;
    }
    Traces::of(settings, dir)?;
    if settings.threads.pin {
        pin::check(&plan, plan.cores.get())?;
    }
    let segment = settings.storage.segment_bytes.0;
    if !segment.is_multiple_of(4096) {
        bail!(
            "storage.segment_bytes = {segment}: expected a multiple of 4096, such as {}",
            segment / 4096 * 4096
        );
    }
    // Of a log that is there already, its own size counts.
    if dir.log.exists() {
        return Ok(());
    }
    Room::new(settings, segment).judge(genesis.chains.len()).map_err(wrong_setting)
}

/// The error in the words of the settings.
pub(super) fn wrong_setting(error: ConfigError) -> anyhow::Error {
    let ConfigError { key, value, expected } = named(error);
    anyhow!("{key} = {value}: {expected}")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn the_settings_and_the_engine_have_the_same_defaults() {
        let settings = Settings::default();
        let plan = Plan::of(NonZeroUsize::MIN, &settings);
        assert_eq!(pipeline(&settings, &plan), PipelineConfig::default());
    }

    #[test]
    fn a_main_block_that_fits_no_segment_is_refused_with_what_would_fit() {
        let mut settings = Settings::default();
        let judge = |settings: &Settings, segment_bytes| {
            Room::new(settings, segment_bytes).judge(0).map_err(|error| wrong_setting(error).to_string())
        };
        judge(&settings, settings.storage.segment_bytes.0).unwrap();
        settings.seal.max_leaves = 1 << 23;
        let error = judge(&settings, 256 << 20).unwrap_err();
        assert!(error.starts_with("seal.max_leaves = 8388608: "), "{error}");
        let fits = error.split("lower it to ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        settings.seal.max_leaves = fits.parse().unwrap();
        judge(&settings, 256 << 20).unwrap();
    }
}
