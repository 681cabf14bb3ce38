// Live parts of the console. Every page works without it; nothing is loaded from elsewhere.
"use strict";

// Times are shown in the reader's zone, with the exact one on hover.
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dated = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

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
      const today = at.toDateString() === new Date().toDateString();
      time.textContent = (today ? clock : dated).format(at);
    }
  }
}

// Regions that renew themselves, unless somebody is working in them.
const shown = new Map();

function busy(region) {
  return document.hidden || region.contains(document.activeElement) || region.querySelector("input:checked, details[open]");
}

async function renew(region) {
  if (busy(region)) return;
  const answer = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
  if (!answer?.ok || answer.redirected || busy(region)) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(region.id);
  if (!fresh || fresh.innerHTML === shown.get(region.id)) return;
  shown.set(region.id, fresh.innerHTML);
  region.innerHTML = fresh.innerHTML;
  times(region);
}

// The feed: entries come as they happen; pausing keeps them back, filtering hides them.
const ENTRIES_MAX = 300;

function follow(feed) {
  const list = document.getElementById("entries"), pause = document.getElementById("pause"), state = document.getElementById("feed-state");
  const words = document.getElementById("feed-words"), kind = document.getElementById("feed-kind"), empty = document.getElementById("feed-empty");
  let held = [], paused = false;
  const fits = (entry) =>
    (kind.value === "" || entry.dataset.kind === kind.value) && entry.textContent.toLowerCase().includes(words.value.trim().toLowerCase());
  const add = (entry) => {
    if (document.getElementById(entry.id)) return;
    entry.classList.add("fresh");
    entry.hidden = !fits(entry);
    times(entry);
    list.prepend(entry);
    while (list.children.length > ENTRIES_MAX) list.lastElementChild.remove();
    empty.hidden = true;
  };
  const say = (text) => { state.textContent = text; };
  const filter = () => { for (const entry of list.children) entry.hidden = !fits(entry); };
  words.addEventListener("input", filter);
  kind.addEventListener("change", filter);
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) { held.forEach(add); held = []; }
    say(paused ? "paused" : "live");
  });
  const source = new EventSource(feed.dataset.events);
  source.addEventListener("open", () => say(paused ? "paused" : "live"));
  source.addEventListener("error", () => say("connecting again…"));
  source.addEventListener("entries", (event) => {
    const holder = document.createElement("template");
    holder.innerHTML = event.data;
    const entries = [...holder.content.children];
    if (!paused) return entries.forEach(add);
    held = [...held, ...entries].slice(-ENTRIES_MAX);
    say(`paused, ${held.length} waiting`);
  });
}

// The playground: what is written is judged as it is written.
function preview(form) {
  const output = document.getElementById("preview");
  let timer = 0, asked = 0;
  const ask = async () => {
    const turn = ++asked;
    output.setAttribute("aria-busy", "true");
    const body = new URLSearchParams(new FormData(form));
    const answer = await fetch(form.action, { method: "POST", body, headers: { "x-fragment": "1" } }).catch(() => null);
    if (turn !== asked) return;
    output.removeAttribute("aria-busy");
    if (!answer) return;
    output.innerHTML = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("preview")?.innerHTML ?? "";
    times(output);
  };
  form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 250); });
  form.addEventListener("submit", (event) => { if (!event.submitter?.name) { event.preventDefault(); clearTimeout(timer); ask(); } });
}

// Boxes that are ticked together, and how many are.
function selection(form) {
  const all = form.querySelector("[data-select-all]"), boxes = () => [...form.querySelectorAll("input[name=id]")];
  const count = form.querySelector("[data-selected]");
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
for (const region of document.querySelectorAll("[data-renew]")) setInterval(() => renew(region), Number(region.dataset.renew) * 1000);
for (const feed of document.querySelectorAll("[data-events]")) follow(feed);
for (const form of document.querySelectorAll("form[data-preview]")) preview(form);
for (const form of document.querySelectorAll("form[data-selection]")) selection(form);
for (const select of document.querySelectorAll("select[data-send]")) select.addEventListener("change", () => select.form.requestSubmit(document.getElementById(select.dataset.send)));
