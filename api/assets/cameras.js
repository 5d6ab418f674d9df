// Fills the table of cameras. Everything that comes from the service is set as text, never as
// markup, so a camera may be called anything.
"use strict";

const API = "/api/v1/cameras";
const REFRESH_MS = 10_000;

const table = document.getElementById("cameras");
const message = document.getElementById("message");

async function get(address) {
  const response = await fetch(address, { headers: { Accept: "application/json" } });
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail || body.title || response.statusText);
  return body;
}

function cell(text, className) {
  const element = document.createElement("td");
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

function link(address, text) {
  const element = document.createElement("a");
  element.href = address;
  element.textContent = text;
  return element;
}

// Unknown is not zero: what nobody watched is a dash.
const number = (value) => (value === null || value === undefined ? "–" : String(value));
const share = (value) => (value === null || value === undefined ? "–" : Math.round(value * 100) + " %");

async function row(camera) {
  const base = API + "/" + encodeURIComponent(camera.camera_id);
  const today = (await get(base + "/counting?limit=1")).totals;
  const element = document.createElement("tr");
  const links = document.createElement("td");
  for (const part of ["counting", "detections", "analytics", "health"]) {
    if (links.childNodes.length) links.append(" · ");
    links.append(link(base + "/" + part, part));
  }
  element.append(
    cell(camera.camera_name),
    cell(camera.status === null ? "unknown" : camera.status),
    cell(number(today.in_count), "number"),
    cell(number(today.out_count), "number"),
    cell(share(today.coverage), "number"),
    links,
  );
  return element;
}

async function refresh() {
  try {
    const page = await get(API + "?limit=100");
    table.replaceChildren(...(await Promise.all(page.data.map(row))));
    const more = page.pagination.has_more ? "; the API has more" : "";
    message.textContent = page.data.length
      ? page.data.length + " cameras" + more + ", days are those of UTC, as of " + page.metadata.generated_at
      : "No cameras yet.";
  } catch (error) {
    message.textContent = "Cannot show the cameras: " + error.message;
  }
}

refresh();
setInterval(refresh, REFRESH_MS);
