//! The document that describes the API, held against what the API does.

use std::collections::{BTreeMap, BTreeSet};
use std::{env, fs};

use super::*;
use crate::admin::Admin;
use crate::api::openapi;

/// Paths that are not in the document, for it says that they are not: pages for people, and what AElf's SDKs call.
fn is_elsewhere(path: &str) -> bool {
    path == "/"
        || ["/ui", "/api/", "/aelf/"].iter().any(|start| path.starts_with(start))
        // Of the fallback, and of what is nested.
        || path.contains("{*")
}

fn document() -> Value {
    serde_json::from_str(&openapi::json()).unwrap()
}

#[test]
fn the_document_that_is_checked_in_is_the_one_that_is_served() {
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let json = openapi::json();
    if env::var_os("MAINSTEM_WRITE_OPENAPI").is_some() {
        fs::write(FILE, &json).unwrap();
    }
    let kept = fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        kept == json,
        "docs/openapi.json is not what the API is; MAINSTEM_WRITE_OPENAPI=1 cargo test -p mainstem openapi writes it anew"
    );
    let node = Fixture::new();
    assert_eq!(node.get("/openapi.json"), document());
}

#[test]
fn every_route_is_in_the_document_with_its_methods_and_nothing_else_is() {
    let node = Fixture::new();
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let described: BTreeMap<_, BTreeSet<_>> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, item)| {
            (path.clone(), item.as_object().unwrap().keys().map(|verb| verb.to_uppercase()).collect())
        })
        .collect();
    let mut seen = BTreeSet::new();
    let mut same = |path: &String, (status, head, _): (u16, String, String)| {
        let verbs = described.get(path).unwrap_or_else(|| panic!("{path} is not in the document"));
        assert_eq!(status, 405, "{path}");
        let allowed = head.lines().find_map(|line| line.strip_prefix("allow: ")).unwrap().to_uppercase();
        let allowed = allowed.split(',').map(str::to_owned).filter(|verb| verb != "HEAD").collect();
        assert_eq!(verbs, &allowed, "{path}");
        seen.insert(path.clone());
    };
    for path in node.paths.iter().filter(|path| !is_elsewhere(path)) {
        same(path, node.ask("PATCH", path, b""));
    }
    // What changes a node, without the secret that it takes at the API's address: who may not ask sees nothing there.
    let routes = Admin::new(None).over_socket();
    let admin: Vec<_> =
        paths(&format!("{routes:?}")).into_iter().filter(|path| !is_elsewhere(path)).collect();
    let (addr, patience) = ((Ipv4Addr::LOCALHOST, 0).into(), Duration::from_secs(10));
    let config = Config { addr, threads: 1, nice: 0, max_connections: 4, head_timeout: patience };
    let server = Server::start(config, routes).unwrap();
    for path in &admin {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        let request = format!("PATCH {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        same(path, read_answer(stream));
    }
    assert!(admin.len() > 7 && seen.len() > 27, "{seen:?}");
    for path in described.keys() {
        assert!(seen.contains(path), "{path} is described and not there");
    }
}

fn refs<'a>(value: &'a Value, all: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            all.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| refs(member, all));
        }
        Value::Array(elements) => elements.iter().for_each(|element| refs(element, all)),
        _ => {}
    }
}

