//! The API over a real unix socket.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use control::{
    api::{self, ApiError, Endpoint, FetchError, Source, assemble, fetch},
    errand::Desk,
    report::{Report, Service, Status},
};

/// A directory of the test's own; removed in the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("xlvs-api-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("run/xlvs.sock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn report() -> Report {
    Report { version: "1.2.3".to_owned(), generation: 4, uptime_s: 5, ..Report::default() }
}

/// Serves while `body` runs.
fn serving(endpoint: Endpoint, body: impl FnOnce()) {
    let source: Source = Arc::new(report);
    let _served = endpoint.start(assemble(Desk::open().0, [api::report(source)])).unwrap();
    body();
}

fn get<T: serde::de::DeserializeOwned>(socket: &Path, path: &str) -> T {
    let body = fetch(socket, path).unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn answers_are_the_report_and_its_parts() {
    let place = Place::new("answers");
    let socket = place.socket();
    serving(Endpoint::bind(&socket).unwrap(), || {
        assert_eq!(get::<Report>(&socket, "/v1/report"), report());
        assert_eq!(get::<Vec<Service>>(&socket, "/v1/services"), []);
        assert_eq!(get::<Status>(&socket, "/v1/status"), report().status());
        let unknown = fetch(&socket, "/v1/nothing").unwrap_err();
        assert!(matches!(unknown, FetchError::Refused(_)), "{unknown}");
        assert!(
            unknown.to_string().contains("GET /v1/nothing: there is no such path"),
            "{unknown}"
        );
    });
    assert!(!socket.exists(), "the socket goes with the daemon");
}

#[test]
fn owner_and_group_may_connect() {
    let place = Place::new("mode");
    let endpoint = Endpoint::bind(&place.socket()).unwrap();
    assert_eq!(fs::metadata(place.socket()).unwrap().permissions().mode() & 0o777, 0o660);
    drop(endpoint);
    assert!(!place.socket().exists());
}

#[test]
fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    let place = Place::new("stale");
    let socket = place.socket();
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    // As after SIGKILL: the name stays, nobody listens.
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let first = Endpoint::bind(&socket).unwrap();
    let second = Endpoint::bind(&socket).unwrap_err();
    assert!(matches!(second, ApiError::Taken(_)));
    let sentence = second.to_string();
    assert!(sentence.contains(socket.to_str().unwrap()), "{sentence}");
    assert!(sentence.contains("another xlvs runs here"), "{sentence}");
    serving(first, || assert_eq!(get::<Report>(&socket, "/v1/report"), report()));
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let place = Place::new("file");
    let path = place.0.join("precious");
    fs::write(&path, "text").unwrap();
    assert!(matches!(Endpoint::bind(&path), Err(ApiError::NoSocket(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), "text");
    let below = Endpoint::bind(&path.join("xlvs.sock")).unwrap_err().to_string();
    assert!(below.contains("--socket"), "{below}");
}

#[test]
fn another_daemons_socket_is_not_removed() {
    let place = Place::new("other");
    let socket = place.socket();
    let ours = Endpoint::bind(&socket).unwrap();
    fs::remove_file(&socket).unwrap();
    // Takes the inode number that became free, so that the next socket has another one.
    fs::write(place.0.join("run/file"), "").unwrap();
    let other = UnixListener::bind(&socket).unwrap();
    drop(ours);
    assert!(socket.exists());
    drop(other);
}

#[test]
fn without_a_daemon_the_error_names_socket_and_remedy() {
    let place = Place::new("none");
    let socket = place.socket();
    let missing = fetch(&socket, "/v1/report").unwrap_err().to_string();
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    let dead = fetch(&socket, "/v1/report").unwrap_err().to_string();
    for (sentence, reason) in [(missing, "there is no socket"), (dead, "nobody listens")] {
        for part in [socket.to_str().unwrap(), reason, "xlvs run", "--socket"] {
            assert!(sentence.contains(part), "{sentence}");
        }
    }
}

#[test]
fn a_daemon_that_hangs_is_given_up() {
    let place = Place::new("hangs");
    let socket = place.0.join("xlvs.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let silent = thread::spawn(move || {
        let talk = listener.accept();
        thread::sleep(Duration::from_secs(6));
        drop(talk);
    });
    let error = fetch(&socket, "/v1/report").unwrap_err().to_string();
    assert!(error.contains("nothing came for 5 s"), "{error}");
    silent.join().unwrap();
}

#[test]
fn the_document_has_every_path_and_what_it_refuses() {
    let place = Place::new("document");
    let socket = place.socket();
    serving(Endpoint::bind(&socket).unwrap(), || {
        let document: serde_json::Value = get(&socket, "/v1/openapi.json");
        for path in ["/v1/openapi.json", "/v1/report", "/v1/services", "/v1/status"] {
            let operation = &document["paths"][path]["get"];
            assert!(operation["responses"]["200"].is_object(), "{path}: {document}");
            assert!(operation["responses"]["default"].is_object(), "{path}: {document}");
            assert_eq!(operation["security"][0]["token"][0], "viewer", "{path}");
        }
    });
}
