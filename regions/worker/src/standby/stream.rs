//! One standing stream: opened, waited on, taken back, or turned into a call.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use frontdoor_protocol::attach::handover::{self, Handover};
use http_body_util::BodyExt;

use super::{Place, Standby};
use crate::attach::{Standing, Upload};
use crate::item::Item;

/// How long the service may take to see that a stream is taken back, and to hand over what it announced.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How a stream's standing ended.
pub(super) enum Stood {
    /// It got a call. Still counted as standing.
    Handed(Box<Handed>),
    /// It was one too many. Not counted any more.
    TakenBack,
    /// The service is gone, or has no use for it. Still counted.
    Broken,
}

/// A call that a stream got.
pub(crate) struct Handed {
    pub(crate) item: Item,
    pub(crate) upload: Upload,
}

// === impl Standby ===

impl Standby {
    /// Stands once.
    pub(super) async fn one(&self, place: &Place) -> Stood {
        let attach = &self.handler.attach;
        let (pipe, standing) = attach.stand(&place.service, &self.version, &self.worker);
        let mut standing = std::pin::pin!(standing);
        let answer = loop {
            let trim = place.trim.notified();
            tokio::select! {
                biased;
                answer = &mut standing => break answer,
                () = trim => {
                    if place.leave_above(self.wanted(place)) {
                        let _ = pipe.send(given_back()).await;
                        let _ = pipe.end().await;
                        // A call may have crossed it. Read to its end: a reset could overtake what was just said, and
                        // the service would have to take the call for begun.
                        let end = async {
                            if let Some(Standing { mut answer }) = standing.await {
                                while let Some(Ok(_)) = answer.frame().await {}
                            }
                        };
                        let _ = tokio::time::timeout(TIMEOUT, end).await;
                        return Stood::TakenBack;
                    }
                }
            }
        };
        let Some(Standing { mut answer }) = answer else {
            return Stood::Broken;
        };
        let read = async {
            let mut bytes = BytesMut::new();
            loop {
                let data = answer.frame().await?.ok()?.into_data().ok()?;
                let whole = if bytes.is_empty() {
                    data
                } else {
                    bytes.extend_from_slice(&data);
                    bytes.split().freeze()
                };
                match Handover::decode(&whole).ok()? {
                    Some(handed) => return item(&handed, place),
                    None => bytes = BytesMut::from(whole),
                }
            }
        };
        let item = tokio::time::timeout(TIMEOUT, read).await.ok().flatten();
        let upload = Upload::claimed(pipe, answer);
        match item {
            Some(item) => Stood::Handed(Box::new(Handed { item, upload })),
            None => {
                tracing::warn!("a call that was handed over cannot be read, and is given back");
                give_back(upload).await;
                Stood::Broken
            }
        }
    }
}

fn item(handed: &Handover<'_>, place: &Place) -> Option<Item> {
    Item::handed(handed.item, handed.deadline_ms, &place.service).ok()
}

// === impl Handed ===

impl Handed {
    /// Says that it was not run.
    pub(crate) async fn give_back(self) {
        give_back(self.upload).await;
    }
}

async fn give_back(mut upload: Upload) {
    if upload.send(given_back()).await.is_ok()
        && let Ok(tail) = upload.finish().await
    {
        let _ = tokio::time::timeout(TIMEOUT, tail.handed_over()).await;
    }
}

fn given_back() -> http_body::Frame<Bytes> {
    http_body::Frame::data(handover::returned().encode().into())
}
