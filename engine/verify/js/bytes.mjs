// Bytes, their text form, and the one error that everything here throws.

/** Why something is refused. `field` names where. */
export class ProofError extends Error {
  constructor(field, what) {
    super(`${field}: ${what}`);
    this.name = "ProofError";
    this.field = field;
  }
}

/** Throws unless `right`. `what` may be a function, so that a text is made only where it is needed. */
export function must(right, field, what) {
  if (!right) throw new ProofError(field, typeof what === "function" ? what() : what);
}

const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** `0x` and two lower-case digits a byte. */
export function hex(bytes) {
  let text = "0x";
  for (const byte of bytes) text += DIGITS[byte];
  return text;
}

/** The bytes of `0x` and an even number of hex digits; `undefined` of anything else. */
export function unhex(text) {
  if (typeof text !== "string" || text.length % 2 !== 0 || !/^0x[0-9a-fA-F]*$/.test(text)) return undefined;
  const out = new Uint8Array(text.length / 2 - 1);
  for (let i = 0; i < out.length; i += 1) out[i] = (digit(text, 2 * i + 2) << 4) | digit(text, 2 * i + 3);
  return out;
}

function digit(text, at) {
  const code = text.charCodeAt(at);
  return code < 58 ? code - 48 : (code | 32) - 87;
}

export function equal(a, b) {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** Little-endian, in so many bytes. */
export function le(value, bytes) {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigUint64(0, BigInt(value), true);
  return out.subarray(0, bytes);
}

export function concat(parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
