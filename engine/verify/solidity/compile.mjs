// Compiles the contracts with the solc of the peers (`cargo xtask peers`): { name: { abi, bytecode } }.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const SOURCES = ["MainstemVerifier.sol", "MainstemHeaders.sol", "ReceiptInbox.sol", "tests/Emitter.sol", "tests/Harness.sol"];
/** Folder of the peers: as for the end-to-end tests. */
export const PEERS = process.env.MAINSTEM_PEERS ?? new URL("../../../target/peers", import.meta.url).pathname;

export function compile() {
  const solc = createRequire(`${PEERS}/package.json`)("solc");
  const content = (name) => ({ content: readFileSync(new URL(name, import.meta.url), "utf8") });
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(SOURCES.map((name) => [name, content(name)])),
    settings: {
      optimizer: { enabled: true, runs: 10_000 },
      evmVersion: "cancun",
      outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
    },
  };
  const { errors = [], contracts } = JSON.parse(solc.compile(JSON.stringify(input)));
  if (errors.length > 0) throw new Error(errors.map((error) => error.formattedMessage).join("\n"));
  return Object.fromEntries(
    Object.values(contracts).flatMap(Object.entries).map(([name, { abi, evm }]) => [
      name,
      { abi, bytecode: `0x${evm.bytecode.object}`, size: evm.deployedBytecode.object.length / 2 },
    ]),
  );
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  for (const [name, { size }] of Object.entries(compile())) console.log(`${name}: ${size} bytes`);
}
