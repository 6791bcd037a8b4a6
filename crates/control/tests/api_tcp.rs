//! The API over TCP: who is let in, and that clients who dawdle are bounded.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use axum::{Json, body::Bytes};
use control::{
    api::{
        Caller, Deed, Endpoint, Part, Patience, Remote, Role, Served, Server, TcpError, Way,
        assemble, fetch, tcp,
        tokens::{self, TokenError, Tokens},
    },
    errand::Desk,
    file::Tls,
    model,
};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};
use utoipa_axum::{router::OpenApiRouter, routes};

/// A directory of the test's own; removed in the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("xlvs-tcp-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Paths for each role.
fn part() -> Part {
    OpenApiRouter::new()
        .routes(routes!(who))
        .routes(routes!(measure))
        .routes(routes!(change))
        .routes(routes!(endless))
        .routes(routes!(large))
}

/// Who asks.
#[utoipa::path(
    get,
    path = "/v1/who",
    tag = "test",
    responses((status = 200, description = "Who.", body = String))
)]
async fn who(caller: Caller) -> Json<String> {
    Json(format!("{caller} {}", caller.role.name()))
}

/// How long a text is.
#[utoipa::path(
    post,
    path = "/v1/measure",
    request_body = String,
    security(("token" = ["operator"])),
    tag = "test",
    responses((status = 200, description = "Characters.", body = usize))
)]
async fn measure(Json(text): Json<String>) -> (Deed, Json<usize>) {
    (Deed::NONE, Json(text.len()))
}

/// Change it.
#[utoipa::path(
    post,
    path = "/v1/change",
    tag = "test",
    responses((status = 200, description = "Done.", body = bool))
)]
async fn change() -> (Deed, Json<bool>) {
    (Deed::NONE, Json(true))
}

/// Goes on.
#[utoipa::path(
    get,
    path = "/v1/endless",
    tag = "test",
    responses((status = 200, description = "Parts.", body = String))
)]
async fn endless() -> axum::body::Body {
    let part = || async { Some((Ok::<_, std::io::Error>("part\n"), ())) };
    let first = futures_util::stream::unfold(Some(()), move |left| async move {
        match left {
            Some(()) => part().await.map(|(part, ())| (part, None)),
            None => std::future::pending().await,
        }
    });
    axum::body::Body::from_stream(first)
}

/// Much.
#[utoipa::path(
    get,
    path = "/v1/large",
    tag = "test",
    responses((status = 200, description = "Zeros.", body = String))
)]
async fn large() -> Bytes {
    // Memory that nobody has touched, and one for all.
    static ZEROS: LazyLock<Bytes> = LazyLock::new(|| vec![0; 100 << 20].into());
    ZEROS.clone()
}

