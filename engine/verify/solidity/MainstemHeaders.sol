// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {MainstemVerifier} from "./MainstemVerifier.sol";

/// @title Main headers that are trusted on this chain.
/// @notice It starts from one header, and anyone moves it on, by a consistency proof from the newest header to a later one that enough
/// witnesses have attested. Both are needed. A main header bears no signature, and anyone can make one that continues another, so a
/// consistency proof alone says nothing of who made it: that is what the witnesses, who follow the main chain, are for. And witnesses
/// alone could rewrite: but here not even all of them together can make it forget or change what it has once accepted.
/// @dev The witnesses are those of the constructor, for good: there is no owner, and nothing to be upgraded.
contract MainstemHeaders {
    /// A witness attested a header.
    event Attested(bytes32 indexed hash, address indexed witness);
    /// A header is trusted from now on.
    event Accepted(uint64 indexed height, bytes32 indexed hash);

    error NotAWitness(address sender);
    error WrongWitnesses();
    /// The proof does not start at the newest header.
    error NotNewest(bytes32 from, bytes32 newest);
    /// The proof does not lead to a later header.
    error NotLater(uint64 height, uint64 newest);
    /// Not enough witnesses have attested the header.
    error NotAttested(bytes32 hash, uint256 attested, uint256 threshold);

    /// Of the main chain.
    uint32 public immutable chainId;
    /// How many witnesses it takes.
    uint256 public immutable threshold;
    /// The newest header that is trusted.
    bytes32 public newest;
    uint64 public newestHeight;
    /// Height of each header that is trusted; 0 of any other.
    mapping(bytes32 hash => uint64) public heightOf;
    mapping(address witness => bool) public isWitness;
    /// How many witnesses have attested a header.
    mapping(bytes32 hash => uint256) public attestations;
    mapping(bytes32 hash => mapping(address witness => bool)) public hasAttested;

    /// @param header The 226 bytes of the header to start from.
    constructor(bytes memory header, address[] memory witnesses, uint256 threshold_) {
        if (threshold_ == 0 || threshold_ > witnesses.length) revert WrongWitnesses();
        for (uint256 i = 0; i < witnesses.length; ++i) {
            if (isWitness[witnesses[i]] || witnesses[i] == address(0)) revert WrongWitnesses();
            isWitness[witnesses[i]] = true;
        }
        threshold = threshold_;
        (uint32 chain, uint64 height, bytes32 hash) = decode(header);
        chainId = chain;
        accept(height, hash);
    }

    /// @notice Says that the main chain has a header of this hash. For witnesses.
    function attest(bytes32 hash) public {
        if (!isWitness[msg.sender]) revert NotAWitness(msg.sender);
        if (hasAttested[hash][msg.sender]) return;
        hasAttested[hash][msg.sender] = true;
        ++attestations[hash];
        emit Attested(hash, msg.sender);
    }

    /// @notice Moves on to a later header. For anyone; a witness who calls this attests it too.
    /// @param proof A consistency proof from the newest header, in binary form.
    function advance(bytes calldata proof) external {
        (MainstemVerifier.Header memory from, MainstemVerifier.Header memory to) = MainstemVerifier.verifyConsistency(proof);
        if (from.hash != newest) revert NotNewest(from.hash, newest);
        if (to.height <= newestHeight) revert NotLater(to.height, newestHeight);
        if (isWitness[msg.sender]) attest(to.hash);
        if (attestations[to.hash] < threshold) revert NotAttested(to.hash, attestations[to.hash], threshold);
        accept(to.height, to.hash);
    }

    /// @notice Reverts unless the header of this hash is trusted.
    function requireTrusted(bytes32 hash) public view {
        if (heightOf[hash] == 0) revert MainstemVerifier.NotTrusted(hash);
    }

    /// @notice Verifies a block proof (binary form) that ends in a header that is trusted.
    function verifyBlock(bytes calldata proof) external view returns (MainstemVerifier.BlockProof memory proven) {
        proven = MainstemVerifier.verifyBlock(proof);
        requireTrusted(proven.trusted.hash);
    }

    /// @notice Verifies a transaction proof (binary form) that ends in a header that is trusted.
    function verifyTransaction(bytes calldata proof)
        external
        view
        returns (MainstemVerifier.CrossChainProof memory proven)
    {
        proven = MainstemVerifier.verifyTransaction(proof);
        requireTrusted(proven.trusted.hash);
    }

    function accept(uint64 height, bytes32 hash) private {
        heightOf[hash] = height;
        (newest, newestHeight) = (hash, height);
        emit Accepted(height, hash);
    }

    /// A constructor has no calldata, so it reads the little there is by itself.
    function decode(bytes memory header) private pure returns (uint32 chain, uint64 height, bytes32 hash) {
        if (header.length != 226) revert MainstemVerifier.WrongLength(header.length, 226);
        uint256 version = le(header, 0, 2);
        if (version != 1) revert MainstemVerifier.WrongValue("header.version", version);
        (chain, height) = (uint32(le(header, 2, 4)), uint64(le(header, 6, 8)));
        if (height == 0 || height > uint64(type(int64).max)) revert MainstemVerifier.WrongValue("header.height", height);
        hash = sha256(bytes.concat(hex"03", header));
    }

    function le(bytes memory data, uint256 pos, uint256 length) private pure returns (uint256 value) {
        for (uint256 i = length; i > 0; --i) {
            value = (value << 8) | uint8(data[pos + i - 1]);
        }
    }
}
