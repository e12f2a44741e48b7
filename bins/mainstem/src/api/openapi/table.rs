//! The routes, one by one. A new route gets a row here; a test fails until it has.

use rest::schema;
use utoipa::PartialSchema as _;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::{RefOr, Schema};

/// Makes a schema.
pub(super) type Make = fn() -> RefOr<Schema>;

/// A route.
pub(super) struct Route {
    pub(super) verb: Verb,
    pub(super) path: &'static str,
    pub(super) tag: &'static str,
    /// The name of the operation, for generated clients.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// More, if there is more to say than `docs/api.md` does better.
    pub(super) text: &'static str,
    pub(super) query: &'static [Param],
    pub(super) body: Option<Shape>,
    pub(super) answer: Shape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Delete,
}

/// A parameter of the query.
pub(super) struct Param {
    pub(super) name: &'static str,
    /// What stands for its value where the routes are listed.
    pub(super) hint: &'static str,
    pub(super) required: bool,
    pub(super) schema: Make,
    pub(super) text: &'static str,
}

/// What a body is.
pub(super) enum Shape {
    /// JSON of a schema.
    Json(&'static str),
    /// A proof in either form.
    Proof,
    /// What a health route says, also with status 503.
    Health,
    /// A text of this media type.
    Text(&'static str),
    /// Any object.
    Any,
    /// One of a schema, or an array of them.
    Rpc(&'static str),
}

impl Verb {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    pub(super) const fn of_openapi(self) -> HttpMethod {
        match self {
            Self::Get => HttpMethod::Get,
            Self::Post => HttpMethod::Post,
            Self::Delete => HttpMethod::Delete,
        }
    }
}

impl Route {
    /// Whether it is one of those that change the node.
    pub(super) fn admin(&self) -> bool {
        self.tag == "admin"
    }

    pub(super) fn answer_text(&self) -> &'static str {
        match self.answer {
            Proof => "The proof, in JSON or in the binary form",
            Text("text/event-stream") => "The events, without end",
            _ => self.summary,
        }
    }
}

/// The schema and the meaning of a part of a path.
pub(super) fn of_path(name: &str) -> (Make, &'static str) {
    match name {
        "chain" => (schema::ChainName::schema, "A side chain, by its number or its four base58 letters"),
        "height" => {
            (schema::HeightName::schema, "A height; of main blocks `latest` too, where docs/api.md says so")
        }
        "session" => (u64::schema, "The number of a session, as GET /v1/peers shows it"),
        // Of a chain, but for the proof of a transaction.
        _ => {
            (String::schema, "A chain by its number or letters; of a transaction 0x and 1 to 64 bytes in hex")
        }
    }
}

const fn param(name: &'static str, hint: &'static str, schema: Make, text: &'static str) -> Param {
    Param { name, hint, required: false, schema, text }
}

const LIMIT: Param = param("limit", "n", u64::schema, "How many at most");
const AFTER_CHAIN: Param = param(
    "after",
    "id",
    schema::ChainName::schema,
    "The chain before the first one: `next` of the page before",
);
const HEAD: Param = param(
    "head",
    "height",
    schema::Height::schema,
    "The later main block that the proof shall end in, for whoever trusts that one",
);
const FORMAT: Param =
    param("format", "json|binary", String::schema, "`json` or `binary`; goes before the header Accept");
const NO_QUERY: &[Param] = &[];

const fn get(
    path: &'static str,
    tag: &'static str,
    id: &'static str,
    query: &'static [Param],
    answer: Shape,
    summary: &'static str,
) -> Route {
    Route { verb: Verb::Get, path, tag, id, summary, text: "", query, body: None, answer }
}

const fn post(
    path: &'static str,
    tag: &'static str,
    id: &'static str,
    body: Option<Shape>,
    answer: Shape,
    summary: &'static str,
) -> Route {
    Route { verb: Verb::Post, path, tag, id, summary, text: "", query: NO_QUERY, body, answer }
}

use Shape::{Any, Health, Json, Proof, Rpc, Text};

/// All of them.
pub(super) const ROUTES: &[Route] = &[
    get("/v1/status", "node", "status", NO_QUERY, Json("NodeStatus"), "The main chain, its head, this node"),
    get(
        "/v1/chains",
        "chains",
        "chains",
        &[
            AFTER_CHAIN,
            LIMIT,
            param(
                "state",
                "state",
                String::schema,
                "Only chains in one of these states, with commas between them",
            ),
            param(
                "reason",
                "reason",
                String::schema,
                "Only chains for one of these reasons, with commas between them",
            ),
            param("q", "text", String::schema, "Only chains whose id or name contains this"),
        ],
        Json("Chains"),
        "The side chains, by ascending id; at most 1,000 at a time",
    ),
    get("/v1/chains/{id}", "chains", "chain", NO_QUERY, Json("SideChain"), "One side chain"),
    get(
        "/v1/chains/{id}/history",
        "chains",
        "chainHistory",
        NO_QUERY,
        Json("History"),
        "The last changes of a chain's status, newest first",
    ),
    get(
        "/v1/chains/{id}/why",
        "chains",
        "chainWhy",
        NO_QUERY,
        Json("Why"),
        "What is known at each step from a chain's source to the log: why it is behind",
    ),
    get(
        "/v1/chains/{id}/blocks/{height}",
        "chains",
        "sideBlock",
        NO_QUERY,
        Json("IndexedBlock"),
        "An indexed side block and the main block that holds it",
    ),
    get(
        "/v1/blocks/{height}",
        "blocks",
        "mainBlock",
        NO_QUERY,
        Json("MainBlock"),
        "A main block, or the `latest`: its header and what it holds of each chain",
    ),
    get(
        "/v1/blocks/{height}/chains/{chain}",
        "proofs",
        "allOfChain",
        &[HEAD, FORMAT],
        Proof,
        "The proof of all blocks of a chain in a main block, or that it has none there",
    ),
    get(
        "/v1/headers",
        "blocks",
        "headers",
        &[param("from", "height", schema::Height::schema, "The first one; 1 without it"), LIMIT],
        Json("Headers"),
        "The headers of main blocks, ascending; at most 256 at a time",
    ),
    get(
        "/v1/headers/{height}",
        "blocks",
        "header",
        NO_QUERY,
        Json("Header"),
        "The header of a main block, or of the `latest`",
    ),
    get(
        "/v1/proofs/{chain}/{height}",
        "proofs",
        "proveBlock",
        &[
            HEAD,
            param(
                "wait",
                "30s",
                String::schema,
                "How long to wait for the block to be indexed, such as 500ms or 30s",
            ),
            FORMAT,
        ],
        Proof,
        "The proof that a side block was indexed; with `wait`, as soon as it is",
    ),
    get(
        "/v1/proofs/tx/{chain}/{id}",
        "proofs",
        "proveTransaction",
        &[HEAD, FORMAT],
        Proof,
        "The proof of a transaction of a side chain, which the chain's own node is asked for",
    ),
    Route {
        query: &[FORMAT],
        ..post(
            "/v1/proofs",
            "proofs",
            "proveBlocks",
            Some(Json("Wanted")),
            Proof,
            "One proof of 1 to 4,096 side blocks",
        )
    },
    get(
        "/v1/consistency",
        "proofs",
        "proveConsistency",
        &[
            Param {
                required: true,
                ..param("from", "height", schema::Height::schema, "The main block whose header is known")
            },
            Param { required: true, ..param("to", "height", schema::Height::schema, "The later one") },
            FORMAT,
        ],
        Proof,
        "The proof that a header continues the history of an earlier one",
    ),
    post(
        "/v1/verify",
        "proofs",
        "verify",
        Some(Proof),
        Json("ProofVerdict"),
        "Whether a proof of any kind is right, and of this main chain",
    ),
    Route {
        text: "Events are `head` (HeadEvent; its id is the height), `chain` (SideChain), `stats` (Stats without history) and, \
               before a stream ends in good order, `end` (why). Whoever connects again with Last-Event-ID hears of the main \
               blocks since then, at most of 256; with an id that is none of ours it begins with the newest one.",
        ..get(
            "/v1/events",
            "events",
            "events",
            &[param(
                "topics",
                "heads,chains,stats",
                String::schema,
                "Which ones, with commas between them; all without it",
            )],
            Text("text/event-stream"),
            "Server-sent events: new main blocks, chains whose status changes, figures",
        )
    },
    get(
        "/v1/peers",
        "peers",
        "peers",
        &[param("after", "session", u64::schema, "The session before the first one"), LIMIT],
        Json("Peers"),
        "The nodes that are connected, oldest session first; at most 1,000 at a time",
    ),
    get(
        "/v1/peers/{session}",
        "peers",
        "peer",
        &[AFTER_CHAIN, LIMIT],
        Json("PeerChains"),
        "One of them, and where each of its chains stands",
    ),
    get(
        "/v1/refusals",
        "peers",
        "refusals",
        NO_QUERY,
        Json("Refusals"),
        "The last refusal of each key: what, when, how often, and what to do about it",
    ),
    get(
        "/v1/stats",
        "node",
        "stats",
        NO_QUERY,
        Json("Stats"),
        "How the node is doing, in figures; at most 200 ms old",
    ),
    get(
        "/v1/trace/blocks/{height}",
        "blocks",
        "traceBlock",
        NO_QUERY,
        Json("BlockTrace"),
        "What one of the newest main blocks, or the `latest`, went through, and when",
    ),
    get("/livez", "node", "livez", NO_QUERY, Health, "Whether the node is alive; if not, restart it"),
    get(
        "/readyz",
        "node",
        "readyz",
        &[param("exclude", "check,..", String::schema, "Checks to leave out, with commas between them")],
        Health,
        "Whether the node is to be asked; false before it stops",
    ),
    get("/startupz", "node", "startupz", NO_QUERY, Health, "Whether the node has started"),
    get(
        "/metrics",
        "node",
        "metrics",
        NO_QUERY,
        Text("application/openmetrics-text"),
        "Figures in the text format that Prometheus reads",
    ),
    get("/openapi.json", "node", "openapi", NO_QUERY, Any, "This document"),
    post(
        "/rpc",
        "node",
        "rpc",
        Some(Rpc("RpcCall")),
        Rpc("RpcAnswer"),
        "JSON-RPC 2.0 over the same routes; docs/api.md lists the methods",
    ),
    get(
        "/v1/aelf/parent-blocks/{chain}",
        "blocks",
        "aelfParentBlocks",
        &[
            Param {
                required: true,
                ..param("from", "height", schema::Height::schema, "The first main block wanted")
            },
            LIMIT,
        ],
        Json("ParentBlocks"),
        "Main blocks with AElf's paths to a chain's blocks in them, for AElf's side nodes; at most 32 at a time",
    ),
    post(
        "/v1/admin/chains",
        "admin",
        "addChain",
        Some(Any),
        Json("Done"),
        "Add a side chain: a [[chain]] of the genesis document as JSON",
    ),
    Route {
        verb: Verb::Delete,
        ..post("/v1/admin/chains/{id}", "admin", "removeChain", None, Json("Done"), "Remove a side chain")
    },
    post("/v1/admin/chains/{id}/pause", "admin", "pauseChain", None, Json("Done"), "Pause a side chain here"),
    post(
        "/v1/admin/chains/{id}/resume",
        "admin",
        "resumeChain",
        None,
        Json("Done"),
        "Resume a paused side chain",
    ),
    post("/v1/admin/reload", "admin", "reload", None, Json("Done"), "Read the configuration again"),
    post(
        "/v1/admin/snapshot",
        "admin",
        "snapshot",
        Some(Any),
        Json("Done"),
        "Write a snapshot of the data directory",
    ),
    get("/v1/admin/log", "admin", "logFilter", NO_QUERY, Json("Done"), "Which lines are logged"),
    post(
        "/v1/admin/log",
        "admin",
        "setLogFilter",
        Some(Any),
        Json("Done"),
        "Log more, or less, for a time: `filter` and `for_s`",
    ),
    Route {
        verb: Verb::Delete,
        ..post("/v1/admin/log", "admin", "resetLogFilter", None, Json("Done"), "Log as configured again")
    },
    post(
        "/v1/admin/record",
        "admin",
        "record",
        Some(Any),
        Json("Done"),
        "Record what comes in and what is sealed; answered when the recording has ended",
    ),
    Route {
        verb: Verb::Delete,
        ..post("/v1/admin/record", "admin", "stopRecord", None, Json("Done"), "End the recording that runs")
    },
];
