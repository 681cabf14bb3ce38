// Holds rules files against the JSON Schema with Ajv:
//   validate.mjs accept|refuse SCHEMA FILE…
// Every file must be accepted, or refused; each complaint of a refused one is printed.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import Ajv from "ajv";
import { parse } from "yaml";

const [wanted, schema, ...files] = process.argv.slice(2);
// Not strict: `enumDescriptions` is a word of the editors, not of the standard.
const ajv = new Ajv({ strict: false, allErrors: true });
const validate = ajv.compile(JSON.parse(readFileSync(schema, "utf8")));
if (!ajv.validateSchema(JSON.parse(readFileSync(schema, "utf8")))) throw new Error("the schema is no schema");

let wrong = 0;
for (const file of files) {
  const accepted = validate(parse(readFileSync(file, "utf8"), { merge: true }));
  const said = (validate.errors ?? []).map((error) => {
    const what = error.params.additionalProperty ?? error.params.missingProperty ?? "";
    return `${error.instancePath || "/"} ${error.message} ${what}`.trim();
  });
  if (accepted === (wanted === "accept")) {
    if (!accepted) console.log(`  ${basename(file)}: ${said.find((text) => !/anyOf|oneOf|"then"/.test(text)) ?? said[0]}`);
    continue;
  }
  wrong += 1;
  console.error(`${file} is ${accepted ? "accepted" : `refused:\n  ${said.join("\n  ")}`}`);
}
if (files.length === 0 || wrong > 0) process.exit(1);
console.log(`${files.length} files: ${wanted === "accept" ? "accepted" : "refused"}, as they should be`);
