//! The command line. Every option can be given by the environment too: `--main-key` as `TRIBUTARY_MAIN_KEY`.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use engine::chain::{ChainId, Height, NodeKey};
use tributary::sources::file::Form;

const HELP: &str = "\
Examples:
  tributary keys new node.key                     make this node's key, for the main chain's operator to register
  tributary evm --rpc http://127.0.0.1:8545 --chain tDVV --key node.key --main main.example.org:9481 --main-key HEX
  tributary file blocks.jsonl --chain tDVV --key node.key --main-key HEX

Exit codes:
  0  stopped cleanly, or everything that was asked for is durable on the main chain
  1  the side chain's node or file cannot be used any further
  2  wrong usage or configuration
  3  refused by the main chain, or it is not the one that --main-key names
  4  the side chain was reorganised below what was sent: it and the main chain's records went different ways";

/// The sidecar of a side chain's node: sends the chain's irreversible blocks to a Mainstem main chain.
///
/// Of the side chain it stores nothing: where it goes on after a break, the main chain says; the blocks, the side
/// chain's node has. With --keep it keeps what the main chain says, to verify what happened on other chains.
#[derive(Parser)]
#[command(version, after_help = HELP, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Send the blocks of simulated chains: for trying things out, and for load
    Sim(Sim),
    /// Send blocks from a file, as JSON lines or in the binary form
    File(FileCommand),
    /// Send the irreversible blocks of an EVM node
    Evm(Evm),
    /// Stand as the parent of an AElf side node, and send its irreversible blocks
    Aelf(Aelf),
    /// Send the main blocks of another Mainstem
    Mainstem(Mainstem),
    /// Make or show this node's key
    Keys(Keys),
    /// Print the completions of this program for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages of this program and all its commands
    Man {
        /// The directory, which is made if it is not there; pages in it are replaced
        dir: PathBuf,
    },
}

/// What every source has in common.
#[derive(Args)]
pub(crate) struct Common {
    /// Where the main chain listens for QUIC
    #[arg(long, env = "TRIBUTARY_MAIN", value_name = "HOST:PORT", default_value = "127.0.0.1:9481")]
    pub(crate) main: String,

    /// The main chain's public key, as `mainstem keys show` prints it; no other is talked to. While the main chain
    /// changes its key: the old one and the new one, separated by a comma
    #[arg(long, env = "TRIBUTARY_MAIN_KEY", value_name = "HEX,..", value_delimiter = ',', required = true)]
    pub(crate) main_key: Vec<NodeKey>,

    /// This node's own key file, as `tributary keys new` makes it
    #[arg(long, env = "TRIBUTARY_KEY", value_name = "FILE")]
    pub(crate) key: PathBuf,

    /// Finish once this height of every chain is durable on the main chain
    #[arg(long, env = "TRIBUTARY_STOP_AT", value_name = "HEIGHT", value_parser = height)]
    pub(crate) stop_at: Option<Height>,

    /// Go on trying after a refusal that does not pass by itself, until the main chain's operator has acted
    #[arg(long, env = "TRIBUTARY_KEEP_TRYING")]
    pub(crate) keep_trying: bool,

    /// How long to wait for the main chain's word on what was sent, when stopping
    #[arg(long, env = "TRIBUTARY_DRAIN", value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) drain: Duration,

    /// How long the main chain may be silent before its name is looked up again, in case it has moved
    #[arg(long, env = "TRIBUTARY_ADDRESS_CHECK", value_name = "TIME", default_value = "3s", value_parser = duration)]
    pub(crate) address_check: Duration,

    #[command(flatten)]
    pub(crate) keeping: Keeping,

    #[command(flatten)]
    pub(crate) log: Log,
}

/// What is kept of the main chain, and for whom.
#[derive(Args)]
pub(crate) struct Keeping {
    /// Keep the main chain's headers, and where in its blocks this node's chains are, in this directory
    #[arg(long, env = "TRIBUTARY_KEEP", value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,

    /// Begin with this main block when nothing is kept yet, 1 for everything; by default with the next one that comes
    #[arg(long, env = "TRIBUTARY_FOLLOW_FROM", value_name = "HEIGHT", value_parser = height, requires = "keep")]
    pub(crate) follow_from: Option<Height>,

    /// Keep at least this many of the newest main blocks, and drop older ones; by default all are kept
    #[arg(long, env = "TRIBUTARY_KEEP_BLOCKS", value_name = "N", requires = "keep")]
    pub(crate) keep_blocks: Option<NonZeroU64>,

