// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {MainstemHeaders} from "./MainstemHeaders.sol";
import {MainstemVerifier} from "./MainstemVerifier.sol";

/// @title An example: takes over each log of one contract on another EVM chain, once.
/// @dev What a contract that relies on proofs has to check is all here: the header is trusted, the chain is the right one, the
/// transaction succeeded, the log is of the right contract, and it was not taken before.
contract ReceiptInbox {
    using MainstemVerifier for bytes;

    /// A log of the other chain.
    event Received(uint64 indexed height, uint32 indexed transaction, uint256 indexed log, bytes32[] topics, bytes data);

    error WrongChain(uint32 chainId);
    error WrongEmitter(address emitter);
    error Failed();
    error NoReceipt();
    error TakenBefore(bytes32 id);

    MainstemHeaders public immutable headers;
    /// The other chain, as the main chain names it.
    uint32 public immutable chainId;
    /// The contract there.
    address public immutable emitter;
    mapping(bytes32 id => bool) public taken;

    constructor(MainstemHeaders headers_, uint32 chainId_, address emitter_) {
        (headers, chainId, emitter) = (headers_, chainId_, emitter_);
    }

    /// @param proof A transaction proof in binary form, with a receipt.
    /// @param index Which of the receipt's logs.
    function receive_(bytes calldata proof, uint256 index) external returns (MainstemVerifier.Log memory log) {
        MainstemVerifier.CrossChainProof memory proven = proof.verifyTransaction();
        headers.requireTrusted(proven.trusted.hash);
        MainstemVerifier.SideBlock memory block_ = proven.blocks[0];
        if (proven.header.chainId != headers.chainId() || proven.blocks.length != 1 || block_.chainId != chainId) {
            revert WrongChain(block_.chainId);
        }
        if (proven.kind != MainstemVerifier.EVM || proven.receipt.length == 0) revert NoReceipt();
        bool success;
        (success, log) = proof.slice(proven.receipt).readReceipt(index);
        if (!success) revert Failed();
        if (log.emitter != emitter) revert WrongEmitter(log.emitter);
        bytes32 id = keccak256(abi.encode(block_.height, proven.index, index));
        if (taken[id]) revert TakenBefore(id);
        taken[id] = true;
        emit Received(block_.height, proven.index, index, log.topics, log.data);
    }
}
