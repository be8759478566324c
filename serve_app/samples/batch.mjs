// Get many pictures back with every face hidden, as a zip: node batch.mjs OUTPUT PICTURE...
import { readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";

const url = process.env.FACE_API_URL ?? "http://127.0.0.1:8000";
const headers = { "X-API-Key": process.env.FACE_API_KEY ?? "" };

// Each picture is a part `image`; the zip's manifest.json says what became of each.
const form = new FormData();
for (const path of process.argv.slice(3)) {
  form.append("image", new Blob([await readFile(path)]), basename(path));
}
const response = await fetch(`${url}/api/v1/batch?task=mask&answer=zip`, {
  method: "POST",
  headers,
  body: form,
});
if (response.ok) {
  await writeFile(process.argv[2], Buffer.from(await response.arrayBuffer()));
} else {
  console.error(`${response.status}: ${(await response.json()).detail}`);
  process.exitCode = 1;
}
