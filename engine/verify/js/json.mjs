// JSON without loss and without second meanings. JSON.parse rounds integers above 2^53 and lets the last of two equal
// names win; here integers are BigInt, and fractions, exponents and names given twice are refused.

import { ProofError, hex } from "./bytes.mjs";

/** Deeper than any document: proofs nest at most 8 levels, of 3 each. */
const MAX_DEPTH = 64;

/** No document has so many values: each has a name, or is a hash, or holds such. So a list of nothing takes no multiple of its length. */
const mostValues = (length) => 64 + length / 8;

/** The value of a JSON text. Objects have no prototype. */
export function parseJson(text) {
  let [at, values] = [0, 0];
  const refuse = (what) => {
    throw new ProofError("JSON", `${what} at character ${at}`);
  };
  const space = () => {
    while (at < text.length && " \t\n\r".includes(text[at])) at += 1;
  };
  const take = (letter) => {
    space();
    if (text[at] !== letter) return false;
    at += 1;
    return true;
  };
  const word = (literal, value) => {
    if (!text.startsWith(literal, at)) refuse("no value");
    at += literal.length;
    return value;
  };
  const string = () => {
    let end = text.indexOf('"', at);
    while (end > 0 && backslashes(text, end) % 2 === 1) end = text.indexOf('"', end + 1);
    if (end < 0) refuse("a text without an end");
    const start = at - 1;
    at = end + 1;
    try {
      return JSON.parse(text.slice(start, at));
    } catch {
      return refuse("no text before this");
    }
  };
  const number = () => {
    const [digits] = /^-?[0-9.eE+-]*/.exec(text.slice(at, at + 40));
    if (!/^(0|-?[1-9][0-9]{0,30})$/.test(digits)) refuse(digits === "" ? "no value" : "no integer");
    at += digits.length;
    return BigInt(digits);
  };
  const list = (depth) => {
    const items = [];
    if (take("]")) return items;
    do items.push(value(depth));
    while (take(","));
    return take("]") ? items : refuse("no , or ]");
  };
  const object = (depth) => {
    const fields = Object.create(null);
    if (take("}")) return fields;
    do {
      if (!take('"')) refuse("no name");
      const name = string();
      if (name in fields) refuse(`a second ${JSON.stringify(name)}`);
      if (!take(":")) refuse("no :");
      fields[name] = value(depth);
    } while (take(","));
    return take("}") ? fields : refuse("no , or }");
  };
  const value = (depth) => {
    if (depth > MAX_DEPTH) refuse("nested too deeply");
    values += 1;
    if (values > mostValues(text.length)) refuse("more values than a document of this length has");
    if (take("{")) return object(depth + 1);
    if (take("[")) return list(depth + 1);
    if (take('"')) return string();
    if (text[at] === "t") return word("true", true);
    if (text[at] === "f") return word("false", false);
    if (text[at] === "n") return word("null", null);
    return number();
  };
  const whole = value(0);
  space();
  return at === text.length ? whole : refuse("something after the document");
}

function backslashes(text, end) {
  let count = 0;
  while (text[end - 1 - count] === "\\") count += 1;
  return count;
}

/** The JSON text of a value: BigInt as digits, bytes as 0x and hex digits, `undefined` fields left out. */
export function toJsonText(value) {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return `"${hex(value)}"`;
  if (Array.isArray(value)) return `[${value.map(toJsonText).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${toJsonText(field)}`).join(",")}}`;
}
