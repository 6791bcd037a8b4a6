//! HTTP and TLS probes against servers that behave and servers that do not.

use std::{path::PathBuf, sync::Arc, time::Duration};

use health::{
    check::{Body, Http, HttpVersion, Probe, Question, Target, Tcp, Tls, Via},
    outcome::{Bad, Good, Kind, Outcome},
    probe::{self, Net},
};
use hyper::{Response, body::Bytes, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

const DEADLINE: Duration = Duration::from_millis(300);

async fn ask(port: u16, probe: Probe) -> Outcome {
    let target = Target {
        address: [127, 0, 0, 1].into(),
        port,
        source: None,
        interface: None,
        via: Via::Direct,
    };
    let question = Question { probe: Arc::new(probe), target, timeout: DEADLINE };
    let outcome = probe::ask(&Net::default(), &question).await;
    assert!(outcome.took < DEADLINE * 3, "held for {:?}", outcome.took);
    outcome
}

fn page() -> Http {
    Http {
        method: "GET".into(),
        path: "/healthz".into(),
        host: None,
        version: HttpVersion::Http11,
        headers: vec![],
        status: vec![200..=299],
        body: Body::Any,
        body_limit: 4096,
        tls: None,
    }
}

/// A server that says the same to everybody who has asked something.
async fn says(answer: impl Into<Vec<u8>>) -> u16 {
    let answer: Arc<[u8]> = answer.into().into();
    serve(move |mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(&answer).await;
        }
    })
    .await
}

async fn serve<F>(each: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(each(stream));
        }
    });
    port
}

#[tokio::test]
async fn answers_of_http() {
    let with = |body: Body| Http { body, ..page() };
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nall ok and more";
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n2\r\n o\r\n0\r\n\r\n";
    let md5 = "89cb39fb88412f18cb2c9d903981085b";
    let rows: Vec<(String, Http, Result<&str, Kind>)> = vec![
        (ok.into(), page(), Ok("HTTP 200")),
        (
            "HTTP/1.0 204 No\r\n\r\n".into(),
            Http { version: HttpVersion::Http10, ..page() },
            Ok("HTTP 204"),
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".into(),
            page(),
            Err(Kind::Wrong),
        ),
        ("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".into(), page(), Err(Kind::Wrong)),
        (ok.into(), with(Body::Contains("all".into())), Ok("HTTP 200, and the expected body")),
        (ok.into(), with(Body::Contains("more".into())), Err(Kind::Wrong)),
        (
            chunked.into(),
            with(Body::Matches("^all o$".into())),
            Ok("HTTP 200, and the expected body"),
        ),
        (chunked.into(), with(Body::Digest(md5.into())), Ok("HTTP 200, and the expected body")),
        (ok.into(), with(Body::Digest("0".repeat(32))), Err(Kind::Wrong)),
        (String::new(), page(), Err(Kind::Closed)),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nall".into(),
            with(Body::Contains("ok".into())),
            Err(Kind::Closed),
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n".into(), page(), Err(Kind::Malformed)),
        (format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(100_000)), page(), Err(Kind::Malformed)),
        // Longer than what is read: judged by that, but for a digest.
        (
            format!("HTTP/1.1 200 OK\r\n\r\nok{}", "x".repeat(100_000)),
            with(Body::Contains("ok".into())),
            Ok("HTTP 200, and the expected body"),
        ),
        (
            format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(100_000)),
            with(Body::Digest(md5.into())),
            Err(Kind::Wrong),
        ),
    ];
    for (answer, http, expected) in rows {
        let port = says(answer.clone()).await;
        let shown: String = answer.chars().take(40).collect();
        match (ask(port, Probe::Http(http)).await.verdict, expected) {
            (Ok(Good { text, .. }), Ok(expected)) => assert_eq!(text, expected, "{shown}"),
            (Err(Bad { kind, text }), Err(expected)) => {
                assert_eq!(kind, expected, "{shown}: {text}")
            }
            (verdict, expected) => panic!("{shown}: {verdict:?}, not {expected:?}"),
        }
    }
}