    /// Serve what is kept over HTTP at this address, such as 127.0.0.1:9490 (docs/tributary.md); off by default
    #[arg(long, env = "TRIBUTARY_SERVE", value_name = "ADDR", requires = "keep")]
    pub(crate) serve: Option<SocketAddr>,
}

#[derive(Args, Clone, Copy)]
pub(crate) struct Log {
    /// Form of the log, on standard error
    #[arg(long, env = "TRIBUTARY_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,

    /// Say more; twice: say everything
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people; with a live line where it is a terminal
    Text,
    /// One object a line
    Json,
}

#[derive(Args)]
pub(crate) struct Sim {
    #[command(flatten)]
    pub(crate) common: Common,

    /// The chains, by id (number or base58), separated by commas
    #[arg(long, env = "TRIBUTARY_CHAIN", value_name = "ID,..", value_delimiter = ',', required = true)]
    pub(crate) chain: Vec<ChainId>,

    /// So many chains, with consecutive ids from --chain on
    #[arg(long, env = "TRIBUTARY_CHAINS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) chains: Option<u32>,

    /// Everything follows from it: the same seed, the same chains
    #[arg(long, env = "TRIBUTARY_SEED", value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Blocks a second of each chain; 0: as fast as they are taken
    #[arg(long, env = "TRIBUTARY_RATE", value_name = "N", default_value_t = 10.0, value_parser = rate)]
    pub(crate) rate: f64,

    /// Transactions in a block
    #[arg(long, env = "TRIBUTARY_TRANSACTIONS", value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub(crate) transactions: u32,

    /// Bytes of a transaction
    #[arg(long, env = "TRIBUTARY_TRANSACTION_BYTES", value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) transaction_bytes: u32,
}

/// `file FILE ...` or `file convert ...`.
pub(crate) enum FileCommand {
    Send(SendFile),
    Action(FileAction),
}

// By hand: the derived form of an optional group of arguments does not see those that the environment gives.
impl Args for FileCommand {
    fn augment_args(command: clap::Command) -> clap::Command {
        FileAction::augment_subcommands(SendFile::augment_args(command))
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FileCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if matches.subcommand_name().is_some() {
            FileAction::from_arg_matches(matches).map(Self::Action)
        } else {
            SendFile::from_arg_matches(matches).map(Self::Send)
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[derive(Args)]
pub(crate) struct SendFile {
    /// The file; both forms are told apart by themselves
    #[arg(value_name = "FILE")]
    pub(crate) path: PathBuf,

    /// Whose blocks they are, by id (number or base58). The binary form says it itself
    #[arg(long, env = "TRIBUTARY_CHAIN", value_name = "ID")]
    pub(crate) chain: Option<ChainId>,

    /// Wait at the end for more, as of a file that is being written, instead of finishing once all is durable
    #[arg(long, env = "TRIBUTARY_FOLLOW")]
    pub(crate) follow: bool,

    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Subcommand)]
pub(crate) enum FileAction {
    /// Rewrite a file in the other form, checking all of it
    Convert(Convert),
}

#[derive(Args)]
pub(crate) struct Convert {
    /// The file to read
    pub(crate) from: PathBuf,

    /// The file to write
    pub(crate) to: PathBuf,

    /// The form to write; the other one by default
    #[arg(long, value_name = "FORM")]
    pub(crate) form: Option<FormName>,

    /// Whose blocks they are, by id (number or base58): for JSON lines, which do not say it
    #[arg(long, value_name = "ID")]
    pub(crate) chain: Option<ChainId>,

    /// Replace the file that is written, if it is there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(ValueEnum, Clone, Copy)]
pub(crate) enum FormName {
    /// One JSON object a line
    Json,
    /// Records of 80 bytes
    Binary,
}

impl From<FormName> for Form {
    fn from(name: FormName) -> Self {
        match name {
            FormName::Json => Self::Json,
            FormName::Binary => Self::Binary,
        }
    }
}

#[derive(Args)]
pub(crate) struct Evm {
    #[command(flatten)]
    pub(crate) common: Common,

    /// Which side chain it is on the main chain, by id (number or base58)
    #[arg(long, env = "TRIBUTARY_CHAIN", value_name = "ID")]
    pub(crate) chain: ChainId,

    /// The node's JSON-RPC endpoint, http or https
    #[arg(
        long,
        env = "TRIBUTARY_RPC",
        value_name = "URL",
        default_value = "http://127.0.0.1:8545",
        hide_env_values = true
    )]
    pub(crate) rpc: String,

    /// A header to send with each request (`Authorization: Bearer ...`); may be given several times
    #[arg(long, env = "TRIBUTARY_RPC_HEADER", value_name = "NAME: VALUE", hide_env_values = true)]
    pub(crate) rpc_header: Vec<String>,

    /// Take blocks with N blocks above them as irreversible, instead of those up to the `finalized` tag: for nodes
    /// that do not have the tag
    #[arg(long, env = "TRIBUTARY_CONFIRMATIONS", value_name = "N")]
    pub(crate) confirmations: Option<u64>,

    /// Refuse a node with another chain id (`eth_chainId`)
    #[arg(long, env = "TRIBUTARY_EXPECT_CHAIN_ID", value_name = "N")]
    pub(crate) expect_chain_id: Option<u64>,

    /// Fetch the receipts of each block, too, and check that they hash to its receipts root
    ///
    /// Off by default: the block hash binds the receipts root already, and the block hash is always checked. What
    /// this check shows is that the node has the receipts, from which it can make transaction proofs later.
    #[arg(long, env = "TRIBUTARY_VERIFY_RECEIPTS")]
    pub(crate) verify_receipts: bool,

    /// Finish once everything that was irreversible at the start is durable on the main chain
    #[arg(long, env = "TRIBUTARY_UNTIL_SYNCED")]
    pub(crate) until_synced: bool,

    /// Most calls in one request, 1 to 1000; fewer are sent to a node that refuses so many, or is slow
    #[arg(long, env = "TRIBUTARY_BATCH", value_name = "N", default_value_t = 100)]
    pub(crate) batch: u64,

    /// How long the node may take for one request
    #[arg(long, env = "TRIBUTARY_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// How often the node is asked for new blocks
    #[arg(long, env = "TRIBUTARY_POLL", value_name = "TIME", default_value = "500ms", value_parser = duration)]
    pub(crate) poll: Duration,

    /// Most MiB of one answer, 1 to 1024; memory for two is used
    #[arg(long, env = "TRIBUTARY_MAX_RESPONSE", value_name = "MIB", default_value_t = 64,
          value_parser = clap::value_parser!(u64).range(1..=1_024))]
    pub(crate) max_response: u64,
}

