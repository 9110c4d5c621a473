// One mail's page, kept up to date: when something happens to the mail, the server is asked for the page again, and what is new
// in it is put in place. So there is one way in which a timeline is written: the template's.

import { Live, shownIn } from "./live.js";

const TOGETHER = 60; // milliseconds: what happens at once is fetched at once
const KEPT_UP = ["#letter-head", "#letter-ends", ".breadcrumbs"];
const story = document.getElementById("timeline");

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  append(page.querySelectorAll("#timeline > [data-event]"));
  for (const part of KEPT_UP) replace(document.querySelector(part), page.querySelector(part));
}

function append(entries) {
  for (const entry of entries) {
    if (story.querySelector(`[data-event="${entry.dataset.event}"]`)) continue;
    story.querySelector(".nothing")?.remove();
    entry.classList.add("new");
    story.append(document.adoptNode(entry));
  }
}

function replace(old, fresh) {
  if (!fresh || old.innerHTML === fresh.innerHTML) return;
  const focused = old.contains(document.activeElement);
  old.replaceChildren(...document.adoptNode(fresh).childNodes);
  if (focused) old.focus(); // what had it may be gone, such as a button that can no longer be pressed
}

let timer = 0;
let running = Promise.resolve();
let away = false;
const show = shownIn(document.getElementById("live"));

function refreshSoon() {
  clearTimeout(timer);
  timer = setTimeout(() => (running = running.then(refresh).catch(() => {})), TOGETHER);
}

new Live({
  after: Number(story.dataset.cursor),
  emailId: story.dataset.email,
  onEvent: refreshSoon,
  onState(state) {
    show(state);
    if (state === "live" && away) refreshSoon(); // what could not be fetched while the server was away
    away = state === "reconnecting";
  },
});
