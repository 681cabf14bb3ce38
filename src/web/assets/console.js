// Live parts of the console. Every page works without it; nothing is loaded from elsewhere.
"use strict";

// Times are shown in the reader's zone, with the exact one on hover.
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dated = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const older = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

function stamp(at) {
  const now = new Date();
  const format = at.toDateString() === now.toDateString() ? clock : at.getFullYear() === now.getFullYear() ? dated : older;
  return format.format(at);
}

function span(seconds) {
  const minutes = Math.floor(seconds / 60), hours = Math.floor(seconds / 3600), days = Math.floor(seconds / 86400);
  if (minutes === 0) return `${seconds}s`;
  if (hours === 0) return `${minutes}m`;
  if (hours < 10 && minutes % 60 > 0) return `${hours}h ${minutes % 60}m`;
  return days === 0 ? `${hours}h` : `${days}d`;
}

function times(root) {
  for (const time of root.querySelectorAll("time[data-show]")) {
    const at = new Date(time.dateTime);
    const seconds = Math.round((Date.now() - at) / 1000);
    time.title = exact.format(at);
    if (time.dataset.show === "ago") {
      time.textContent = seconds > 0 ? `${span(seconds)} ago` : seconds < 0 ? `in ${span(-seconds)}` : "just now";
    } else {
      time.textContent = stamp(at);
    }
  }
}

// A part of a page of the relay, or what it says instead.
const ANSWER_MS_MAX = 15000;

async function load(address, part, options) {
  try {
    const answer = await fetch(address, { signal: AbortSignal.timeout(ANSWER_MS_MAX), ...options });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = answer.ok ? page.getElementById(part) : null;
    if (found) return { found };
    if (answer.status === 401 || new URL(answer.url).pathname === "/login") return { title: "You are signed out", words: "Load the page again to sign in.", why: "you are signed out" };
    const title = page.querySelector("h1")?.textContent ?? answer.statusText, words = page.querySelector("main > p")?.textContent ?? "";
    return { title: `${answer.status}: ${title}`, words, why: `the relay answers ${answer.status}, ${title}` };
  } catch {
    return { title: "The relay does not answer", words: "It is asked again with the next change.", why: "the relay does not answer" };
  }
}

// Regions that renew themselves, unless somebody is working in them; whatever keeps them from it is said.
function working(region) {
  if (region.querySelector("details[open]")) return "paused while you have something unfolded";
  if (region.querySelector("input:checked")) return "paused while you have something selected";
  return region.contains(document.activeElement) ? "paused while you are at one of its controls" : "";
}

function keep(region) {
  const every = Number(region.dataset.renew) * 1000, line = document.createElement("p");
  line.className = "trouble";
  line.setAttribute("role", "status");
  document.querySelector("main > header").append(line);
  let renewed = new Date(), shown = "", timer = 0, asking = false;
  const say = (why) => {
    const text = why && `not renewed since ${stamp(renewed)}: ${why}`;
    if (line.textContent !== text) line.textContent = text;
    region.classList.toggle("stale", why !== "");
  };
  const renew = async () => {
    const { found, why } = await load(location.href, region.id, { headers: { accept: "text/html" } });
    const hindered = why || working(region);
    if (hindered) return hindered;
    renewed = new Date();
    if (found.innerHTML === shown) return "";
    shown = region.innerHTML = found.innerHTML;
    times(region);
    return "";
  };
  // The next turn is counted from the end of this one; nobody looks at a hidden page, which is renewed when it is shown.
  const turn = async () => {
    if (asking || document.hidden) return;
    asking = true;
    clearTimeout(timer);
    say(working(region) || await renew());
    asking = false;
    timer = setTimeout(turn, every);
  };
  document.addEventListener("visibilitychange", turn);
  timer = setTimeout(turn, every);
}

// The feed: entries come as they happen; pausing keeps them back, filtering hides them.
const ENTRIES_MAX = 300;
const REFUSED_WAIT_MS = 5000;
// The relay says every 15 seconds that it is there.
const SILENCE_MS_MAX = 40000;