/// The side node's `ParentChainServerIp` and `ParentChainServerPort` have to lead to --listen; docs/aelf.md says more.
#[derive(Args)]
pub(crate) struct Aelf {
    #[command(flatten)]
    pub(crate) common: Common,

    /// Which side chain it is, by id (number or base58)
    #[arg(long, env = "TRIBUTARY_CHAIN", value_name = "ID")]
    pub(crate) chain: ChainId,

    /// The main chain's id, as the side node has it as its ParentChainId
    #[arg(long, env = "TRIBUTARY_PARENT", value_name = "ID", default_value = "AELF")]
    pub(crate) parent: ChainId,

    /// Where the side node's gRPC requests are taken
    #[arg(long, env = "TRIBUTARY_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:5000")]
    pub(crate) listen: SocketAddr,

    /// Ask this node for blocks and no other; by default whichever shakes hands
    #[arg(long, env = "TRIBUTARY_NODE", value_name = "ADDR")]
    pub(crate) node: Option<SocketAddr>,

    /// The HTTP API of a node of the main chain: where its blocks are read for the side node
    #[arg(long, env = "TRIBUTARY_MAIN_API", value_name = "URL", default_value = "http://127.0.0.1:9480")]
    pub(crate) main_api: String,

    /// What the side chain's first block is made of, as TOML or JSON, for side nodes that begin
    #[arg(long, env = "TRIBUTARY_INITIALIZATION", value_name = "FILE")]
    pub(crate) initialization: Option<PathBuf>,

    /// The side node's web API, to answer questions about transactions
    #[arg(long, env = "TRIBUTARY_HTTP", value_name = "URL")]
    pub(crate) http: Option<String>,

    /// How long a node may take to connect, and for each message
    #[arg(long, env = "TRIBUTARY_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// How often the node is asked for new blocks
    #[arg(long, env = "TRIBUTARY_POLL", value_name = "TIME", default_value = "500ms", value_parser = duration)]
    pub(crate) poll: Duration,
}

#[derive(Args)]
pub(crate) struct Mainstem {
    #[command(flatten)]
    pub(crate) common: Common,

