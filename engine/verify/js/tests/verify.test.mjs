// What is right is accepted in both forms; whatever is changed in it is refused.

import assert from "node:assert/strict";
import test from "node:test";

import { parseJson } from "../json.mjs";
import { ProofError, hex, parse, readReceipt, toBytes, toJson, verify } from "../mainstem-verify.mjs";
import { commitments, made, vectors } from "./cases.mjs";

const { accepted, refused } = vectors();
const cases = [...commitments(), ...accepted, ...made()];
/** Whether all that can be changed is, in all proofs; else as much as there is time for, in all but the first few. */
const ALL = process.env.MAINSTEM_ALL_BITS === "1";

/**
 * Whether it is accepted as `document`. An absence proof is as right for every chain between the same neighbours, and of an EVM part
 * that proves two things either may be left out: that is not the same proof, but it is no false one. Anything but a ProofError with a
 * field fails the test.
 */
function accepts(given, trusted, document) {
  try {
    const read = parse(given);
    verify(read, { trusted });
    if (document?.kind === "absence" && read.chain_id !== document.chain_id) return toJson({ ...read, chain_id: 0 }) !== toJson({ ...document, chain_id: 0 });
    const part = document?.transaction;
    if (part?.transaction && part?.receipt) {
      const whole = { ...read.transaction, transaction: part.transaction, receipt: part.receipt };
      if (toJson(whole) !== toJson(read.transaction)) return toJson(whole) !== toJson(part);
    }
    return true;
  } catch (error) {
    assert(error instanceof ProofError && error.field.length > 0, error);
    return false;
  }
}

each("what is right is accepted in both forms", ({ document, json, binary, trusted }) => {
  const result = verify(document, { trusted });
  assert.equal(result.trustedHash, trusted);
  const bytes = toBytes(document);
  if (binary) assert.deepEqual(bytes, binary);
  const read = parse(bytes);
  assert.deepEqual(toBytes(read), bytes);
  assert.deepEqual(parseJson(toJson(read)), parseJson(json));
  assert.deepEqual(verify(read), result);
  assert.equal(accepts(bytes, `0x${"11".repeat(32)}`), false, "another header is trusted");
  for (let length = 0; length < bytes.length; length += 1 + (bytes.length >> 8)) {
    assert.equal(accepts(bytes.subarray(0, length), trusted), false, `cut to ${length}`);
  }
  for (const more of [[0], [1], Array(32).fill(0)]) assert.equal(accepts(Uint8Array.of(...bytes, ...more), trusted), false, "longer");
});

each("with any bit flipped it is refused", ({ name, document, trusted }) => {
  if (hasTwoForms(name)) return;
  const bytes = toBytes(document);
  const step = name.startsWith("commitments") || ALL ? 1 : Math.floor(bytes.length / 25) | 1;
  for (let bit = 0; bit < bytes.length * 8; bit += step) {
    bytes[bit >> 3] ^= 1 << (bit & 7);
    assert.equal(accepts(bytes, trusted, document), false, `bit ${bit & 7} of byte ${bit >> 3}`);
    bytes[bit >> 3] ^= 1 << (bit & 7);
  }
});

each("with any field changed it is refused", ({ name, document, json, trusted }) => {
  if (hasTwoForms(name)) return;
  const original = parseJson(json);
  const step = name.startsWith("commitments") || ALL ? 1 : Math.floor(json.length / 300) | 1;
  let tried = 0;
  for (const [where, changed] of changes(original)) {
    tried += 1;
    if (tried % step !== 0) continue;
    assert.equal(accepts(toJson(changed), trusted, document), false, where);
  }
  assert(tried > 20);
});

test("what is to be refused is refused, for the same field as Mainstem itself refuses it for", () => {
  let compared = 0;
  for (const { name, given, reason, error } of refused) {
    const field = refusal(given);
    assert(field, `${name}: ${reason}`);
    const own = fieldOf(error);
    // What starts with no 1 is no binary form, and so is read as JSON.
    if (own === undefined || OTHER_FIELD.includes(name) || ["document", "JSON"].includes(field)) continue;
    compared += 1;
    const same = [field, `${field}.`, `${field}[`].some((start) => own.startsWith(start)) || field.startsWith(own);
    assert(same || (error.includes("`") && field.endsWith(`.${own}`)), `${name}: ${field}, ${error}`);
  }
  assert(refused.length > 190 && compared > 110, `${compared} of ${refused.length}`);
});

