//! Authorities over TLS: known by a certificate for their name from the configured file, and by nothing else. And what the port
//! for edges adds to a stop.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use frontdoor_protocol::authority::{ClientInvokeRequest, ClientInvokeResponse, FunctionVersion};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prost::Message as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::client::{BoxBody, Reply, ask, call, empty, full};
use crate::world::{Choices, FUNCTION, VERSION, World, free_address, until};

/// Who signs certificates.
struct Signer {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Signer {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    fn server(&self, name: &str) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }

    /// A certificate and its key, as files.
    fn files(&self, folder: &Path, name: &str) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        [
            write(folder, "cert.pem", &certificate.pem()),
            write(folder, "key.pem", &key.serialize_pem()),
        ]
    }
}

/// An authority that lets in whoever has the key `good`, over HTTP and gRPC alike; how often it was asked, by protocol.
struct Authority {
    address: SocketAddr,
    over_http: Arc<AtomicU64>,
    over_grpc: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Authority {
    async fn start(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let counts = [Arc::<AtomicU64>::default(), Arc::default()];
        let [over_http, over_grpc] = counts.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counts) = (acceptor.clone(), counts.clone());
                connections.spawn(async move {
                    // Who does not trust us ends the handshake.
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let serve = service_fn(move |request| answer(request, counts.clone()));
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        Self {
            address,
            over_http,
            over_grpc,
            _tasks: tasks,
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    [over_http, over_grpc]: [Arc<AtomicU64>; 2],
) -> Result<Response<BoxBody>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    if head.uri.path() == "/authorize" {
        assert_eq!(head.version, Version::HTTP_11);
        over_http.fetch_add(1, Ordering::SeqCst);
        let allow = br#"{"allow":true,"identity":"alice"}"#;
        return Ok(Response::new(full(&allow[..])));
    }
    assert_eq!(head.uri.path(), "/nvcf.Invocation/AuthClientInvocation");
    assert_eq!(head.version, Version::HTTP_2);
    over_grpc.fetch_add(1, Ordering::SeqCst);
    let asked = ClientInvokeRequest::decode(&body[5..]).unwrap();
    let mut trailers = HeaderMap::new();
    let code = if asked.client_authorization_token == "good" {
        "0"
    } else {
        "16"
    };
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    let message = ClientInvokeResponse {
        function_id: FUNCTION.into(),
        function_versions: vec![FunctionVersion {
            function_version_id: VERSION.into(),
            ..FunctionVersion::default()
        }],
        client_auth_subject: "alice".into(),
        client_nca_id: "acme".into(),
    }
    .encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&message);
    let frames = [
        Ok(Frame::data(Bytes::from(frame))),
        Ok(Frame::trailers(trailers)),
    ];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    Ok(Response::new(body))
}

/// Calls with a malformed wait: whoever is let in is told of that, with 400.
async fn status(world: &World, key: &str) -> Reply {
    let mut request = call(Method::GET, "/", empty());
    let headers = request.headers_mut();
    let key = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
    headers.insert(AUTHORIZATION, key);
    headers.insert("nvcf-poll-seconds", HeaderValue::from_static("x"));
    ask(world, Version::HTTP_2, request).await
}

async fn world(auth: String) -> World {
    World::with(Choices {
        auth: format!("[auth]\n{auth}\n"),
        ..Choices::default()
    })
    .await
}

fn write(folder: &Path, name: &str, pem: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, pem).unwrap();
    file.display().to_string()
}

#[tokio::test]
async fn an_authority_over_tls_is_known_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (signer, stranger) = (Signer::new(), Signer::new());
    let ca = write(folder.path(), "ca.pem", &signer.pem);
    let other = write(folder.path(), "other.pem", &stranger.pem);
    let authority = Authority::start(signer.server("localhost")).await;
    let port = authority.address.port();
    let http = |host: &str, ca: &str| {
        format!("http = {{ url = \"https://{host}:{port}/authorize\", ca = {ca:?} }}")
    };
    let grpc =
        |host: &str, ca: &str| format!("grpc = {{ url = \"https://{host}:{port}\", ca = {ca:?} }}");
    for (auth, asked) in [
        (http("localhost", &ca), &authority.over_http),
        (grpc("localhost", &ca), &authority.over_grpc),
    ] {
        let trusting = world(auth).await;
        assert_eq!(status(&trusting, "good").await.status, 400, "let in");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
    // Neither by somebody else's signature nor under another name, nor by the system's authorities.
    let asked = [&authority.over_http, &authority.over_grpc].map(|n| n.load(Ordering::SeqCst));
    let unsigned = format!("http = {{ url = \"https://localhost:{port}/authorize\" }}");
    for auth in [
        http("localhost", &other),
        grpc("localhost", &other),
        http("127.0.0.1", &ca),
        grpc("127.0.0.1", &ca),
        unsigned,
    ] {
        let wary = world(auth.clone()).await;
        let reply = status(&wary, "good").await;
        assert_eq!(reply.status, 503, "{auth}");
        let named = &reply.problem()["type"];
        assert_eq!(named, "urn:frontdoor:problem:authority-unreachable");
    }
    let now = [&authority.over_http, &authority.over_grpc].map(|n| n.load(Ordering::SeqCst));
    assert_eq!(now, asked, "nothing was said to it");
}

#[tokio::test]
async fn a_file_of_authorities_that_is_none_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let empty = write(folder.path(), "empty.pem", "");
    let nats = crate::world::Nats::start(None).await;
    let file = folder.path().join("invocation.toml");
    let text = format!(
        "region = \"us-east\"\ndomain = \"invocation.localhost\"\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
         attach_url = \"http://127.0.0.1:1\"\n[nats]\nurl = {:?}\n\
         [auth]\ngrpc = {{ url = \"https://localhost:1\", ca = {empty:?} }}\n",
        nats.url()
    );
    std::fs::write(&file, text).unwrap();
    let settings = frontdoor_invocation::config::load(&file).unwrap();
    let ended = frontdoor_invocation::run(settings, tokio_util::sync::CancellationToken::new());
    let error = ended.await.expect_err("no certificate").to_string();
    assert!(
        error.contains("empty.pem") && error.contains("no certificate"),
        "{error}"
    );
}

#[tokio::test]
async fn a_stop_does_not_wait_for_who_stalls_in_a_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::new();
    let [cert, key] = signer.files(folder.path(), "localhost");
    let client_ca = write(folder.path(), "ca.pem", &signer.pem);
    let listen = free_address();
    let mut world = World::with(Choices {
        auth: format!(
            "[tls]\nlisten = \"{listen}\"\ncert = {cert:?}\nkey = {key:?}\nclient_ca = {client_ca:?}\n"
        ),
        ..Choices::default()
    })
    .await;
    let stalled = TcpStream::connect(listen).await.unwrap();
    until("the connection", || async {
        let open = world.metric("frontdoor_invocation_connections 1").await;
        open.then_some(())
    })
    .await;
    let began = Instant::now();
    world.shutdown.cancel();
    world.stopped().await.expect("in order");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    drop(stalled);
}