/// Who drips, in the headers or in the body, is silent, or never ends, has the deadline and no more.
#[tokio::test]
async fn nobody_holds_a_probe_past_its_deadline() {
    let drip = |head: &'static str| {
        serve(move |mut stream| async move {
            let _ = stream.write_all(head.as_bytes()).await;
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if stream.write_all(b"a").await.is_err() {
                    return;
                }
            }
        })
    };
    let wants = Http { body: Body::Contains("ok".into()), body_limit: 1 << 20, ..page() };
    let silent = serve(|stream| async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop(stream);
    });
    let (head, body) = (drip("HTTP/1.1 200 OK\r\nX: "), drip("HTTP/1.1 200 OK\r\n\r\n"));
    for port in [head.await, body.await, silent.await] {
        let bad = ask(port, Probe::Http(wants.clone())).await.verdict.expect_err("no answer");
        assert_eq!(bad.kind, Kind::Timeout, "{}", bad.text);
    }
    let expect = Tcp { send: vec![], expect: b"ok".to_vec() };
    let bad = ask(drip("").await, Probe::Tcp(expect.clone())).await.verdict.expect_err("no answer");
    assert_eq!(bad.kind, Kind::Timeout);
    let endless =
        serve(|mut stream| async move { while stream.write_all(&[b'a'; 4096]).await.is_ok() {} });
    let bad = ask(endless.await, Probe::Tcp(expect)).await.verdict.expect_err("no answer");
    assert_eq!(bad.kind, Kind::Wrong, "{}", bad.text);
    // Nobody listens.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    assert_eq!(ask(port, Probe::Http(page())).await.verdict.expect_err("none").kind, Kind::Refused);
}

/// Random octets never hang a probe, and never pass for an answer.
#[tokio::test]
async fn noise_is_no_answer() {
    let mut state = 7u64;
    for _ in 0..30 {
        let noise: Vec<u8> = (0..300)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let noise: Arc<[u8]> = noise.into();
        // At once, whether it was asked or not.
        let port = serve(move |mut stream| {
            let noise = Arc::clone(&noise);
            async move {
                let _ = stream.write_all(&noise).await;
            }
        })
        .await;
        for probe in [
            Probe::Http(page()),
            Probe::Tls(Tls::default()),
            Probe::Smtp { helo: "a".into() },
            Probe::Redis { password: None },
            Probe::Mysql,
            Probe::Postgres { user: "a".into(), database: None },
        ] {
            let name = probe.name();
            assert!(ask(port, probe).await.verdict.is_err(), "{name}");
        }
    }
}

#[tokio::test]
async fn http2_with_prior_knowledge() {
    let port = serve(|stream| async move {
        let page = service_fn(|_| async {
            Ok::<_, hyper::Error>(Response::new(http_body_util::Full::new(Bytes::from("two ok"))))
        });
        let server = http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(stream), page).await;
    })
    .await;
    let body = Body::Contains("ok".into());
    let two = Http { version: HttpVersion::Http2, body, ..page() };
    let good = ask(port, Probe::Http(two)).await.verdict.expect("good");
    assert_eq!(good.text, "HTTP 200, and the expected body");
}

/// A CA in a file, and a TLS server with a certificate of it for this name, valid in these years.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let file = std::env::temp_dir().join(format!("xlvs-{}-{name}.pem", std::process::id()));
        std::fs::write(&file, certificate.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    async fn serve(&self, name: &str, years: (i32, i32)) -> u16 {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        serve(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let _ = stream.read(&mut [0; 2048]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// What is wrong with a certificate is told apart.
#[tokio::test]
async fn certificates() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let tls = |name: &str, verify, ca: &Authority| Tls {
        name: Some(name.to_owned()),
        verify,
        ca: verify.then(|| ca.file.clone()),
        alpn: vec![],
    };
    let good = ours.serve("www.example", (2020, 2099)).await;
    let expired = ours.serve("www.example", (2020, 2021)).await;
    let rows = [
        (good, tls("www.example", true, &ours), Ok("TLSv1.3")),
        (good, tls("www.example", true, &other), Err("signed by nobody whom we trust")),
        (good, tls("api.example", true, &ours), Err("not for api.example, but for www.example")),
        (good, tls("api.example", false, &ours), Ok("TLSv1.3")),
        (expired, tls("www.example", true, &ours), Err("has expired")),
        (expired, tls("www.example", false, &ours), Ok("TLSv1.3")),
    ];
    for (port, tls, expected) in rows {
        let verdict = ask(port, Probe::Tls(tls.clone())).await.verdict;
        match (verdict, expected) {
            (Ok(good), Ok(text)) => assert_eq!(good.text, text),
            (Err(bad), Err(part)) => {
                assert_eq!(bad.kind, Kind::Tls);
                assert!(bad.text.contains(part), "{}", bad.text);
            }
            (verdict, expected) => panic!("{tls:?}: {verdict:?}, not {expected:?}"),
        }
    }
    let https = Http { tls: Some(tls("www.example", true, &ours)), ..page() };
    let page = ask(good, Probe::Http(https)).await.verdict.expect("good");
    assert_eq!(page.text, "HTTP 200");
    let plain = says("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let bad = ask(plain, Probe::Tls(Tls::default())).await.verdict.expect_err("no TLS");
    assert!(bad.text.contains("does not speak TLS"), "{}", bad.text);
}
