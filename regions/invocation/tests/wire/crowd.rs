//! Many calls at once on several threads: none is lost, none is left behind, whatever callers and workers do.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Version};
use tokio::task::JoinSet;

use crate::client::{Connection, Reply, call, full};
use crate::worker::{Puller, Work};
use crate::world::{Choices, World, until};

const CALLS: usize = 300;

/// What goes wrong with a call, by its number; the number is the call's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    Late,
    BreaksBeforeHead,
    BreaksInBody,
    CallerLeaves,
}

fn fate(number: usize) -> Fate {
    match number % 10 {
        0 => Fate::Late,
        1 => Fate::BreaksBeforeHead,
        2 => Fate::BreaksInBody,
        3 => Fate::CallerLeaves,
        _ => Fate::Answered,
    }
}

async fn caller(world: Arc<World>, number: usize) {
    let version = match number % 3 {
        0 => Version::HTTP_11,
        _ => Version::HTTP_2,
    };
    let mut connection = Connection::open(world.front, version).await.unwrap();
    let sent = connection.send(call(Method::POST, "/", full(number.to_string())));
    if fate(number) == Fate::CallerLeaves {
        let patience = Duration::from_millis(u64::try_from(number).unwrap());
        assert!(tokio::time::timeout(patience, sent).await.is_err());
        return;
    }
    let response = sent.await.unwrap();
    let status = response.status().as_u16();
    let reply = Reply::read(response).await;
    match fate(number) {
        Fate::Answered | Fate::Late => {
            let reply = reply.unwrap();
            assert_eq!((status, reply.text()), (200, number.to_string()));
        }
        Fate::BreaksBeforeHead => assert_eq!(status, 502),
        // A reset may overtake the head that was sent before it.
        Fate::BreaksInBody | Fate::CallerLeaves => {
            assert!(
                status == 502 || reply.is_err(),
                "{status}: never a clean end"
            );
        }
    }
}

async fn serve(work: Work) {
    let body = work.inline().to_vec();
    let number: usize = std::str::from_utf8(&body).unwrap().parse().unwrap();
    if fate(number) == Fate::Late {
        let answer = [crate::worker::head(200, &[]), body].concat();
        assert_eq!(work.bring(full(answer)).await.unwrap().status, 200);
    } else if let Ok(mut claimed) = work.claim().await {
        match fate(number) {
            Fate::BreaksBeforeHead => claimed.break_off().await,
            Fate::CallerLeaves => assert!(claimed.caller_left().await),
            fate => {
                claimed.head(200, &[]).await;
                claimed.data(body).await;
                match fate {
                    Fate::BreaksInBody => claimed.break_off().await,
                    _ => claimed.finish().await.expect("the caller has everything"),
                }
            }
        }
    }
    work.ack().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn whatever_happens_every_call_ends_and_nothing_is_left() {
    let world = World::with(Choices {
        waiting: CALLS,
        ..Choices::default()
    })
    .await;
    let world = Arc::new(world);
    let puller = Puller::new(&world).await;
    let mut callers = JoinSet::new();
    for number in 0..CALLS {
        callers.spawn(caller(Arc::clone(&world), number));
    }
    // Calls whose callers left while queued are purged or refused, so the workers may see fewer than there are.
    let mut workers = JoinSet::new();
    let pull = async {
        loop {
            workers.spawn(serve(puller.next().await));
        }
    };
    let all = async {
        while let Some(ended) = callers.join_next().await {
            ended.unwrap();
        }
    };
    tokio::select! {
        () = pull => {}
        all = tokio::time::timeout(Duration::from_secs(30), all) => all.expect("in time"),
    }
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
    for line in [
        "frontdoor_invocation_queued_calls 0",
        "frontdoor_invocation_running_calls 0",
    ] {
        until(line, || async { world.metric(line).await.then_some(()) }).await;
    }
}
