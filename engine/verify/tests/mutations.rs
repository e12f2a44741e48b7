//! The mutation campaign: proofs of all kinds, changed in every way that comes to mind, under the hash that the original's
//! reader trusts.
//!
//! A mutation that reads as the original is none. One that verifies must be, byte for byte, the honest proof of another
//! claim that is true: an absence proof shows each chain absent that would stand between the same neighbours, a proof of a
//! transaction and its receipt contains those of one of them, parts of two proofs of one block may be joined, and a main
//! block may be left out of a proof of several. All else would be a forgery, and there is none.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "samples are shared as source")]

#[path = "../samples/mod.rs"]
mod samples;

use std::collections::BTreeMap;

use samples::Sample;
use samples::honest::Truth;
use serde_json::{Value, json};
use verify::proof::{ConsistencyProof, CrossChainProof, Document, Transaction};

/// What became of the mutations.
#[derive(Default, Clone, Copy, Debug)]
struct Tally {
    tried: u64,
    /// Read as the original.
    same: u64,
    /// No document.
    malformed: u64,
    /// Did not verify.
    refused: u64,
    /// Verified, and is the honest proof of another claim.
    honest: u64,
}

struct Campaign {
    truth: Truth,
    tallies: BTreeMap<(&'static str, &'static str), Tally>,
    /// How many of those that verified show which other truth.
    others: BTreeMap<&'static str, u64>,
}

impl Campaign {
    /// Tries one mutation of `original`.
    fn try_bytes(&mut self, how: &'static str, original: &Sample, bytes: &[u8]) {
        let tally = self.tallies.entry((how, original.document.kind())).or_default();
        tally.tried += 1;
        match Document::parse(bytes) {
            Err(_) => tally.malformed += 1,
            Ok(document) if document == original.document => tally.same += 1,
            Ok(document) => {
                if document.verify_trusting(original.trusted).is_err() {
                    tally.refused += 1;
                    return;
                }
                let other = other_truth(&original.document, &document).filter(|_| self.truth.has(&document));
                let Some(other) = other else {
                    panic!(
                        "forged, {how}: {} became {}",
                        original.name,
                        serde_json::to_string(&document).unwrap()
                    );
                };
                tally.honest += 1;
                *self.others.entry(other).or_default() += 1;
            }
        }
    }

    fn try_json(&mut self, how: &'static str, original: &Sample, json: &Value) {
        self.try_bytes(how, original, json.to_string().as_bytes());
    }
}

/// What a changed proof shows that the original did not, where it is one of the things that it may be.
fn other_truth(original: &Document, changed: &Document) -> Option<&'static str> {
    match (original, changed) {
        (Document::Absence(a), Document::Absence(b)) => {
            let same_place =
                (a.header, a.index, &a.before, &a.after) == (b.header, b.index, &b.before, &b.after);
            (same_place && a.chain_id != b.chain_id).then_some(ANOTHER_ABSENT)
        }
        (Document::Transaction(a), Document::Transaction(b)) => parts(a, b),
        (Document::Blocks(a), Document::Blocks(b)) if (&a.head, &a.history) == (&b.head, &b.history) => {
            if b.main_blocks.iter().all(|block| a.main_blocks.contains(block)) {
                return (b.main_blocks.len() < a.main_blocks.len()).then_some(BLOCK_LEFT_OUT);
            }
            let known = |header| a.main_blocks.iter().any(|block| block.header == header);
            b.main_blocks.iter().all(|block| known(block.header)).then_some(JOINED)
        }
        // Between the first headers there are no hashes, so that a header of another such proof is all it takes.
        (Document::Consistency(a), Document::Consistency(b)) => {
            let bare = |proof: &ConsistencyProof| proof.consistency.is_empty() && proof.inclusion.is_empty();
            (bare(a) && bare(b) && (a.from == b.from || a.to == b.to)).then_some(JOINED)
        }
        _ => None,
    }
}

/// What of a transaction, or of another one of the same block, is proven.
fn parts(original: &CrossChainProof, changed: &CrossChainProof) -> Option<&'static str> {
    match (&original.transaction, &changed.transaction) {
        (Transaction::Evm(a), Transaction::Evm(b)) if (&a.header, a.index) == (&b.header, b.index) => {
            let kept = |a: &Option<_>, b: &Option<_>| b.is_none() || a == b;
            let fewer = kept(&a.transaction, &b.transaction) && kept(&a.receipt, &b.receipt);
            Some(if fewer && a != b { ONE_DROPPED } else { JOINED })
        }
        // Of another block, it would be another proof as a whole.
        _ => (original.block.block == changed.block.block).then_some(JOINED),
    }
}

const ANOTHER_ABSENT: &str = "another chain that is absent";
const ONE_DROPPED: &str = "the transaction or the receipt alone";
const JOINED: &str = "parts of two proofs of one block, joined";
const BLOCK_LEFT_OUT: &str = "a main block left out";

