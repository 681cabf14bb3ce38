// Opens rules files in yaml-language-server, as an editor would, and asks for completion, hovers and diagnostics:
//   complete.mjs FOLDER
// FOLDER holds what `init` wrote. Positions are marked in the texts below with ‸.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import rpc from "vscode-jsonrpc/node.js";

const folder = process.argv[2];
const server = join(dirname(createRequire(import.meta.url).resolve("yaml-language-server/package.json")), "bin/yaml-language-server");
const child = spawn(process.execPath, [server, "--stdio"], { stdio: ["pipe", "pipe", "inherit"] });
const connection = rpc.createMessageConnection(
  new rpc.StreamMessageReader(child.stdout),
  new rpc.StreamMessageWriter(child.stdin),
);
const settings = {
  yaml: { completion: true, hover: true, validate: true, schemaStore: { enable: false } },
};
connection.onRequest("workspace/configuration", ({ items }) => items.map(({ section }) => settings[section] ?? {}));
connection.onRequest("client/registerCapability", () => null);
const diagnosed = new Map();
connection.onNotification("textDocument/publishDiagnostics", ({ uri, diagnostics }) => {
  diagnosed.get(uri)?.(diagnostics);
  diagnosed.delete(uri);
});
connection.listen();
process.on("exit", () => child.kill());

let failures = 0;
const hold = (holds, what, found) => {
  console.log(`  ${holds ? "ok" : "FAILED"}: ${what}`);
  if (!holds) console.error(`    found: ${JSON.stringify(found).slice(0, 2000)}`);
  failures += holds ? 0 : 1;
};

let opened = 0;
// Opens a text; its address, the marked position, and its diagnostics.
async function open(marked) {
  opened += 1;
  const at = marked.indexOf("‸");
  const text = marked.replace("‸", "");
  const before = marked.slice(0, Math.max(at, 0)).split("\n");
  const position = { line: before.length - 1, character: before.at(-1).length };
  const uri = pathToFileURL(join(folder, `${opened}.yaml`)).href;
  const diagnostics = new Promise((resolve) => diagnosed.set(uri, resolve));
  connection.sendNotification("textDocument/didOpen", { textDocument: { uri, languageId: "yaml", version: 1, text } });
  return { textDocument: { uri }, position, diagnostics };
}
async function labels(marked) {
  const { textDocument, position } = await open(marked);
  const found = await connection.sendRequest("textDocument/completion", { textDocument, position });
  return (found?.items ?? found ?? []).map((item) => item.label);
}
async function offers(what, marked, ...wanted) {
  const found = await labels(marked);
  hold(wanted.every((label) => found.includes(label)), `${what}: ${wanted.join(", ")} (${found.length} in all)`, found);
}
async function hovers(what, marked, words) {
  const { textDocument, position } = await open(marked);
  const found = await connection.sendRequest("textDocument/hover", { textDocument, position });
  const text = found?.contents?.value ?? "";
  hold(text.includes(words), `${what}: ${words}`, text);
}

const { capabilities } = await connection.sendRequest("initialize", {
  processId: process.pid,
  rootUri: pathToFileURL(folder).href,
  workspaceFolders: [{ name: "rules", uri: pathToFileURL(folder).href }],
  capabilities: {
    workspace: { configuration: true },
    textDocument: {
      completion: { completionItem: { documentationFormat: ["markdown"] } },
      hover: { contentFormat: ["markdown"] },
      publishDiagnostics: {},
    },
  },
});
if (!capabilities.completionProvider) throw new Error("the language server completes nothing");
connection.sendNotification("initialized", {});
connection.sendNotification("workspace/didChangeConfiguration", { settings });

const fresh = readFileSync(join(folder, "rules.yaml"), "utf8");
const line = "# yaml-language-server: $schema=rules.schema.json\n";
if (!fresh.startsWith(line)) throw new Error("init's file does not name its schema");
const match = (text) => `${line}version: 1\nrules:\n  - name: a\n    match: ${text}`;
const target = (text) => `${line}version: 1\ntargets:\n  desk:\n${text}`;

