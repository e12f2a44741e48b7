// An anvil that runs beside the tests, and contracts on it.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

import { hex } from "../../js/bytes.mjs";
import { PEERS } from "../compile.mjs";
import { decode, decodeError, encodeCall, encodeTuple } from "./abi.mjs";

/** Starts anvil on a free port. */
export async function startAnvil(...options) {
  const args = ["--host", "127.0.0.1", "--port", "0", "--hardfork", "cancun", "--gas-limit", "4000000000", ...options];
  const child = spawn(`${PEERS}/bin/anvil`, args, { stdio: ["ignore", "pipe", "inherit"] });
  const url = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`anvil ended with ${code}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line.startsWith("Listening on ")) resolve(`http://${line.slice(13).trim()}`);
    });
  });
  return new Chain(url, child);
}

export class Chain {
  /** `gas` is what a transaction may take: more than a block's makes a node refuse it. */
  constructor(url, child, gas = 25_000_000) {
    // A revert may come from a contract that the called one calls.
    Object.assign(this, { url, child, gas: `0x${gas.toString(16)}`, errors: [] });
  }

  stop() {
    this.child?.removeAllListeners("exit");
    this.child?.kill("SIGKILL");
  }

  async rpc(method, ...params) {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const response = await fetch(this.url, { method: "POST", headers: { "content-type": "application/json" }, body });
    const { result, error } = await response.json();
    if (error) throw Object.assign(new Error(`${method}: ${error.message}`), { data: error.data });
    return result;
  }

  async accounts() {
    return (this.known ??= await this.rpc("eth_accounts"));
  }

  /** Sends a transaction; gives its receipt. Fails if it reverts. */
  async send(transaction, from = 0) {
    const sent = { from: (await this.accounts())[from], gas: this.gas, ...transaction };
    const hash = await this.rpc("eth_sendTransaction", sent);
    for (;;) {
      const receipt = await this.rpc("eth_getTransactionReceipt", hash);
      if (receipt?.status === "0x1") return receipt;
      if (receipt) throw new Error(`transaction ${hash} failed`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Makes a contract of what the compiler gave. */
  async deploy({ abi, bytecode }, ...values) {
    const inputs = abi.find((item) => item.type === "constructor")?.inputs ?? [];
    const { contractAddress } = await this.send({ data: bytecode + hex(encodeTuple(inputs, values)).slice(2) });
    this.errors.push(...abi.filter((item) => item.type === "error"));
    return new Contract(this, abi, contractAddress);
  }
}

export class Contract {
  constructor(chain, abi, address) {
    Object.assign(this, { chain, abi, address });
  }

  item(name) {
    return this.abi.find((item) => item.type === "function" && item.name === name);
  }

  /** Calls without a transaction; gives the outputs. A revert is an Error whose message is the contract's error. */
  async call(name, ...values) {
    const item = this.item(name);
    const from = (await this.chain.accounts())[0];
    const call = { from, to: this.address, data: encodeCall(item, values), gas: "0xee6b2800" };
    const result = await this.reverting(this.chain.rpc("eth_call", call, "latest"));
    const outputs = decode(item.outputs, result);
    return item.outputs.length === 1 ? Object.values(outputs)[0] : outputs;
  }

  /** Sends a transaction from account number `from`; gives its receipt. */
  async send(from, name, ...values) {
    const transaction = { to: this.address, data: encodeCall(this.item(name), values) };
    await this.reverting(this.chain.rpc("eth_call", { from: (await this.chain.accounts())[from], ...transaction }, "latest"));
    return this.chain.send(transaction, from);
  }

  async reverting(request) {
    try {
      return await request;
    } catch (error) {
      throw new Error(decodeError(this.chain.errors, error.data) ?? error.message, { cause: error });
    }
  }
}