/// Enough of a generator to choose what to change (xorshift, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[test]
fn of_a_million_changed_proofs_none_is_accepted() {
    let samples = samples::accepted::samples();
    let mut campaign = Campaign { truth: Truth::new(), tallies: BTreeMap::new(), others: BTreeMap::new() };
    for sample in &samples {
        assert!(
            campaign.truth.has(&sample.document) || sample.name.ends_with("eight levels"),
            "{}",
            sample.name
        );
        assert!(sample.document.verify_trusting(sample.trusted).is_ok(), "{}", sample.name);
        every_byte(&mut campaign, sample);
        every_length(&mut campaign, sample);
        every_field(&mut campaign, sample);
    }
    for sample in &samples {
        for other in samples.iter().filter(|other| other.document.kind() == sample.document.kind()) {
            swapped(&mut campaign, sample, other);
        }
    }
    let binaries: Vec<_> = samples.iter().map(|sample| sample.document.to_bytes()).collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for turn in 0..RANDOM {
        let chosen = turn % samples.len();
        // Large documents are slow, and no different.
        if binaries[chosen].len() < 6_000 || turn % 16 == chosen % 16 {
            at_random(&mut campaign, &samples[chosen], &binaries, chosen, &mut dice);
        }
    }

    let mut all = Tally::default();
    for ((how, kind), tally) in &campaign.tallies {
        println!("{how:>16} {kind:>12}: {tally:?}");
        all.tried += tally.tried;
        all.same += tally.same;
        all.malformed += tally.malformed;
        all.refused += tally.refused;
        all.honest += tally.honest;
    }
    println!("{all:?}, forged: 0");
    println!("{:?}", campaign.others);
    // Each way is met, or what is said of it here would be said of nothing.
    assert_eq!(campaign.others.len(), 4, "{:?}", campaign.others);
    assert_eq!(campaign.others.values().sum::<u64>(), all.honest);
    // What reads as the original is no mutation.
    assert!(all.tried - all.same >= 1_000_000, "{all:?}");
    // Most must get as far as being verified, or it would not be verification that is tried.
    assert!(all.refused * 2 > all.tried, "{all:?}");
}

const RANDOM: usize = 400_000;

/// Every bit of the binary form; of a large document one bit of each byte.
fn every_byte(campaign: &mut Campaign, sample: &Sample) {
    let mut bytes = sample.document.to_bytes();
    let bits = if bytes.len() < 2_000 { 8 } else { 1 };
    for place in 0..bytes.len() {
        for turn in 0..bits {
            let flip = 1 << ((place + turn) % 8);
            bytes[place] ^= flip;
            campaign.try_bytes("byte flipped", sample, &bytes);
            bytes[place] ^= flip;
        }
    }
}

/// Cut anywhere, a hash taken out, doubled or moved anywhere.
fn every_length(campaign: &mut Campaign, sample: &Sample) {
    let bytes = sample.document.to_bytes();
    for length in (0..bytes.len()).step_by(1 + bytes.len() / 4_000) {
        campaign.try_bytes("cut", sample, &bytes[..length]);
    }
    for start in (0..bytes.len().saturating_sub(64)).step_by(1 + bytes.len() / 1_000) {
        let (head, rest) = bytes.split_at(start);
        let (hash, tail) = rest.split_at(32);
        campaign.try_bytes("hash out", sample, &[head, tail].concat());
        campaign.try_bytes("hash doubled", sample, &[head, hash, hash, tail].concat());
        let (next, tail) = tail.split_at(32);
        campaign.try_bytes("hashes swapped", sample, &[head, next, hash, tail].concat());
    }
    for more in [&[0][..], &[0; 32], &bytes] {
        campaign.try_bytes("lengthened", sample, &[&bytes[..], more].concat());
    }
}

/// Every field of the JSON form: changed, dropped, invented; lists cut, lengthened and reordered.
fn every_field(campaign: &mut Campaign, sample: &Sample) {
    let mut json = serde_json::to_value(&sample.document).unwrap();
    let mut places = Vec::new();
    pointers(&json, String::new(), &mut places);
    let step = 1 + places.len() / 400;
    for place in places.iter().step_by(step) {
        let original = json.pointer(place).unwrap().clone();
        for mutant in mutants(&original) {
            *json.pointer_mut(place).unwrap() = mutant;
            campaign.try_json("field changed", sample, &json);
        }
        *json.pointer_mut(place).unwrap() = original;
    }
}

fn pointers(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| pointers(item, format!("{at}/{index}"), out));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| pointers(field, format!("{at}/{name}"), out));
        }
        _ => {}
    }
    out.push(at);
}

