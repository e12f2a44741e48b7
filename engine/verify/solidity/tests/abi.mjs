// As much of the contract ABI as the tests need: encoding and decoding by the descriptions that solc gives.

import { concat, hex, unhex } from "../../js/bytes.mjs";
import { keccak256 } from "../../js/keccak256.mjs";

const canonical = (input) => (input.type.startsWith("tuple") ? `(${input.components.map(canonical).join(",")})${input.type.slice(5)}` : input.type);
const isDynamic = (input) => /\[\]$|^bytes$|^string$/.test(input.type) || (input.type === "tuple" && input.components.some(isDynamic));
const number = (value) => unhex(`0x${BigInt(value).toString(16).padStart(64, "0")}`);

export const selector = (item) => keccak256(new TextEncoder().encode(`${item.name}(${item.inputs.map(canonical).join(",")})`)).subarray(0, 4);

export function encodeCall(item, values) {
  return hex(concat([selector(item), encodeTuple(item.inputs, values)]));
}

export function encodeTuple(inputs, values) {
  const parts = inputs.map((input, i) => encodeOne(input, values[i]));
  const heads = inputs.map((input, i) => (isDynamic(input) ? 32 : parts[i].length));
  let at = heads.reduce((sum, length) => sum + length, 0);
  const head = [];
  const tail = [];
  inputs.forEach((input, i) => {
    head.push(isDynamic(input) ? number(at) : parts[i]);
    if (!isDynamic(input)) return;
    tail.push(parts[i]);
    at += parts[i].length;
  });
  return concat([...head, ...tail]);
}

function encodeOne(input, value) {
  if (input.type.endsWith("[]")) {
    const item = { ...input, type: input.type.slice(0, -2) };
    return concat([number(value.length), encodeTuple(value.map(() => item), value)]);
  }
  if (input.type === "bytes") return concat([number(value.length), value, new Uint8Array((32 - (value.length % 32)) % 32)]);
  if (input.type === "bytes32") return unhex(value);
  return number(value);
}

/** What a call gives, by name where the description has names, else in order. */
export function decode(outputs, text) {
  return decodeTuple(outputs, unhex(text), 0);
}

function decodeTuple(inputs, data, start) {
  const values = {};
  let at = start;
  inputs.forEach((input, i) => {
    const dynamic = isDynamic(input);
    const from = dynamic ? start + Number(read(data, at)) : at;
    values[input.name || i] = decodeOne(input, data, from);
    at += dynamic ? 32 : size(input);
  });
  return values;
}

const size = (input) => (input.type === "tuple" ? input.components.reduce((sum, each) => sum + size(each), 0) : 32);
const read = (data, at) => BigInt(hex(data.subarray(at, at + 32)));

function decodeOne(input, data, at) {
  if (input.type.endsWith("[]")) {
    const length = Number(read(data, at));
    const item = { ...input, type: input.type.slice(0, -2), name: "" };
    return Object.values(decodeTuple(Array(length).fill(item), data, at + 32));
  }
  if (input.type === "tuple") return decodeTuple(input.components, data, at);
  if (input.type === "bytes") return hex(data.subarray(at + 32, at + 32 + Number(read(data, at))));
  if (input.type === "bytes32") return hex(data.subarray(at, at + 32));
  if (input.type === "address") return hex(data.subarray(at + 12, at + 32));
  return input.type === "bool" ? read(data, at) === 1n : read(data, at);
}

/** The error that a revert carries, as text: its name, and its first argument if that is a text. */
export function decodeError(errors, data) {
  const item = errors.find((each) => hex(selector(each)) === data?.slice(0, 10));
  if (!item) return data ?? "no data";
  const args = Object.values(decode(item.inputs, `0x${data.slice(10)}`));
  const shown = args.map((value, i) => (i === 0 && item.inputs[0].type === "bytes32" ? readable(value) : String(value)));
  return `${item.name}(${shown.join(", ")})`;
}

function readable(word) {
  const text = String.fromCharCode(...unhex(word)).replace(/\0+$/, "");
  return /^[ -~]+$/.test(text) ? text : word;
}
