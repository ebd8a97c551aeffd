//! The supervisor's control port and its client: how `down`, `status`, `kill`, `start` and `wan` reach a running stack.
//!
//! HTTP on the stack's own loopback block. Whoever can read `control.json` in the state folder (its owner) has the
//! token; nobody else on the machine can stop a stack or signal its processes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use frontdoor_protocol::names::RegionName;
use frontdoor_protocol::span::Span;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::folder::{CONTROL, Folder};
use super::http as client;
use super::parts::{PartId, UnknownTarget};
use super::process;
use super::supervisor::{Answer, Order};
use super::view::{StackView, State as PartState};
use super::wan::MAX_DELAY;

/// Longer than any order takes to be answered.
const PATIENCE: Duration = Duration::from_secs(100);
/// How long a stack may take to stop: the sum of the stop steps, and some air.
const DOWN: Duration = Duration::from_secs(40);

/// What `control.json` says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Access {
    /// Base URL of the control port.
    pub(super) url: String,
    /// Who has it may do everything.
    pub(super) token: String,
    /// The supervisor.
    pub(super) pid: u32,
}

/// The server's side.
#[derive(Clone)]
pub(super) struct Control {
    /// The token's digest, so that comparing takes the same time for every wrong token.
    pub(super) token: [u8; 32],
    pub(super) regions: Arc<[RegionName]>,
    /// The delay lines' admin port.
    pub(super) wan: String,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) view: watch::Receiver<StackView>,
    /// Stops the stack.
    pub(super) down: CancellationToken,
}

#[derive(Serialize, Deserialize)]
struct Target {
    target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
}

/// A running stack, as the other commands see it.
pub(super) struct Client {
    access: Access,
    folder: Folder,
}

// === impl Control ===

impl Control {
    /// The routes, all behind the token.
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/status", get(status))
            .route("/down", post(down))
            .route("/kill", post(kill))
            .route("/start", post(start))
            .route("/upgrade", post(upgrade))
            .route("/wan", put(set_wan))
            .layer(from_fn_with_state(self.clone(), authorize))
            .with_state(self)
    }

    fn parts(&self, target: &str) -> Result<Vec<PartId>, UnknownTarget> {
        PartId::targets(target, &self.regions)
    }

    async fn order(&self, order: impl FnOnce(Answer) -> Order) -> Response {
        let (answer, answered) = oneshot::channel();
        let gone = || refuse(StatusCode::SERVICE_UNAVAILABLE, "the stack is stopping");
        if self.orders.send(order(answer)).await.is_err() {
            return gone();
        }
        match answered.await {
            Ok(Ok(())) => Json(json!({})).into_response(),
            Ok(Err(reason)) => refuse(StatusCode::CONFLICT, &reason),
            Err(_) => gone(),
        }
    }
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "error": reason }))).into_response()
}

async fn authorize(State(control): State<Control>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let given = given
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    if token_digest(given) == control.token {
        next.run(request).await
    } else {
        refuse(
            StatusCode::UNAUTHORIZED,
            "the token is wrong: it is in control.json",
        )
    }
}

async fn status(State(control): State<Control>) -> Json<StackView> {
    Json(control.view.borrow().clone())
}

async fn down(State(control): State<Control>) -> StatusCode {
    control.down.cancel();
    StatusCode::ACCEPTED
}

async fn kill(State(control): State<Control>, Json(asked): Json<Target>) -> Response {
    let name = asked.signal.as_deref().unwrap_or("KILL");
    let Some(signal) = process::signal(name) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            &format!("`{name}` is not a signal: say KILL, TERM, INT, STOP, CONT, …"),
        );
    };
    match control.parts(&asked.target) {
        Ok(parts) => {
            control
                .order(|answer| Order::Signal(parts, signal, answer))
                .await
        }
        Err(unknown) => refuse(StatusCode::NOT_FOUND, &unknown.to_string()),
    }
}

async fn start(State(control): State<Control>, Json(asked): Json<Target>) -> Response {
    match control.parts(&asked.target) {
        Ok(parts) => control.order(|answer| Order::Start(parts, answer)).await,
        Err(unknown) => refuse(StatusCode::NOT_FOUND, &unknown.to_string()),
    }
}

async fn upgrade(State(control): State<Control>) -> Response {
    control.order(Order::Upgrade).await
}

