// Keeps an email's page up to date. On each event, the page is fetched again and its new parts are inserted, so that the
// timeline is rendered in one place only: the template.

import { LiveEvents, showState } from "./live_events.js";

const REFRESH_DELAY = 60; // milliseconds; events that arrive together need only one fetch
const UPDATED_PARTS = ["#message-summary", "#recipient-results", ".breadcrumbs"];
const timeline = document.getElementById("timeline");

async function refresh() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok || response.redirected) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  appendNew(page.querySelectorAll("#timeline > [data-event]"));
  for (const selector of UPDATED_PARTS) update(document.querySelector(selector), page.querySelector(selector));
}

function appendNew(items) {
  for (const item of items) {
    if (timeline.querySelector(`[data-event="${item.dataset.event}"]`)) continue;
    timeline.querySelector(".empty")?.remove();
    item.classList.add("new");
    timeline.append(document.adoptNode(item));
  }
}

function update(current, fetched) {
  if (!fetched || current.innerHTML === fetched.innerHTML) return;
  const hadFocus = current.contains(document.activeElement);
  current.replaceChildren(...document.adoptNode(fetched).childNodes);
  if (hadFocus) current.focus(); // the focused element may be missing now, such as a button whose action is no longer possible
}

let timer = 0;
let refreshes = Promise.resolve();
let reconnecting = false;
const showConnection = showState(document.getElementById("live"));

function refreshSoon() {
  clearTimeout(timer);
  timer = setTimeout(() => (refreshes = refreshes.then(refresh).catch(() => {})), REFRESH_DELAY);
}

new LiveEvents({
  after: Number(timeline.dataset.cursor),
  emailId: timeline.dataset.email,
  onEvent: refreshSoon,
  onState(state) {
    showConnection(state);
    if (state === "live" && reconnecting) refreshSoon(); // a fetch may have failed while the server was unreachable
    reconnecting = state === "reconnecting";
  },
});