console.log("what init wrote");
hold((await (await open(fresh)).diagnostics).length === 0, "no diagnostics", await (await open(fresh)).diagnostics);
const everything = line + readFileSync("tests/config/valid/everything.yaml", "utf8");
const complaints = await (await open(everything)).diagnostics;
hold(complaints.length === 0, "none on every key there is, with aliases and merge keys", complaints);

console.log("completion");
await offers("keys of the file", `${line}version: 1\n‸`, "accounts", "targets", "rules", "timezone", "alerts");
await offers("keys of an account", `${line}accounts:\n  - name: main\n    ‸`, "token", "token_file", "poll_every");
await offers("activity types", match("\n      activity_type: ‸"), "Meeting", "Payment", "EventAttendance");
await offers("activity types in a list", match("\n      activity_type:\n        - Meeting\n        - ‸"), "Payment", "Review");
await offers("activity types in brackets", match("{ activity_type: [Meeting, ‸] }"), "Payment", "Review");
await offers("activity types in one of several conditions", match("\n      - activity_type: ‸"), "Meeting", "Payment");
await offers("message types", match("\n      message_type: ‸"), "cancelled", "payment_failed");
await offers("message types of what is excepted", match("{}\n    except:\n      message_type: ‸"), "cancelled");
await offers("directions", match("\n      direction: ‸"), "client_to_pivot", "pivot_to_client", "to_pivot", "to_client");
await offers("keys of a rule", match("{}\n    ‸"), "except", "where", "deliver", "stop", "template");
await offers("target names", match("{}\n    deliver:\n      - to: ‸"), "front-desk");
await offers("target names of alerts", `${line}alerts:\n  to: ‸`, "front-desk");
await offers("a target name that was begun", match("{}\n    deliver: [{ to: fro‸ }]"), "front-desk");
await offers("template names", match("{}\n    deliver:\n      - to: front-desk\n        template: ‸"), "client-cancelled", "default", "review");
await offers("account names", match("{}\n    accounts: ‸"), "main");
await offers("target types", target("    type: ‸"), "slack", "email", "http");
await offers("keys of a Slack target", target("    type: slack\n    ‸"), "webhook_url", "rate", "timeout");
await offers("keys of a mail target", target("    type: email\n    ‸"), "smtp", "from", "to", "cc", "reply_to");
await offers("keys of an HTTP target", target("    type: http\n    ‸"), "url", "auth", "signing_secret", "body");
await offers("words for a body", target("    type: http\n    body: ‸"), "auto", "event", "cloudevents");
const slack = await labels(target("    type: slack\n    ‸"));
hold(!slack.includes("smtp") && !slack.includes("url"), "a Slack target is offered no key of another type", slack);

console.log("hovers");
await hovers("a key", match("\n      direc‸tion: to_pivot"), "From whom to whom");
await hovers("a key with a default", `${line}accounts:\n  - name: main\n    poll_‸every: 10s`, "Left out: 30s");
await hovers("a key of one type of target", target("    type: slack\n    webhook‸_url: x"), "incoming webhook");
await hovers("a message type", match("\n      message_type: sched‸ule"), "Online booking, confirmed at once");

console.log("diagnostics");
const wrong = [
  ["a key that does not exist", match("{}\n    mtch: {}\n    deliver: []"), "mtch"],
  ["a key of another type of target", target("    type: slack\n    webhook_url: x\n    smtp: y"), "smtp"],
  ["a missing key", target("    type: slack"), "webhook_url"],
  ["a type of target that does not exist", target("    type: slak"), "slack"],
  ["a number without its unit", `${line}accounts:\n  - name: main\n    token: x\n    poll_every: 30`, "string"],
];
for (const [what, text, words] of wrong) {
  const found = await (await open(text)).diagnostics;
  hold(found.some(({ message }) => message.includes(words)), `${what}: ${found.map(({ message }) => message.split("\n")[0]).join(" · ")}`, found);
}

if (failures > 0) {
  console.error(`${failures} failed`);
  process.exit(1);
}
process.exit(0);