/// Changes delays on the running lines and has them remembered. While the lines are dead they are remembered only.
async fn set_wan(
    State(control): State<Control>,
    Json(changes): Json<BTreeMap<RegionName, Span>>,
) -> Response {
    for (name, delay) in &changes {
        if !control.regions.contains(name) {
            return refuse(
                StatusCode::NOT_FOUND,
                &format!("there is no region `{name}`"),
            );
        }
        if delay.0 > MAX_DELAY {
            return refuse(
                StatusCode::BAD_REQUEST,
                &format!("a delay is at most {}", Span(MAX_DELAY)),
            );
        }
    }
    let dead = control
        .view
        .borrow()
        .part(&PartId::Wan)
        .is_none_or(|part| part.state == PartState::Dead);
    if !dead {
        let body = serde_json::to_value(&changes).unwrap_or_default();
        match client::send("PUT", &control.wan, None, Some(&body)).await {
            Ok((StatusCode::OK, _)) => {}
            Ok((status, text)) => {
                let text = String::from_utf8_lossy(&text);
                return refuse(
                    StatusCode::BAD_GATEWAY,
                    &format!("the delay lines answer {status}: {text}"),
                );
            }
            Err(error) => {
                return refuse(
                    StatusCode::BAD_GATEWAY,
                    &format!("the delay lines do not answer: {error:#}"),
                );
            }
        }
    }
    let delays = changes
        .into_iter()
        .map(|(name, delay)| (name, delay.0))
        .collect();
    control.order(|answer| Order::Delays(delays, answer)).await
}

/// What a token is compared by.
pub(super) fn token_digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

// === impl Client ===

impl Client {
    /// Finds the stack of a folder.
    pub(super) fn open(folder: &Folder) -> anyhow::Result<Self> {
        let dir = folder.path("");
        if !folder.in_use()? {
            bail!(
                "no stack is running in {}: start one with `frontdoor local up`",
                dir.display()
            );
        }
        let access = folder.read(CONTROL)?;
        let access = access.with_context(|| {
            format!(
                "the stack in {} is just starting or stopping",
                dir.display()
            )
        })?;
        Ok(Self {
            access,
            folder: folder.clone(),
        })
    }

    /// The stack's present state.
    pub(super) async fn status(&self) -> anyhow::Result<StackView> {
        let answer = self.ask("GET", "/status", None).await?;
        serde_json::from_value(answer)
            .context("the supervisor answers something else than a status")
    }

    /// Sends a signal to a target.
    pub(super) async fn kill(&self, target: &str, signal: &str) -> anyhow::Result<()> {
        let body = json!({"target": target, "signal": signal});
        self.ask("POST", "/kill", Some(&body)).await.map(drop)
    }

    /// Starts a target and waits until it is ready.
    pub(super) async fn start(&self, target: &str) -> anyhow::Result<()> {
        self.ask("POST", "/start", Some(&json!({"target": target})))
            .await
            .map(drop)
    }

    /// Has the edge replaced and waits until the new process serves.
    pub(super) async fn upgrade(&self) -> anyhow::Result<()> {
        self.ask("POST", "/upgrade", None).await.map(drop)
    }

    /// Changes delays.
    pub(super) async fn wan(&self, changes: &[(RegionName, Duration)]) -> anyhow::Result<()> {
        let changes: BTreeMap<_, _> = changes
            .iter()
            .map(|(name, delay)| (name.clone(), Span(*delay)))
            .collect();
        self.ask("PUT", "/wan", Some(&serde_json::to_value(changes)?))
            .await
            .map(drop)
    }

    /// Stops the stack and waits until it is gone.
    pub(super) async fn down(&self) -> anyhow::Result<()> {
        self.ask("POST", "/down", None).await?;
        let limit = Instant::now() + DOWN;
        while self.folder.in_use()? {
            if Instant::now() > limit {
                bail!(
                    "the supervisor (process {}) has not stopped within {DOWN:?}",
                    self.access.pid
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.access.url);
        let token = Some(self.access.token.as_str());
        let (status, answer) = client::send_within(PATIENCE, method, &url, token, body)
            .await
            .with_context(|| {
                format!(
                    "the supervisor (process {}) does not answer",
                    self.access.pid
                )
            })?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        match answer["error"].as_str() {
            None if status.is_success() => Ok(answer),
            Some(reason) => bail!("{reason}"),
            None => bail!("the supervisor answers {status}"),
        }
    }
}
