//! What this API is, for programs: OpenAPI 3.1 at `GET /openapi.json`, and checked in as `docs/openapi.json`.
//!
//! [`table`] has a row for each route; the schemas of the answers come from the types of the crate `rest`, which are
//! those that are answered.

mod table;

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use engine::store::BlockReader;
use utoipa::OpenApi as _;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Ref, RefOr, Required, ResponseBuilder, Schema};

use super::conditional::tag;
use super::params;
use super::routes::{Answer, Node};

use table::{ROUTES, Route, Shape};

/// The routes of this file.
pub(super) fn routes<R: BlockReader>() -> Router<Arc<Node<R>>> {
    Router::new().route("/openapi.json", get(document))
}

async fn document(request: Request) -> Answer<Response> {
    static DOCUMENT: LazyLock<(Bytes, HeaderValue)> = LazyLock::new(|| {
        let json = Bytes::from(json());
        let tag = tag(&json);
        (json, tag)
    });
    params::query(request.uri(), &[])?;
    let (json, tag) = DOCUMENT.clone();
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind), (header::ETAG, tag)], json).into_response())
}

/// The routes with all parameters that they take, for those who ask for another.
pub(super) fn routes_in_words() -> Vec<String> {
    let mut all: Vec<_> = ROUTES.iter().filter(|route| !route.admin()).map(words).collect();
    all.extend(["/api/blockChain/..", "/aelf/{chain}/api/blockChain/.."].map(str::to_owned));
    all
}

fn words(route: &Route) -> String {
    let mut words = format!("{} {}", route.verb.name(), route.path);
    for (place, param) in route.query.iter().enumerate() {
        let separator = if place == 0 { '?' } else { '&' };
        let _ = write!(words, "{separator}{}={{{}}}", param.name, param.hint);
    }
    words
}

/// Schemas, and what is said once.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Mainstem",
        description = "The HTTP API of a main chain's node. It only reads, but for what is under /v1/admin. The routes of \
            AElf's own API (/api/blockChain, /aelf/{chain}/api/blockChain), which AElf's SDKs know, are not in here: \
            docs/aelf.md lists them. docs/api.md says more of every route, docs/protocol.md of what is hashed and proven.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "node", description = "The node itself"),
        (name = "chains", description = "Side chains"),
        (name = "blocks", description = "Main blocks"),
        (name = "proofs", description = "Proofs, and whether they are right"),
        (name = "events", description = "What happens, as it happens"),
        (name = "peers", description = "Who is connected, and who was refused"),
        (name = "admin", description = "What changes a running node: over its socket, or with a token"),
    ),
    components(schemas(
        rest::BlockTrace,
        rest::Chains,
        rest::ChainOfPeer,
        rest::HeadEvent,
        rest::Header,
        rest::Headers,
        rest::IndexedBlock,
        rest::MainBlock,
        rest::PeerChains,
        rest::Peers,
        rest::Problem,
        rest::Refusals,
        rest::SideChain,
        rest::Stats,
        rest::Status,
        rest::Verdict,
        rest::Wanted,
        rest::health::Health,
        rest::schema::ChainName,
        rest::schema::ParentBlocks,
        rest::schema::Proof,
        rest::schema::RpcAnswer,
        rest::schema::RpcCall,
        rest::schema::Done,
        rest::status::History,
        rest::status::Why,
    ))
)]
struct Base;

/// The document.
pub(super) fn json() -> String {
    let mut document = Base::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    for route in ROUTES {
        let method = route.verb.of_openapi();
        let item = PathItem::new(method, operation(route));
        let path = document.paths.paths.entry(route.path.to_owned()).or_default();
        path.merge_operations(item);
    }
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let bearer = bearer.description(Some("The secret in the file that api.admin_token_file names.")).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    let mut json = document.to_pretty_json().expect("a document of our own can be written");
    json.push('\n');
    json
}

fn operation(route: &Route) -> utoipa::openapi::path::Operation {
    let mut operation = OperationBuilder::new()
        .tag(route.tag)
        .operation_id(Some(route.id))
        .summary(Some(route.summary))
        .description((!route.text.is_empty()).then_some(route.text));
    for name in route.path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)) {
        let (schema, text) = table::of_path(name);
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
        let parameter = parameter.required(Required::True).description(Some(text)).schema(Some(schema()));
        operation = operation.parameter(parameter);
    }
    for param in route.query {
        let parameter = ParameterBuilder::new().name(param.name).parameter_in(ParameterIn::Query);
        let required = if param.required { Required::True } else { Required::False };
        let parameter =
            parameter.required(required).description(Some(param.text)).schema(Some((param.schema)()));
        operation = operation.parameter(parameter);
    }
    if let Some(body) = &route.body {
        let mut request = RequestBodyBuilder::new().required(Some(Required::True));
        for (kind, schema) in contents(body) {
            request = request.content(kind, ContentBuilder::new().schema(schema).build());
        }
        operation = operation.request_body(Some(request.build()));
    }
    let mut answer = ResponseBuilder::new().description(route.answer_text());
    for (kind, schema) in contents(&route.answer) {
        answer = answer.content(kind, ContentBuilder::new().schema(schema).build());
    }
    operation = operation.response("200", answer.build());
    if matches!(route.answer, Shape::Health) {
        let health = ContentBuilder::new().schema(Some(Ref::from_schema_name("Health"))).build();
        let failing = ResponseBuilder::new()
            .description("At least one check fails")
            .content("application/json", health);
        operation = operation.response("503", failing.build());
    }
    if route.tag == "blocks" || route.tag == "proofs" {
        operation = operation.response(
            "304",
            ResponseBuilder::new().description("What If-None-Match names is still the answer").build(),
        );
    }
    if route.admin() {
        operation = operation.security(SecurityRequirement::new("token", Vec::<String>::new()));
    }
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let problem = ResponseBuilder::new()
        .description("A problem in the form of RFC 9457; docs/api.md lists the kinds")
        .content("application/problem+json", problem);
    operation.response("default", problem.build()).build()
}

/// The media types of a body, with their schemas.
fn contents(shape: &Shape) -> Vec<(&'static str, Option<RefOr<Schema>>)> {
    let named = |name: &str| Some(RefOr::Ref(Ref::from_schema_name(name)));
    let of = |kind| {
        Some(RefOr::T(Schema::Object(ObjectBuilder::new().schema_type(SchemaType::Type(kind)).build())))
    };
    match shape {
        Shape::Json(name) => vec![("application/json", named(name))],
        Shape::Health => vec![("application/json", named("Health"))],
        Shape::Proof => {
            vec![("application/json", named("Proof")), ("application/octet-stream", of(Type::String))]
        }
        Shape::Text(kind) => vec![(*kind, of(Type::String))],
        Shape::Any => {
            let any = ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(true)));
            vec![("application/json", Some(RefOr::T(Schema::Object(any.build()))))]
        }
        Shape::Rpc(name) => {
            let one_or_many = utoipa::openapi::OneOfBuilder::new()
                .item(Ref::from_schema_name(*name))
                .item(utoipa::openapi::ArrayBuilder::new().items(Ref::from_schema_name(*name)));
            vec![("application/json", Some(RefOr::T(Schema::OneOf(one_or_many.build()))))]
        }
    }
}
