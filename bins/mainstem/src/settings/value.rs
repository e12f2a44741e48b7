//! What a setting can hold: how each type is read from a text (flag, environment) and from TOML, and written.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use axum::http::Uri;
use engine::pipeline::SealRules;
use toml::de::DeValue;
use tracing_subscriber::EnvFilter;

/// A type that a setting can have.
pub(super) trait Value: Sized + Clone + PartialOrd {
    /// Stands for the value in `--help`.
    const PLACEHOLDER: &'static str;

    /// What would be right, for error messages: "an address such as 127.0.0.1:9480".
    fn expected() -> String;

    /// Reads a flag or an environment variable.
    fn from_text(text: &str) -> Option<Self>;

    /// Reads a TOML value; by default only a string, as the text form.
    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        Self::from_text(value.as_str()?)
    }

    /// Writes TOML that [`Value::from_toml`] reads back.
    fn to_toml(&self) -> String;
}

impl Value for SocketAddr {
    const PLACEHOLDER: &'static str = "ADDR";

    fn expected() -> String {
        "an IP address and a port, such as 127.0.0.1:9480 or [::]:9481".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_toml(&self) -> String {
        quote(&self.to_string())
    }
}

impl Value for PathBuf {
    const PLACEHOLDER: &'static str = "PATH";

    fn expected() -> String {
        "a path".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }

    fn to_toml(&self) -> String {
        quote(&self.to_string_lossy())
    }
}

macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl Value for $number {
            const PLACEHOLDER: &'static str = "N";

            fn expected() -> String {
                "a number".into()
            }

            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn from_toml(value: &DeValue<'_>) -> Option<Self> {
                let integer = value.as_integer()?;
                Self::from_str_radix(integer.as_str(), integer.radix()).ok()
            }

            fn to_toml(&self) -> String {
                self.to_string()
            }
        }
    )+};
}
numbers!(u64, usize);

impl Value for f64 {
    const PLACEHOLDER: &'static str = "N";

    fn expected() -> String {
        "a number".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        match value.as_float() {
            Some(float) => float.as_str().parse().ok(),
            None => u64::from_toml(value).map(|integer| integer as Self),
        }
    }

    fn to_toml(&self) -> String {
        // With a point, always: to TOML it is another type without.
        format!("{self:?}")
    }
}

impl Value for bool {
    const PLACEHOLDER: &'static str = "BOOL";

    fn expected() -> String {
        "true or false".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

/// Origins of web pages, as browsers name them: scheme, host and port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Origins(Vec<String>);

impl Origins {
    /// Most of them that are taken.
    const MOST: usize = 64;

    /// Reads a list of them.
    pub(crate) fn of(text: &str) -> Option<Self> {
        if text == "-" {
            return Some(Self::default());
        }
        let origins: Vec<_> = text.split(',').map(|origin| origin.trim().to_owned()).collect();
        let right = origins.len() <= Self::MOST && origins.iter().all(|origin| Self::is_origin(origin));
        right.then_some(Self(origins))
    }

    /// Whether none is named.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether pages of this one may ask.
    pub(crate) fn allow(&self, origin: &str) -> bool {
        self.0.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    }

    /// A scheme, `://` and a host, perhaps with a port, and no path: what browsers send.
    fn is_origin(text: &str) -> bool {
        let Some((scheme, host)) = text.split_once("://") else { return text == "*" };
        ["http", "https"].contains(&scheme)
            && !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
    }
}

impl Value for Origins {
    const PLACEHOLDER: &'static str = "ORIGINS";

    fn expected() -> String {
        "origins such as https://explorer.example, with commas between them, * or -".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::of(text)
    }

    fn to_toml(&self) -> String {
        quote(&if self.0.is_empty() { "-".to_owned() } else { self.0.join(", ") })
    }
}

/// Where a collector of telemetry listens, or nowhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Collector(Option<String>);

impl Collector {
    /// Its address, as it was written.
    pub(crate) fn url(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// http or https, a host, perhaps a port and a path. No name and password, which would be seen wherever it is shown.
    fn is_url(text: &str) -> bool {
        let Ok(uri) = text.parse::<Uri>() else { return false };
        let host =
            uri.authority().is_some_and(|host| !host.host().is_empty() && !host.as_str().contains('@'));
        host && ["http", "https"].map(Some).contains(&uri.scheme_str())
            && uri.query().is_none()
            && !text.contains('#')
    }
}

impl Value for Collector {
    const PLACEHOLDER: &'static str = "URL";

    fn expected() -> String {
        "the address of a collector, such as http://127.0.0.1:4318 or https://traces.example/otlp, or -"
            .into()
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "" | "-" => Some(Self(None)),
            url => Self::is_url(url).then(|| Self(Some(url.to_owned()))),
        }
    }

    fn to_toml(&self) -> String {
        quote(self.url().unwrap_or("-"))
    }
}

/// A number of bytes. Written `268435456` or `256MiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ByteSize(pub u64);

impl ByteSize {
    const UNITS: [(&'static str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

    /// So many KiB.
    pub(crate) const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// So many MiB.
    pub(crate) const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// So many GiB.
    pub(crate) const fn gib(n: u64) -> Self {
        Self(n << 30)
    }
}

impl fmt::Display for ByteSize {
    /// In the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = Self::UNITS
            .into_iter()
            .find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit))
            .unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl Value for ByteSize {
    const PLACEHOLDER: &'static str = "SIZE";

    fn expected() -> String {
        "a size in bytes, such as 65536 or 64KiB (KiB, MiB, GiB)".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        let (digits, unit) = Self::UNITS
            .into_iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?.trim_end(), unit)))
            .unwrap_or((text, 1));
        digits.parse::<u64>().ok()?.checked_mul(unit).map(Self)
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        u64::from_toml(value).map(Self).or_else(|| Self::from_text(value.as_str()?))
    }

