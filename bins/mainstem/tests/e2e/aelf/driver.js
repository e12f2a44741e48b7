// What AElf's own clients see of a node, unmodified as npm has them: a script of calls is read from the file named by
// the first argument, and each answer is printed as a line `ANSWER {"value": ..}` or `ANSWER {"error": ..}`. Whatever
// else is printed is the clients' own.
"use strict";

const fs = require("fs");
const path = require("path");

const packages = process.argv[3];
const AElf = require(path.join(packages, "aelf-sdk"));
const { TokenCrossChainBasic } = require(path.join(packages, "aelf-sdk-cross-chain"));

const wallet = AElf.wallet.getWalletByPrivateKey("0".repeat(63) + "7");
const instances = new Map();
const contracts = new Map();

function at(url) {
  if (!instances.has(url)) instances.set(url, new AElf(new AElf.providers.HttpProvider(url, 60000)));
  return instances.get(url);
}

// As every client finds a contract: by the genesis contract that the chain's status names.
async function contract(url, name) {
  const key = `${url} ${name}`;
  if (!contracts.has(key)) {
    const { chain } = at(url);
    const { GenesisContractAddress } = await chain.getChainStatus();
    const genesis = await chain.contractAt(GenesisContractAddress, wallet);
    const address = await genesis.GetContractAddressByName.call(AElf.utils.sha256(name));
    contracts.set(key, await chain.contractAt(address, wallet));
  }
  return contracts.get(key);
}

const calls = {
  // A method of `aelf.chain`.
  chain: ({ url, method, args }) => at(url).chain[method](...args),
  // The same, by XMLHttpRequest.
  sync: async ({ url, method, args }) => at(url).chain[method](...args, { sync: true }),
  // A view of a contract.
  view: async ({ url, contract: name, method, args }) => (await contract(url, name))[method].call(...args),
  address: async ({ url, contract: name }) => (await contract(url, name)).address,
  connected: async ({ url }) => at(url).isConnected(),
  // Whether a transfer between chains can be received, and with what.
  ready: async ({ from, to, id }) => {
    const transfer = new TokenCrossChainBasic({
      AElfUtils: AElf.utils,
      sendInstance: at(from),
      receiveInstance: at(to),
      reQueryInterval: 100,
      queryLimit: 3,
    });
    const made = await transfer.init({ wallet });
    const ready = await transfer.isChainReadyToReceive({ crossTransferTxId: id });
    return { type: made.crossTransferType, ...ready };
  },
};

function told(error) {
  if (error instanceof Error) return { message: error.message };
  return error;
}

async function main() {
  for (const call of JSON.parse(fs.readFileSync(process.argv[2], "utf8"))) {
    let answer;
    try {
      answer = { value: (await calls[call.call](call)) ?? null };
    } catch (error) {
      answer = { error: told(error) };
    }
    process.stdout.write(`ANSWER ${JSON.stringify(answer)}\n`);
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  },
);
