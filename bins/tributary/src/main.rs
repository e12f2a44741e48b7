//! `tributary`: the program that the operator of a side chain runs next to his node.
//!
//! ```text
//! cli      what was asked for          run      the client of the main chain, until there is an end
//! sources  where blocks come from      words    what happened, and how it stands, for people
//! ```
#![forbid(unsafe_code)]

mod cli;
mod log;
// The same for both programs, and too little for a package of its own.
#[path = "../../mainstem/src/command/pages.rs"]
mod pages;
mod run;
mod signals;
mod words;

use std::io::{Write as _, stdout};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{CommandFactory as _, Parser as _};
use engine::chain::{ChainId, Height};
use engine::sim::SimConfig;
use net::identity::Identity;
use tributary::sources::aelf::{AelfConfig, AelfSource};
use tributary::sources::evm::{EvmConfig, EvmSource, Finality};
use tributary::sources::file::{FileConfig, FileSource, convert};
use tributary::sources::mainstem::{MainstemConfig, MainstemSource};
use tributary::sources::sim;

use cli::{Aelf, Cli, Command, Evm, FileAction, FileCommand, Keys, KeysAction, Mainstem, Sim};
use run::{Goal, Input};

fn main() -> ExitCode {
    let command = Cli::parse().command;
    match dispatch(command) {
        Ok(end) => end,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(USAGE)
        }
    }
}

/// Errors are those of usage and configuration: once something runs, it ends with a code of its own.
fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Sim(sim) => send_sim(&sim),
        Command::File(FileCommand::Action(FileAction::Convert(what))) => {
            let form = what.form.map(Into::into);
            let done = convert(&what.from, &what.to, form, what.chain, what.force)?;
            println!(
                "{} blocks, heights {} to {}, in {}",
                done.blocks,
                done.first,
                done.last,
                what.to.display()
            );
            Ok(ExitCode::SUCCESS)
        }
        Command::File(FileCommand::Send(file)) => {
            let source =
                FileSource::open(FileConfig { path: file.path, chain: file.chain, follow: file.follow })?;
            let tip = Some(source.tip_watch());
            let goal = if file.follow { Goal::None } else { Goal::Tip };
            run::run(&file.common, Input { source: Box::new(source), tip, answers: None, goal })
        }
        Command::Evm(evm) => send_evm(evm),
        Command::Aelf(aelf) => send_aelf(aelf),
        Command::Mainstem(mainstem) => send_mainstem(mainstem),
        Command::Completions { shell } => {
            pages::completions(Cli::command(), shell, &mut stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { dir } => {
            let shown = dir.display();
            let files = pages::man(Cli::command(), &dir)
                .with_context(|| format!("{shown}: pages cannot be written"))?;
            writeln!(stdout(), "{} pages in {shown}", files.len())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Keys(Keys { action }) => {
            let identity = match &action {
                KeysAction::New { file } => Identity::create(file)?,
                KeysAction::Show { file } => Identity::load(file)?,
            };
            writeln!(stdout(), "{}", identity.public())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn send_sim(sim: &Sim) -> Result<ExitCode> {
    let chains = match (sim.chains, sim.chain.as_slice()) {
        (None, chains) => chains.to_vec(),
        (Some(count), &[first]) => sim::chains(first, count)
            .with_context(|| format!("--chains {count}: there are not so many ids"))?,
        (Some(_), _) => bail!("--chains counts from one --chain on; --chain names several"),
    };
    no_chain_twice(&chains)?;
    let source = sim::open(SimConfig {
        seed: sim.seed,
        chains,
        blocks_per_second: sim.rate,
        transactions: sim.transactions,
        transaction_bytes: sim.transaction_bytes,
        first_height: Height(1),
    });
    let answers = Some(source.answers());
    run::run(&sim.common, Input { source: Box::new(source), tip: None, answers, goal: Goal::None })
}

fn send_evm(evm: Evm) -> Result<ExitCode> {
    let source = EvmSource::new(EvmConfig {
        chain: evm.chain,
        url: evm.rpc,
        headers: evm.rpc_header,
        finality: evm.confirmations.map_or(Finality::Tag, Finality::Confirmations),
        batch: evm.batch,
        timeout: evm.timeout,
        poll: evm.poll,
        max_response_bytes: evm.max_response << 20,
        verify_receipts: evm.verify_receipts,
        expect_chain_id: evm.expect_chain_id,
    })?;
    let tip = Some(source.tip_watch());
    let goal = if evm.until_synced { Goal::Tip } else { Goal::None };
    let answers = Some(source.answers());
    run::run(&evm.common, Input { source: Box::new(source), tip, answers, goal })
}

fn send_aelf(aelf: Aelf) -> Result<ExitCode> {
    let source = AelfSource::start(AelfConfig {
        chain: aelf.chain,
        parent: aelf.parent,
        listen: aelf.listen,
        node: aelf.node,
        main_api: aelf.main_api,
        initialization: aelf.initialization,
        http: aelf.http,
        timeout: aelf.timeout,
        poll: aelf.poll,
    })?;
    let (tip, answers) = (Some(source.tip_watch()), source.answers());
    run::run(&aelf.common, Input { source: Box::new(source), tip, answers, goal: Goal::None })
}

fn send_mainstem(mainstem: Mainstem) -> Result<ExitCode> {
    let source = MainstemSource::new(MainstemConfig {
        chain: mainstem.chain,
        url: mainstem.node,
        timeout: mainstem.timeout,
        poll: mainstem.poll,
    })?;
    let (tip, answers) = (Some(source.tip_watch()), Some(source.answers()));
    let goal = if mainstem.until_synced { Goal::Tip } else { Goal::None };
    run::run(&mainstem.common, Input { source: Box::new(source), tip, answers, goal })
}

fn no_chain_twice(chains: &[ChainId]) -> Result<()> {
    let mut sorted = chains.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => bail!("--chain names {} twice", pair[0]),
        None => Ok(()),
    }
}

const USAGE: u8 = 2;
