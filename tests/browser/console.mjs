// What the console has to be in a browser. Arguments: its address, the browser, a folder for pictures or nothing.
import assert from "node:assert/strict";
import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

const [base, executablePath, shots] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const complaints = [];
/** Pages at which something is made to fail, about which their browser complains. */
const troubled = new Set();
const pages = ["/", "/feed", "/deliveries", "/digests", "/targets", "/coverage", "/playground", "/mutes", "/configuration"];

/** A window whose complaints are remembered: errors, warnings and violations of the policy. */
async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, timezoneId: "Asia/Tokyo", ...options });
  context.on("console", (message) => {
    const asked = message.location().url.endsWith("/deliveries/gone") || troubled.has(message.page());
    if (["error", "warning"].includes(message.type()) && !asked) complaints.push(`${message.page()?.url()}: ${message.text()}`);
  });
  context.on("weberror", (error) => complaints.push(String(error.error())));
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  const page = await context.newPage();
  page.on("request", (request) => { if (!request.url().startsWith(base) && !request.url().startsWith("data:")) complaints.push(`asks elsewhere: ${request.url()}`); });
  page.on("dialog", (dialog) => { complaints.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  return page;
}

async function step(name, work) {
  await work();
  console.log(`ok  ${name}`);
}

/** Waits until something holds, at most 30 seconds. */
async function until(what, holds) {
  const end = Date.now() + 30_000;
  while (Date.now() < end) {
    if (await holds()) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  assert.fail(`waited in vain: ${what}`);
}

async function visit(page, path, status = 200) {
  const answer = await page.goto(base + path);
  assert.equal(answer.status(), status, path);
}

/** The pages of the navigation, and those that are found from the list. */
async function everywhere(page, look) {
  for (const path of pages) {
    await visit(page, path);
    await look(path.slice(1) || "overview");
  }
  await visit(page, "/deliveries?state=dead");
  await page.locator("tbody th a").first().click();
  await look("delivery");
  await page.locator("dl.facts a").first().click();
  await look("message");
  await visit(page, "/digests");
  await page.getByRole("button", { name: "Cancel the digest of payments-of-the-hour" }).click();
  await page.getByRole("heading", { name: "Cancel the digest of 1 message?" }).waitFor();
  await look("digest");
  await visit(page, "/deliveries");
  await page.getByRole("checkbox", { name: /^select / }).first().check();
  await page.getByRole("button", { name: "Replay selected…" }).click();
  await page.getByRole("heading", { name: "Replay 1 delivery?" }).waitFor();
  await look("review");
  await visit(page, "/deliveries/gone", 404);
  await look("missing");
}

async function sound(page, name) {
  const { violations } = await new AxeBuilder({ page }).exclude("iframe").analyze();
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  assert.deepEqual(serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`), [], name);
}

const first = await open();
await until("a delivery has died", async () => {
  await visit(first, "/deliveries?state=dead");
  return (await first.locator("tbody tr").count()) > 0;
});
await until("the others have arrived", async () => {
  await visit(first, "/deliveries?state=delivered");
  return (await first.locator("tbody tr").count()) === 50;
});

// First of all: the scenario's news end after five minutes.
await step("the feed moves, pauses and is filtered", async () => {
  await visit(first, "/feed");
  await first.getByText("live", { exact: true }).waitFor();
  const entries = first.locator("#entries > li");
  const before = await entries.count();
  await until("something new comes", async () => (await entries.count()) > before);
  await first.getByRole("button", { name: "Pause" }).click();
  await first.getByText(/paused, \d+ waiting/).waitFor({ timeout: 30_000 });
  const held = await entries.count();
  await first.getByRole("button", { name: "Go on" }).click();
  await until("what was held back is there", async () => (await entries.count()) > held);
  await first.getByLabel("Kind").selectOption("dead");
  assert.equal(await first.locator("#entries > li:visible").count(), await first.locator("#entries > li[data-kind=dead]").count());
});

const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
for (const [name, options, audited] of [
  ["desktop", {}, true],
  ["dark", { colorScheme: "dark" }, false],
  ["phone", phone, false],
  ["phone-dark", { ...phone, colorScheme: "dark" }, true],
]) {
  await step(`every page, ${name}: ${audited ? "nothing serious for axe, " : ""}nothing wider than the window`, async () => {
    const page = await open(options);
    await everywhere(page, async (what) => {
      if (audited) await sound(page, `${what}, ${name}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${what} is ${wide} pixels wider than ${name}`);
      assert.equal(await page.locator("h1").count(), 1, what);
      if (shots) await page.screenshot({ path: `${shots}/${what}-${name}.png`, fullPage: true });
    });
    await page.context().close();
  });
}

await step("large figures fit into the tiles of a phone", async () => {
  const page = await open(phone);
  await visit(page, "/");
  const wide = await page.locator(".tile b").evaluateAll((figures) => {
    for (const figure of figures) figure.textContent = "888,888";
    return figures.filter((figure) => {
      const text = document.createRange();
      text.selectNodeContents(figure);
      return text.getBoundingClientRect().right > figure.getBoundingClientRect().right;
    }).length;
  });
  assert.equal(wide, 0);
  if (shots) await page.screenshot({ path: `${shots}/tiles-phone.png` });
  await page.context().close();
});

await step("dark is dark", async () => {
  const page = await open({ colorScheme: "dark" });
  await visit(page, "/");
  const color = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.ok(color.match(/\d+/g).slice(0, 3).every((part) => Number(part) < 60), color);
  await page.context().close();
});

await step("times are in the reader's zone, the exact one on hover", async () => {
  await visit(first, "/deliveries");
  const time = first.locator("time[data-show]").first();
  const [iso, title] = [await time.getAttribute("datetime"), await time.getAttribute("title")];
  const expected = await first.evaluate((at) => new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long", timeZone: "Asia/Tokyo" }).format(new Date(at)), iso);
  assert.equal(title, expected);
});

await step("the zone of the times is named", async () => {
  await first.getByText("times are in your zone (Asia/Tokyo)").waitFor();
});

await step("an overview that is not renewed says so and since when, and is green no longer", async () => {
  const page = await open();
  troubled.add(page);
  await visit(page, "/");
  const line = page.locator("main > header [role=status]"), region = page.locator("#overview");
  const goesOn = async () => {
    await page.unrouteAll();
    await until("it is renewed again", async () => (await line.textContent()) === "" && (await region.getAttribute("class")) === "region");
  };
  const problem = "<h1>The store does not answer</h1><p>Load this page again.</p>";
  for (const [answer, words] of [
    [(route) => route.abort(), /^not renewed since \d\d?:\d\d:\d\d.*: the relay does not answer$/],
    [(route) => route.fulfill({ status: 503, contentType: "text/html", body: `<main>${problem}</main>` }), /: the relay answers 503, The store does not answer$/],
    [(route) => route.fulfill({ status: 401, contentType: "text/html", body: "<h1>Sign in first</h1>" }), /: you are signed out$/],
  ]) {
    await page.route(base + "/", answer);
    await page.getByText(words).waitFor();
    assert.match(await region.getAttribute("class"), /stale/);
    await goesOn();
  }
  await region.locator("summary").first().click();
  await page.getByText(/: paused while you have something unfolded$/).waitFor();
  await region.locator("summary").first().click();
  await page.getByText(/: paused while you are at one of its controls$/).waitFor();
  await page.locator("h1").click();
  await goesOn();
  await page.context().close();
});

await step("a second renewal is not begun before the first has ended", async () => {
  const page = await open();
  troubled.add(page);
  await page.clock.install();
  await visit(page, "/");
  let asked = 0;
  const waiting = [];
  await page.route(base + "/", (route) => { asked += 1; waiting.push(route); });
  await page.clock.runFor(5000);
  await until("it asks", () => asked === 1);
  await page.clock.runFor(12000);
  assert.equal(asked, 1);
  // A relay that hangs does not answer; what it says later is asked for anew.
  await page.clock.runFor(4000);
  await page.getByText(/: the relay does not answer$/).waitFor();
  await page.clock.runFor(5000);
  await until("it asks again", () => asked === 2);
  await waiting[1].continue();
  await until("it is renewed", async () => !(await page.getByText(/^not renewed/).isVisible()));
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await page.context().close();
});

await step("what a client writes is text", async () => {
  await visit(first, "/deliveries?rule=everything");
  const link = first.locator("tbody th a", { hasText: "Review" }).first();
  await link.click();
  await first.locator("dl.facts a").first().click();
  assert.ok((await first.textContent("main")).includes("<img src=x onerror=alert(1)>"));
  assert.equal(await first.locator("main img, main script").count(), 0);
});

await step("the overview says what needs attention, and leads to what mends it", async () => {
  await visit(first, "/");
  await first.getByText("1 delivery given up").waitFor();
  await first.getByRole("link", { name: "Look and replay" }).click();
  await first.waitForURL(/state=dead/);
});

await step("a failure is selected, looked at again, replayed and arrives", async () => {
  await first.getByRole("checkbox", { name: /^select / }).first().check();
  await first.getByText("1 selected").waitFor();
  await first.getByRole("button", { name: "Replay selected…" }).click();
  await first.getByRole("heading", { name: "Replay 1 delivery?" }).waitFor();
  await first.getByRole("button", { name: "Replay 1 delivery" }).click();
  await first.waitForURL(/deliveries\/d/);
  await until("the replay is delivered", async () => {
    await first.reload();
    return (await first.locator("main .badge", { hasText: "delivered" }).count()) > 0;
  });
});

await step("pages do not slip while deliveries come", async () => {
  await visit(first, "/deliveries");
  const ids = async () => first.locator("input[name=id]").evaluateAll((boxes) => boxes.map(({ value }) => value));
  const before = await ids();
  await first.getByRole("link", { name: "Older" }).click();
  await first.waitForURL(/before=/);
  assert.ok((await ids()).every((id) => !before.includes(id)));
});

await step("a target is paused, shown as such on the overview, and resumed there", async () => {
  await visit(first, "/targets");
  await first.getByRole("article", { name: "crm" }).getByText("Pause…").click();
  await first.getByRole("article", { name: "crm" }).getByLabel("Reason").fill("we move house");
  await first.getByRole("article", { name: "crm" }).getByRole("button", { name: "Pause" }).click();
  await first.getByText("crm is paused").waitFor();
  await visit(first, "/");
  await first.locator(".note", { hasText: "Target crm is paused" }).getByRole("button", { name: "Resume" }).click();
  await first.getByText("crm is resumed").waitFor();
});

await step("a digest is looked into, cancelled, and another one sent before its time", async () => {
  await visit(first, "/digests");
  const row = (rule) => first.locator("tbody tr", { hasText: rule });
  const iso = await row("payments-of-the-hour").locator("time[data-show=at]").getAttribute("datetime");
  assert.ok(new Date(iso) > Date.now(), "it says when it closes");
  await row("payments-of-the-hour").getByRole("button", { name: /^Cancel/ }).click();
  await first.getByRole("button", { name: "Discard 1 message" }).click();
  await first.getByText("The digest is discarded with its 1 message").waitFor();
  assert.equal(await row("payments-of-the-hour").count(), 0);
  await row("messages-by-client").getByRole("button", { name: /^Send/ }).click();
  await first.getByRole("heading", { name: /Send the digest of \d+ messages now/ }).waitFor();
  await first.getByRole("button", { name: /^Send \d+ messages/ }).click();
  await first.getByText(/The digest is closed; its \d+ messages are sent/).waitFor();
  await visit(first, "/deliveries?rule=messages-by-client&state=delivered");
  await until("it is delivered", async () => {
    await first.reload();
    return (await first.locator("tbody tr").count()) > 0;
  });
  await first.locator("tbody th a").first().click();
  await first.getByRole("heading", { name: "Messages", exact: true }).waitFor();
  assert.ok((await first.locator(".about a").count()) > 50, "its messages are named");
});

await step("a target is tested", async () => {
  await visit(first, "/targets");
  await first.getByRole("article", { name: "crm" }).getByRole("button", { name: "Send a test" }).click();
  await first.getByText(/Test of crm: delivered/).waitFor();
});

await step("a rule is muted with a reason, and the mute is lifted", async () => {
  await visit(first, "/mutes");
  await first.getByRole("combobox", { name: "Rule" }).selectOption("client-messages");
  await first.getByRole("textbox", { name: "Reason" }).fill("we move the calendar");
  await first.getByRole("button", { name: "Mute", exact: true }).click();
  await first.getByRole("cell", { name: "we move the calendar" }).waitFor();
  await first.getByRole("button", { name: "Lift the mute of client-messages" }).click();
  await first.getByText("No rule is muted").waitFor();
});

await step("a rule and a template are judged and rendered as they are written", async () => {
  await visit(first, "/playground");
  const [rule, text, preview] = [first.getByLabel("Rules, as they stand"), first.getByLabel("text.hbs"), first.locator("#preview")];
  await preview.getByText("my-rule takes it").waitFor();
  await rule.fill((await rule.inputValue()).replace("cancelled", "reschedule"));
  await preview.getByText("my-rule does not take it").waitFor();
  await preview.getByText(/the rule wants .?reschedule/).waitFor();
  await text.fill("Look: {{client.name}} & co");
  await preview.getByRole("region", { name: "As a Slack post" }).getByText(/Look: .+ & co/).waitFor();
  await text.fill("{{client.nmae}}");
  await preview.getByText(/text.hbs, line 1/).waitFor();
  await rule.fill("- name: x\n  match: {}\n  delivr: []");
  await preview.getByText("rule, line 3").first().waitFor();
  await text.fill("");
  await first.locator("select[name=message]").selectOption("sample:Payment/payment_failed/to_pivot");
  await until("the mail is in its frame", async () => (await first.frameLocator("#preview iframe").locator("body").textContent())?.length > 20);
});

await step("a playground that is refused says why and keeps what was written", async () => {
  const page = await open();
  troubled.add(page);
  await visit(page, "/playground");
  const [rule, preview] = [page.getByLabel("Rules, as they stand"), page.locator("#preview")];
  await preview.getByText("my-rule takes it").waitFor();
  assert.equal(await page.locator("[aria-live]").count(), 1);
  assert.equal(await page.locator("[aria-live] section").count(), 1, "only the verdict is read out");
  await page.route("**/playground/preview", (route) => route.fulfill({ status: 403, contentType: "text/html", body: "<main><h1>This did not come from a page</h1><p>Load it again.</p></main>" }));
  await rule.fill((await rule.inputValue()).replace("cancelled", "reschedule"));
  await preview.getByRole("alert").getByText("403: This did not come from a page").waitFor();
  await page.unrouteAll();
  await page.route("**/playground/preview", (route) => route.abort());
  await rule.press("End");
  await rule.pressSequentially(" ");
  await preview.getByRole("alert").getByText("The relay does not answer").waitFor();
  await page.unrouteAll();
  await preview.getByRole("button", { name: "Load the page again" }).click();
  await preview.getByText("my-rule does not take it").waitFor();
  assert.match(await rule.inputValue(), /reschedule/);
  await page.context().close();
});

await step("the feed that the store does not answer for is not live", async () => {
  const page = await open();
  troubled.add(page);
  let connections = 0;
  await page.route("**/feed/events?*", (route) => {
    connections += 1;
    if (connections === 1) return route.fulfill({ status: 502, body: "" });
    return connections === 2 ? route.fulfill({ contentType: "text/event-stream", body: "event: trouble\ndata: the disk is full\n\n" }) : route.continue();
  });
  await page.addInitScript(() => {
    globalThis.states = [];
    addEventListener("DOMContentLoaded", () => new MutationObserver(() => states.push(document.getElementById("feed-state").textContent)).observe(document.getElementById("feed-state"), { childList: true }));
  });
  await visit(page, "/feed");
  await until("it is connected for good", async () => connections === 3 && (await page.evaluate(() => states.at(-1))) === "live");
  const states = await page.evaluate(() => states);
  assert.deepEqual(states.filter((state, place) => state !== states[place - 1]), [
    "not live: the relay refuses; you may be signed out, load the page again",
    "live",
    "not live: the disk is full",
    "not live: connecting again…",
    "live",
  ]);
  await page.context().close();
});

await step("what the feed is told late or again has its place among the others", async () => {
  const page = await open();
  troubled.add(page);
  const entry = (id, at) => `<li id="${id}" data-kind="message"><span><time datetime="${at}" data-show="at"></time></span></li>`;
  const body = `event: entries\nid: 1\ndata: ${entry("m-next", "2099-01-01T00:00:00Z")}${entry("m-late", "2001-01-01T00:00:00Z")}\n\n`;
  let connections = 0;
  await page.route("**/feed/events?*", (route) => { connections += 1; return connections === 1 ? route.fulfill({ contentType: "text/event-stream", body }) : route.abort(); });
  await visit(page, "/feed");
  await page.locator("#m-late").waitFor({ state: "attached" });
  const ids = await page.locator("#entries > li").evaluateAll((entries) => entries.map(({ id }) => id));
  assert.deepEqual([ids.length > 2, ids[0], ids.at(-1)], [true, "m-next", "m-late"]);
  await page.context().close();
});

await step("the feed on a connection that is dead is not live, and listens anew", async () => {
  const page = await open();
  await page.clock.install();
  let hangs = false;
  await page.route("**/feed/events?*", (route) => { if (!hangs) return route.continue(); });
  await visit(page, "/feed");
  const state = page.locator("#feed-state"), pass = () => page.clock.runFor(41_000);
  await until("it is live", async () => (await state.textContent()) === "live");
  hangs = true;
  await until("it says so", async () => { await pass(); return /^not live: nothing heard since \d\d?:\d\d:\d\d/.test(await state.textContent()); });
  await pass();
  assert.match(await state.textContent(), /^not live: nothing heard since/, "nobody answers yet");
  hangs = false;
  await pass();
  await until("it is live again", async () => (await state.textContent()) === "live");
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await page.context().close();
});

await step("all boxes are ticked together, by a label that says so", async () => {
  await visit(first, "/deliveries");
  await first.getByRole("checkbox", { name: "Select all on this page" }).check();
  await first.getByText("50 selected").waitFor();
});

await step("the configuration is read again", async () => {
  await visit(first, "/configuration");
  await first.getByRole("button", { name: "Read the files again" }).click();
  await first.getByText("Last reload: unchanged").waitFor();
});

await step("by keyboard alone: past the navigation, to a filter, to a delivery", async () => {
  const page = await open();
  await visit(page, "/deliveries");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.name), "state");
  for (let presses = 0; (await page.evaluate(() => !document.activeElement.closest("tbody th a"))) && presses < 30; presses += 1) await page.keyboard.press("Tab");
  const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(ring, "none", "where the focus is can be seen");
  await page.keyboard.press("Enter");
  await page.waitForURL(/deliveries\/d/);
  await page.context().close();
});

await step("without a script every page still says what it has to say", async () => {
  const page = await open({ javaScriptEnabled: false });
  for (const path of pages) {
    await visit(page, path);
    assert.ok((await page.locator("main").textContent()).trim().length > 20, path);
    assert.equal(await page.getByText("times are in Europe/London").count(), 1, path);
  }
  await visit(page, "/deliveries");
  assert.ok(!(await page.getByText("Select all").isVisible()), "a box that would do nothing");
  await page.context().close();
});

assert.deepEqual(complaints, [], "what browsers complained about");
await browser.close();
