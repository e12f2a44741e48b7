//! Figures as people read them, short enough for a column.

pub(super) use crate::command::words::{counted, grouped, printable, span};

/// What stands where nothing is known.
pub(super) const NONE: &str = "-";

pub(super) fn or_none(number: Option<u64>) -> String {
    number.map_or_else(|| NONE.into(), grouped)
}

/// A rate with three digits: `1.23 M`.
pub(super) fn rate(value: f64) -> String {
    scaled(value, 1_000.0, &["", "k", "M", "G", "T"])
}

/// Bytes with three digits: `1.23 GiB`.
pub(super) fn bytes(value: f64) -> String {
    scaled(value, 1_024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    if !value.is_finite() || value < 0.0 {
        return NONE.into();
    }
    let (mut value, mut unit) = (value, 0);
    while value >= 0.9995 * base && unit + 1 < units.len() {
        (value, unit) = (value / base, unit + 1);
    }
    let whole = unit == 0 && value.fract() == 0.0;
    let digits = match value {
        _ if whole => format!("{value:.0}"),
        v if v < 9.995 => format!("{value:.2}"),
        v if v < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    format!("{digits} {}", units[unit]).trim_end().to_owned()
}

/// Milliseconds.
pub(super) fn millis(value: Option<f64>) -> String {
    match value {
        None => NONE.into(),
        Some(value) if value >= 10_000.0 => format!("{:.1} s", value / 1_000.0),
        Some(value) if value >= 100.0 => format!("{value:.0} ms"),
        Some(value) if value >= 1.0 => format!("{value:.1} ms"),
        Some(value) => format!("{value:.2} ms"),
    }
}

/// How long before `now` a moment was, both in milliseconds of Unix time. The clocks of two machines may differ: what is in
/// the future is now.
pub(super) fn ago(time: Option<u64>, now: u64) -> String {
    time.map_or_else(|| NONE.into(), |time| format!("{} ago", span(now.saturating_sub(time))))
}

/// Time of day in UTC.
pub(super) fn clock(millis: u64) -> String {
    let seconds = millis / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// The first digits of a hash or a key.
pub(super) fn short(hash: &str, digits: usize) -> String {
    hash.chars().take(digits + if hash.starts_with("0x") { 2 } else { 0 }).collect()
}

/// So much of a text, and a sign if there is more.
pub(super) fn cut(text: &str, most: usize) -> String {
    let text = printable(text);
    if text.chars().count() <= most {
        return text;
    }
    let mut cut: String = text.chars().take(most.saturating_sub(2)).collect();
    cut.push_str("..");
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_no_more_than_a_column_takes() {
        assert_eq!((grouped(0), grouped(1_234_567)), ("0".into(), "1,234,567".into()));
        assert_eq!((rate(0.0), rate(41.5), rate(1_234_567.0)), ("0".into(), "41.5".into(), "1.23 M".into()));
        assert_eq!((rate(999.7), rate(f64::NAN)), ("1.00 k".into(), "-".into()));
        assert_eq!((bytes(1024.0), bytes(1.5e9)), ("1.00 KiB".into(), "1.40 GiB".into()));
        assert_eq!(
            (millis(None), millis(Some(0.5)), millis(Some(12_345.0))),
            ("-".into(), "0.50 ms".into(), "12.3 s".into())
        );
        assert_eq!((span(61_000), span(90_000_000)), ("1 min 1 s".into(), "1 d 1 h".into()));
        assert_eq!((ago(Some(5_000), 2_000), clock(86_399_000)), ("0 s ago".into(), "23:59:59".into()));
        assert_eq!((short("0xabcdef", 4), short("abcdef", 4)), ("0xabcd".into(), "abcd".into()));
        assert_eq!(cut("a\x1b[2Jbcdefgh", 8), "a?[2Jb..");
    }
}
