// The dashboard: the events come over the socket, and whenever some have come, the figures are fetched again.

import { badge } from "./badge.js";
import { chart } from "./chart.js";
import { Live, shownIn } from "./live.js";

const EVENTS = 20; // as many are shown
const AT_MOST_EVERY = 1000; // milliseconds
const AT_LEAST_EVERY = 10000; // a pause of the relay, or the age of a mail, is no event
const page = document.getElementById("dashboard");
const list = document.getElementById("events");
const draw = chart(document.getElementById("chart"));

const unit = () => page.querySelector("input[name=unit]:checked").value;
const set = (name, text) => (page.querySelector(`[data-figure="${name}"]`).textContent = text);
const clock = (moment) => moment.slice(11, 19);

function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function showFigures({ now, queue, latency, failures, transport }) {
  const { queued, sending, delayed, scheduled } = queue.depths;
  set("waiting", (queued + sending).toLocaleString("en"));
  set("oldest", queue.oldest ? `the first for ${duration((new Date(now) - new Date(queue.oldest)) / 1000)}` : "nothing waits");
  set("delayed", delayed.toLocaleString("en"));
  set("scheduled", `${scheduled.toLocaleString("en")} scheduled`);
  set("p50", duration(latency.p50));
  set("p95", `p95 ${duration(latency.p95)}, of ${latency.mails.toLocaleString("en")} sent within an hour`);
  showTransport(transport);
  showFailures(failures);
}

function showTransport({ name, pauses }) {
  page.querySelector(".transport").dataset.state = pauses.length ? "paused" : "working";
  set("transport", pauses.length ? "Paused" : "Working");
  const said = pauses.map(({ failures, until, error }) => `${failures} failures, tries again at ${clock(until)}: ${error}`);
  set("relay", [name, ...said].join(" · "));
}

function showFailures(failures) {
  const rows = failures.map(({ reply, mails, status }) => {
    const [row, said, number] = [element("tr"), element("td"), element("td", mails.toLocaleString("en"), "number")];
    const link = element("a", reply);
    link.href = `${page.dataset.emails}?status=${status}`;
    said.append(link);
    row.append(said, number);
    return row;
  });
  document.getElementById("failures").replaceChildren(...rows);
  document.getElementById("no-failures").hidden = rows.length > 0;
}

function showEvent({ id, created_at, data }, ...classes) {
  const entry = element("li");
  entry.dataset.event = id;
  entry.classList.add(...classes);
  const subject = element("a", data.subject || "No subject");
  subject.href = `${page.dataset.emails}${data.email_id}/change/`;
  const to = element("span", data.to.length > 1 ? `${data.to[0]} and ${data.to.length - 1} more` : data.to[0], "quiet");
  const time = element("time", clock(created_at));
  time.dateTime = created_at;
  entry.append(time, badge(data.status), subject, to);
  list.prepend(entry);
  while (list.children.length > EVENTS) list.lastElementChild.remove();
  document.getElementById("no-events").hidden = true;
}

let asked = 0; // of several answers, the last that was asked for counts

async function fetchFigures() {
  const mine = ++asked;
  const chosen = unit();
  const answer = await fetch(`${page.dataset.stats}?unit=${chosen}`);
  if (!answer.ok || answer.redirected) return null;
  const figures = await answer.json();
  if (mine === asked) {
    showFigures(figures);
    draw(figures.counts, chosen);
    page.dataset.loaded = chosen;
  }
  return figures;
}

let next = 0;
let due = Infinity;

function refreshIn(milliseconds) {
  if (Date.now() + milliseconds >= due) return;
  clearTimeout(next);
  due = Date.now() + milliseconds;
  next = setTimeout(async () => {
    due = Infinity;
    await fetchFigures().catch(() => null); // the server is away: the socket's state says so
    refreshIn(AT_LEAST_EVERY);
  }, milliseconds);
}

async function begin() {
  const figures = await fetchFigures().catch(() => null);
  if (figures === null) return setTimeout(begin, AT_MOST_EVERY);
  for (const event of figures.events.reverse()) showEvent(event);
  refreshIn(AT_LEAST_EVERY);
  return new Live({
    after: figures.cursor,
    onState: shownIn(document.getElementById("live")),
    onEvent(event) {
      showEvent(event, "new");
      refreshIn(AT_MOST_EVERY);
    },
  });
}

for (const input of page.querySelectorAll("input[name=unit]")) input.addEventListener("change", () => refreshIn(0));
begin();
