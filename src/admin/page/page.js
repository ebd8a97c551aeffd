// The status page. One picture comes each second, or at once when something changed; the page is brought in line with it
// in place, so that focus and reading position stay. No library, no markup from data: only text nodes.
"use strict";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const STATES = { up: "up", ramp: "returning", suspect: "suspect", down: "down", draining: "draining" };
const FAULTS = {
  "unsure": "no answer, and nobody to compare with",
  "region-down": "gone, and not for us alone",
  "my-path-down": "others reach it, this edge does not",
  "their-path-down": "this edge reaches it, most others do not",
  "queue-down": "answers, but its queue takes no calls",
  "workers-down": "answers, but no worker takes calls",
  "grey": "answers checks, but calls fail",
  "function-down": "a version that had workers has none",
  "returning": "answers again, and has to prove itself",
  "bus-down": "answers, but its reports do not arrive",
};

let token = "";
let picture = null;
let heard = 0;
let done = { words: "", until: 0 };

function make(name, props = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function draw(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function shape(name) {
  const svg = draw("svg", { class: "shape", "aria-hidden": "true" });
  svg.append(draw("use", { href: `#shape-${name}` }));
  return svg;
}

// Writes only what differs: screen readers and selections are left alone.
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const count = (n) => (n === null || n === undefined ? "–" : n.toLocaleString("en"));
const percent = (share) => `${Math.round(share * 100)} %`;
const millis = (ms) => (ms === null || ms === undefined ? "–" : ms < 10 ? ms.toFixed(1) : Math.round(ms).toString());
const state = (r) => (r.health === "down" ? "down" : r.draining ? "draining" : r.sick && r.health !== "suspect" ? "suspect" : r.health);

// === regions ===

const cards = new Map();

function card(name) {
  const part = {};
  const line = (label) => {
    const rect = draw("rect", { x: 0, y: 0, width: 0, height: 1 });
    const svg = draw("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" });
    svg.append(rect);
    const words = make("dd", { class: "words" });
    return { nodes: [make("dt", {}, label), make("dd", { class: "meter" }, svg), words], rect, words };
  };
  part.use = draw("use", { href: "#shape-up" });
  const icon = draw("svg", { class: "shape", "aria-hidden": "true" });
  icon.append(part.use);
  part.word = make("span");
  part.faults = make("p", { class: "faults" });
  part.plot = draw("svg", { viewBox: "0 0 59 30", preserveAspectRatio: "none", role: "img" });
  part.rtt = make("span");
  part.share = line("traffic");
  part.room = line("slots");
  part.queue = make("dd", { class: "words wide" });
  part.more = make("p", { class: "more" });
  part.drain = make("button", { type: "button", onclick: () => order(name, part.drain.dataset.verb) }, "");
  part.weight = make("button", { type: "button", class: "quiet", onclick: () => order(name, "weight") }, "");
  const title = `region-${name}`;
  part.root = make("article", { "aria-labelledby": title, "data-region": name },
    make("header", {}, make("h3", { id: title }, name), make("p", { class: "state" }, icon, part.word)),
    part.faults,
    make("div", { class: "spark" }, part.plot, make("p", { class: "figure" }, part.rtt, make("small", {}, " ms"))),
    make("dl", {}, ...part.share.nodes, ...part.room.nodes, make("dt", {}, "calls"), part.queue),
    part.more,
    make("div", { class: "buttons" }, part.drain, part.weight));
  return part;
}

function meter(line, share, words) {
  line.rect.setAttribute("width", Math.max(0, Math.min(1, share)).toFixed(3));
  say(line.words, words);
}

function plot(svg, values) {
  const known = values.filter((v) => v !== null);
  const top = Math.max(1, ...known) * 1.15;
  const lines = [draw("line", { x1: 0, x2: 59, y1: 29.5, y2: 29.5 })];
  let points = [];
  const end = () => {
    if (points.length === 1) points.push(points[0].replace(/^[\d.]+/, (x) => String(Number(x) + 0.6)));
    if (points.length) lines.push(draw("polyline", { points: points.join(" ") }));
    points = [];
  };
  values.forEach((value, index) => {
    if (value === null) end();
    else points.push(`${60 - values.length + index},${(29 - (value / top) * 28).toFixed(2)}`);
  });
  end();
  svg.replaceChildren(...lines);
  const words = known.length ? `round trip over the last minute: ${millis(Math.min(...known))} to ${millis(Math.max(...known))} ms` : "no round trip measured";
  svg.setAttribute("aria-label", words);
}

function showRegion(part, r, orders) {
  const now = state(r);
  if (part.root.dataset.state !== now) {
    part.root.dataset.state = now;
    part.use.setAttribute("href", `#shape-${now}`);
  }
  say(part.word, (now === "suspect" && r.sick ? "sick" : STATES[now]) + (now === "down" && r.draining ? ", draining" : ""));
  const fault = r.fault === "none" ? "" : r.fault;
  const words = fault ? ` ${FAULTS[fault] || ""}` : now === "ramp" ? `takes ${percent(r.ramp)} of its calls on the way back` : now === "draining" ? "takes no new calls" : "";
  if (part.faults.textContent !== fault + words) {
    part.faults.replaceChildren(...(fault ? [make("strong", {}, fault)] : []), words);
  }
  plot(part.plot, r.rtt);
  say(part.rtt, r.health === "down" ? "–" : millis(r.rtt_ms));
  meter(part.share, r.share, `${percent(r.share)} · ${r.rate < 10 ? r.rate.toFixed(1) : Math.round(r.rate)}/s`);
  const used = r.slots ? (r.slots - r.free) / r.slots : 0;
  meter(part.room, used, r.slots === null ? "not told" : `${count(r.free)} of ${count(r.slots)} free`);
  const report = r.report;
  say(part.queue, `${count(r.in_flight)} from here` + (report ? ` · ${count(report.running)} run · ${count(report.queued)} wait` : ""));
  const well = r.endpoints.filter((e) => e.health === "up").length;
  const seen = r.others.well + r.others.unwell;
  say(part.more, [
    `${well} of ${r.endpoints.length} addresses up`,
    report ? `told ${report.age_ms < 1500 ? "just now" : `${Math.round(report.age_ms / 1000)} s ago`}` : "tells nothing",
    ...(seen ? [`${r.others.well} of ${seen} other edges see it well`] : []),
    ...(r.canary && r.canary !== "well" ? [`canary: ${r.canary}`] : []),
  ].join(" · "));
  part.drain.dataset.verb = r.draining ? "undrain" : "drain";
  say(part.drain, r.draining ? "Undrain" : "Drain");
  part.drain.setAttribute("aria-label", `${part.drain.textContent} ${r.name}`);
  say(part.weight, `Weight ${r.weight}`);
  part.weight.setAttribute("aria-label", `Change the weight of ${r.name}, now ${r.weight}`);
  part.drain.hidden = part.weight.hidden = !orders;
}

function showRegions({ regions, orders }) {
  for (const r of regions) {
    if (!cards.has(r.name)) {
      const part = card(r.name);
      cards.set(r.name, part);
      $("regions").append(part.root);
    }
    showRegion(cards.get(r.name), r, orders);
  }
  say($("token-state"), orders ? (done.until > performance.now() ? done.words : token ? "The admin token is in this page's memory." : "") : "This edge takes no orders: no [admin] token_file.");
  $("token-forget").hidden = !token;
}

function summarise({ regions, missing }) {
  const bad = regions.filter((r) => state(r) === "down");
  const odd = regions.filter((r) => !["up", "down"].includes(state(r)) || (r.fault !== "none" && state(r) !== "down"));
  const name = (r) => `${r.name} is ${STATES[state(r)]}${r.fault === "none" ? "" : ` (${r.fault})`}`;
  const words = [...bad, ...odd].map(name);
  const said = missing.length ? `Takes no calls: ${missing.join(", ")}. ` : "";
  const rest = words.length ? `${words.join("; ")}.` : `All ${regions.length} regions are up.`;
  say($("summary"), said + rest);
  $("summary").toggleAttribute("data-bad", bad.length > 0 || missing.length > 0);
  const title = bad.length ? `✕ ${bad.map((r) => r.name).join(", ")} · frontdoor` : "frontdoor edge";
  if (document.title !== title) document.title = title;
}

// === functions ===

const cellText = (p) => (p.slots ? `${count(p.free)} of ${count(p.slots)} free` : "cold");

function showFunctions({ functions, regions }) {
  const { known, shown } = functions;
  say($("functions-count"), known > shown.length ? `the ${shown.length} busiest of ${count(known)}` : `${count(known)}, and where they are warm`);
  const head = ["function", "in flight", ...regions.map((r) => r.name)];
  const [thead, tbody] = [$("functions").tHead, $("functions").tBodies[0]];
  if (thead.dataset.of !== head.join(" ")) {
    thead.dataset.of = head.join(" ");
    thead.replaceChildren(make("tr", {}, ...head.map((h, i) => make("th", { scope: "col", class: i === 1 ? "number" : "" }, h))));
  }
  const rows = shown.map((f) => {
    // On a narrow screen each cell is a line of its own and says whose it is.
    const cells = regions.map(({ name }, index) => {
      const p = f.places.find((place) => place.region === index);
      if (!p) return make("td", { class: "none", "data-label": name }, "–");
      const detail = p.slots ? [`${count(p.workers)} worker${p.workers === 1 ? "" : "s"}`] : ["no worker"];
      if (p.queued) detail.push(`${count(p.queued)} wait`);
      if (p.service_ms) detail.push(`${count(p.service_ms)} ms`);
      if (p.lesson) detail.push(p.lesson);
      return make("td", { class: p.slots ? "" : "cold", "data-label": name }, cellText(p), make("small", { class: "dim" }, detail.join(" · ")));
    });
    return make("tr", {}, make("td", {}, make("code", { title: f.id }, f.id)), make("td", { class: "number", "data-label": head[1] }, count(f.in_flight)), ...cells);
  });
  if (!rows.length) rows.push(make("tr", {}, make("td", { class: "empty", colspan: String(head.length) }, "No region has told of any function.")));
  tbody.replaceChildren(...rows);
}

// === decisions ===

const rows = new Map();

function row(d) {
  const at = new Date(d.at_ms);
  const bad = d.kept === "failed";
  const where = d.regions.length ? d.regions.join(" → ") : "nowhere";
  return make("tr", {},
    make("td", { class: "time" }, make("time", { datetime: at.toISOString() }, at.toLocaleTimeString("en-GB"))),
    make("td", { class: "id" }, make("button", { type: "button", class: "id", "aria-label": `Explain call ${d.id}`, onclick: () => explain(d.id) }, d.id)),
    make("td", { class: "where" }, where),
    make("td", { class: "why" }, d.reason),
    make("td", { class: bad ? "end bad" : "end" }, d.outcome, d.status ? ` ${d.status}` : "", d.kept === "moved" ? ", moved" : ""),
    make("td", { class: "number" }, millis(d.total_ms)));
}

function showDecisions({ decisions }) {
  const body = $("decisions").tBodies[0];
  const wanted = new Set(decisions.map((d) => d.id));
  for (const [id, node] of rows) {
    // What has the focus stays until it is left.
    if (!wanted.has(id) && !node.contains(document.activeElement)) {
      node.remove();
      rows.delete(id);
    }
  }
  body.querySelector(".empty")?.parentElement.remove();
  for (const d of [...decisions].reverse()) {
    if (rows.has(d.id)) continue;
    rows.set(d.id, row(d));
    body.prepend(rows.get(d.id));
  }
  if (!rows.size) body.append(make("tr", {}, make("td", { class: "empty", colspan: "6" }, "No call was kept yet.")));
}

async function explain(id) {
  const body = $("why-body");
  body.replaceChildren("…");
  if (!$("why").open) $("why").showModal();
  try {
    const answer = await fetch(`explain/${encodeURIComponent(id)}`);
    const told = await answer.json();
    body.replaceChildren(...(answer.ok ? explained(told) : [make("p", {}, told.detail || "The edge does not explain it.")]));
  } catch {
    body.replaceChildren(make("p", { class: "refusal" }, "The edge does not answer."));
  }
}

function explained({ call, tables }) {
  const first = call.first_byte_ms === null ? "no first byte" : `first byte after ${millis(call.first_byte_ms)} ms`;
  const nodes = [make("div", {},
    make("p", {}, make("code", {}, call.id)),
    make("p", {}, "function ", make("code", {}, call.function || "unknown"), call.version ? ", version " : "", call.version ? make("code", {}, call.version) : ""),
    make("p", {}, `${call.outcome}${call.status ? `, status ${call.status}` : ""}, ${first}, ${millis(call.total_ms)} ms in all${call.stop ? `; no further attempt: ${call.stop}` : ""}`))];
  call.decisions.forEach((choice, index) => nodes.push(decision(choice, tables[index], index)));
  return nodes;
}

function decision(choice, table, index) {
  const where = choice.region || "no region is left";
  const reason = choice.decision ? ` (${choice.decision.reason})` : "";
  const because = choice.because ? `, because the attempt before was ${choice.because}` : "";
  const title = make("h3", {}, `${index + 1}. ${where}${reason}${choice.taken ? "" : ", not taken"}`);
  const words = make("p", { class: "dim" }, `after ${millis(choice.after_ms)} ms${because}` + (choice.decision ? `; ${choice.decision.address}, epoch ${choice.decision.epoch}` : ""));
  if (!table) return make("section", {}, title, words, make("p", { class: "dim" }, "What it was made from was not kept."));
  const lines = table.regions.map(({ region, health, parts, excluded }) => make("tr", { class: region === choice.region ? "chosen" : "" },
    make("td", {}, region), make("td", {}, STATES[health] || health),
    ...[parts.rtt, parts.wait, parts.cold, parts.risk, parts.rtt + parts.wait + parts.cold + parts.risk].map((ms) => make("td", { class: "number" }, ms.toFixed(1))),
    make("td", {}, excluded || (region === choice.region ? "chosen" : ""))));
  const head = make("tr", {}, ...["region", "health", "way ms", "wait ms", "cold ms", "risk ms", "sum ms", "excluded"].map((h) => make("th", { scope: "col", class: h.endsWith("ms") ? "number" : "" }, h)));
  return make("section", {}, title, words,
    make("div", { class: "scroll", tabindex: "0" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines))),
    make("p", { class: table.agrees ? "dim" : "refusal" }, table.agrees ? "Decided again from the same inputs: the same." : "Decided again from the same inputs: another decision."));
}

