//! A log of one EVM chain, proven on another one: two real EVM nodes, the two programs between them, and the contracts of
//! `engine/verify/solidity`. What happens on the chains is told by `end-to-end.mjs` there.

use std::process::Command;

use crate::evm::{CHAIN, Indexing, Peer};
use crate::support::{alone, run, workspace};

#[test]
fn log_of_one_evm_chain_is_proven_on_another_and_forged_ones_are_refused() {
    let _alone = alone();
    let Some(source) = Peer::start("anvil", &["--hardfork", "cancun", "--slots-in-an-epoch", "1"]) else {
        return;
    };
    let target =
        Peer::start("anvil", &["--hardfork", "cancun", "--chain-id", "7"]).expect("the other started");
    let indexing = Indexing::start(&source);
    let driver = workspace().join("engine/verify/solidity/tests/end-to-end.mjs");
    let mut command = Command::new("node");
    command.arg(driver).args([&source.url, &target.url, &indexing.node.api]).arg(CHAIN);
    let (code, output, error) = run(&mut command);
    assert_eq!(code, 0, "{output}\n{error}");
    assert!(output.contains("proven: 3 logs"), "{output}");
    assert!(output.contains("refused: 17 forgeries"), "{output}");
}
