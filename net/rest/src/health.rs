//! `GET /livez`, `/readyz` and `/startupz`: whether a node is well, check by check.

use serde::{Deserialize, Serialize};

/// What a health route answers, with status 200 when it is `ok` and 503 when it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// Whether every check is well.
    pub status: HealthStatus,
    /// Every check that this route makes.
    pub checks: Vec<Check>,
}

/// The sum of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum HealthStatus {
    /// All are well.
    Ok,
    /// At least one is not.
    Failing,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Check {
    /// Its name, which does not change: `engine`, `log`, `disk`, `head`, `damage`, `ingest`, `draining`, `started`.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// What was found, with figures; what to do when it is not well.
    pub detail: String,
}

impl Health {
    /// The sum of these checks.
    pub fn of(checks: Vec<Check>) -> Self {
        let well = checks.iter().all(|check| check.ok);
        Self { status: if well { HealthStatus::Ok } else { HealthStatus::Failing }, checks }
    }

    /// Whether every check is well.
    pub fn is_ok(&self) -> bool {
        self.status == HealthStatus::Ok
    }
}
