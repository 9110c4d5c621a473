"use strict";

// Polls the progress of a bulk action until it ends.

const POLL_INTERVAL = 1000; // milliseconds
const element = document.getElementById("bulk-action");

function show(progress) {
  const bar = element.querySelector("progress");
  bar.max = progress.matched;
  bar.value = progress.processed;
  for (const field of element.querySelectorAll("[data-field]")) field.textContent = progress[field.dataset.field];
  element.dataset.state = progress.state;
  if (progress.state !== "running") element.querySelector("[data-while-running]")?.remove();
}

async function poll() {
  try {
    const response = await fetch(element.dataset.status);
    if (response.ok && !response.redirected) show(await response.json());
  } catch {
    // The server is unreachable for a moment. The next poll shows the progress.
  }
  if (element.dataset.state === "running") setTimeout(poll, POLL_INTERVAL);
}

if (element.dataset.state === "running") poll();
