//! The status page of a running stack in a real browser: what it shows, how soon, what a keyboard and a narrow screen make
//! of it. Pictures stay in `target/tmp/page`. Needs Debian's package `chromium`, which `ops/setup --tests` installs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use test_support::browser::Browser;
use test_support::load::Load;

use crate::{NEAR_AND_FAR, world};

const PATIENCE: Duration = Duration::from_secs(15);

/// Whether the card of a region has a state.
fn card(region: &str, state: &str) -> String {
    format!("document.querySelector('[data-region={region}]')?.dataset.state === '{state}'")
}

/// What the window's right side cuts off. That a box can be scrolled to it does not help who cannot see that it can.
const CUT_OFF: &str = "[...document.querySelectorAll('body *')] \
                       .filter((e) => e.getBoundingClientRect().right > innerWidth + 1) \
                       .map((e) => e.outerHTML.slice(0, 90))";

fn pictures() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

#[tokio::test]
async fn a_browser_shows_the_state_of_the_world_and_takes_orders() -> anyhow::Result<()> {
    let world = world(NEAR_AND_FAR);
    let load = Load::start(&world, 20, &[]).await?;
    let folder = pictures();
    let mut page = Browser::start().await?;
    page.look(1280, 900, "light").await?;
    page.open(world.endpoint("/edge/admin")).await?;
    for region in ["us-east", "eu-west"] {
        page.until(&card(region, "up"), PATIENCE).await?;
    }
    page.until(
        "document.querySelectorAll('#decisions tbody tr').length >= 20",
        PATIENCE,
    )
    .await?;
    page.until(
        "document.querySelector('#functions td')?.textContent.length === 36",
        PATIENCE,
    )
    .await?;
    page.until(
        "document.querySelectorAll('polyline').length === 2",
        PATIENCE,
    )
    .await?;
    assert_eq!(
        page.eval("document.getElementById('summary').textContent")
            .await?,
        "All 2 regions are up."
    );
    page.picture(&folder.join("calm.png"), true).await?;

    // A decision, by keyboard alone.
    page.eval("document.querySelector('#decisions button.id').focus()")
        .await?;
    page.press("Enter").await?;
    page.until(
        "document.getElementById('why-body').textContent.includes('the same inputs: the same')",
        PATIENCE,
    )
    .await?;
    page.picture(&folder.join("why.png"), false).await?;
    page.press("Escape").await?;
    page.until("!document.getElementById('why').open", PATIENCE)
        .await?;

    orders(&mut page, world.endpoint("/edge/admin_token"), &folder).await?;

    // Measured from before the command that kills.
    let begun = Instant::now();
    world.local(&["kill", "us-east"])?;
    page.until(&card("us-east", "down"), PATIENCE).await?;
    let took = begun.elapsed();
    println!("a killed region was red after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    let colour = page
        .eval("getComputedStyle(document.querySelector('[data-region=us-east] .state')).color")
        .await?;
    assert_eq!(colour, "rgb(192, 33, 43)");
    let words = "document.querySelector('[data-region=us-east] .state').textContent";
    assert_eq!(page.eval(words).await?, "down", "not by colour alone");
    page.until(
        "document.getElementById('summary').textContent.startsWith('us-east is down')",
        PATIENCE,
    )
    .await?;
    page.until("document.title.startsWith('✕ us-east')", PATIENCE)
        .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    page.picture(&folder.join("down.png"), true).await?;

    page.look(1280, 900, "dark").await?;
    page.picture(&folder.join("dark.png"), true).await?;
    for theme in ["light", "dark"] {
        page.look(360, 780, theme).await?;
        let width = page.eval("document.documentElement.scrollWidth").await?;
        assert_eq!(width, json!(360), "nothing hangs over");
        let lines = "[...document.querySelectorAll('#functions td[data-label]')] \
                     .filter((cell) => getComputedStyle(cell).display === 'grid').length >= 3";
        assert_eq!(page.eval(lines).await?, json!(true), "a line for each cell");
        assert_eq!(page.eval(CUT_OFF).await?, json!([]), "nothing is cut off");
        page.picture(&folder.join(format!("narrow-{theme}.png")), true)
            .await?;
    }
    assert!(page.complaints.is_empty(), "{:?}", page.complaints);
    load.end().await;
    Ok(())
}

/// Drains with the wrong token, with the right one, once too often, and takes it back.
async fn orders(page: &mut Browser, token: &str, folder: &std::path::Path) -> anyhow::Result<()> {
    let refusal = "document.getElementById('order-refusal').textContent";
    page.eval("document.querySelector('[data-region=us-east] button').focus()")
        .await?;
    page.press("Enter").await?;
    page.until("document.activeElement.id === 'order-token'", PATIENCE)
        .await?;
    page.type_text("wrong").await?;
    page.press("Enter").await?;
    page.until(
        &format!("{refusal} === 'That is not the admin token.'"),
        PATIENCE,
    )
    .await?;
    page.type_text(token).await?;
    page.press("Enter").await?;
    page.until(&card("us-east", "draining"), PATIENCE).await?;
    page.until("!document.getElementById('order').open", PATIENCE)
        .await?;

    // The token is remembered; the guard says no to the last one, and force is a choice of its own.
    page.eval("document.querySelector('[data-region=eu-west] button').click()")
        .await?;
    page.eval("document.getElementById('order-do').click()")
        .await?;
    page.until(&format!("{refusal}.includes('no other region')"), PATIENCE)
        .await?;
    page.until("document.activeElement.id === 'order-force'", PATIENCE)
        .await?;
    page.picture(&folder.join("refused.png"), false).await?;
    page.press("Escape").await?;
    let kept = page.eval("location.href + JSON.stringify(localStorage) + document.cookie + document.body.outerHTML").await?;
    assert!(
        !kept.to_string().contains(token),
        "the token is nowhere in the page"
    );

    page.eval("document.querySelector('[data-region=us-east] button').click()")
        .await?;
    page.eval("document.getElementById('order-do').click()")
        .await?;
    page.until(&card("us-east", "draining").replace("===", "!=="), PATIENCE)
        .await?;
    Ok(())
}
