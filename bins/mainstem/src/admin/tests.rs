use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use engine::chain::{ChainId, Height};
use engine::state::SideChain;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::routes::Place;
use super::*;
use crate::data_dir::DataDir;

/// Says yes, and what it was asked.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn hear(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl Actions for Told {
    fn add_chain(&self, chain: SideChain) -> Result<Height, AdminError> {
        self.hear(format!("add {} {} from {}", chain.id, chain.name, chain.first_height));
        Ok(Height(7))
    }
    fn remove_chain(&self, chain: ChainId) -> Result<Height, AdminError> {
        Err(AdminError::UnknownChain(chain))
    }
    fn pause_chain(&self, chain: ChainId, paused: bool) -> Result<(), AdminError> {
        self.hear(format!("pause {chain} {paused}"));
        Ok(())
    }
    fn reload(&self) -> Result<Applied, AdminError> {
        Err(AdminError::Settings("seal.leaves = 0: expected more".into()))
    }
    fn snapshot(&self, to: &Path, with_key: bool) -> Result<Value, AdminError> {
        self.hear(format!("snapshot {} {with_key}", to.display()));
        Ok(json!({ "blocks": 3 }))
    }
}

struct Fixture {
    dir: TempDir,
    admin: Admin,
    told: Arc<Told>,
    socket: Option<Socket>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (admin, told) = (Admin::new(None), Arc::new(Told::default()));
        let socket = Socket::start(&Self::data(dir.path()).admin, admin.over_socket()).unwrap();
        admin.set_actions(Some(told.clone()));
        Self { dir, admin, told, socket: Some(socket) }
    }

    fn data(path: &Path) -> DataDir {
        DataDir::plain(path)
    }

    fn client(&self) -> Client {
        Client::at(&Self::data(self.dir.path()))
    }

    fn raw(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(Self::data(self.dir.path()).admin).unwrap();
        // The server may answer and close before it has read all.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[test]
fn changes_are_made_by_the_socket_and_problems_come_back_in_words() {
    let fixture = Fixture::new();
    let client = fixture.client();
    let chain = json!({ "id": "tDVV", "name": "busy", "first_height": 5, "nodes": ["ab".repeat(32)] });
    assert_eq!(client.post("/v1/admin/chains", &chain).unwrap()["block"], 7);
    assert_eq!(client.post("/v1/admin/chains/tDVV/pause", &json!({})).unwrap()["paused"], true);
    assert_eq!(client.post("/v1/admin/chains/9/resume", &json!({})).unwrap()["paused"], false);
    let snapshot = json!({ "to": "/somewhere", "with_key": true });
    assert_eq!(client.post("/v1/admin/snapshot", &snapshot).unwrap()["blocks"], 3);
    let told = fixture.told.0.lock().unwrap().join(", ");
    let nine = ChainId(9);
    assert_eq!(
        told,
        format!("add tDVV busy from 5, pause tDVV true, pause {nine} false, snapshot /somewhere true")
    );

    let problem = |result: Result<Value, ClientError>| match result.unwrap_err() {
        ClientError::Problem { status, kind, detail } => (status, kind, detail),
        other => panic!("{other}"),
    };
    let (status, kind, detail) = problem(client.delete("/v1/admin/chains/tDVV"));
    assert_eq!((status, kind.as_str()), (404, "unknown-chain"));
    assert!(detail.starts_with("chain tDVV is not registered here"), "{detail}");
    let (status, kind, detail) = problem(client.post("/v1/admin/reload", &Value::Null));
    assert_eq!(
        (status, kind.as_str(), detail.as_str()),
        (422, "invalid-settings", "seal.leaves = 0: expected more")
    );
    assert_eq!(problem(client.get("/v1/status")).1, "no-route");
    let (status, _, detail) = problem(client.post("/v1/admin/snapshot", &json!({ "to": "here" })));
    assert_eq!((status, detail.as_str()), (400, "to: expected an absolute path of this machine"));
    let (_, _, detail) = problem(client.post("/v1/admin/chains", &json!({ "id": 1, "name": "x", "key": 2 })));
    assert!(detail.contains("unknown field `key`"), "{detail}");

    fixture.admin.set_actions(None);
    assert_eq!(problem(client.post("/v1/admin/reload", &Value::Null)).1, "not-running");
}

#[test]
fn the_socket_is_its_owners_alone_replaces_a_stale_one_and_goes_with_the_node() {
    let mut fixture = Fixture::new();
    let path = Fixture::data(fixture.dir.path()).admin;
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    fixture.socket = None;
    assert!(!path.exists());
    assert!(matches!(fixture.client().get("/"), Err(ClientError::NotReachable { .. })));

    // As a killed node leaves it.
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(fixture.client().get("/"), Err(ClientError::NotReachable { .. })));
    fixture.socket = Some(Socket::start(&path, fixture.admin.over_socket()).unwrap());
    fixture.client().post("/v1/admin/chains/9/pause", &json!({})).unwrap();
    fixture.socket = None;

    std::fs::write(&path, "precious").unwrap();
    let error = Socket::start(&path, fixture.admin.over_socket()).unwrap_err();
    assert!(matches!(error, SocketError::InTheWay { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_socket_that_goes_leaves_that_of_the_next_node_alone() {
    let mut fixture = Fixture::new();
    let path = Fixture::data(fixture.dir.path()).admin;
    let next = Socket::start(&path, fixture.admin.over_socket()).unwrap();
    fixture.socket = None;
    fixture.client().post("/v1/admin/chains/9/pause", &json!({})).unwrap();
    drop(next);
    assert!(!path.exists());
}

/// Snapshots and recordings go on until they are let go; the thread that a reload has says how far it stands back.
struct Slow {
    hold: Mutex<Receiver<()>>,
    begun: Sender<()>,
}

impl Slow {
    fn go_on(&self) -> Value {
        self.begun.send(()).unwrap();
        let _ = self.hold.lock().unwrap().recv();
        json!({})
    }
}

impl Actions for Slow {
    fn add_chain(&self, _: SideChain) -> Result<Height, AdminError> {
        self.go_on();
        Ok(Height(1))
    }
    fn remove_chain(&self, _: ChainId) -> Result<Height, AdminError> {
        self.go_on();
        Ok(Height(1))
    }
    fn pause_chain(&self, _: ChainId, _: bool) -> Result<(), AdminError> {
        Ok(())
    }
    fn reload(&self) -> Result<Applied, AdminError> {
        let nice = rustix::process::getpriority_process(None).unwrap();
        Ok(Applied { notes: vec![nice.to_string()], ..Applied::default() })
    }
    fn snapshot(&self, _: &Path, _: bool) -> Result<Value, AdminError> {
        Ok(self.go_on())
    }
    fn record(&self, _: &crate::record::Wanted) -> Result<Value, AdminError> {
        Ok(self.go_on())
    }
    fn stop_record(&self) -> Result<bool, AdminError> {
        Ok(true)
    }
}

#[test]
fn what_takes_long_holds_no_change_up_and_what_takes_a_moment_needs_no_place() {
    let fixture = Fixture::new();
    let (hold, held) = channel();
    let (begun, started) = channel();
    fixture.admin.set_actions(Some(Arc::new(Slow { hold: Mutex::new(held), begun })));
    let record = json!({ "to": "/file", "for_ms": 1, "max_bytes": 1 << 20 });
    let refused = |path: &str, body: &Value| match fixture.client().post(path, body) {
        Err(ClientError::Problem { status, kind, detail }) => (status, kind, detail),
        other => panic!("{other:?}"),
    };
    thread::scope(|scope| {
        let ask = |path: &'static str, body: Value| {
            let client = fixture.client();
            scope.spawn(move || client.post(path, &body).unwrap());
            started.recv().unwrap();
        };
        ask("/v1/admin/record", record.clone());
        ask("/v1/admin/snapshot", json!({ "to": "/dir" }));
        let (status, _, detail) = refused("/v1/admin/record", &record);
        assert!(status == 409 && detail.contains("a recording runs already"), "{detail}");
        assert_eq!(refused("/v1/admin/snapshot", &json!({ "to": "/dir" })).0, 409);
        fixture.client().post("/v1/admin/reload", &Value::Null).unwrap();
        let chain = json!({ "id": 9, "name": "x", "first_height": 1, "nodes": ["ab".repeat(32)] });
        for _ in 0..4 {
            ask("/v1/admin/chains", chain.clone());
        }
        assert_eq!(refused("/v1/admin/chains", &chain).1, "busy");
        assert_eq!(refused("/v1/admin/reload", &Value::Null).1, "busy");
        fixture.client().post("/v1/admin/chains/9/pause", &json!({})).unwrap();
        assert_eq!(fixture.client().delete("/v1/admin/record").unwrap(), json!({ "ran": true }));
        // All of them find that nobody holds them any more.
        drop(hold);
    });
    fixture.client().post("/v1/admin/reload", &Value::Null).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_asked_of_a_thread_that_stands_back_is_not_done_by_one() {
    let own = rustix::process::getpriority_process(None).unwrap();
    let admin = Admin::new(None);
    let (_, held) = channel();
    admin.set_actions(Some(Arc::new(Slow { hold: Mutex::new(held), begun: channel().0 })));
    let asked = thread::spawn(move || {
        rustix::process::nice(5).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let who = Who::Token;
        runtime.block_on(admin.act(who, Place::Change, "reload".into(), |node| node.reload())).unwrap()
    });
    assert_eq!(asked.join().unwrap().notes, [own.to_string()]);
}

#[test]
fn a_data_directory_with_a_long_name_has_a_socket_too() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("d".repeat(200));
    std::fs::create_dir(&long).unwrap();
    let (admin, data) = (Admin::new(None), Fixture::data(&long));
    let _socket = Socket::start(&data.admin, admin.over_socket()).unwrap();
    let error = Client::at(&data).post("/v1/admin/reload", &Value::Null).unwrap_err();
    assert!(matches!(&error, ClientError::Problem { kind, .. } if kind == "not-running"), "{error}");
}

#[test]
fn noise_long_bodies_and_connections_that_say_nothing_hold_nobody_up() {
    let fixture = Fixture::new();
    let _silent: Vec<_> =
        (0..12).map(|_| UnixStream::connect(Fixture::data(fixture.dir.path()).admin).unwrap()).collect();
    let empty = fixture
        .raw(b"POST /v1/admin/chains HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    assert!(empty.starts_with("HTTP/1.1 400") && empty.contains("invalid-body"), "{empty}");
    assert!(empty.contains("the body is empty: expected a chain as in the genesis document"), "{empty}");
    let torn = fixture
        .raw(b"POST /v1/admin/chains HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 6\r\n\r\n{\"id\":");
    assert!(torn.contains("EOF while parsing") && !torn.contains('?'), "{torn}");
    let packed =
        b"POST /v1/admin/snapshot HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-encoding: gzip\r\n\
                   content-length: 2\r\n\r\n{}";
    assert!(fixture.raw(packed).starts_with("HTTP/1.1 415"));
    assert!(fixture.raw(b"\x16\x03\x01\x00noise\r\n\r\n").starts_with("HTTP/1.1 400"));
    let long = [
        b"POST /v1/admin/chains HTTP/1.1\r\nhost: x\r\ncontent-length: 9999999\r\n\r\n",
        &vec![b' '; 300 << 10][..],
    ];
    assert!(fixture.raw(&long.concat()).starts_with("HTTP/1.1 413"));
    let head = [b"GET /", &vec![b'a'; 100 << 10][..]].concat();
    assert!(!fixture.raw(&head).starts_with("HTTP/1.1 2"));
    for body in ["", "{", "[]", "null", "{\"id\":1}", &format!("{{\"id\":{}", "[".repeat(200_000))] {
        let head = format!(
            "POST /v1/admin/chains HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = fixture.raw(format!("{head}{body}").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    fixture.client().post("/v1/admin/chains/9/pause", &json!({})).unwrap();
}

#[tokio::test]
async fn over_the_network_there_is_nothing_without_a_secret_and_all_for_who_shows_it() {
    use axum::body::Body;
    use axum::http::Request;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    let fixture = Fixture::new();
    let ask = async |authorization: Option<&str>| {
        let mut request = Request::post("/v1/admin/chains/9/pause");
        if let Some(shown) = authorization {
            request = request.header("authorization", shown);
        }
        let routes = TowerToHyperService::new(fixture.admin.over_network());
        routes.call(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
    };
    assert_eq!(ask(Some("Bearer 0123456789abcdef")).await, 404);
    let file = fixture.dir.path().join("token");
    std::fs::write(&file, "0123456789abcdef").unwrap();
    fixture.admin.set_secret(Some(Secret::read(&file).unwrap()));
    assert_eq!(ask(None).await, 401);
    assert_eq!(ask(Some("Bearer 0123456789abcdeg")).await, 401);
    assert_eq!(ask(Some("0123456789abcdef")).await, 401);
    assert_eq!(ask(Some("Bearer 0123456789abcdef")).await, 200);
    fixture.admin.set_secret(None);
    assert_eq!(ask(Some("Bearer 0123456789abcdef")).await, 404);
}