/// What may stand in place of a value.
fn mutants(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![json!(0), json!({}), json!([])],
        Value::Bool(flag) => vec![json!(!flag), Value::Null, json!(u8::from(*flag))],
        Value::Number(number) => {
            let number = number.as_u64().unwrap();
            let near = [
                number.wrapping_add(1),
                number.wrapping_sub(1),
                0,
                u64::MAX,
                number.wrapping_mul(2),
                1 << 63,
            ];
            let flips = [0, 1, 7, 8, 15, 31, 32, 63].map(|bit| number ^ (1 << bit));
            let mut all: Vec<_> = near.into_iter().chain(flips).map(Value::from).collect();
            all.extend([json!(-1), json!(number.to_string()), json!(number as f64 + 0.5), Value::Null]);
            all
        }
        Value::String(text) => {
            let mut all: Vec<_> = [2, 3, text.len() / 2, text.len() - 1]
                .into_iter()
                .filter(|place| *place < text.len())
                .map(|place| {
                    let mut changed = text.clone().into_bytes();
                    changed[place] = if changed[place] == b'3' { b'c' } else { b'3' };
                    json!(String::from_utf8(changed).unwrap())
                })
                .collect();
            all.extend([
                json!(format!("0x{}", "0".repeat(64))),
                json!(format!("{text}00")),
                json!(text.to_uppercase()),
            ]);
            all.extend([
                json!(text.get(2..)),
                json!(text.get(..text.len() - 2)),
                json!(""),
                json!(1),
                Value::Null,
            ]);
            all
        }
        Value::Array(items) => {
            let step = 1 + items.len() / 12;
            let mut all = Vec::new();
            for index in (0..items.len()).step_by(step) {
                let mut dropped = items.clone();
                let item = dropped.remove(index);
                let mut doubled = items.clone();
                doubled.insert(index, item);
                all.extend([dropped, doubled]);
                if index > 0 {
                    let mut swapped = items.clone();
                    swapped.swap(index - 1, index);
                    all.push(swapped);
                }
            }
            let mut reversed = items.clone();
            reversed.reverse();
            all.extend([reversed, Vec::new(), items[..items.len() / 2].to_vec()]);
            let hash = json!(format!("0x{}", "07".repeat(32)));
            for invented in
                [hash.clone(), json!({ "hash": hash, "left": true }), json!({ "hash": hash, "left": false })]
            {
                all.push([&items[..], std::slice::from_ref(&invented)].concat());
                all.push([std::slice::from_ref(&invented), &items[..]].concat());
            }
            all.into_iter().map(Value::Array).chain([Value::Null]).collect()
        }
        Value::Object(fields) => {
            let mut all = Vec::new();
            for name in fields.keys() {
                let mut dropped = fields.clone();
                dropped.remove(name);
                let mut none = fields.clone();
                none.insert(name.clone(), Value::Null);
                all.extend([dropped, none]);
            }
            let mut invented = fields.clone();
            invented.insert("invented".into(), json!(1));
            all.push(invented);
            all.into_iter().map(Value::Object).chain([Value::Null, json!([])]).collect()
        }
    }
}

/// Each part of one proof in place of the same part of another, down to three levels.
fn swapped(campaign: &mut Campaign, sample: &Sample, other: &Sample) {
    let mut json = serde_json::to_value(&sample.document).unwrap();
    let other = serde_json::to_value(&other.document).unwrap();
    let mut places = Vec::new();
    pointers(&json, String::new(), &mut places);
    let parts = places.iter().filter(|place| (1..=3).contains(&place.matches('/').count()));
    for place in parts.take(60) {
        let Some(given) = other.pointer(place) else { continue };
        let original = json.pointer(place).unwrap().clone();
        if *given == original {
            continue;
        }
        *json.pointer_mut(place).unwrap() = given.clone();
        campaign.try_json("part swapped", sample, &json);
        *json.pointer_mut(place).unwrap() = original;
    }
}

/// A few changes at once: bytes, integers, pieces moved, and pieces of other proofs.
fn at_random(campaign: &mut Campaign, sample: &Sample, binaries: &[Vec<u8>], chosen: usize, dice: &mut Dice) {
    let mut bytes = binaries[chosen].clone();
    for _ in 0..=dice.roll(3) {
        let place = dice.roll(bytes.len());
        match dice.roll(6) {
            0 => bytes[place] ^= 1 << dice.roll(8),
            1 => bytes[place] = dice.roll(256) as u8,
            2 => bytes[place] = bytes[place].wrapping_add(1),
            3 => bytes[place] = bytes[place].wrapping_sub(1),
            4 => {
                // A hash of this one to another place.
                let from = dice.roll(bytes.len());
                let length = 32.min(bytes.len() - from.max(place));
                bytes.copy_within(from..from + length, place);
            }
            _ => {
                let other = &binaries[dice.roll(binaries.len())];
                let from = dice.roll(other.len());
                let length = (1 + dice.roll(64)).min(other.len() - from).min(bytes.len() - place);
                bytes[place..place + length].copy_from_slice(&other[from..from + length]);
            }
        }
    }
    campaign.try_bytes("at random", sample, &bytes);
}
