// Find the faces of a picture: node detect.mjs PICTURE
import { readFile } from "node:fs/promises";

const url = process.env.FACE_API_URL ?? "http://127.0.0.1:8000";
const headers = { "X-API-Key": process.env.FACE_API_KEY ?? "" };

// multipart/form-data with the file part `image`; mask.mjs sends the bytes alone, which is faster.
const form = new FormData();
form.append("image", new Blob([await readFile(process.argv[2])]));
const response = await fetch(`${url}/api/v1/detect?confidence=0.5`, { method: "POST", headers, body: form });
const answer = await response.json();
if (response.ok) {
  console.log(JSON.stringify(answer, null, 2));
} else {
  console.error(`${response.status}: ${answer.detail}`);
  process.exitCode = 1;
}