/** Of these both see something wrong, and name another part of it. */
const OTHER_FIELD = [
  "blocks: several main blocks without a head", "transaction: the fields of another type", "mainstem: nine levels, binary",
  "transaction: in place of its block proof, 5000 deep", "transaction: an unused side bit",
];

/** The field that an error of the vectors starts with, in our words; `undefined` where it has other words. */
function fieldOf(error) {
  const [, named] = /^no proof in JSON: (?:missing|unknown) field `(.*)`$/.exec(error) ?? [];
  if (named) return named;
  const way = error.replace(/^no proof in binary form: /, "").replace(/: node (\d+): .*/, "[$1]").replaceAll(": ", ".");
  return way.includes(" ") ? undefined : way;
}

function refusal(given) {
  try {
    verify(parse(given));
    return undefined;
  } catch (error) {
    assert(error instanceof ProofError && error.field.length > 0, error);
    return error.field;
  }
}

/** Of two equal siblings it is all the same on which side each is. */
function hasTwoForms(name) {
  return name.includes("of 2 equal ones");
}

/** A test of all cases. What fails names the case. */
function each(claim, check) {
  test(claim, () => {
    for (const one of cases) {
      try {
        check(one);
      } catch (error) {
        error.message = `${one.name}: ${error.message}`;
        throw error;
      }
    }
  });
}

/** Every value with one thing in it changed, and where that is. */
function* changes(value, where = "") {
  if (Array.isArray(value)) {
    yield [`${where}: longer`, [...value, value.at(-1) ?? 0n]];
    yield [`${where}: no list`, null];
    if (value.length > 0) yield [`${where}: shorter`, value.slice(1)];
    for (let i = 1; i < value.length; i += 1) {
      const swapped = value.with(i, value[i - 1]).with(i - 1, value[i]);
      if (toJson(swapped) !== toJson(value)) yield [`${where}: ${i} swapped`, swapped];
    }
    for (const [i, item] of value.entries()) {
      for (const [at, changed] of changes(item, `${where}[${i}]`)) yield [at, value.with(i, changed)];
    }
  } else if (value !== null && typeof value === "object") {
    yield [`${where}: one more field`, { ...value, more: 1n }];
    for (const name of Object.keys(value)) {
      const { [name]: field, ...rest } = value;
      // A field that may be null may be left out.
      if (field !== null) yield [`${where}.${name}: missing`, rest];
      for (const [at, changed] of changes(field, `${where}.${name}`)) yield [at, { ...value, [name]: changed }];
    }
  } else if (typeof value === "bigint") {
    const others = [value + 1n, value - 1n, value ^ 1024n, 0n, -1n, 1n << 32n, (1n << 64n) - 1n, 1n << 64n, 1n << 80n, `${value}`, null];
    for (const other of others) if (other !== value) yield [`${where}: ${other}`, other];
  } else if (typeof value === "boolean") {
    yield [`${where}: turned`, !value];
    yield [`${where}: a number`, value ? 1n : 0n];
  } else if (typeof value === "string") {
    const others = [`${value}0`, `${value}00`, value.slice(0, -1), value.slice(0, -2), value.slice(2), "", null, `0x${"0".repeat(64)}`];
    for (const i of [2, Math.floor(value.length / 2), value.length - 1]) {
      others.push(value.slice(0, i) + (value[i] === "0" ? "1" : "0") + value.slice(i + 1));
    }
    for (const other of others) if (other !== value) yield [`${where}: ${other}`, other];
  }
}

