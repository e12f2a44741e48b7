// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// Says something, for others to prove.
contract Emitter {
    event Sent(address indexed to, uint256 indexed number, bytes data);

    error Refused();

    function send(address to, uint256 number, bytes calldata data) external {
        if (number == 0) revert Refused();
        emit Sent(to, number, data);
        emit Sent(to, number + 1, "");
    }
}
