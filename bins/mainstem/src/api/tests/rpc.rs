//! JSON-RPC 2.0.

use serde_json::json;

use super::*;

impl Fixture {
    fn post(&self, body: &Value) -> Value {
        self.post_text(&body.to_string())
    }

    fn post_text(&self, body: &str) -> Value {
        let (status, head, answer) = self.ask("POST", "/rpc", body.as_bytes());
        assert!(status == 200 && head.contains("content-type: application/json"), "{status} {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    fn call(&self, method: &str, params: &Value) -> Value {
        let answer = self.post(&json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }));
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&"2.0".into(), &7.into()));
        answer
    }
}

#[test]
fn every_method_gives_what_its_route_gives() {
    let node = Fixture::new();
    let proof = node.get("/v1/proofs/tDVV/3");
    for (method, params, path, member) in [
        ("main_head", json!([]), "/v1/headers/latest", None),
        ("main_getBlock", json!([2]), "/v1/blocks/2", None),
        ("main_getBlock", json!(["latest"]), "/v1/blocks/latest", None),
        ("main_getHeader", json!({ "height": 2 }), "/v1/headers/2", None),
        ("main_getHeaders", json!([2, 3]), "/v1/headers?from=2&limit=3", None),
        ("main_getHeaders", json!([null, 3]), "/v1/headers?limit=3", None),
        ("side_list", json!({ "limit": 1 }), "/v1/chains?limit=1", None),
        ("side_status", json!(["tDVV"]), "/v1/chains/tDVV", None),
        ("side_getIndexed", json!(["tDVV", 3]), "/v1/chains/tDVV/blocks/3", None),
        ("side_boundHeight", json!([1_866_392]), "/v1/chains/tDVV", Some("durable")),
        ("proof_inclusion", json!(["tDVV", 3]), "/v1/proofs/tDVV/3", None),
        (
            "proof_inclusion",
            json!({ "chain": "tDVV", "height": 3, "head": 4 }),
            "/v1/proofs/tDVV/3?head=4",
            None,
        ),
        ("proof_wait", json!(["tDVV", "3", "10ms"]), "/v1/proofs/tDVV/3", None),
    ] {
        let answer = node.call(method, &params);
        let route = node.get(path);
        let expected = member.map_or(&route, |member| &route[member]);
        assert_eq!(&answer["result"], expected, "{method} {params}: {answer}");
    }
    let blocks = json!([{ "chain": "tDVV", "height": 3 }]);
    let many = node.call("proof_batch", &json!([blocks]));
    assert_eq!(many["result"]["kind"], "blocks", "{many}");
    let verdict = node.call("proof_verify", &json!([proof]));
    assert_eq!(verdict["result"]["verified"], true, "{verdict}");
    let covered = include_str!("rpc.rs");
    for method in crate::api::rpc::METHODS {
        assert!(covered.contains(&format!("\"{}\"", method.name)), "{} is not tried", method.name);
    }
}

#[test]
fn every_method_is_in_the_documentation_with_its_parameters() {
    let documentation = include_str!("../../../../../docs/api.md");
    for method in crate::api::rpc::METHODS {
        let row = documentation.lines().find(|line| line.starts_with(&format!("| `{}` |", method.name)));
        let row = row.unwrap_or_else(|| panic!("{} is not documented", method.name));
        let params = method.params.iter().all(|param| row.contains(&format!("`{param}`")));
        assert!(params && row.contains(method.doc.split(',').next().unwrap()), "{row}");
    }
}

