//! What the admin socket does to a running node.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use engine::chain::{ChainId, Height};
use engine::pipeline::OperateError;
use engine::state::{OperationError, SideChain};
use serde_json::{Value, json};

use crate::admin::{Actions, Admin, AdminError, Applied, PausedFile, Secret};
use crate::data_dir::DataDir;
use crate::node::{self, Node};
use crate::record::Wanted;
use crate::settings::{Api, ConfigArgs, Settings, settings};
use crate::{logging, snapshot};

/// A node that can be steered, until it is taken out to be stopped. Clones share it.
#[derive(Clone)]
pub(super) struct Steered(Arc<RwLock<Option<Node>>>);

impl Steered {
    pub(super) fn new(node: Node) -> Self {
        Self(Arc::new(RwLock::new(Some(node))))
    }

    /// Looks at the node; `None` once it was taken.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Node) -> T) -> Option<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }

    /// The node, to be stopped: waits for changes that are being made.
    pub(super) fn take(&self) -> Option<Node> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Steers it.
pub(super) struct Steer {
    node: Steered,
    admin: Admin,
    dir: DataDir,
    config: ConfigArgs,
    /// What holds now. The lock is held over a change of the configuration.
    settings: Mutex<Settings>,
    /// The lock is held over a change of what is paused.
    paused: Mutex<PausedFile>,
}

impl Steer {
    pub(super) fn new(node: Steered, admin: Admin, config: ConfigArgs, settings: Settings) -> Self {
        let dir = DataDir::of(&settings);
        let paused = Mutex::new(PausedFile::at(&dir.chains));
        Self { node, admin, dir, config, settings: Mutex::new(settings), paused }
    }

    /// Pauses what was paused when the node ran last.
    pub(super) fn pause_again(&self) -> anyhow::Result<()> {
        let file = lock(&self.paused);
        let mut paused = file.read()?;
        let gone: Vec<_> = paused
            .iter()
            .copied()
            .filter(|chain| self.look(|node| node.registry().chain(*chain).is_none()).unwrap_or(false))
            .collect();
        for chain in gone {
            tracing::warn!(%chain, "a chain is paused in chains.toml and is not registered: it is left out");
            paused.remove(&chain);
        }
        for chain in &paused {
            self.look(|node| node.pause_chain(*chain, true))?;
            tracing::warn!(%chain, "the chain is paused, as it was; `mainstem chains resume` lets it go on");
        }
        Ok(())
    }

    /// What holds now.
    pub(super) fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    fn look<T>(&self, look: impl FnOnce(&Node) -> T) -> Result<T, AdminError> {
        self.node.look(look).ok_or(AdminError::NotRunning)
    }
}

impl Actions for Steer {
    fn add_chain(&self, chain: SideChain) -> Result<Height, AdminError> {
        self.look(|node| node.add_chain(chain))?.map_err(refused)
    }

    fn remove_chain(&self, chain: ChainId) -> Result<Height, AdminError> {
        let height = self.look(|node| node.remove_chain(chain))?.map_err(refused)?;
        // One that is registered again later begins like any other.
        let file = lock(&self.paused);
        let mut paused = file.read().map_err(failed)?;
        if paused.remove(&chain) {
            file.write(&paused).map_err(failed)?;
        }
        Ok(height)
    }

    fn pause_chain(&self, chain: ChainId, pause: bool) -> Result<(), AdminError> {
        let file = lock(&self.paused);
        if self.look(|node| node.registry().chain(chain).is_none())? {
            return Err(AdminError::UnknownChain(chain));
        }
        let mut paused = file.read().map_err(failed)?;
        let changed = if pause { paused.insert(chain) } else { paused.remove(&chain) };
        if changed {
            // First what holds over a restart: who is told that a chain is paused finds it so.
            file.write(&paused).map_err(failed)?;
        }
        self.look(|node| node.pause_chain(chain, pause))?;
        Ok(())
    }

    fn reload(&self) -> Result<Applied, AdminError> {
        let mut now = lock(&self.settings);
        let new = self.config.load().map_err(|error| AdminError::Settings(error.to_string()))?.settings;
        let wrong = |error: anyhow::Error| AdminError::Settings(format!("{error:#}"));
        let checked = self.look(|node| node::check(&new, &self.dir, node.genesis()))?;
        checked.map_err(wrong)?;
        // All that can fail comes before the first change.
        let secret = secret(&new.api, &self.dir).map_err(wrong)?;

        let mut applied = Applied::default();
        let mut after = now.clone();
        for setting in settings() {
            let value = (setting.show)(&new);
            if value == (setting.show)(&now) {
                continue;
            }
            if setting.reloads() {
                setting.copy(&new, &mut after);
                applied.applied.push(setting.path.clone());
            } else {
                applied.needs_restart.push(setting.path.clone());
            }
        }
        if after.log.filter != now.log.filter {
            logging::reconfigure(&after.log.filter).map_err(AdminError::Failed)?;
        }
        // The file may say something else under the same name.
        self.admin.set_secret(secret);
        *now = after;
        Ok(applied)
    }

    fn record(&self, wanted: &Wanted) -> Result<Value, AdminError> {
        // Not while it is looked at: it takes as long as was asked for, and the node may be stopped meanwhile.
        let recorder = self.look(Node::recorder)?;
        let report = recorder.record(wanted).map_err(|error| AdminError::Conflict(format!("{error:#}")))?;
        Ok(json!(report))
    }

    fn stop_record(&self) -> Result<(), AdminError> {
        self.look(Node::recorder)?.stop();
        Ok(())
    }

    fn snapshot(&self, to: &Path, with_key: bool) -> Result<Value, AdminError> {
        // Not while it is looked at: it takes long, and the node may be stopped meanwhile.
        let written = snapshot::write(&self.dir, to, with_key).map_err(|error| match error.is_target() {
            true => AdminError::Conflict(error.to_string()),
            false => AdminError::Failed(error.to_string()),
        })?;
        Ok(json!(written))
    }
}

/// The secret of those who change the node over the network, if there is one.
pub(crate) fn secret(settings: &Api, dir: &DataDir) -> anyhow::Result<Option<Secret>> {
    let file = &settings.admin_token_file;
    if file.as_os_str() == "-" {
        return Ok(None);
    }
    Ok(Some(Secret::read(&dir.root.join(file))?))
}

fn refused(error: OperateError) -> AdminError {
    match error {
        OperateError::Operation(OperationError::Unknown { chain }) => AdminError::UnknownChain(chain),
        OperateError::Operation(error) => AdminError::Conflict(error.to_string()),
        OperateError::Config(error) => AdminError::Conflict(error.to_string()),
        OperateError::External => AdminError::Conflict(error.to_string()),
        OperateError::Stopped { .. } => AdminError::Failed(error.to_string()),
    }
}

fn failed(error: impl ToString) -> AdminError {
    AdminError::Failed(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