/// Serves on a free port of this box.
fn serve(place: &Place, tls: Option<Tls>, patience: Patience) -> (SocketAddr, Served) {
    let wanted = model::Api {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        tls,
        tokens: Some(place.file("tokens")),
        ..model::Api::default()
    };
    let remote = Remote::bind(&wanted).unwrap_or_else(|error| panic!("{error}"));
    let address = remote.addresses()[0];
    (
        address,
        remote.start(assemble(Desk::open().0, [part()]), patience).unwrap().expect("an address"),
    )
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// All that comes until the other side closes.
fn rest(stream: &mut impl Read) -> String {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        // Closed before all that was sent had been read.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// A request with a body, and the answer to it.
fn ask(stream: &mut (impl Read + Write), request: &str, token: &str, body: &str) -> String {
    let authorization = match token {
        "" => String::new(),
        token => format!("Authorization: {token}\r\n"),
    };
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: xlvs\r\nConnection: close\r\n{authorization}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // It may be refused before all was sent.
    let _ = stream.write_all(body.as_bytes());
    rest(stream)
}

#[test]
fn a_token_says_who_asks_and_what_they_may() {
    let place = Place::new("roles");
    let file = place.file("tokens");
    let [viewer, operator, admin] = Role::ALL.map(|role| {
        format!("Bearer {}", tokens::add(&file, &format!("{}-1", role.name()), role).unwrap())
    });
    let (address, _served) = serve(&place, None, Patience::default());
    let (who, measure, change) = ("GET /v1/who", "POST /v1/measure", "POST /v1/change");
    let large = format!("\"{}\"", "a".repeat(70_000));
    let basic = admin.replace("Bearer", "Basic");
    let shouted = admin.replace("Bearer", "BEARER");
    let cut = &admin[..admin.len() - 1];
    let rows: &[(&str, &str, &str, &str, &str)] = &[
        (who, "", "", "401", "xlvs token add"),
        (who, "", "", "401", "www-authenticate: Bearer"),
        (who, "Bearer ", "", "401", ""),
        (who, "Bearer xlvs_0", "", "401", ""),
        (who, cut, "", "401", ""),
        (who, &basic, "", "401", ""),
        ("GET /v1/nothing", "", "", "401", ""),
        ("GET /v1/nothing", &viewer, "", "404", "there is no such path"),
        ("GET /v1/openapi.json", &viewer, "", "200", "openapi"),
        (who, &viewer, "", "200", "token viewer-1 viewer"),
        (who, &operator, "", "200", "token operator-1 operator"),
        (who, &shouted, "", "200", "token admin-1 admin"),
        (measure, "", "\"abc\"", "401", ""),
        (measure, &viewer, "\"abc\"", "403", "this is for operator"),
        (measure, &operator, "\"abc\"", "200", "3"),
        (measure, &admin, "\"abc\"", "200", "3"),
        (measure, &operator, "\"abc", "400", ""),
        (measure, &operator, "3", "422", ""),
        (measure, &operator, &large, "413", "too large"),
        (change, &viewer, "", "403", "this is for admin"),
        (change, &operator, "", "403", "operator-1 is operator"),
        (change, &admin, "", "200", "true"),
    ];
    for (request, token, body, status, said) in rows {
        let answer = ask(&mut connect(address), request, token, body);
        let shown = answer.get(..300).unwrap_or(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request} {token}: {shown}");
        assert!(answer.contains(said), "{request} {token}: {shown}");
    }
}

#[test]
fn tokens_come_and_go_while_it_runs_and_a_bad_file_lets_nobody_in() {
    let place = Place::new("changes");
    let file = place.file("tokens");
    let first = format!("Bearer {}", tokens::add(&file, "first", Role::Viewer).unwrap());
    let (address, _served) = serve(&place, None, Patience::default());
    let status = |token: &str| {
        let answer = ask(&mut connect(address), "GET /v1/who", token, "");
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(status(&first), "200");
    let second = format!("Bearer {}", tokens::add(&file, "second", Role::Viewer).unwrap());
    assert_eq!((status(&first), status(&second)), ("200".into(), "200".into()));
    tokens::remove(&file, "first").unwrap();
    assert_eq!((status(&first), status(&second)), ("401".into(), "200".into()));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(status(&second), "401");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(status(&second), "200");
    fs::write(&file, "second viewer 12\n").unwrap();
    assert_eq!(status(&second), "401");
    fs::remove_file(&file).unwrap();
    assert_eq!(status(&second), "401");
}

#[test]
fn a_tokens_file_that_is_not_kept_secret_or_not_understood_is_refused() {
    let place = Place::new("file");
    let hash = "0".repeat(64);
    let long = "n".repeat(65);
    let rows: &[(u32, String, &str)] = &[
        (0o600, String::new(), ""),
        (0o400, format!("# a comment\n\nops.1 admin {hash}\n"), ""),
        (
            0o644,
            format!("ops admin {hash}\n"),
            "mode 0644: others than its owner may use it; chmod 600 ",
        ),
        (0o640, String::new(), "mode 0640"),
        (0o602, String::new(), "mode 0602"),
        (
            0o600,
            format!("ops admin {}\n", &hash[1..]),
            ":1: no SHA-256 of 64 hex digits; make tokens by",
        ),
        (0o600, format!("ops admin {}g\n", &hash[1..]), ":1: no SHA-256"),
        (
            0o600,
            format!("#\nops root {hash}\n"),
            ":2: \"root\" is no role; it is viewer, operator or",
        ),
        (0o600, "ops admin\n".to_owned(), ":1: not NAME ROLE SHA256; make"),
        (0o600, format!("{long} admin {hash}\n"), "is no name"),
        (0o600, format!("a/b admin {hash}\n"), "is no name"),
        (0o600, format!("a admin {hash}\na viewer {hash}\n"), ":2: a second token a; remove one"),
    ];
    for (number, (mode, text, expected)) in rows.iter().enumerate() {
        let file = place.file(&number.to_string());
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(*mode)).unwrap();
        let told = Tokens::open(&file).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(told.is_empty(), expected.is_empty(), "{mode:o} {text}: {told}");
        assert!(told.contains(expected), "{mode:o} {text}: {told}");
    }
    let wanted = model::Api {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        tokens: Some(place.file("none")),
        ..model::Api::default()
    };
    let none = Remote::bind(&wanted).expect_err("no tokens").to_string();
    assert!(
        none.starts_with("api: tokens: ") && none.contains("cannot read it: No such"),
        "{none}"
    );
}

#[test]
fn tokens_are_made_once_kept_as_hashes_and_taken_away() {
    let place = Place::new("made");
    let file = place.file("deep/tokens");
    let first = tokens::add(&file, "first", Role::Operator).unwrap();
    let second = tokens::add(&file, "second", Role::Viewer).unwrap();
    assert_ne!(first, second);
    // 256 bits.
    assert_eq!(first.strip_prefix("xlvs_").map(str::len), Some(64), "{first}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&first[5..]), "the token itself is kept nowhere");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let taken = tokens::add(&file, "first", Role::Admin).unwrap_err();
    assert!(matches!(taken, TokenError::Taken { .. }), "{taken}");
    assert!(matches!(tokens::add(&file, "a b", Role::Admin), Err(TokenError::Name(_))));
    assert_eq!(fs::read_to_string(&file).unwrap(), text, "a refusal changes nothing");
    tokens::remove(&file, "first").unwrap();
    assert!(matches!(tokens::remove(&file, "first"), Err(TokenError::Unknown { .. })));
    let left = tokens::list(&file).unwrap();
    let left: Vec<_> = left.iter().map(|entry| (entry.name.as_str(), entry.role)).collect();
    assert_eq!(left, [("second", Role::Viewer)]);
    // What is linked from elsewhere stays where it is.
    let link = place.file("link");
    symlink(&file, &link).unwrap();
    tokens::add(&link, "third", Role::Viewer).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(tokens::list(&file).unwrap().len(), 2);
}

#[test]
fn who_dawdles_is_let_go() {
    let place = Place::new("slow");
    let token = tokens::add(&place.file("tokens"), "ops", Role::Admin).unwrap();
    let short = Duration::from_millis(300);
    let patience = Patience { handshake: short, header: short, body: short };
    let (address, _served) = serve(&place, None, patience);
    let head = format!(
        "POST /v1/measure HTTP/1.1\r\nHost: xlvs\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    );
    let rows = [("", ""), ("POST /v1/measure HTTP/1.1\r\nHo", ""), (&head, "HTTP/1.1 408 ")];
    for (said, answered) in rows {
        let mut stream = connect(address);
        stream.write_all(said.as_bytes()).unwrap();
        // A drop at a time does not prolong it.
        let mut drops = stream.try_clone().unwrap();
        let silent = said.is_empty();
        let dripping = std::thread::spawn(move || {
            for _ in 0..600 {
                if silent || drops.write_all(b"a").is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let answer = rest(&mut stream);
        assert!(answer.starts_with(answered), "{said:?}: {answer}");
        assert!(!answer.contains("200 OK"), "{said:?}: {answer}");
        drop(stream);
        dripping.join().unwrap();
    }
    // The answer to a whole request may take longer than that, and go on.
    let mut stream = connect(address);
    let request =
        format!("GET /v1/endless HTTP/1.1\r\nHost: xlvs\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream.set_read_timeout(Some(short * 3)).unwrap();
    let mut read = [0; 1024];
    loop {
        match stream.read(&mut read) {
            Ok(0) => panic!("an answer that goes on was cut"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Large answers that nobody takes are 256 MiB at most; small ones go on.
#[test]
fn answers_that_nobody_takes_are_bounded() {
    let place = Place::new("large");
    let token = tokens::add(&place.file("tokens"), "ops", Role::Viewer).unwrap();
    let (address, _served) = serve(&place, None, Patience::default());
    // The beginning of an answer; the rest stays where it is.
    let begin = |path: &str| {
        let mut stream = connect(address);
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: xlvs\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut said = [0; 12];
        stream.read_exact(&mut said).unwrap();
        (String::from_utf8_lossy(&said).into_owned(), stream)
    };
    let unread: Vec<_> = (0..2).map(|_| begin("/v1/large")).collect();
    assert!(unread.iter().all(|(said, _)| said == "HTTP/1.1 200"), "{unread:?}");
    assert_eq!(begin("/v1/large").0, "HTTP/1.1 503");
    assert_eq!(begin("/v1/who").0, "HTTP/1.1 200");
    drop(unread);
    until("there is room again", || begin("/v1/large").0 == "HTTP/1.1 200");
}

/// Waits until it holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_thousand_idle_connections_do_not_lock_out_who_has_something_to_ask() {
    let place = Place::new("idle");
    let token =
        format!("Bearer {}", tokens::add(&place.file("tokens"), "ops", Role::Viewer).unwrap());
    allow_descriptors();
    // Nobody is let go for dawdling.
    let long = Duration::from_secs(600);
    let patience = Patience { handshake: long, header: long, body: long };
    let (address, _served) = serve(&place, None, patience);
    let before = resident();
    let mut idle = Vec::new();
    for _ in 0..1000 / 50 {
        idle.extend((0..50).map(|_| {
            let mut stream = connect(address);
            let _ = stream.write_all(b"GET /v1/who HTTP/1.1\r\nX: ");
            stream.set_nonblocking(true).unwrap();
            stream
        }));
        let answer = ask(&mut connect(address), "GET /v1/who", &token, "");
        assert!(answer.contains("token ops viewer"), "{answer}");
    }
    let open = |stream: &mut TcpStream| matches!(stream.read(&mut [0; 512]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    let mut left = 0;
    until("no more than the room takes stay open", || {
        left = idle.iter_mut().filter_map(|stream| open(stream).then_some(())).count();
        left <= tcp::CONNECTIONS
    });
    assert!(left > tcp::CONNECTIONS / 2, "only {left} are left: the oldest were to go");
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} octets more");
}

/// The usual 1,024 are too few for both ends of a thousand connections.
fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

#[test]
fn idle_connections_on_the_socket_make_room() {
    allow_descriptors();
    let place = Place::new("socket");
    let endpoint = Endpoint::bind(&place.file("sock")).unwrap();
    let unknown = endpoint.give("nobody-has-this").unwrap_err().to_string();
    assert!(unknown.contains("there is no group nobody-has-this; make it"), "{unknown}");
    let path = endpoint.path().to_owned();
    let _served = endpoint.start(assemble(Desk::open().0, [part()])).unwrap();
    let mut idle = Vec::new();
    for _ in 0..10 {
        idle.extend((0..100).map(|_| UnixStream::connect(&path).unwrap()));
        let answer = fetch(&path, "/v1/who").unwrap();
        assert!(String::from_utf8_lossy(&answer).ends_with(" admin\""), "{answer:?}");
    }
}

/// Octets of memory that this process has.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap() * 4096
}

/// An authority of the test's own, and a certificate of it for 127.0.0.1.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: rustls::pki_types::CertificateDer<'static>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        let (root, pem) = (root.der().clone(), root.pem());
        Self { issuer: Issuer::new(params, key), root, pem }
    }

    fn certify(&self, place: &Place) -> Tls {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let tls = Tls { certificate: place.file("crt"), key: place.file("key") };
        replace(&tls.certificate, &certificate.pem());
        replace(&tls.key, &key.serialize_pem());
        tls
    }

    /// What somebody gets who trusts this authority.
    fn ask(&self, address: SocketAddr, token: &str) -> Result<String, std::io::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(client, connect(address));
        let (client, socket) = (&mut stream.conn, &mut stream.sock);
        while client.is_handshaking() {
            client.complete_io(socket)?;
        }
        Ok(ask(&mut stream, "GET /v1/who", token, ""))
    }
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

#[test]
fn a_client_finds_its_way() {
    let token = || Some(PathBuf::from("/t"));
    let rows = [
        ("https://192.0.2.1:9443", token(), None),
        ("https://director.example:9443/", token(), None),
        ("https://[2001:db8::1]:9443", token(), None),
        ("http://127.0.0.1:9443", token(), None),
        ("http://[::1]:9443", token(), None),
        ("http://192.0.2.1:9443", token(), Some("cross the network in the clear; write https://")),
        ("https://192.0.2.1:9443", None, Some("no token; name its file with --token-file")),
        ("https://192.0.2.1", token(), Some("write it like https://192.0.2.1:9443")),
        ("192.0.2.1:9443", token(), Some("write it like")),
        ("https://192.0.2.1:9443/v1", token(), Some("write it like")),
        ("ftp://192.0.2.1:9443", token(), Some("write it like")),
    ];
    for (url, token, wrong) in rows {
        let told = Server::new(url, token, None).map_err(|error| error.to_string());
        match (&told, wrong) {
            (Ok(_), None) => {}
            (Err(told), Some(wrong)) => assert!(told.contains(wrong), "{url}: {told}"),
            _ => panic!("{url}: {told:?}"),
        }
    }
    let place = Place::new("way");
    let made = tokens::add(&place.file("tokens"), "ops", Role::Viewer).unwrap();
    fs::write(place.file("token"), format!("{made}\n")).unwrap();
    let authority = Authority::new();
    let tls = authority.certify(&place);
    let (address, _served) = serve(&place, Some(tls), Patience::default());
    let pem = |authority: &Authority, name: &str| {
        fs::write(place.file(name), authority.pem.as_bytes()).unwrap();
        Some(place.file(name))
    };
    let url = format!("https://{address}");
    let server =
        |token: &str, ca| Way::from(Server::new(&url, Some(place.file(token)), ca).unwrap());
    let ca = pem(&authority, "ca");
    let answer = fetch(server("token", ca.clone()), "/v1/who").unwrap();
    assert_eq!(answer, b"\"token ops viewer\"");
    let refused = |way: Way| fetch(way, "/v1/who").expect_err("refused").to_string();
    let other = refused(server("token", pem(&Authority::new(), "other")));
    assert!(other.starts_with(&url) && other.contains("invalid peer certificate"), "{other}");
    let wrong = refused(server("tokens", ca.clone()));
    assert!(
        wrong.contains("xlvs token add") || wrong.contains("failed to parse header"),
        "{wrong}"
    );
    let none = refused(server("nothing", ca));
    assert!(none.contains("--token-file") && none.contains("No such file"), "{none}");
}

#[test]
fn tls_shows_a_certificate_that_is_read_anew() {
    let place = Place::new("tls");
    let token =
        format!("Bearer {}", tokens::add(&place.file("tokens"), "ops", Role::Viewer).unwrap());
    let (trusted, other) = (Authority::new(), Authority::new());
    let tls = trusted.certify(&place);
    let (address, _served) = serve(&place, Some(tls.clone()), Patience::default());
    let answer = trusted.ask(address, &token).unwrap();
    assert!(answer.contains("token ops viewer"), "{answer}");
    let answer = trusted.ask(address, "").unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let refused = other.ask(address, &token).expect_err("not its authority").to_string();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    // Plain HTTP is no handshake.
    let mut plain = connect(address);
    plain
        .write_all(format!("GET /v1/who HTTP/1.1\r\nAuthorization: {token}\r\n\r\n").as_bytes())
        .unwrap();
    assert!(!rest(&mut plain).contains("HTTP/1.1 200"));
    // A renewed one; then one that is half written.
    other.certify(&place);
    let answer = other.ask(address, &token).unwrap();
    assert!(answer.contains("token ops viewer"), "{answer}");
    replace(&tls.certificate, "-----BEGIN CERTIFICATE-----\nabc");
    let answer = other.ask(address, &token).unwrap();
    assert!(answer.contains("token ops viewer"), "the one from before: {answer}");
    let wanted = model::Api {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        tokens: Some(place.file("tokens")),
        tls: Some(tls),
        ..model::Api::default()
    };
    let error = Remote::bind(&wanted).expect_err("half a certificate");
    assert!(matches!(error, TcpError::Identity(_)), "{error}");
}
