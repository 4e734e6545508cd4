//! Whoever is asked answers with what is no plain yes, or not at all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;

use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse, DeniedHttpResponse,
    HttpResponse, HttpStatus, OkHttpResponse,
};
use envoy_types::pb::google::rpc;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tonic::{Code, Status};

use crate::common::Client;

use super::stage::{Door, Stage};

/// Whoever is asked answers with what is no plain yes: nobody passes, whatever the proxy makes of it.
pub(crate) fn odd_verdicts(door: Door) {
    let mut stage = Stage::start(door);
    match door {
        Door::EnvoyGrpc => over_grpc(&mut stage),
        _ => over_http(&mut stage),
    }
}

fn over_http(stage: &mut Stage) {
    const VERDICTS: [&str; 12] = [
        "HTTP/1.1 301 Moved\r\nlocation: /public/x\r\n",
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\n",
        "HTTP/1.1 400 Bad Request\r\n",
        "HTTP/1.1 401 Unauthorized\r\nx-user-id: root\r\n",
        "HTTP/1.1 403 Forbidden\r\nx-user-id: root\r\n",
        "HTTP/1.1 404 Not Found\r\n",
        "HTTP/1.1 429 Too Many Requests\r\n",
        "HTTP/1.1 500 Internal Server Error\r\n",
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n",
        "HTTP/1.1 599 Odd\r\n",
        "garbage\r\n",
        "",
    ];
    let (alice, address, before) = (stage.bearer("alice"), stage.asked_at(), stage.app.count());
    stage.stop_usher();
    let listener = TcpListener::bind(address).unwrap();
    let answers = std::thread::spawn(move || {
        // Each verdict until a client comes to say that it is over.
        for verdict in VERDICTS {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut piece = [0; 8192];
                let count = stream.read(&mut piece).unwrap_or(0);
                if piece[..count].starts_with(b"next") {
                    break;
                }
                let end = match verdict {
                    "" => "",
                    _ => "content-length: 0\r\nconnection: close\r\n\r\n",
                };
                let _ = stream.write_all(format!("{verdict}{end}").as_bytes());
            }
        }
    });
    for verdict in VERDICTS {
        let reply = stage.ask("GET", "/x", &alice);
        let status = reply.map_or(0, |reply| reply.status);
        assert!(
            status == 0 || status >= 300,
            "{:?}: {status} after {verdict:?}",
            stage.door
        );
        Client::connect(address).send("next");
    }
    answers.join().unwrap();
    assert_eq!(stage.app.count(), before, "{:?}", stage.door);
}

type Verdict = Result<CheckResponse, Status>;

/// Answers every question with the verdict that is there.
struct Odd(&'static Mutex<Verdict>);

#[tonic::async_trait]
impl Authorization for Odd {
    async fn check(
        &self,
        _: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, Status> {
        self.0.lock().unwrap().clone().map(tonic::Response::new)
    }
}

fn said(code: Code, http: Option<HttpResponse>) -> Verdict {
    Ok(CheckResponse {
        status: Some(rpc::Status {
            code: code.into(),
            ..rpc::Status::default()
        }),
        http_response: http,
        ..CheckResponse::default()
    })
}

fn denied(status: i32) -> Option<HttpResponse> {
    Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
        status: Some(HttpStatus { code: status }),
        ..DeniedHttpResponse::default()
    }))
}

/// What Envoy may hear, and the status that its client gets.
fn verdicts() -> Vec<(Verdict, u16)> {
    let yes = || Some(HttpResponse::OkResponse(OkHttpResponse::default()));
    let mut verdicts = vec![
        (said(Code::InvalidArgument, denied(400)), 400),
        (said(Code::Unauthenticated, denied(401)), 401),
        (said(Code::PermissionDenied, denied(403)), 403),
        (said(Code::ResourceExhausted, denied(429)), 429),
        (said(Code::Internal, denied(500)), 500),
        (said(Code::Unavailable, denied(503)), 503),
        // A code alone, and one that its own message contradicts.
        (said(Code::PermissionDenied, None), 403),
        (said(Code::Unauthenticated, yes()), 403),
    ];
    for code in [
        Code::Unavailable,
        Code::PermissionDenied,
        Code::Unknown,
        Code::Ok,
    ] {
        // Even a status of the call that says OK, and brings no message.
        verdicts.push((Err(Status::new(code, "odd")), 503));
    }
    verdicts
}

fn over_grpc(stage: &mut Stage) {
    let (alice, address, before) = (stage.bearer("alice"), stage.asked_at(), stage.app.count());
    stage.stop_usher();
    let verdict: &'static Mutex<Verdict> = Box::leak(Box::new(Mutex::new(Err(Status::ok("")))));
    let stop = serve(address, verdict);
    for (odd, status) in verdicts() {
        let what = format!("{odd:?}");
        *verdict.lock().unwrap() = odd;
        let reply = stage.get("/x", &alice);
        assert_eq!(reply.status, status, "{what}");
    }
    assert_eq!(stage.app.count(), before);
    // So that nothing of this is because nobody was reached.
    *verdict.lock().unwrap() = said(Code::Ok, None);
    assert_eq!(stage.get("/x", &alice).status, 200);
    assert_eq!(stage.app.count(), before + 1);
    drop(stop);
}

/// Serves until what it returns is dropped.
fn serve(address: SocketAddr, verdict: &'static Mutex<Verdict>) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind(address));
    let listener = listener.unwrap();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(AuthorizationServer::new(Odd(verdict)));
            let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            // Envoy leaves when its test ends.
            tokio::spawn(async move { drop(served.await) });
        }
    });
    runtime
}
