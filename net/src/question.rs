//! Questions of a main chain to a side chain's node, and their answers: one bidirectional stream each, opened by the
//! server.
//!
//! ```text
//! question: kind u8 (0xA1 transaction, 0xA2 record), chain_id u32, id length u8 (1 to 64), id; end of stream
//! answer:   status u8; end of stream after
//!           0 found:       to 0xA1: height u64, transaction part; to 0xA2: JSON, 1 MiB at most
//!           1 unknown, 3 unsupported: nothing
//!           2 not yet, 4 failed: a text for people, UTF-8, 512 bytes at most
//! ```
//! The bytes of a transaction part are those of `engine::proof::Transaction`. An answer has at most
//! [`MAX_BODY_BYTES`] after its status.

use engine::chain::{ChainId, Height};
use engine::source::{NoAnswer, Question};
use quinn::VarInt;

use crate::control::shorten;

/// Questions that may be under way in one session: so many streams a client accepts, so many a server opens.
pub const MAX_QUESTIONS: u32 = 16;

/// The longest question.
pub const MAX_QUESTION_BYTES: usize = 1 + 4 + 1 + Question::MAX_ID_BYTES;

/// The most that follows the status of an answer.
pub const MAX_BODY_BYTES: usize = 4 << 20;

/// What a side resets or stops such a stream with when the other one breaks the format.
pub(crate) const BAD_STREAM: VarInt = VarInt::from_u32(1);

/// What it does so with when it takes too long, or nobody waits any more.
pub(crate) const GAVE_UP: VarInt = VarInt::from_u32(2);

const TRANSACTION: u8 = 0xa1;
const RECORD: u8 = 0xa2;

const FOUND: u8 = 0;
const UNKNOWN: u8 = 1;
const NOT_YET: u8 = 2;
const UNSUPPORTED: u8 = 3;
const FAILED: u8 = 4;

/// What of a question or an answer is not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// It is too short or too long.
    #[error("{what} has {got} bytes; expected {expected}")]
    Length {
        /// What has this length.
        what: &'static str,
        /// The length.
        got: usize,
        /// What it may be.
        expected: &'static str,
    },
    /// A number that stands for nothing.
    #[error("{what} is {got:#04x}; expected {expected}")]
    Number {
        /// What has this number.
        what: &'static str,
        /// The number.
        got: u8,
        /// What it may be.
        expected: &'static str,
    },
    /// A height outside 1 to 2^63 - 1.
    #[error("the height is {0}; expected 1 to 9223372036854775807")]
    Height(u64),
    /// A text that is no UTF-8.
    #[error("the text is no UTF-8")]
    Text,
}

/// An answer as it travels: what was found is not looked at here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// Where a transaction is, and the bytes that show it.
    Transaction(Height, Vec<u8>),
    /// A record.
    Record(Vec<u8>),
}

/// The bytes of a question.
///
/// # Errors
/// Its id has no bytes, or too many.
pub fn encode_question(question: &Question) -> Result<Vec<u8>, QuestionError> {
    let id = question.id();
    if !(1..=Question::MAX_ID_BYTES).contains(&id.len()) {
        return Err(QuestionError::Length { what: "the id", got: id.len(), expected: "1 to 64" });
    }
    let mut out = Vec::with_capacity(MAX_QUESTION_BYTES);
    out.push(match question {
        Question::Transaction { .. } => TRANSACTION,
        Question::Record { .. } => RECORD,
    });
    out.extend(question.chain().to_le_bytes());
    out.push(id.len() as u8);
    out.extend(id);
    Ok(out)
}

/// The question that these bytes are.
///
/// # Errors
/// They break the format.
pub fn parse_question(bytes: &[u8]) -> Result<Question, QuestionError> {
    let short = QuestionError::Length { what: "a question", got: bytes.len(), expected: "7 to 70" };
    let Some((&[kind, a, b, c, d, length], id)) = bytes.split_first_chunk() else { return Err(short) };
    if id.is_empty() || id.len() > Question::MAX_ID_BYTES {
        return Err(short);
    }
    if usize::from(length) != id.len() {
        let expected = "as many as follow";
        return Err(QuestionError::Length { what: "the id", got: length.into(), expected });
    }
    let (chain, id) = (ChainId(u32::from_le_bytes([a, b, c, d])), id.to_vec());
    match kind {
        TRANSACTION => Ok(Question::Transaction { chain, id }),
        RECORD => Ok(Question::Record { chain, id }),
        got => Err(QuestionError::Number { what: "the kind of a question", got, expected: "0xa1 or 0xa2" }),
    }
}

