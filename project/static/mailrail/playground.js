// The playground: sends an email through the API and shows its events as they arrive over the WebSocket.

import { LiveEvents, showState } from "./live_events.js";

const HIGHLIGHTED_STATUSES = ["sent", "failed", "bounced", "suppressed", "canceled", "delayed"]; // shown in a color of their own
const form = document.getElementById("email-form");
const delivery = document.getElementById("delivery");
const eventLog = document.getElementById("event-log");
const errorBox = document.getElementById("error");
const showConnection = showState(document.getElementById("live"));
const steps = new Map([...delivery.querySelectorAll("[data-step]")].map((step) => [step.dataset.step, step]));
const lastStep = steps.get("sent");

let cursor = Number(delivery.dataset.cursor);
let liveEvents = null;
let queuedAt = 0; // milliseconds, from the server's clock

function reset() {
  liveEvents?.close();
  eventLog.replaceChildren();
  errorBox.hidden = true;
  delivery.querySelector(".links").hidden = true;
  for (const [name, step] of steps) updateStep(step, name, "", "");
  queuedAt = 0;
}

function updateStep(step, name, state, time) {
  step.dataset.state = state;
  step.querySelector("b").textContent = name;
  step.querySelector("small").textContent = time;
}

function formatElapsed(timestamp) {
  const milliseconds = timestamp - queuedAt;
  return milliseconds < 10000 ? `+${milliseconds} ms` : `+${(milliseconds / 1000).toFixed(1)} s`;
}

function showEvent({ id, created_at, data }) {
  const timestamp = Date.parse(created_at);
  queuedAt ||= timestamp;
  cursor = id;
  const { status } = data;
  const isFirst = status === "queued";
  const stepTime = isFirst ? created_at.slice(11, 19) : formatElapsed(timestamp);
  if (status === "sending") updateStep(lastStep, "sent", "", ""); // clears the result of an earlier attempt, if the email was delayed
  updateStep(steps.get(status) ?? lastStep, status, HIGHLIGHTED_STATUSES.includes(status) ? status : "done", stepTime);
  appendToLog(status, `${created_at.slice(11, 23).padEnd(12, "0")} UTC${isFirst ? "" : `, ${formatElapsed(timestamp)}`}`, data);
}

function appendToLog(status, time, { smtp_code, response }) {
  const item = document.createElement("li");
  item.dataset.status = status;
  const [name, timeElement, reply] = ["b", "time", "span"].map((tag) => document.createElement(tag));
  name.textContent = status;
  timeElement.textContent = time;
  reply.textContent = [smtp_code, response].filter(Boolean).join(" ");
  item.append(name, timeElement, reply);
  eventLog.append(item);
}

// Shows an error response of the API: `detail` is a text, or a list of invalid fields.
function showError({ detail }) {
  const field = ({ loc }) => loc.findLast((part) => typeof part === "string");
  const messages = Array.isArray(detail) ? detail.map((error) => `${field(error)}: ${error.msg.replace("Value error, ", "")}`) : [detail];
  errorBox.textContent = messages.join(" ");
  errorBox.hidden = false;
}

async function send() {
  const { csrfmiddlewaretoken, ...email } = Object.fromEntries(new FormData(form));
  const response = await fetch("/api/emails", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": csrfmiddlewaretoken },
    body: JSON.stringify(email),
  });
  const body = await response.json();
  if (!response.ok) return showError(body);
  const link = document.getElementById("email-link");
  link.href = `${delivery.dataset.emails}${body.id}/change/`;
  link.parentElement.hidden = false;
  liveEvents = new LiveEvents({ after: cursor, emailId: body.id, onState: showConnection, onEvent: showEvent });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  reset();
  try {
    await send();
  } catch {
    showError({ detail: "The server does not respond." });
  }
});

for (const button of form.querySelectorAll("[data-to]")) {
  button.addEventListener("click", () => (form.elements.to.value = button.dataset.to));
}

form.querySelector("fieldset").disabled = false;
