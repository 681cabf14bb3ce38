// Holds SARIF logs against the published schema: validate.mjs SCHEMA FILE…
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const Ajv = createRequire(import.meta.url)("ajv");
const [schema, ...files] = process.argv.slice(2);
const ajv = new Ajv({ allErrors: true, schemaId: "auto", logger: false, unknownFormats: "ignore" });
const text = JSON.parse(readFileSync(schema, "utf8"));
// Ajv 6 knows draft 7; the schema says draft 7 or draft 4, whichever was packed.
delete text.$schema;
delete text.id;
const validate = ajv.compile(text);
let wrong = 0;
for (const file of files) {
  if (validate(JSON.parse(readFileSync(file, "utf8")))) continue;
  wrong += 1;
  console.error(`${file}: ${ajv.errorsText(validate.errors, { separator: "\n  " })}`);
}
if (wrong > 0) process.exit(1);
