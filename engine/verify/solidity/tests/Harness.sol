// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {MainstemVerifier} from "../MainstemVerifier.sol";

/// Lets tests call the library, and flips the bits of proofs.
contract Harness {
    using MainstemVerifier for bytes;

    function verifyBlock(bytes calldata proof) external view returns (MainstemVerifier.BlockProof memory) {
        return proof.verifyBlock();
    }

    function verifyTransaction(bytes calldata proof) external view returns (MainstemVerifier.CrossChainProof memory) {
        return proof.verifyTransaction();
    }

    function verifyConsistency(bytes calldata proof)
        external
        view
        returns (MainstemVerifier.Header memory from, MainstemVerifier.Header memory to)
    {
        return proof.verifyConsistency();
    }

    /// Hash of the header that a proof of any of the three kinds ends in.
    function trusted(bytes calldata proof) public view returns (bytes32) {
        if (proof.length < 2 || proof[1] == 0) return proof.verifyBlock().trusted.hash;
        if (proof[1] == 0x01) return proof.verifyTransaction().trusted.hash;
        (, MainstemVerifier.Header memory to) = proof.verifyConsistency();
        return to.hash;
    }

    function readReceipt(bytes calldata proof, uint256 index)
        external
        view
        returns (bool success, MainstemVerifier.Log memory log)
    {
        return proof.slice(proof.verifyTransaction().receipt).readReceipt(index);
    }

    /// Gas that the library takes for a proof of any of the three kinds.
    function gasOf(bytes calldata proof) external view returns (uint256) {
        uint256 before = gasleft();
        trusted(proof);
        return before - gasleft();
    }

    /// How many flips of a bit are accepted, from bit `first` on, `count` of them with `step` between; and the last such bit.
    function flip(bytes memory proof, bytes32 hash, uint256 first, uint256 count, uint256 step)
        external
        view
        returns (uint256 accepted, uint256 last)
    {
        for (uint256 bit = first; count > 0 && bit < 8 * proof.length; (bit, count) = (bit + step, count - 1)) {
            bytes1 mask = bytes1(uint8(1 << (bit % 8)));
            proof[bit / 8] ^= mask;
            try this.trusted(proof) returns (bytes32 got) {
                if (got == hash) (accepted, last) = (accepted + 1, bit);
            } catch {}
            proof[bit / 8] ^= mask;
        }
    }
}