/// The bytes of an answer. One that is too long to travel is told as a failure.
pub(crate) fn encode_answer(answer: &Result<Body, NoAnswer>) -> Vec<u8> {
    let text = |status, text: &str| {
        let mut out = vec![status];
        out.extend(shorten(text.to_owned(), NoAnswer::MAX_TEXT_BYTES).into_bytes());
        out
    };
    let most = match answer {
        Ok(Body::Record(_)) => engine::source::Answer::MAX_RECORD_BYTES,
        _ => MAX_BODY_BYTES,
    };
    let found = |parts: [&[u8]; 2]| {
        let length = parts[0].len() + parts[1].len();
        if length > most {
            return text(FAILED, &format!("the answer has {length} bytes; {most} at most can travel"));
        }
        [&[FOUND], parts[0], parts[1]].concat()
    };
    match answer {
        Ok(Body::Transaction(height, part)) => found([&height.0.to_le_bytes(), part]),
        Ok(Body::Record(record)) => found([&[], record]),
        Err(NoAnswer::Unknown) => vec![UNKNOWN],
        Err(NoAnswer::NotYet(why)) => text(NOT_YET, why),
        Err(NoAnswer::Unsupported) => vec![UNSUPPORTED],
        Err(NoAnswer::Failed(why)) => text(FAILED, why),
    }
}

/// The answer to `question` that these bytes are.
///
/// # Errors
/// They break the format.
pub(crate) fn parse_answer(
    question: &Question,
    bytes: &[u8],
) -> Result<Result<Body, NoAnswer>, QuestionError> {
    let Some((&status, body)) = bytes.split_first() else {
        return Err(QuestionError::Length { what: "an answer", got: 0, expected: "1 at least" });
    };
    let nothing = |answer| match body.len() {
        0 => Ok(Err(answer)),
        got => Err(QuestionError::Length { what: "what follows this status", got, expected: "0" }),
    };
    let text = |answer: fn(String) -> NoAnswer| {
        if body.len() > NoAnswer::MAX_TEXT_BYTES {
            let expected = "at most 512";
            return Err(QuestionError::Length { what: "the text", got: body.len(), expected });
        }
        let text = std::str::from_utf8(body).map_err(|_| QuestionError::Text)?;
        Ok(Err(answer(clean(text))))
    };
    match (status, question) {
        (FOUND, Question::Transaction { .. }) => {
            let Some((height, part)) = body.split_first_chunk() else {
                let expected = "9 at least";
                return Err(QuestionError::Length {
                    what: "an answer with a transaction",
                    got: bytes.len(),
                    expected,
                });
            };
            let height = u64::from_le_bytes(*height);
            if height == 0 || height > Height::MAX.0 {
                return Err(QuestionError::Height(height));
            }
            Ok(Ok(Body::Transaction(Height(height), part.to_vec())))
        }
        (FOUND, Question::Record { .. }) if body.len() > engine::source::Answer::MAX_RECORD_BYTES => {
            Err(QuestionError::Length { what: "a record", got: body.len(), expected: "at most 1048576" })
        }
        (FOUND, Question::Record { .. }) => {
            std::str::from_utf8(body).map_err(|_| QuestionError::Text)?;
            Ok(Ok(Body::Record(body.to_vec())))
        }
        (UNKNOWN, _) => nothing(NoAnswer::Unknown),
        (NOT_YET, _) => text(NoAnswer::NotYet),
        (UNSUPPORTED, _) => nothing(NoAnswer::Unsupported),
        (FAILED, _) => text(NoAnswer::Failed),
        (got, _) => Err(QuestionError::Number { what: "the status of an answer", got, expected: "0 to 4" }),
    }
}