#[test]
fn errors_are_those_of_the_specification_with_ours_in_the_data() {
    let node = Fixture::new();
    let code = |answer: &Value| answer["error"]["code"].as_i64().unwrap();
    let unknown = node.call("eth_blockNumber", &json!([]));
    assert_eq!(code(&unknown), -32601);
    assert!(unknown["error"]["data"]["methods"].as_array().unwrap().contains(&"main_head".into()));
    for (method, params) in [
        ("main_getBlock", json!([])),
        ("main_getBlock", json!([1, 2])),
        ("main_getBlock", json!({ "heigth": 1 })),
        ("main_getBlock", json!([{ "a": 1 }])),
        ("main_getBlock", json!([""])),
        ("main_getBlock", json!(["../status"])),
        ("main_getBlock", json!([-1])),
        ("main_getBlock", json!([1.5])),
        ("main_getHeaders", json!([1, 10_000_000_000_u64])),
        ("side_list", json!({ "limit": 18_446_744_073_709_551_615_u64 })),
        ("proof_batch", json!([7])),
        ("proof_verify", json!(["no proof"])),
        ("proof_wait", json!(["tDVV", 1, "100s"])),
    ] {
        let answer = node.call(method, &params);
        assert_eq!(code(&answer), -32602, "{method} {params}: {answer}");
    }
    let missing = node.call("proof_inclusion", &json!(["tDVV", 900]));
    assert_eq!((code(&missing), &missing["error"]["data"]["received"]), (-32000, &BLOCKS.into()));
    assert!(missing["error"]["data"]["code"].as_str().unwrap().starts_with("MS-4"), "{missing}");
    assert_eq!(missing["error"]["message"], missing["error"]["data"]["detail"]);

    for invalid in [
        json!(1),
        json!("x"),
        json!({}),
        json!({ "jsonrpc": "1.0", "id": 1, "method": "main_head" }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": 5 }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": "main_head", "params": 5 }),
        json!({ "jsonrpc": "2.0", "id": [1], "method": "main_head" }),
    ] {
        assert_eq!(code(&node.post(&invalid)), -32600, "{invalid}");
    }
    for garbage in ["", "{", "\u{0}", "[1,", "nil"] {
        let answer = node.post_text(garbage);
        assert_eq!((code(&answer), &answer["id"]), (-32700, &Value::Null), "{garbage:?}");
    }
}

#[test]
fn a_batch_is_answered_call_by_call_and_notifications_are_not() {
    let node = Fixture::new();
    let notification = json!({ "jsonrpc": "2.0", "method": "main_head" });
    let call = |id: Value, method: &str| json!({ "jsonrpc": "2.0", "id": id, "method": method });
    let batch = json!([call("a".into(), "main_head"), notification, 5, call(Value::Null, "nothing")]);
    let answers = node.post(&batch);
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 3);
    assert_eq!((&answers[0]["id"], answers[0]["result"].is_object()), (&"a".into(), true));
    assert_eq!(answers[1]["error"]["code"], -32600);
    assert_eq!((&answers[2]["id"], &answers[2]["error"]["code"]), (&Value::Null, &(-32601).into()));
    for silent in [notification.clone(), json!([notification, notification])] {
        let (status, _, body) = node.ask("POST", "/rpc", silent.to_string().as_bytes());
        assert_eq!((status, body.as_str()), (204, ""));
    }
    let waits =
        json!([{ "jsonrpc": "2.0", "id": 1, "method": "proof_wait", "params": ["tDVV", 900, "60s"] }]);
    assert_eq!(node.post(&waits)[0]["error"]["code"], -32600);
}

#[test]
fn what_hostile_clients_send_is_bounded() {
    let node = Fixture::new();
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "main_head" });
    assert_eq!(node.post(&json!([]))["error"]["code"], -32600);
    assert_eq!(node.post(&Value::Array(vec![call.clone(); 65]))["error"]["code"], -32600);
    assert_eq!(node.post(&Value::Array(vec![call; 64])).as_array().unwrap().len(), 64);
    for deep in ["[".repeat(60_000), "{\"a\":".repeat(12_000)] {
        assert_eq!(node.post_text(&deep)["error"]["code"], -32700);
    }
    let deep =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"main_head\",\"params\":{}", "[".repeat(200));
    assert_eq!(node.post_text(&deep)["error"]["code"], -32700);
    let (status, _) = node.problem("POST", "/rpc", &vec![b' '; (64 << 10) + 1]);
    assert_eq!(status, 413);
    let many: Vec<_> = (0..4_000).map(|_| json!({ "chain": 7, "height": 5 })).collect();
    let (status, _) = node.problem("POST", "/rpc", json!([many]).to_string().as_bytes());
    assert_eq!(status, 413);
    assert_eq!(node.problem("GET", "/rpc", b"").0, 405);
}

#[test]
fn a_call_may_wait_longer_than_other_requests() {
    let node = Fixture::with(64, Duration::from_millis(300));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| node.call("proof_wait", &json!(["tDVV", BLOCKS + 1, "60s"])));
        std::thread::sleep(Duration::from_millis(600));
        node.grow(1);
        let answer = waits.join().unwrap();
        assert_eq!(answer["result"]["block"]["height"], BLOCKS + 1, "{answer}");
    });
}