test("proofs of one thing do not pass for another", () => {
  const blocks = cases.filter(({ document }) => document.kind === undefined);
  let tried = 0;
  for (const one of blocks) {
    for (const other of blocks) {
      for (const name of ["chain_path", "side_path", "history_path", "block", "chain", "header", "head", "chain_id"]) {
        if (toJson(one.document[name] ?? null) === toJson(other.document[name] ?? null)) continue;
        tried += 1;
        const mixed = { ...one.document, [name]: other.document[name] };
        assert.equal(accepts(toJson(mixed), one.trusted), false, `${one.name} with ${name} of ${other.name}`);
      }
    }
  }
  assert(tried > 100);
});

test("a trusted hash that is missing is not one that is not asked for", () => {
  const { document, trusted } = cases.find(({ name }) => name === "block, far head");
  assert.equal(verify(document).trustedHash, trusted);
  assert.equal(verify(document, {}).trustedHash, trusted);
  for (const lost of [undefined, null, "", "0x", 0]) assert.throws(() => verify(document, { trusted: lost }), { field: "trusted" });
});

test("who trusts another header is told so before the rest is looked at", () => {
  for (const { name, document, trusted } of cases) {
    if (document.kind !== "transaction") continue;
    const broken = { ...document, transaction: { type: "aelf", id: trusted, path: [] } };
    assert.throws(() => verify(broken, { trusted: `0x${"11".repeat(32)}` }), { field: "trusted" }, name);
    assert.throws(() => verify(broken, { trusted }), { field: "transaction.path" }, name);
  }
});

test("a header below the head may be what is trusted", () => {
  const { document } = cases.find(({ name }) => name === "block, far head");
  const { headerHash } = verify(document);
  assert.equal(verify(document, { trusted: headerHash }).trusted.height, document.header.height);
});

test("a consistency proof continues the header that was kept, and no other", () => {
  const { document, trusted } = cases.find(({ name }) => name === "consistency 7 to 12");
  const { headerHash } = verify(document);
  assert.equal(verify(document, { trusted }).trusted.height, 12n);
  assert.equal(verify(document, { trusted: headerHash }).trusted.height, 7n);
  assert.throws(() => verify(document, { trusted: `0x${"22".repeat(32)}` }), { field: "trusted" });
});

test("a proven receipt can be read", () => {
  const { document } = cases.find(({ name }) => name === "evm 2 of 3");
  const { claim } = verify(document);
  const { type, status, logs } = readReceipt(claim.receipt);
  assert.deepEqual([type, status, logs.length, logs[0].topics.length, logs[0].data.length], [2, 1n, 1, 2, 66]);
  assert(hex(claim.receipt).includes(logs[0].address.slice(2)));
});

test("errors name the field", () => {
  const { json } = cases.find(({ name }) => name === "block, far head");
  const change = (edit) => {
    const value = parseJson(json);
    edit(value);
    return () => verify(parse(toJson(value)));
  };
  assert.throws(change((proof) => (proof.version = 2n)), { field: "version" });
  assert.throws(change((proof) => (proof.side_path[0].left ^= true)), { field: "side_path[0].left" });
  assert.throws(change((proof) => (proof.header.heigth = 1n)), { field: "header.heigth" });
  assert.throws(change((proof) => (proof.block.height = 1n << 40n)), { field: "block.height" });
  assert.throws(change((proof) => delete proof.head), { field: "head" });
});

test("a list of nothing is refused before it takes a multiple of its length", () => {
  for (const item of ["{}", "0", "[]", "null"]) {
    const text = `{"kind":"chain","blocks":[${Array(10_000).fill(item).join(",")}]}`;
    assert.throws(() => parse(text), { field: "JSON", message: /more values/ }, item);
  }
});

test("JSON of two meanings is refused", () => {
  for (const text of ['{"a":1,"a":2}', "[1.0]", "[1e3]", "[01]", "[-0]", "[1,]", '{"a" 1}', "[1] 2", "nul", '"\t"', '"a', "[".repeat(100), "", "\ufeff{}"]) {
    assert.throws(() => parseJson(text), { name: "ProofError" }, text);
  }
  assert.deepEqual(parseJson(' [18446744073709551615, "\\u0061\\"\\\\" , true,null,{} ] '), [18446744073709551615n, 'a"\\', true, null, Object.create(null)]);
});