    fn to_toml(&self) -> String {
        quote(&self.to_string())
    }
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

impl Value for LogFormat {
    const PLACEHOLDER: &'static str = "FORMAT";

    fn expected() -> String {
        "text or json".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    fn to_toml(&self) -> String {
        match self {
            Self::Text => quote("text"),
            Self::Json => quote("json"),
        }
    }
}

/// Who decides what becomes a main block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Mode {
    /// This node.
    Solo,
    /// The node of another chain.
    External,
}

impl Value for Mode {
    const PLACEHOLDER: &'static str = "MODE";

    fn expected() -> String {
        "solo or external".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "solo" => Some(Self::Solo),
            "external" => Some(Self::External),
            _ => None,
        }
    }

    fn to_toml(&self) -> String {
        match self {
            Self::Solo => quote("solo"),
            Self::External => quote("external"),
        }
    }
}

impl Value for SealRules {
    const PLACEHOLDER: &'static str = "RULES";

    fn expected() -> String {
        "mainstem or aelf".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "mainstem" => Some(Self::Mainstem),
            "aelf" => Some(Self::Aelf),
            _ => None,
        }
    }

    fn to_toml(&self) -> String {
        match self {
            Self::Mainstem => quote("mainstem"),
            Self::Aelf => quote("aelf"),
        }
    }
}

/// Which log lines are written: a level, or levels by module. Known to be a filter that `tracing` accepts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Debug)]
pub(crate) struct LogFilter(String);

impl LogFilter {
    /// Reads a filter, for a command line; the error says what would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::from_text(text).ok_or_else(|| format!("expected {}", Self::expected()))
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The filter for `tracing`.
    pub(crate) fn filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

impl Value for LogFilter {
    const PLACEHOLDER: &'static str = "FILTER";

    fn expected() -> String {
        "a level (error, warn, info, debug, trace) or levels by module, such as info,mainstem_net=debug"
            .into()
    }

    fn from_text(text: &str) -> Option<Self> {
        // `tracing` reads any single word as the name of a module; so a misspelt level would silence the log.
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        let level = |word: &str| levels.iter().any(|level| level.eq_ignore_ascii_case(word));
        let sane = text.split(',').all(|part| part.contains('=') || level(part.trim()));
        (sane && EnvFilter::try_new(text).is_ok()).then(|| Self(text.to_owned()))
    }

    fn to_toml(&self) -> String {
        quote(&self.0)
    }
}

/// Says what values a setting takes.
pub(super) fn expected<T: Value>(range: Option<&RangeInclusive<T>>) -> String {
    match range {
        None => T::expected(),
        Some(range) => {
            let bound = |value: &T| value.to_toml().trim_matches('"').to_owned();
            format!("{}, from {} to {}", T::expected(), bound(range.start()), bound(range.end()))
        }
    }
}

/// A text as a TOML string.
pub(crate) fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_with_and_without_a_unit_and_print_in_the_largest_that_fits() {
        for (text, bytes, shown) in [
            ("0", 0, "0B"),
            ("1000", 1000, "1000B"),
            ("64KiB", 65_536, "64KiB"),
            ("65536", 65_536, "64KiB"),
            ("3 MiB", 3 << 20, "3MiB"),
            ("2GiB", 2 << 30, "2GiB"),
        ] {
            let size = ByteSize::from_text(text).unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown), "{text}");
        }
        for wrong in ["", "KiB", "64kb", "-1", "1.5MiB", "18446744073709551615KiB", "99999999999999999999"] {
            assert_eq!(ByteSize::from_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_collector_has_an_address_without_a_password() {
        for none in ["", "-"] {
            assert_eq!(Collector::from_text(none), Some(Collector::default()));
        }
        for right in ["http://127.0.0.1:4318", "https://traces.example/otlp/", "http://[::1]:4318/v1/traces"]
        {
            let collector = Collector::from_text(right).unwrap();
            assert_eq!((collector.url(), collector.to_toml()), (Some(right), quote(right)));
        }
        for wrong in [
            "127.0.0.1:4318",
            "grpc://a:4317",
            "http://",
            "http:///v1/traces",
            "http://me:secret@a",
            "http://a?x=1",
            "http://a#x",
            "a",
        ] {
            assert_eq!(Collector::from_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_module() {
        for right in ["info", "WARN", "info,mainstem_net=debug", "off"] {
            assert!(LogFilter::from_text(right).is_some(), "{right}");
        }
        for wrong in ["inof", "info,x", "a=b=c", ""] {
            assert_eq!(LogFilter::from_text(wrong), None, "{wrong}");
        }
    }
}
