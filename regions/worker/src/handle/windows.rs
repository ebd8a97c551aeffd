//! Calls through the API of a service that does not speak of claims: its caller waits in windows, and the service expects a
//! word of the worker's before each is over.
//!
//! So the worker says 202 when a window ends and goes on; from the first on it hears questions for the answer, each of which
//! opens a window anew. When nobody asks any more, nobody wants the answer, and the call ends.

use std::time::Duration;

use async_nats::{Client, Subscriber};
use bytes::Bytes;
use frontdoor_protocol::attach::ResponseHead;
use frontdoor_protocol::subject;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Ended, Handler, NATS_TIMEOUT, answer, compat, now_ms};
use crate::item::{Item, Question, Service};
use crate::record::Record;
use crate::settle::Outcome;

/// A caller who was told 202 asks again within twice the window, and no sooner is given up than this (NVCF's rule).
const ASKED_AGAIN: Duration = Duration::from_secs(10);
/// The same if the 202 did not reach the service (NVCF's).
const UNTOLD: Duration = Duration::from_secs(5);

/// Whether the service of a call expects a word when its caller's time is over. That of a whole request is not known before
/// the request is there, and then its body may still be on its way through the caller's connection.
pub(super) fn are_kept(item: &Item) -> bool {
    !item.claim && !item.whole && compat::wanted(&item.headers)
}

// === impl Handler ===

impl Handler {
    /// Call, and attach with a 202 for each window that ends before the answer is there, then with the answer.
    pub(super) async fn in_windows(
        &self,
        mut item: Item,
        client: Client,
        record: &Record,
    ) -> Ended {
        let id = item.id;
        let mut service = item.service.clone();
        let (mut window, mut left) = (item.window(), item.window_left(now_ms()));
        let mut call = Box::pin(async move {
            let answer = self.call(&mut item, record).await;
            (item, answer)
        });
        let mut answered = None;
        let mut questions = None;
        loop {
            if answered.is_none() {
                answered = tokio::time::timeout(left, &mut call).await.ok();
            }
            if let Some((mut item, answer)) = answered.take() {
                item.service = service;
                return self.bring(item, answer).await;
            }
            // Heard before the caller can know of it: a question must not come to nobody.
            if questions.is_none() {
                questions = hear(&client, subject::polling(id)).await;
            }
            let patience = match self.tell_progress(&service).await {
                true => ASKED_AGAIN.max(window * 2),
                false => UNTOLD,
            };
            let asked = tokio::time::timeout(patience, next(&client, questions.as_mut()));
            let mut asked = std::pin::pin!(asked);
            let asked = loop {
                tokio::select! {
                    asked = &mut asked => break asked,
                    ready = &mut call, if answered.is_none() => answered = Some(ready),
                }
            };
            let Ok(question) = asked else {
                return (Outcome::CallerGone, None);
            };
            service = question.service;
            (window, left) = (question.window, question.window);
        }
    }

    /// Says 202; whether that came to the service.
    async fn tell_progress(&self, service: &Service) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        let head = ResponseHead {
            status: StatusCode::ACCEPTED,
            headers,
        };
        let length = u64::try_from(head.encode().len()).ok();
        let upload = self.attach.late(service, length);
        match answer::whole(&head, Bytes::new(), upload).await {
            Ok(tail) => tail.handed_over().await,
            Err(_) => false,
        }
    }
}

/// Hears the questions for one call's answer; `None` if NATS does not let us.
async fn hear(client: &Client, subject: String) -> Option<Subscriber> {
    let heard = tokio::time::timeout(NATS_TIMEOUT, async {
        let mut heard = client.subscribe(subject.clone()).await.ok()?;
        // The server takes in order what we send: when our own word is back it knows that we listen.
        client.publish(subject, Bytes::new()).await.ok()?;
        heard.next().await?;
        Some(heard)
    });
    heard.await.ok().flatten()
}

/// The next question, which is said to have come. Without ears none ever comes.
async fn next(client: &Client, questions: Option<&mut Subscriber>) -> Question {
    if let Some(questions) = questions {
        while let Some(message) = questions.next().await {
            match Question::decode(&message.payload) {
                Ok(question) => {
                    if let Some(reply) = message.reply {
                        let said = client.publish(reply, Bytes::new());
                        // Whoever asked and does not hear it asks again.
                        let _ = tokio::time::timeout(NATS_TIMEOUT, said).await;
                    }
                    return question;
                }
                Err(error) => tracing::warn!(%error, "a question cannot be answered"),
            }
        }
    }
    std::future::pending().await
}
