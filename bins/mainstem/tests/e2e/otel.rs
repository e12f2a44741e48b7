//! Traces for an OpenTelemetry collector: what one gets, and what it means to the node when there is none.

#[cfg(not(feature = "otel"))]
use crate::support::{mainstem, node::Data, run};

#[cfg(not(feature = "otel"))]
#[test]
fn a_build_without_opentelemetry_refuses_an_endpoint_by_name() {
    let data = Data::new(&[]);
    let (code, _, error) = run(mainstem()
        .arg("run")
        .arg("--data")
        .arg(data.path())
        .args(["--otel.endpoint", "http://127.0.0.1:4318"]));
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("otel.endpoint = \"http://127.0.0.1:4318\""), "{error}");
    assert!(error.contains("this build has no OpenTelemetry: build with --features otel"), "{error}");
}

#[cfg(feature = "otel")]
mod with {
    use std::collections::HashMap;
    use std::fs;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};
    use std::thread;
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    use engine::chain::{ChainId, Timestamp};
    use engine::clock::Clock;
    use engine::sim::{SimConfig, SimSource};
    use net::client::{Client, ClientConfig};
    use net::identity::Identity;
    use prost::Message;
    use serde_json::Value;

    use crate::support::node::{Chain, Data, Node};
    use crate::support::{http, wait_for};

    // OTLP as `opentelemetry/proto` has it, as far as it is looked at.

    #[derive(Clone, PartialEq, Message)]
    struct ExportRequest {
        #[prost(message, repeated, tag = "1")]
        resources: Vec<ResourceSpans>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        scopes: Vec<ScopeSpans>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Resource {
        #[prost(message, repeated, tag = "1")]
        attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct ScopeSpans {
        #[prost(message, repeated, tag = "2")]
        spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Span {
        #[prost(bytes = "vec", tag = "1")]
        trace: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        id: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        parent: Vec<u8>,
        #[prost(string, tag = "5")]
        name: String,
        #[prost(fixed64, tag = "7")]
        start: u64,
        #[prost(fixed64, tag = "8")]
        end: u64,
        #[prost(message, repeated, tag = "9")]
        attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct KeyValue {
        #[prost(string, tag = "1")]
        key: String,
        #[prost(message, optional, tag = "2")]
        value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct AnyValue {
        #[prost(string, optional, tag = "1")]
        text: Option<String>,
        #[prost(int64, optional, tag = "3")]
        number: Option<i64>,
    }

    fn number(attributes: &[KeyValue], key: &str) -> Option<u64> {
        let found = attributes.iter().find(|attribute| attribute.key == key)?;
        u64::try_from(found.value.as_ref()?.number?).ok()
    }

    fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
        let found = attributes.iter().find(|attribute| attribute.key == key)?;
        found.value.as_ref()?.text.as_deref()
    }

    /// What a collector got: spans with the attributes of whose they are.
    type Got = Arc<Mutex<Vec<(Vec<KeyValue>, Span)>>>;

    /// Takes what is sent to it, once it does not hang up on everybody any more.
    struct Collector {
        addr: SocketAddr,
        away: Arc<AtomicBool>,
        got: Got,
    }

    impl Collector {
        fn away() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let (away, got) = (Arc::new(AtomicBool::new(true)), Got::default());
            let collector = Self { addr, away: Arc::clone(&away), got: Arc::clone(&got) };
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let (away, got) = (Arc::clone(&away), Arc::clone(&got));
                    thread::spawn(move || {
                        while !away.load(Ordering::SeqCst) && answer(stream.as_ref().ok(), &got) {}
                    });
                }
            });
            collector
        }
    }

    /// Takes one request; false at the end of a connection.
    fn answer(stream: Option<&TcpStream>, got: &Got) -> bool {
        let Some(mut stream) = stream else { return false };
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return false;
            }
            if line == "\r\n" {
                break;
            }
            head.push(line.trim().to_ascii_lowercase());
        }
        assert_eq!(head[0], "post /v1/traces http/1.1");
        assert!(head.contains(&"content-type: application/x-protobuf".to_owned()), "{head:?}");
        assert!(head.contains(&"authorization: bearer 77".to_owned()), "{head:?}");
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        for ResourceSpans { resource, scopes } in ExportRequest::decode(&*body).unwrap().resources {
            let whose = resource.unwrap().attributes;
            let spans = scopes.into_iter().flat_map(|scope| scope.spans);
            got.lock().unwrap().extend(spans.map(|span| (whose.clone(), span)));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_ok()
    }

    struct TestClock(Instant);

    impl Clock for TestClock {
        fn wall(&self) -> Timestamp {
            Timestamp::from_millis(0)
        }
        fn monotonic(&self) -> Duration {
            self.0.elapsed()
        }
    }

    #[test]
    fn a_collector_gets_main_blocks_with_their_phases_and_requests_and_without_one_the_node_goes_on() {
        let collector = Collector::away();
        let identity = Identity::generate().unwrap();
        let data =
            Data::new(&[Chain { id: 100, first_height: 1, keys: vec![identity.public().to_string()] }]);
        fs::write(data.path().join("headers"), "authorization: Bearer 77\n").unwrap();
        let endpoint = format!("http://{}", collector.addr);
        let more = ["--otel.endpoint", &endpoint, "--otel.headers-file", "headers", "--log.filter", "info"];
        let began = since_epoch(SystemTime::now());
        let mut node = Node::start(&data.path(), None, &more);
        let config = ClientConfig::new(node.ingest.clone(), node.key.parse().unwrap(), identity);
        let chains = vec![ChainId(100)];
        let sim =
            SimConfig { seed: 1, chains, blocks_per_second: 50.0, transactions: 1, ..SimConfig::default() };
        let source = SimSource::new(sim, Arc::new(TestClock(Instant::now())));
        let _client = Client::start(config, Box::new(source)).unwrap();

        // Nobody takes the traces, and main blocks are made as ever.
        node.process.line("that nobody takes traces", |line| line.contains("takes no traces").then_some(()));
        let head = http::get(&node.api, "/v1/blocks/latest")["header"]["height"].as_u64().unwrap();
        wait_for("main blocks", || {
            let now = http::get(&node.api, "/v1/blocks/latest")["header"]["height"].as_u64()?;
            (now > head + 5).then_some(())
        });

        collector.away.store(false, Ordering::SeqCst);
        node.process
            .line("that they are taken again", |line| line.contains("takes traces again").then_some(()));
        http::get(&node.api, "/v1/status");
        let spans = wait_for("a main block and a request", || {
            let got = collector.got.lock().unwrap().clone();
            let named = |name: &str| got.iter().any(|(_, span)| span.name == name);
            (named("main-block") && named("GET /v1/status")).then_some(got)
        });

        for (whose, _) in &spans {
            assert_eq!(text(whose, "service.name"), Some("mainstem"));
            assert_eq!(text(whose, "service.instance.id"), Some(node.key.as_str()));
        }
        let request = &spans.iter().find(|(_, span)| span.name == "GET /v1/status").unwrap().1;
        assert_eq!(text(&request.attributes, "http.route"), Some("/v1/status"));
        assert_eq!(number(&request.attributes, "http.response.status_code"), Some(200));

        let mut traces = HashMap::<_, Vec<_>>::new();
        for (_, span) in &spans {
            traces.entry(&span.trace).or_default().push(span);
        }
        let now = since_epoch(SystemTime::now());
        let mut looked_at = 0;
        for trace in traces.values().filter(|trace| trace[0].name == "main-block") {
            let [whole, phases @ ..] = &trace[..] else { panic!("a main block") };
            let height = number(&whole.attributes, "mainstem.height").unwrap();
            let told = http::get(&node.api, &format!("/v1/trace/blocks/{height}"));
            let same = |attribute: &str, member: &str| {
                assert_eq!(
                    number(&whole.attributes, attribute),
                    told[member].as_u64(),
                    "{attribute} of {height}"
                );
            };
            same("mainstem.side_blocks", "leaf_count");
            same("mainstem.chains", "chain_count");
            same("mainstem.synced_with", "synced_with");
            check_phases(whole, phases, &told);
            // The clock of the machine may be set meanwhile, a little.
            let minute = 60_000_000_000;
            assert!(whole.start + minute > began && whole.end < now + minute, "{began} {whole:?} {now}");
            looked_at += 1;
        }
        assert!(looked_at > 0);

        node.process.signal("INT");
        assert!(node.process.wait().success());
        let output = node.process.output();
        assert_eq!(output.matches("takes no traces").count(), 1, "{output}");
        let end = output
            .lines()
            .find(|line| line.contains("stopped: traces"))
            .unwrap_or_else(|| panic!("{output}"));
        assert!(end.contains("dropped") && end.contains("sent"), "{end}");
    }

    /// One after another, within the whole, each as long as the node itself says.
    fn check_phases(whole: &Span, phases: &[&Span], told: &Value) {
        let names: Vec<_> = phases.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["gather", "hash", "hand-over", "append", "sync", "publish"]);
        let mut at = whole.start;
        for (phase, told) in phases.iter().zip(told["phases"].as_array().unwrap()) {
            assert_eq!((phase.start, &phase.parent), (at, &whole.id), "{phase:?} of {whole:?}");
            let micros = told["end_us"].as_u64().unwrap() - told["start_us"].as_u64().unwrap();
            assert_eq!(phase.end - phase.start, micros * 1000, "{phase:?}, and the node says {told}");
            at = phase.end;
        }
        assert_eq!(at, whole.end);
    }

    fn since_epoch(time: SystemTime) -> u64 {
        time.duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
    }
}
