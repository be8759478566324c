// Get a picture back with every face hidden: node mask.mjs PICTURE OUTPUT
import { readFile, writeFile } from "node:fs/promises";

const url = process.env.FACE_API_URL ?? "http://127.0.0.1:8000";
const headers = { "X-API-Key": process.env.FACE_API_KEY ?? "", "Content-Type": "image/jpeg" };

// The bytes alone, under any image/* type; detect.mjs sends them as multipart/form-data.
const response = await fetch(`${url}/api/v1/mask?method=gaussian&format=jpeg`, {
  method: "POST",
  headers,
  body: await readFile(process.argv[2]),
});
if (response.ok) {
  await writeFile(process.argv[3], Buffer.from(await response.arrayBuffer()));
} else {
  console.error(`${response.status}: ${(await response.json()).detail}`);
  process.exitCode = 1;
}
