// Keccak-256 as Ethereum uses it: the sponge of FIPS 202 with the padding from before the standard. SHA3-256 differs
// in the padding alone, and is here so that the permutation can be tested against other programs.

/** The Keccak-256 digest: 32 bytes. */
export const keccak256 = (message) => sponge(message, 0x01);

/** The SHA3-256 digest (FIPS 202): 32 bytes. */
export const sha3_256 = (message) => sponge(message, 0x06);

/** Bytes taken in at a time: 1,600 bits less twice the 256 of the digest. */
const RATE = 136;

function sponge(message, padding) {
  // Lanes of 64 bits as two words, the low one first: in this order their little-endian bytes are the state's.
  const state = new Uint32Array(50);
  const padded = new Uint8Array((Math.floor(message.length / RATE) + 1) * RATE);
  padded.set(message);
  padded[message.length] ^= padding;
  padded[padded.length - 1] ^= 0x80;
  const view = new DataView(padded.buffer);
  for (let block = 0; block < padded.length; block += RATE) {
    for (let i = 0; i < RATE / 4; i += 1) state[i] ^= view.getUint32(block + 4 * i, true);
    permute(state);
  }
  const digest = new Uint8Array(32);
  const out = new DataView(digest.buffer);
  for (let i = 0; i < 8; i += 1) out.setUint32(4 * i, state[i], true);
  return digest;
}

/** How far each lane turns (rho), and where it goes (pi), by lane x + 5y: FIPS 202, sections 3.2.2 and 3.2.3. */
const [TURN, PLACE] = (() => {
  const turn = new Uint8Array(25);
  const place = new Uint8Array(25);
  let [x, y] = [1, 0];
  for (let t = 0; t < 24; t += 1) {
    turn[x + 5 * y] = (((t + 1) * (t + 2)) / 2) % 64;
    [x, y] = [y, (2 * x + 3 * y) % 5];
  }
  for (let i = 0; i < 25; i += 1) place[i] = Math.floor(i / 5) + 5 * ((2 * (i % 5) + 3 * Math.floor(i / 5)) % 5);
  return [turn, place];
})();

/** The constants of iota, low and high words in turn: section 3.2.5. */
const ROUNDS = (() => {
  const words = new Uint32Array(48);
  let lfsr = 1;
  for (let round = 0; round < 24; round += 1) {
    for (let j = 0; j < 7; j += 1) {
      const bit = 2 ** j - 1;
      if (lfsr & 1) words[2 * round + (bit >> 5)] ^= 1 << (bit & 31);
      lfsr = (lfsr << 1) ^ (lfsr & 0x80 ? 0x171 : 0);
    }
  }
  return words;
})();

function permute(state) {
  const parity = new Uint32Array(10);
  const moved = new Uint32Array(50);
  for (let round = 0; round < 24; round += 1) {
    for (let i = 0; i < 10; i += 1) {
      parity[i] = state[i] ^ state[i + 10] ^ state[i + 20] ^ state[i + 30] ^ state[i + 40];
    }
    for (let x = 0; x < 5; x += 1) {
      const [before, after] = [2 * ((x + 4) % 5), 2 * ((x + 1) % 5)];
      const low = parity[before] ^ (parity[after] << 1) ^ (parity[after + 1] >>> 31);
      const high = parity[before + 1] ^ (parity[after + 1] << 1) ^ (parity[after] >>> 31);
      for (let i = 2 * x; i < 50; i += 10) {
        state[i] ^= low;
        state[i + 1] ^= high;
      }
    }
    for (let i = 0; i < 25; i += 1) {
      const by = TURN[i] & 31;
      const [low, high] = TURN[i] < 32 ? [state[2 * i], state[2 * i + 1]] : [state[2 * i + 1], state[2 * i]];
      // Shifts by 32 are shifts by 0 here, and would leave the other word in.
      moved[2 * PLACE[i]] = by === 0 ? low : (low << by) | (high >>> (32 - by));
      moved[2 * PLACE[i] + 1] = by === 0 ? high : (high << by) | (low >>> (32 - by));
    }
    for (let row = 0; row < 50; row += 10) {
      for (let i = 0; i < 10; i += 1) {
        state[row + i] = moved[row + i] ^ (~moved[row + ((i + 2) % 10)] & moved[row + ((i + 4) % 10)]);
      }
    }
    state[0] ^= ROUNDS[2 * round];
    state[1] ^= ROUNDS[2 * round + 1];
  }
}