// === orders ===

const asked = { region: "", verb: "" };

function order(region, verb) {
  Object.assign(asked, { region, verb });
  const r = picture.regions.find((other) => other.name === region);
  const texts = {
    drain: ["Drain", "New calls go to other regions; what runs there finishes. All edges follow."],
    undrain: ["Undrain", "Calls return along a ramp. All edges follow."],
    weight: ["Change the weight of", "Its share among regions that are about as near. All edges follow."],
  };
  say($("order-title"), `${texts[verb][0]} ${region}${verb === "weight" ? "" : "?"}`);
  say($("order-text"), texts[verb][1]);
  say($("order-do"), { drain: "Drain", undrain: "Undrain", weight: "Set the weight" }[verb]);
  $("order-weight-line").hidden = verb !== "weight";
  $("order-weight").value = r ? r.weight : 1;
  $("order-token-line").hidden = token !== "";
  $("order-token").value = "";
  refuse("", false);
  $("order").showModal();
  (verb === "weight" ? $("order-weight") : token ? $("order-do") : $("order-token")).focus();
}

function refuse(words, force) {
  say($("order-refusal"), words);
  $("order-refusal").hidden = !words;
  $("order-force").hidden = !force;
}

async function send(force) {
  const { region, verb } = asked;
  if ($("order-token").value) token = $("order-token").value.trim();
  $("order-token").value = "";
  if (!token) return refuse("The admin token is needed: what [admin] token_file of the edge holds.", false);
  const put = verb === "weight";
  const weight = Number.parseFloat($("order-weight").value);
  try {
    const answer = await fetch(`regions/${encodeURIComponent(region)}/${verb}?by=status-page${force ? "&force=true" : ""}`, {
      method: put ? "PUT" : "POST",
      headers: { authorization: `Bearer ${token}` },
      ...(put ? { body: JSON.stringify({ weight }) } : {}),
    });
    const told = await answer.json().catch(() => ({}));
    if (answer.ok) {
      $("order").close();
      done = { words: `Done; ${told.detail || "it is not known who else knows it"}.`, until: performance.now() + 10000 };
      say($("token-state"), done.words);
      return;
    }
    if (answer.status === 401) {
      token = "";
      $("order-token-line").hidden = false;
      $("order-token").focus();
      return refuse("That is not the admin token.", false);
    }
    refuse(told.detail || `The edge refuses (${answer.status}).`, answer.status === 409 && verb === "drain");
    if (answer.status === 409) $("order-force").focus();
  } catch {
    refuse("The edge does not answer.", false);
  }
}

$("order-form").addEventListener("submit", (event) => {
  event.preventDefault();
  send(false);
});
$("order-force").addEventListener("click", () => send(true));
$("token-forget").addEventListener("click", () => {
  token = "";
  if (picture) showRegions(picture);
});
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}

// === live ===

function show(next) {
  picture = next;
  heard = performance.now();
  say($("version"), `edge ${next.version}`);
  say($("epoch"), `epoch ${count(next.epoch)}`);
  summarise(next);
  showRegions(next);
  showFunctions(next);
  showDecisions(next);
  link();
}

function link() {
  const silent = (performance.now() - heard) / 1000;
  const lost = silent > 3;
  document.body.toggleAttribute("data-stale", lost);
  $("link").dataset.link = lost ? "lost" : heard ? "live" : "waiting";
  say($("link-words"), lost ? `no news for ${Math.round(silent)} s` : heard ? "live" : "connecting");
}

function listen() {
  const source = new EventSource("events");
  source.onmessage = (event) => show(JSON.parse(event.data));
  source.onerror = () => {
    // The browser comes back by itself after a break, but not after a refusal.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  };
}

setInterval(link, 1000);
listen();
