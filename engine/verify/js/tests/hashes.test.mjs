// Both hashes against those of Node.js, and Keccak-256 against values that Ethereum knows.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";

import { hex } from "../bytes.mjs";
import { keccak256, sha3_256 } from "../keccak256.mjs";
import { sha256 } from "../sha256.mjs";

/** Messages of every length around the blocks of both hashes (64 and 136 bytes), and a long one. */
const messages = [...Array(420).keys(), 100_000].map((length) => Uint8Array.from({ length }, (_, i) => (i * i + length) % 251));

for (const [name, own] of [["sha256", sha256], ["sha3-256", sha3_256]]) {
  test(`${name} is that of Node.js`, () => {
    for (const message of messages) {
      assert.equal(hex(own(message)), `0x${createHash(name).update(message).digest("hex")}`, `${message.length} bytes`);
    }
  });
}

test("sha256 of parts is that of the whole", () => {
  const whole = messages[200];
  assert.deepEqual(sha256(whole.subarray(0, 3), whole.subarray(3, 3), whole.subarray(3)), sha256(whole));
});

test("keccak256 is that of Ethereum", () => {
  const known = [
    ["", "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"], // the code hash of an account without code
    ["\x80", "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"], // the root of an empty trie
    ["Transfer(address,address,uint256)", "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"],
  ];
  for (const [text, expected] of known) {
    assert.equal(hex(keccak256(Uint8Array.from(text, (letter) => letter.charCodeAt(0)))), expected);
  }
});
