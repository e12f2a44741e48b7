//! Spans: what a main block went through, and a request of the API, as OpenTelemetry has them.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use axum::http::Method;
use engine::pipeline::BlockTrace;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{
    IdGenerator as _, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample as _, SpanData, SpanEvents,
    SpanLinks,
};

/// Which traces are sent: a share of them, by their id, as other services with the same share would choose.
#[derive(Clone, Debug)]
pub(super) struct Sampling(Sampler);

impl Sampling {
    /// This share, from 0 to 1.
    pub(super) fn of(ratio: f64) -> Self {
        Self(Sampler::TraceIdRatioBased(ratio))
    }

    /// A new trace, if it is one of those that are sent.
    pub(super) fn trace(&self) -> Option<TraceId> {
        let trace = RandomIdGenerator::default().new_trace_id();
        let sampled = self.0.should_sample(None, trace, "", &SpanKind::Internal, &[], &[]);
        (sampled.decision == SamplingDecision::RecordAndSample).then_some(trace)
    }
}

/// A request of the API that was answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) trace: TraceId,
    pub(super) method: Method,
    /// One of the router's, or `none`.
    pub(super) route: String,
    pub(super) status: u16,
    /// When its answer began.
    pub(super) ended: SystemTime,
    pub(super) took: Duration,
}

/// A span for it, named by the semantic conventions of HTTP.
pub(super) fn request(answered: Answered) -> SpanData {
    let Answered { trace, method, route, status, ended, took } = answered;
    // Clients may send any word as a method.
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
    ];
    let known = known.contains(&method);
    let name = match (known, route.as_str()) {
        (true, "none") => method.to_string(),
        (true, route) => format!("{method} {route}"),
        (false, _) => "HTTP".to_owned(),
    };
    let mut attributes = vec![
        KeyValue::new("http.request.method", if known { method.to_string() } else { "_OTHER".to_owned() }),
        KeyValue::new("http.response.status_code", i64::from(status)),
    ];
    if route != "none" {
        attributes.push(KeyValue::new("http.route", route));
    }
    let start = ended.checked_sub(took).unwrap_or(ended);
    let span = new(trace, SpanId::INVALID, SpanKind::Server, name, start..ended);
    let status = if status >= 500 { Status::error("") } else { Status::Unset };
    SpanData { attributes, status, ..span }
}

/// Spans for a main block: itself, and one after another what it went through. `zero` is when the engine's monotonic clock
/// was 0.
pub(super) fn main_block(trace: TraceId, block: &BlockTrace, zero: SystemTime) -> Vec<SpanData> {
    let phases = [
        ("gather", block.gathered),
        ("hash", block.hashed),
        ("hand-over", block.handed_on),
        ("append", block.appended),
        ("sync", block.synced),
        ("publish", block.published),
    ];
    let mut from = block.received;
    let whole = new(trace, SpanId::INVALID, SpanKind::Internal, "main-block", zero + from..zero + from);
    let parent = whole.span_context.span_id();
    let mut spans = vec![whole];
    for (name, end) in phases {
        let to = end.max(from);
        spans.push(new(trace, parent, SpanKind::Internal, name, zero + from..zero + to));
        from = to;
    }
    let number =
        |name: &'static str, value: u64| KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX));
    spans[0].end_time = zero + from;
    spans[0].attributes = vec![
        number("mainstem.height", block.height.0),
        number("mainstem.side_blocks", block.leaf_count),
        number("mainstem.chains", block.chain_count),
        number("mainstem.synced_with", block.synced_with),
    ];
    spans
}

fn new(
    trace: TraceId,
    parent_span_id: SpanId,
    span_kind: SpanKind,
    name: impl Into<Cow<'static, str>>,
    times: std::ops::Range<SystemTime>,
) -> SpanData {
    let span = RandomIdGenerator::default().new_span_id();
    SpanData {
        span_context: SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id,
        parent_span_is_remote: false,
        span_kind,
        name: name.into(),
        start_time: times.start,
        end_time: times.end,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("mainstem").build(),
    }
}

#[cfg(test)]
mod tests {
    use engine::chain::Height;

    use super::*;

    #[test]
    fn a_share_of_all_traces_is_sampled() {
        let sampled = |ratio| {
            let sampling = Sampling::of(ratio);
            (0..4000).filter(|_| sampling.trace().is_some()).count()
        };
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 4000));
        // 20 standard deviations of where it is expected.
        assert!((450..=1550).contains(&sampled(0.25)));
    }

    #[test]
    fn phases_follow_one_another_without_gaps_even_if_their_times_do_not() {
        let times = [5, 7, 6, 9, 10, 12, 13].map(Duration::from_millis);
        let [received, gathered, hashed, handed_on, appended, synced, published] = times;
        let block = BlockTrace {
            height: Height(7),
            leaf_count: 30,
            chain_count: 3,
            synced_with: 2,
            received,
            gathered,
            hashed,
            handed_on,
            appended,
            synced,
            published,
        };
        let zero = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let trace = Sampling::of(1.0).trace().unwrap();
        let [whole, phases @ ..] = &main_block(trace, &block, zero)[..] else { panic!("a span of its own") };
        assert_eq!((whole.start_time, whole.end_time), (zero + received, zero + published));
        let mut last = whole.start_time;
        for phase in phases {
            assert_eq!(
                (phase.start_time, phase.parent_span_id),
                (last, whole.span_context.span_id()),
                "{phase:?}"
            );
            assert!(phase.end_time >= last);
            last = phase.end_time;
        }
        assert_eq!((last, phases.len()), (whole.end_time, 6));
    }

    #[test]
    fn methods_and_routes_that_clients_make_up_name_no_span() {
        let answered = |method: &str, route: &str, status| {
            request(Answered {
                trace: Sampling::of(1.0).trace().unwrap(),
                method: method.parse().unwrap(),
                route: route.to_owned(),
                status,
                ended: SystemTime::now(),
                took: Duration::from_millis(3),
            })
        };
        let span = answered("GET", "/v1/status", 200);
        assert_eq!((&*span.name, &span.status), ("GET /v1/status", &Status::Unset));
        assert_eq!(span.end_time.duration_since(span.start_time).unwrap(), Duration::from_millis(3));
        assert_eq!(answered("GET", "none", 404).name, "GET");
        assert_eq!(answered("BREW", "/v1/status", 405).name, "HTTP");
        assert_eq!(answered("GET", "/v1/status", 503).status, Status::error(""));
    }
}
