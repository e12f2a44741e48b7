//! Which node a command asks: the one that `--node` names, else the one that the configuration describes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use axum::http::Uri;
use clap::Args;
use rest::Client;

use crate::settings::ConfigArgs;

/// The flags that say which node is asked. Without any: the node of the configuration that `MAINSTEM_CONFIG`,
/// `MAINSTEM_DATA_DIR` or `MAINSTEM_API_ADDR` name, and without these the one on 127.0.0.1:9480.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Which {
    #[command(flatten)]
    node: AtNode,
    /// Ask the node that runs with this data directory: its address stands in the configuration there
    #[arg(long, value_name = "DIR", conflicts_with = "node")]
    data: Option<PathBuf>,
}

/// The same for commands to which `--data` says something else.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AtNode {
    /// Ask the node at this address [default: api.addr of the configuration, http://127.0.0.1:9480 if nothing else is set]
    #[arg(long, value_name = "URL", value_parser = node_url)]
    node: Option<String>,
    /// Ask the node that runs with this configuration file [env: MAINSTEM_CONFIG]
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    config: Option<PathBuf>,
}

impl Which {
    /// A client of that node.
    ///
    /// # Errors
    /// As [`Which::url`].
    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::new(&self.url()?))
    }

    /// Where its API answers.
    ///
    /// # Errors
    /// The configuration is wrong, or leaves the port to the system; or there is no such data directory.
    pub(crate) fn url(&self) -> Result<String> {
        self.node.url_with(self.data.as_deref())
    }
}

impl AtNode {
    /// A client of that node.
    ///
    /// # Errors
    /// As [`Which::url`].
    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::new(&self.url_with(None)?))
    }

    fn url_with(&self, data: Option<&Path>) -> Result<String> {
        if let Some(node) = &self.node {
            return Ok(node.clone());
        }
        let mut args = ConfigArgs { file: self.config.clone(), ..ConfigArgs::default() };
        if let Some(data) = data {
            // Another node would answer, at the default address.
            if !data.is_dir() {
                bail!("{} is no directory: name the node's with --data", data.display());
            }
            args.flags.insert("data.dir", data.to_string_lossy().into_owned());
        }
        let addr = args.load()?.settings.api.addr;
        let Some(url) = url_of(addr) else {
            bail!(
                "api.addr = {addr} lets the system choose the port; name it with --node, as the node printed it"
            );
        };
        Ok(url)
    }
}

/// The address of a node's API on a command line; `http://` may be left out.
fn node_url(text: &str) -> Result<String, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri = whole.parse::<Uri>().unwrap_or_default();
    // TLS is there where traces may need it.
    let scheme = matches!(uri.scheme_str(), Some("http"))
        || (cfg!(feature = "otel") && matches!(uri.scheme_str(), Some("https")));
    let place = uri.authority().is_some_and(|place| {
        let host = place.host();
        !host.is_empty() && (place.as_str() == host || place.port_u16().is_some())
    });
    if scheme && place {
        Ok(text.to_owned())
    } else {
        Err("expected an address such as http://127.0.0.1:9480".into())
    }
}

/// Where a node that listens on `addr` is asked on this machine; `None` where the system has chosen the port.
pub(crate) fn url_of(mut addr: SocketAddr) -> Option<String> {
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    (addr.port() != 0).then(|| format!("http://{addr}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        which: Which,
    }

    fn asked(args: &[&str]) -> Result<String> {
        Cli::try_parse_from([&["x"], args].concat())?.which.url()
    }

    #[test]
    fn node_that_listens_everywhere_is_asked_on_this_machine() {
        for (listens, asked) in [
            ("0.0.0.0:80", Some("http://127.0.0.1:80")),
            ("[::]:80", Some("http://[::1]:80")),
            ("10.0.0.5:80", Some("http://10.0.0.5:80")),
            ("0.0.0.0:0", None),
        ] {
            assert_eq!(url_of(listens.parse().unwrap()).as_deref(), asked);
        }
    }

    #[test]
    fn a_node_is_found_by_its_url_its_configuration_or_its_data_directory() {
        Cli::command().debug_assert();
        let dir = tempfile::tempdir().unwrap();
        let config = |addr: &str| {
            fs::write(dir.path().join("mainstem.toml"), format!("[api]\naddr = \"{addr}\"\n")).unwrap();
        };
        let data = dir.path().to_str().unwrap().to_owned();
        let file = dir.path().join("mainstem.toml").to_str().unwrap().to_owned();
        config("[::]:9999");
        assert_eq!(asked(&["--data", &data]).unwrap(), "http://[::1]:9999");
        assert_eq!(asked(&["--config", &file]).unwrap(), "http://[::1]:9999");
        assert_eq!(asked(&["--node", "http://10.0.0.5:1"]).unwrap(), "http://10.0.0.5:1");
        assert!(asked(&["--node", "http://10.0.0.5:1", "--data", &data]).is_err());
        assert!(asked(&["--node", "http://10.0.0.5:1", "--config", &file]).is_err());
        for right in ["localhost:9480", "http://[::1]:9480/", "http://node"] {
            assert_eq!(asked(&["--node", right]).unwrap(), right);
        }
        for wrong in ["foo://x", "http://", "", "a b", "http://x:y"] {
            assert!(asked(&["--node", wrong]).is_err(), "{wrong}");
        }
        assert!(asked(&["--data", &format!("{data}/none")]).is_err(), "not the one at the default address");
        config("127.0.0.1:0");
        let error = asked(&["--data", &data]).unwrap_err().to_string();
        assert!(error.contains("api.addr = 127.0.0.1:0"), "{error}");
    }
}