#[test]
fn operations_have_names_of_their_own_and_schemas_that_are_there() {
    let document = document();
    let mut names = BTreeSet::new();
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values())
    {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{name}");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
    let mut all = BTreeSet::new();
    refs(&document, &mut all);
    for reference in all {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[test]
fn real_answers_are_as_the_document_says() {
    let node = Fixture::new();
    let document = document();
    let schema = |verb: &str, path: &str, status: &str| {
        let answer = &document["paths"][path][verb]["responses"][status]["content"];
        let schema = &answer["application/json"]["schema"];
        assert!(schema.is_object(), "{path} {status}: {answer}");
        schema.clone()
    };
    for (route, path) in [
        ("/v1/status", "/v1/status"),
        ("/v1/chains", "/v1/chains"),
        ("/v1/chains", "/v1/chains?limit=1"),
        ("/v1/chains/{id}", "/v1/chains/tDVV"),
        ("/v1/chains/{id}/history", "/v1/chains/tDVV/history"),
        ("/v1/chains/{id}/why", "/v1/chains/tDVV/why"),
        ("/v1/chains/{id}/blocks/{height}", "/v1/chains/tDVV/blocks/3"),
        ("/v1/blocks/{height}", "/v1/blocks/2"),
        ("/v1/blocks/{height}", "/v1/blocks/latest"),
        ("/v1/blocks/{height}/chains/{chain}", "/v1/blocks/2/chains/tDVV"),
        ("/v1/blocks/{height}/chains/{chain}", "/v1/blocks/2/chains/7"),
        ("/v1/headers", "/v1/headers?limit=2"),
        ("/v1/headers", "/v1/headers"),
        ("/v1/headers/{height}", "/v1/headers/latest"),
        ("/v1/proofs/{chain}/{height}", "/v1/proofs/tDVV/3?head=5"),
        ("/v1/consistency", "/v1/consistency?from=1&to=4"),
        ("/v1/peers", "/v1/peers"),
        ("/v1/refusals", "/v1/refusals"),
        ("/v1/stats", "/v1/stats"),
        ("/v1/trace/blocks/{height}", "/v1/trace/blocks/latest"),
        ("/livez", "/livez"),
        ("/readyz", "/readyz"),
        ("/startupz", "/startupz"),
        ("/openapi.json", "/openapi.json"),
        ("/v1/aelf/parent-blocks/{chain}", "/v1/aelf/parent-blocks/tDVV?from=1&limit=2"),
    ] {
        let answer = node.get(path);
        check(&document, &schema("get", route, "200"), &answer, path)
            .unwrap_or_else(|why| panic!("{why}\n{answer:#}"));
    }
    let wanted = br#"{"blocks":[{"chain":"tDVV","height":3}]}"#;
    let call = br#"[{"jsonrpc":"2.0","id":1,"method":"main_head"},{"jsonrpc":"2.0","id":2,"method":"x"}]"#;
    let proof = node.get("/v1/proofs/tDVV/3").to_string();
    for (path, body) in [("/v1/proofs", &wanted[..]), ("/v1/verify", proof.as_bytes()), ("/rpc", &call[..])] {
        let (status, _, answer) = node.ask("POST", path, body);
        assert_eq!(status, 200, "{answer}");
        let answer = serde_json::from_str(&answer).unwrap();
        check(&document, &schema("post", path, "200"), &answer, path).unwrap();
    }
    let problem = &document["components"]["schemas"]["Problem"];
    for path in ["/v1/proofs/tDVV/900", "/nowhere", "/v1/chains?limit=x"] {
        check(&document, problem, &node.problem("GET", path, b"").1, path).unwrap();
    }
}

#[test]
fn what_is_not_as_a_schema_says_is_found() {
    let document = document();
    let status = &document["components"]["schemas"]["NodeStatus"];
    let node = Fixture::new();
    let right = node.get("/v1/status");
    check(&document, status, &right, "").unwrap();
    for (pointer, wrong) in [
        ("/chains", Value::from("2")),
        ("/chains", Value::from(-1)),
        ("/head/hash", Value::from("0x12")),
        ("/main_chain", Value::Null),
        ("/head/height", Value::from(1.5)),
    ] {
        let mut answer = right.clone();
        *answer.pointer_mut(pointer).unwrap() = wrong;
        assert!(check(&document, status, &answer, "").is_err(), "{pointer}");
    }
    let mut more = right.clone();
    more["surprise"] = 1.into();
    assert!(check(&document, status, &more, "").is_err());
    let mut less = right;
    less.as_object_mut().unwrap().remove("uptime_ms");
    assert!(check(&document, status, &less, "").is_err());
}

/// Holds a value against a schema, as far as ours go. Members that no schema names are errors.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let mut known = BTreeSet::new();
    parts(document, schema, value, at, &mut known)?;
    let open = known.contains("*");
    match value.as_object() {
        Some(members) if !open => match members.keys().find(|name| !known.contains(name.as_str())) {
            Some(name) => Err(format!("{at}: no schema names {name}")),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The same, but for members that are not named here; `known` gets those that are, and `*` where all may be.
fn parts(
    document: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
    known: &mut BTreeSet<String>,
) -> Result<(), String> {
    let schema = schema.as_object().ok_or_else(|| format!("{at}: {schema} is no schema"))?;
    let says = ["$ref", "type", "properties", "oneOf", "anyOf", "allOf", "enum"];
    if !says.iter().any(|keyword| schema.contains_key(*keyword)) {
        // Anything may stand there.
        known.insert("*".to_owned());
    }
    for (keyword, rule) in schema {
        match keyword.as_str() {
            "$ref" => {
                let target = document.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap();
                parts(document, target, value, at, known)?;
            }
            "type" => {
                let kinds = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                let is = |kind: &Value| match kind.as_str().unwrap() {
                    "null" => value.is_null(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "string" => value.is_string(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    kind => panic!("{at}: type {kind}"),
                };
                if !kinds.iter().any(is) {
                    return Err(format!("{at}: {value} is not of type {rule}"));
                }
            }
            "properties" => {
                let Some(members) = value.as_object() else { continue };
                for (name, schema) in rule.as_object().unwrap() {
                    known.insert(name.clone());
                    if let Some(member) = members.get(name) {
                        check(document, schema, member, &format!("{at}.{name}"))?;
                    }
                }
            }
            "additionalProperties" if rule == false => {}
            "additionalProperties" => {
                known.insert("*".to_owned());
                let own = schema.get("properties").and_then(Value::as_object);
                let others = value.as_object().into_iter().flatten();
                let others = others.filter(|(name, _)| own.is_none_or(|own| !own.contains_key(*name)));
                for (name, member) in others.filter(|_| rule.is_object()) {
                    check(document, rule, member, &format!("{at}.{name}"))?;
                }
            }
            "required" => {
                let members = value.as_object();
                let missing = rule
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(Value::as_str)
                    .find(|name| members.is_some_and(|members| !members.contains_key(*name)));
                if let Some(name) = missing {
                    return Err(format!("{at}: {name} is missing"));
                }
            }
            "items" => {
                for (place, element) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, rule, element, &format!("{at}[{place}]"))?;
                }
            }
            "oneOf" | "anyOf" => {
                let mut whys = Vec::new();
                let fits = rule.as_array().unwrap().iter().filter(|schema| {
                    let mut here = BTreeSet::new();
                    let fits = parts(document, schema, value, at, &mut here);
                    if fits.is_ok() {
                        known.append(&mut here);
                    }
                    fits.map_err(|why| whys.push(why)).is_ok()
                });
                if fits.count() == 0 {
                    return Err(format!("{at}: {value} is none of {whys:?}"));
                }
            }
            "allOf" => {
                for schema in rule.as_array().unwrap() {
                    parts(document, schema, value, at, known)?;
                }
            }
            "enum" => {
                if !rule.as_array().unwrap().contains(value) {
                    return Err(format!("{at}: {value} is none of {rule}"));
                }
            }
            "minimum" => {
                if value.as_f64().is_some_and(|number| number < rule.as_f64().unwrap()) {
                    return Err(format!("{at}: {value} is less than {rule}"));
                }
            }
            "pattern" => {
                // Ours are all of one form: a beginning, and so many hex digits.
                let (start, digits) = match rule.as_str().unwrap() {
                    "^0x[0-9a-f]{64}$" => ("0x", 64),
                    "^[0-9a-f]{64}$" => ("", 64),
                    other => panic!("{at}: pattern {other}"),
                };
                let text = value.as_str().unwrap_or_default();
                let rest = text.strip_prefix(start).unwrap_or_default();
                if rest.len() != digits || !rest.bytes().all(|byte| b"0123456789abcdef".contains(&byte)) {
                    return Err(format!("{at}: {text:?} is not {rule}"));
                }
            }
            "propertyNames" | "format" | "description" | "example" | "title" | "default" | "maximum" => {}
            other => panic!("{at}: the check does not know {other}"),
        }
    }
    Ok(())
}