function follow(feed) {
  const list = document.getElementById("entries"), pause = document.getElementById("pause"), state = document.getElementById("feed-state");
  const words = document.getElementById("feed-words"), kind = document.getElementById("feed-kind"), empty = document.getElementById("feed-empty");
  let heard = new Date(), held = [], paused = false, trouble = "connecting…", last = feed.dataset.after;
  const fits = (entry) =>
    (kind.value === "" || entry.dataset.kind === kind.value) && entry.textContent.toLowerCase().includes(words.value.trim().toLowerCase());
  const at = (entry) => entry.querySelector("time").dateTime;
  const add = (entry) => {
    if (document.getElementById(entry.id)) return;
    entry.classList.add("fresh");
    entry.hidden = !fits(entry);
    times(entry);
    // What is told late or again, as after a restart, has its place among the others.
    list.insertBefore(entry, [...list.children].find((other) => at(other) <= at(entry)) ?? null);
    while (list.children.length > ENTRIES_MAX) list.lastElementChild.remove();
    empty.hidden = true;
  };
  const tell = (what) => {
    trouble = what;
    state.textContent = what || (!paused ? "live" : held.length === 0 ? "paused" : `paused, ${held.length} waiting`);
    state.classList.toggle("trouble", what !== "");
  };
  const filter = () => { for (const entry of list.children) entry.hidden = !fits(entry); };
  words.addEventListener("input", filter);
  kind.addEventListener("change", filter);
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) { held.forEach(add); held = []; }
    tell(trouble);
  });
  const listen = () => {
    const source = new EventSource(`${feed.dataset.events}?after=${last}`);
    let timer = 0;
    const wait = () => { clearTimeout(timer); timer = setTimeout(giveUp, SILENCE_MS_MAX); };
    // A connection that is dead or leads to a relay that hangs looks like one on which nothing happens.
    const giveUp = () => {
      tell(`not live: nothing heard since ${stamp(heard)}`);
      source.close();
      listen();
    };
    const hear = (name, act) => source.addEventListener(name, (event) => { heard = new Date(); wait(); act(event); });
    hear("open", () => tell(""));
    hear("alive", () => {});
    hear("trouble", (event) => tell(`not live: ${event.data}`));
    hear("again", () => tell(""));
    source.addEventListener("error", () => {
      // A browser connects again by itself, but not after a refusal.
      const refused = source.readyState === EventSource.CLOSED;
      tell(refused ? "not live: the relay refuses; you may be signed out, load the page again" : "not live: connecting again…");
      if (!refused) return wait();
      clearTimeout(timer);
      setTimeout(listen, REFUSED_WAIT_MS);
    });
    hear("entries", (event) => {
      const holder = document.createElement("template");
      holder.innerHTML = event.data;
      const entries = [...holder.content.children];
      last = event.lastEventId;
      if (!paused) return entries.forEach(add);
      held = [...held, ...entries].slice(-ENTRIES_MAX);
      tell(trouble);
    });
    wait();
  };
  listen();
}

// The playground: what is written is judged as it is written.
const WRITTEN = "playground";

function preview(form) {
  const output = document.getElementById("preview");
  let timer = 0, asked = 0;
  // Part by part: only what is judged is read out, and only where it is not what it was.
  const show = (found) => {
    const parts = [...output.children].filter((part) => part.id);
    if (parts.length === 0) output.innerHTML = found.innerHTML;
    for (const part of parts) {
      const fresh = found.querySelector(`#${part.id}`);
      if (part.innerHTML !== fresh.innerHTML) part.innerHTML = fresh.innerHTML;
    }
  };
  const refuse = ({ title, words }) => {
    const note = document.createElement("div"), said = document.createElement("div"), head = document.createElement("b"), again = document.createElement("button");
    note.className = "note bad";
    note.setAttribute("role", "alert");
    head.textContent = title;
    again.type = "button";
    again.textContent = "Load the page again";
    again.addEventListener("click", () => {
      sessionStorage.setItem(WRITTEN, JSON.stringify([...new FormData(form)].filter(([name]) => name !== "csrf")));
      location.reload();
    });
    said.append(head, words);
    note.append(said, again);
    output.replaceChildren(note);
  };
  const ask = async () => {
    const turn = ++asked;
    output.setAttribute("aria-busy", "true");
    const body = new URLSearchParams(new FormData(form));
    const answer = await load(form.action, "preview", { method: "POST", body, headers: { "x-fragment": "1" } });
    if (turn !== asked) return;
    output.removeAttribute("aria-busy");
    if (answer.found) show(answer.found);
    else refuse(answer);
  };
  // What was written before the page was loaded again stays.
  const written = sessionStorage.getItem(WRITTEN);
  sessionStorage.removeItem(WRITTEN);
  for (const [name, text] of JSON.parse(written ?? "[]")) {
    const field = form.elements[name];
    if (!field) continue;
    const before = field.value;
    field.value = text;
    // A message that is no longer offered.
    if (field.selectedIndex < 0) field.value = before;
    if (text !== "") field.closest("details")?.setAttribute("open", "");
  }
  if (written) ask();
  form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 250); });
  form.addEventListener("submit", (event) => { if (!event.submitter?.name) { event.preventDefault(); clearTimeout(timer); ask(); } });
}

// Boxes that are ticked together, and how many are.
function selection(form) {
  const all = form.querySelector("[data-select-all]"), boxes = () => [...form.querySelectorAll("input[name=id]")];
  const count = form.querySelector("[data-selected]");
  // Who may only look selects nothing.
  if (!all) return;
  all.closest("label").hidden = false;
  const tell = () => {
    const n = boxes().filter((box) => box.checked).length;
    all.checked = n > 0 && n === boxes().length;
    all.indeterminate = n > 0 && !all.checked;
    count.textContent = n === 0 ? "none selected" : `${n} selected`;
  };
  all.addEventListener("change", () => { for (const box of boxes()) box.checked = all.checked; tell(); });
  form.addEventListener("change", (event) => { if (event.target.name === "id") tell(); });
  tell();
}

times(document);
document.querySelector("nav.pages [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
setInterval(() => times(document), 10000);
for (const place of document.querySelectorAll("[data-zone]")) place.textContent = `your zone (${Intl.DateTimeFormat().resolvedOptions().timeZone})`;
for (const region of document.querySelectorAll("[data-renew]")) keep(region);
for (const feed of document.querySelectorAll("[data-events]")) follow(feed);
for (const form of document.querySelectorAll("form[data-preview]")) preview(form);
for (const form of document.querySelectorAll("form[data-selection]")) selection(form);
for (const select of document.querySelectorAll("select[data-send]")) select.addEventListener("change", () => select.form.requestSubmit(document.getElementById(select.dataset.send)));
