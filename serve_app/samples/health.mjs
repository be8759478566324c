// Ask whether the model and every tier are ready: node health.mjs
const url = process.env.FACE_API_URL ?? "http://127.0.0.1:8000";
const response = await fetch(`${url}/health`);
console.log(await response.text());
if (!response.ok) {
  process.exitCode = 1;
}
