//! What the admin socket does to a running node.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use anyhow::Result;
use engine::chain::{ChainId, Height};
use engine::pipeline::OperateError;
use engine::state::{OperationError, SideChain};
use serde_json::{Value, json};

use crate::admin::{Actions, Admin, AdminError, Applied, Held, Secret, Socket};
use crate::data_dir::DataDir;
use crate::node::{self, Node, PortFlags};
use crate::record::Wanted;
use crate::settings::{Api, ConfigArgs, Settings, settings};
use crate::{logging, snapshot};

/// A running node with its admin socket.
pub(in crate::command) struct Steering {
    node: Steered,
    steer: Arc<Steer>,
    admin: Admin,
    socket: Socket,
}

impl Steering {
    /// Starts a node, in which is paused what was paused when it ran last, and takes changes. `config` is read again when
    /// somebody asks for that.
    pub(in crate::command) fn start(
        settings: &Settings,
        flags: PortFlags,
        config: ConfigArgs,
    ) -> Result<Self> {
        let dir = DataDir::of(settings);
        let secret = secret(&settings.api, &dir)?;
        if secret.is_some()
            && let Some(exposed) = exposed(&settings.api)
        {
            tracing::warn!(target: "mainstem::admin", "{exposed}");
        }
        let admin = Admin::new(secret);
        let node = Steered::new(Node::start_with(settings, flags, admin.over_network())?);
        let steer = Arc::new(Steer::new(node.clone(), admin.clone(), config, settings.clone()));
        let socket = Socket::start(&dir.admin, admin.over_socket())?;
        admin.set_actions(Some(steer.clone()));
        Ok(Self { node, steer, admin, socket })
    }

    /// Looks at the node; it runs.
    pub(in crate::command) fn look<T>(&self, look: impl FnOnce(&Node) -> T) -> T {
        self.node.look(look).expect("only the end of it takes the node out")
    }

    /// What steers it.
    pub(super) fn steer(&self) -> Arc<Steer> {
        Arc::clone(&self.steer)
    }

    /// Takes no more changes.
    pub(in crate::command) fn refuse(&self) {
        self.admin.set_actions(None);
    }

    /// Waits for changes that are being made, ends the recording, if one runs, and the socket; gives the node, to be stopped.
    ///
    /// The socket goes first: once the node has stopped, the next one may have its name.
    pub(in crate::command) fn end(self) -> Node {
        let Self { node, admin, socket, .. } = self;
        admin.set_actions(None);
        let node = node.take().expect("only this takes the node out");
        node.recorder().finish(node::RECORD_GRACE);
        drop(socket);
        node
    }
}

/// A node that can be steered, until it is taken out to be stopped. Clones share it.
#[derive(Clone)]
struct Steered(Arc<RwLock<Option<Node>>>);

impl Steered {
    fn new(node: Node) -> Self {
        Self(Arc::new(RwLock::new(Some(node))))
    }

    /// Looks at the node; `None` once it was taken.
    fn look<T>(&self, look: impl FnOnce(&Node) -> T) -> Option<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }

    /// The node, to be stopped: waits for changes that are being made.
    fn take(&self) -> Option<Node> {
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
}

impl Steer {
    fn new(node: Steered, admin: Admin, config: ConfigArgs, settings: Settings) -> Self {
        let dir = DataDir::of(&settings);
        Self { node, admin, dir, config, settings: Mutex::new(settings) }
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
        // Not while it is looked at: it takes as long as a sync, and the node may be stopped meanwhile.
        let chains = self.look(Node::chains)?;
        chains.add(chain).map_err(refused)
    }

    fn remove_chain(&self, chain: ChainId) -> Result<Height, AdminError> {
        let chains = self.look(Node::chains)?;
        let height = chains.remove(chain).map_err(refused)?;
        // One that is registered again later begins like any other.
        self.look(Node::paused_file)?.change(|held| held.resume(chain), || ()).map_err(failed)?;
        Ok(height)
    }

    fn pause_chain(&self, chain: ChainId, pause: bool) -> Result<(), AdminError> {
        if self.look(|node| node.registry().chain(chain).is_none())? {
            return Err(AdminError::UnknownChain(chain));
        }
        let change = |held: &mut Held| if pause { held.paused.insert(chain) } else { held.resume(chain) };
        let then = || self.look(|node| node.pause_chain(chain, pause));
        self.look(Node::paused_file)?.change(change, then).map_err(failed)??;
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
        self.look(|node| node.reconfigure(&after))?;
        if secret.is_some() {
            applied.notes.extend(exposed(&after.api));
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

    fn stop_record(&self) -> Result<bool, AdminError> {
        Ok(self.look(Node::recorder)?.stop())
    }

    fn snapshot(&self, to: &Path, with_key: bool) -> Result<Value, AdminError> {
        // Not while it is looked at: it takes long, and the node may be stopped meanwhile.
        let written = snapshot::write(&self.dir, to, with_key).map_err(|error| {
            let kind = if error.is_target() { AdminError::Conflict } else { AdminError::Failed };
            kind(error.to_string())
        })?;
        Ok(json!(written))
    }
}

/// The secret of those who change the node over the network, if there is one.
pub(crate) fn secret(settings: &Api, dir: &DataDir) -> Result<Option<Secret>> {
    let file = &settings.admin_token_file;
    if file.as_os_str() == "-" {
        return Ok(None);
    }
    Ok(Some(Secret::read(&dir.root.join(file))?))
}

/// What is to be said of a secret that goes over the network.
pub(crate) fn exposed(settings: &Api) -> Option<String> {
    let addr = settings.addr;
    (!addr.ip().is_loopback()).then(|| {
        format!(
            "the secret of api.admin_token_file comes in clear text to api.addr = {addr}: who reads along can change this node; \
             listen on 127.0.0.1 and put a proxy with TLS in front, or use the admin socket alone"
        )
    })
}

fn refused(error: OperateError) -> AdminError {
    match error {
        OperateError::Operation(OperationError::Unknown { chain }) => AdminError::UnknownChain(chain),
        OperateError::Operation(error @ OperationError::Value { .. }) => AdminError::Body(error.to_string()),
        OperateError::Operation(error) => AdminError::Conflict(error.to_string()),
        OperateError::Config(error) => AdminError::Conflict(error.to_string()),
        OperateError::Full { .. } | OperateError::External => AdminError::Conflict(error.to_string()),
        OperateError::Stopped { .. } => AdminError::Failed(error.to_string()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` takes")]
fn failed(error: impl ToString) -> AdminError {
    AdminError::Failed(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
