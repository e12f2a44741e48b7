//! Figures, times and the words of others, as commands show them to people.

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// So many of something.
pub(crate) fn counted(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(number))
}

/// A number of bytes.
pub(crate) fn bytes(count: u64) -> indicatif::BinaryBytes {
    indicatif::BinaryBytes(count)
}

/// A time in milliseconds, in its two largest units.
pub(crate) fn span(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", grouped(seconds / 86_400), seconds / 3_600 % 24),
    }
}

/// How long before `now` a moment was, both in milliseconds of Unix time. The clocks of two machines may differ: the future
/// is now.
pub(crate) fn ago(time: u64, now: u64) -> String {
    span(now.saturating_sub(time))
}

/// What others say of themselves could hold anything, also what moves the cursor.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!((counted(1, "chain"), counted(2_000, "chain")), ("1 chain".into(), "2,000 chains".into()));
    }

    #[test]
    fn times_have_two_units_and_the_future_is_now() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3_600 + 120, "1 h 2 min"),
            (2 * 86_400 + 3_600, "2 d 1 h"),
            (2_000 * 86_400, "2,000 d 0 h"),
        ] {
            assert_eq!(ago(10_000, 10_000 + seconds * 1_000), text);
        }
        assert_eq!(ago(11_000, 10_000), "0 s");
    }

    #[test]
    fn what_a_peer_says_cannot_move_the_cursor() {
        assert_eq!(printable("tributary\x1b[2J\n1"), "tributary?[2J?1");
    }
}