    /// Its id as a main chain (number or base58), by which it has to be registered as a side chain
    #[arg(long, env = "TRIBUTARY_CHAIN", value_name = "ID")]
    pub(crate) chain: ChainId,

    /// The HTTP API of one of its nodes
    #[arg(long, env = "TRIBUTARY_NODE", value_name = "URL", default_value = "http://127.0.0.1:9480")]
    pub(crate) node: String,

    /// Finish once everything that was there at the start is durable on the main chain
    #[arg(long, env = "TRIBUTARY_UNTIL_SYNCED")]
    pub(crate) until_synced: bool,

    /// How long the node may take for one request
    #[arg(long, env = "TRIBUTARY_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// How often the node is asked for new blocks
    #[arg(long, env = "TRIBUTARY_POLL", value_name = "TIME", default_value = "200ms", value_parser = duration)]
    pub(crate) poll: Duration,
}

#[derive(Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    pub(crate) action: KeysAction,
}

#[derive(Subcommand)]
pub(crate) enum KeysAction {
    /// Make a new ed25519 key in a file that only its owner can read, and print the public key
    ///
    /// The file is PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it. An existing file is never
    /// overwritten.
    New {
        /// Where to write the key
        #[arg(default_value = "node.key")]
        file: PathBuf,
    },
    /// Print the public key that belongs to a key file: what the main chain's operator registers
    Show {
        /// The key file
        #[arg(default_value = "node.key")]
        file: PathBuf,
    },
}

fn height(text: &str) -> Result<Height, String> {
    match text.parse() {
        Ok(height @ 1..) if height <= Height::MAX.0 => Ok(Height(height)),
        _ => Err("expected a height, 1 or more".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1e6).contains(&rate) => Ok(rate),
        _ => Err("expected 0 to 1000000".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis)) {
        Some(millis @ 1..=86_400_000) => Ok(Duration::from_millis(millis)),
        _ => Err("expected a time such as 500ms, 30s or 2m, up to a day".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.replace("COMMON", &format!("--main-key {KEY} --key k")).split(' '))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn file_is_sent_or_converted() {
        let sent = parse("tributary file b.jsonl --chain tDVV COMMON").unwrap().command;
        assert!(
            matches!(sent, Command::File(FileCommand::Send(file)) if file.chain == Some(ChainId(1_866_392)))
        );
        let converted = parse("tributary file convert a b --form binary").unwrap().command;
        assert!(matches!(converted, Command::File(FileCommand::Action(FileAction::Convert(_)))));
        assert!(parse("tributary file").is_err());
        assert!(parse("tributary file b.jsonl").is_err());
    }

    #[test]
    fn several_simulated_chains_are_named_by_a_list() {
        let Command::Sim(sim) = parse("tributary sim COMMON --chain tDVV,7").unwrap().command else {
            panic!("not sim")
        };
        assert_eq!(sim.chain, [ChainId(1_866_392), ChainId(7)]);
    }

    #[test]
    fn a_main_chain_that_changes_its_key_is_named_by_both() {
        let line = format!("tributary sim --chain 1 --key k --main-key {KEY},{}", KEY.replace('d', "e"));
        let Command::Sim(sim) = parse(&line).unwrap().command else { panic!("not sim") };
        assert_eq!(sim.common.main_key.len(), 2);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for line in [
            "tributary evm COMMON",
            "tributary evm COMMON --chain tDVVV",
            "tributary evm COMMON --chain 1 --max-response 0",
            "tributary evm COMMON --chain 1 --timeout 5",
            "tributary evm COMMON --chain 1 --timeout 0s",
            "tributary evm COMMON --chain 1 --stop-at 0",
            "tributary aelf COMMON",
            "tributary aelf COMMON --chain tDVV --listen 5000",
            "tributary aelf COMMON --chain tDVV --node node.example.org:5010",
            "tributary sim COMMON --chain 1 --rate -1",
            "tributary sim COMMON --chain 1 --chains 0",
            "tributary sim --chain 1 --key k",
            "tributary sim --chain 1 --key k --main-key 12",
            "tributary sim COMMON --chain 1 --serve 127.0.0.1:0",
            "tributary sim COMMON --chain 1 --follow-from 1",
            "tributary sim COMMON --chain 1 --keep-blocks 10",
            "tributary sim COMMON --chain 1 --keep d --keep-blocks 0",
            "tributary sim COMMON --chain 1 --keep d --follow-from 0",
            "tributary sim COMMON --chain 1 --keep d --serve localhost",
            "tributary sim COMMON --chain 1 --address-check 0s",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
    }
}
