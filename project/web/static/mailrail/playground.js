// The playground: a mail is sent with the API, and what happens to it comes over the socket.

import { Live, shownIn } from "./live.js";

const ENDS = ["sent", "failed", "bounced", "suppressed", "canceled"];
const form = document.getElementById("letter");
const journey = document.getElementById("journey");
const story = document.getElementById("story");
const problem = document.getElementById("problem");
const show = shownIn(document.getElementById("live"));
const stations = new Map([...journey.querySelectorAll("[data-station]")].map((station) => [station.dataset.station, station]));
const last = stations.get("sent");

let cursor = Number(journey.dataset.cursor);
let live = null;
let began = 0; // when the mail was queued, as the server says

function clear() {
  live?.close();
  story.replaceChildren();
  problem.hidden = true;
  journey.querySelector(".links").hidden = true;
  for (const [name, station] of stations) light(station, name, "", "");
}

function light(station, name, state, time) {
  station.dataset.state = state;
  station.querySelector("b").textContent = name;
  station.querySelector("small").textContent = time;
}

function elapsed(moment) {
  const milliseconds = moment - began;
  return milliseconds < 10000 ? `+${milliseconds} ms` : `+${(milliseconds / 1000).toFixed(1)} s`;
}

function tell({ id, created_at, data }) {
  const moment = Date.parse(created_at);
  began ||= moment;
  cursor = id;
  const { status } = data;
  const isFirst = status === "queued";
  const time = isFirst ? created_at.slice(11, 19) : elapsed(moment);
  if (status === "sending") light(last, "sent", "", "");
  light(stations.get(status) ?? last, status, ENDS.includes(status) || status === "delayed" ? status : "done", time);
  write(status, `${created_at.slice(11, 23).padEnd(12, "0")} UTC${isFirst ? "" : `, ${elapsed(moment)}`}`, data);
}

function write(status, time, { smtp_code, response }) {
  const entry = document.createElement("li");
  entry.dataset.status = status;
  const [name, at, reply] = ["b", "time", "span"].map((tag) => document.createElement(tag));
  name.textContent = status;
  at.textContent = time;
  reply.textContent = [smtp_code, response].filter(Boolean).join(" ");
  entry.append(name, at, reply);
  story.append(entry);
}

function complain({ detail }) {
  const field = ({ loc }) => loc.findLast((step) => typeof step === "string");
  const said = Array.isArray(detail) ? detail.map((each) => `${field(each)}: ${each.msg.replace("Value error, ", "")}`) : [detail];
  problem.textContent = said.join(" ");
  problem.hidden = false;
}

async function send() {
  const { csrfmiddlewaretoken, ...mail } = Object.fromEntries(new FormData(form));
  const answer = await fetch("/api/emails", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": csrfmiddlewaretoken },
    body: JSON.stringify(mail),
  });
  const told = await answer.json();
  if (!answer.ok) return complain(told);
  const page = document.getElementById("page");
  page.href = `${journey.dataset.emails}${told.id}/change/`;
  page.parentElement.hidden = false;
  live = new Live({ after: cursor, emailId: told.id, onState: show, onEvent: tell });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  clear();
  began = 0;
  try {
    await send();
  } catch {
    complain({ detail: "The server does not answer." });
  }
});

for (const button of form.querySelectorAll("[data-to]")) {
  button.addEventListener("click", () => (form.elements.to.value = button.dataset.to));
}

form.querySelector("fieldset").disabled = false;