/// Text of the other side, as it may be shown: no control characters, which could move a terminal's cursor.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn transaction(id: &[u8]) -> Question {
        Question::Transaction { chain: ChainId(0x0102_0304), id: id.to_vec() }
    }

    fn record(id: &[u8]) -> Question {
        Question::Record { chain: ChainId(7), id: id.to_vec() }
    }

    #[test]
    fn a_question_has_these_bytes() {
        let bytes = encode_question(&transaction(&[0xee, 0xff])).unwrap();
        assert_eq!(bytes, [0xa1, 4, 3, 2, 1, 2, 0xee, 0xff]);
        assert_eq!(encode_question(&record(&[1])).unwrap(), [0xa2, 7, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn ids_of_1_to_64_bytes_travel_and_others_do_not() {
        for length in [1, 32, 64] {
            let question = transaction(&vec![9; length]);
            assert_eq!(parse_question(&encode_question(&question).unwrap()), Ok(question));
        }
        for length in [0, 65, 256] {
            assert!(encode_question(&transaction(&vec![9; length])).is_err(), "{length}");
        }
        let mut long = encode_question(&transaction(&[9; 64])).unwrap();
        long[5] = 65;
        long.push(9);
        assert!(parse_question(&long).is_err());
    }

    #[test]
    fn a_question_that_is_cut_or_lengthened_is_none() {
        let bytes = encode_question(&transaction(&[5; 32])).unwrap();
        for length in 0..bytes.len() {
            assert!(parse_question(&bytes[..length]).is_err(), "{length}");
        }
        assert!(parse_question(&[&bytes[..], &[0]].concat()).is_err());
        for kind in (0..=255).filter(|kind| ![TRANSACTION, RECORD].contains(kind)) {
            let mut other = bytes.clone();
            other[0] = kind;
            assert!(parse_question(&other).is_err(), "{kind}");
        }
    }

    #[test]
    fn every_answer_comes_back_as_it_was() {
        let (asked, recorded) = (transaction(&[1]), record(&[1]));
        let cases = [
            (&asked, Ok(Body::Transaction(Height(5), vec![1, 2, 3]))),
            (&asked, Ok(Body::Transaction(Height::MAX, vec![]))),
            (&recorded, Ok(Body::Record(b"{}".to_vec()))),
            (&asked, Err(NoAnswer::Unknown)),
            (&asked, Err(NoAnswer::NotYet("12 more blocks".into()))),
            (&recorded, Err(NoAnswer::Unsupported)),
            (&recorded, Err(NoAnswer::Failed("the node is down".into()))),
        ];
        for (question, answer) in cases {
            assert_eq!(parse_answer(question, &encode_answer(&answer)), Ok(answer));
        }
    }

    #[test]
    fn what_is_too_long_to_travel_is_told_as_a_failure_and_texts_are_cut() {
        let long = Ok(Body::Transaction(Height(1), vec![0; MAX_BODY_BYTES - 7]));
        let told = parse_answer(&transaction(&[1]), &encode_answer(&long)).unwrap().unwrap_err();
        assert!(matches!(&told, NoAnswer::Failed(text) if text.contains("4194304")), "{told}");
        let longest = Ok(Body::Transaction(Height(1), vec![0; MAX_BODY_BYTES - 8]));
        assert_eq!(parse_answer(&transaction(&[1]), &encode_answer(&longest)), Ok(longest));
        let talkative = Err(NoAnswer::Failed("ö".repeat(1_000)));
        let told = parse_answer(&transaction(&[1]), &encode_answer(&talkative)).unwrap().unwrap_err();
        assert!(matches!(told, NoAnswer::Failed(text) if text.len() <= 512 && text.starts_with('ö')));
    }

    #[test]
    fn an_answer_that_breaks_the_format_is_refused() {
        let question = transaction(&[1]);
        let long_text = [&[FAILED], &[b'a'; 513][..]].concat();
        let cases: [&[u8]; 9] = [
            &[],
            &[FOUND],
            &[FOUND, 1, 0, 0, 0, 0, 0, 0],
            &[FOUND, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            &[FOUND, 0, 0, 0, 0, 0, 0, 0, 0x80, 1],
            &[UNKNOWN, 0],
            &[UNSUPPORTED, b'n', b'o'],
            &[FAILED, 0xff, 0xfe],
            &long_text,
        ];
        for bytes in cases {
            assert!(parse_answer(&question, bytes).is_err(), "{bytes:?}");
        }
        for status in 5..=255 {
            assert!(parse_answer(&question, &[status]).is_err(), "{status}");
        }
        assert!(parse_answer(&record(&[1]), &[FOUND, 0xff]).is_err());
    }

    #[test]
    fn a_text_cannot_move_a_cursor() {
        let told = parse_answer(&transaction(&[1]), &[FAILED, 0x1b, b'[', b'A']).unwrap().unwrap_err();
        assert_eq!(told, NoAnswer::Failed("\u{fffd}[A".into()));
    }

    proptest! {
        #[test]
        fn no_bytes_are_taken_for_more_than_they_are(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(question) = parse_question(&bytes) {
                prop_assert_eq!(encode_question(&question).unwrap(), bytes.clone());
            }
            let _ = parse_answer(&transaction(&[1]), &bytes);
            let _ = parse_answer(&record(&[1]), &bytes);
        }
    }
}
