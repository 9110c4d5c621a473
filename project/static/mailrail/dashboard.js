// The dashboard: events arrive over the WebSocket, and new events trigger a refresh of the stats.

import { createChart } from "./chart.js";
import { LiveEvents, showState } from "./live_events.js";
import { statusBadge } from "./status_badge.js";

const MAX_EVENTS = 20; // in the list
const MIN_REFRESH_INTERVAL = 1000; // milliseconds
const MAX_REFRESH_INTERVAL = 10000; // milliseconds; needed because relay outages and waiting times change without an event
const dashboard = document.getElementById("dashboard");
const eventList = document.getElementById("events");
const tryNow = document.getElementById("try-now"); // missing without the permission to change emails
const drawChart = createChart(document.getElementById("chart"));

const selectedResolution = () => dashboard.querySelector("input[name=resolution]:checked").value;
const setStat = (name, text) => (dashboard.querySelector(`[data-stat="${name}"]`).textContent = text);
const clockTime = (timestamp) => timestamp.slice(11, 19);
const formatCount = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

function formatDuration(seconds) {
  if (seconds === null) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

// 100 % means all emails, and 0 % none.
function formatShare(share) {
  if (share === null) return "–";
  if (share > 0 && share < 0.001) return "<0.1\u00a0%";
  const percent = share < 1 ? Math.min(99.9, Math.round(share * 1000) / 10) : 100;
  return `${percent.toLocaleString("en")}\u00a0%`;
}

function describeQueue({ queued, sending }, oldest) {
  if (oldest) return `oldest waiting ${oldest}`;
  if (queued) return "waiting";
  return sending ? "being sent" : "no emails waiting";
}

function createElement(name, text = "", className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  element.className = className;
  return element;
}

function showStats({ now, queue, latency, failures, transport, rates, time_span, uncounted_events: uncounted }) {
  dashboard.ariaBusy = "false";
  const note = document.getElementById("uncounted");
  note.textContent = `Still counting: about ${formatCount(uncounted, "event")} to go.`;
  note.hidden = uncounted === 0;
  for (const placeholder of dashboard.querySelectorAll("[data-loading]")) placeholder.remove();
  setStat("delivered", formatShare(rates.sent));
  const shares = `bounced ${formatShare(rates.bounced)} · failed ${formatShare(rates.failed)} · ${time_span}`;
  setStat("rates", rates.sent === null ? `no emails in the ${time_span}` : shares);
  const { queued, sending, delayed, scheduled } = queue.depths;
  const oldest = queue.oldest_queued_at && formatDuration((new Date(now) - new Date(queue.oldest_queued_at)) / 1000);
  setStat("queued", (queued + sending).toLocaleString("en"));
  setStat("oldest", describeQueue(queue.depths, oldest));
  setStat("delayed", delayed.toLocaleString("en"));
  setStat("scheduled", `${scheduled.toLocaleString("en")} scheduled`);
  setStat("p50", formatDuration(latency.p50));
  const sample = `${formatCount(latency.emails, "email")}, last hour`;
  setStat("p95", latency.emails ? `p95 ${formatDuration(latency.p95)} · ${sample}` : "no emails in the last hour");
  showTransport(transport);
  showFailures(failures);
}

function showTransport({ name, is_paused: isPaused, outages }) {
  dashboard.querySelector(".transport").dataset.state = outages.length ? "paused" : "operational";
  setStat("transport", isPaused ? "Paused" : outages.length ? "Failover" : "Operational");
  const details = outages.map(
    ({ relay, failures, next_probe_at, error }) =>
      `${relay ? `${relay}: ` : ""}${formatCount(failures, "failure")}, next try at ${clockTime(next_probe_at)} UTC: ${error}`,
  );
  setStat("relay", [name, ...details].join(" · "));
  if (tryNow) tryNow.hidden = outages.length === 0;
}

async function probeRelay() {
  tryNow.disabled = true;
  const token = dashboard.querySelector("[name=csrfmiddlewaretoken]").value;
  await fetch(tryNow.dataset.url, { method: "POST", headers: { "X-CSRFToken": token } }).catch(() => null);
  tryNow.disabled = false;
  refreshIn(MIN_REFRESH_INTERVAL);
}

function showFailures(failures) {
  const rows = failures.map(({ reason, emails }) => {
    const [row, cell, count] = [createElement("tr"), createElement("td"), createElement("td", emails, "number")];
    const link = createElement("a", reason);
    link.href = `${dashboard.dataset.emails}?${new URLSearchParams({ reason })}`;
    cell.append(link);
    row.append(cell, count);
    return row;
  });
  document.getElementById("failures").replaceChildren(...rows);
  document.getElementById("no-failures").hidden = rows.length > 0;
}

// An event of a partly sent email is about some of its recipients only.
function showEvent({ id, type, created_at, data }, ...classes) {
  const item = createElement("li");
  item.dataset.event = id;
  item.classList.add(...classes);
  const subject = createElement("a", data.subject || "No subject");
  subject.href = `${dashboard.dataset.emails}${data.email_id}/change/`;
  const [first, ...others] = data.recipients ?? data.to;
  const to = createElement("span", others.length ? `${first} and ${others.length} more` : first, "quiet");
  const time = createElement("time", clockTime(created_at));
  time.dateTime = created_at;
  item.append(time, statusBadge(type.replace("email.", "")), subject, to);
  eventList.prepend(item);
  while (eventList.children.length > MAX_EVENTS) eventList.lastElementChild.remove();
  document.getElementById("no-events").hidden = true;
}

let lastRequest = 0; // responses may arrive out of order, so only the response to the latest request is shown

async function fetchStats() {
  const request = ++lastRequest;
  const resolution = selectedResolution();
  const response = await fetch(`${dashboard.dataset.stats}?resolution=${resolution}`);
  if (!response.ok || response.redirected) return null;
  const stats = await response.json();
  if (request === lastRequest) {
    showStats(stats);
    drawChart(stats.buckets, resolution);
    dashboard.dataset.loaded = resolution;
  }
  return stats;
}

let refreshTimer = 0;
let refreshAt = Infinity;

function refreshIn(milliseconds) {
  if (Date.now() + milliseconds >= refreshAt) return;
  clearTimeout(refreshTimer);
  refreshAt = Date.now() + milliseconds;
  refreshTimer = setTimeout(async () => {
    refreshAt = Infinity;
    await fetchStats().catch(() => null); // the connection state already shows that the server is unreachable
    refreshIn(MAX_REFRESH_INTERVAL);
  }, milliseconds);
}

async function start() {
  const stats = await fetchStats().catch(() => null);
  if (stats === null) return setTimeout(start, MIN_REFRESH_INTERVAL);
  document.getElementById("no-events").hidden = stats.events.length > 0;
  for (const event of stats.events.reverse()) showEvent(event);
  refreshIn(MAX_REFRESH_INTERVAL);
  return new LiveEvents({
    after: stats.cursor,
    onState: showState(document.getElementById("live")),
    onEvent(event) {
      showEvent(event, "new");
      refreshIn(MIN_REFRESH_INTERVAL);
    },
  });
}

tryNow?.addEventListener("click", probeRelay);
for (const input of dashboard.querySelectorAll("input[name=resolution]")) input.addEventListener("change", () => refreshIn(0));
start();
