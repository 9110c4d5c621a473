// Progress of emails that were retried together.

import { LiveEvents, showState } from "./live_events.js";
import { statusBadge } from "./status_badge.js";

const FINAL_STATUSES = new Set(["sent", "failed", "bounced", "suppressed", "canceled"]);
const page = document.getElementById("progress");
const bar = page.querySelector("progress");
const summary = page.querySelector("[role=status].summary");
const rows = new Map([...page.querySelectorAll("[data-email]")].map((row) => [row.dataset.email, row]));

// A delayed email is not done, but the attempt that the user asked for has failed, and the next one may be hours away.
function updateSummary() {
  const statuses = [...rows.values()].map((row) => row.dataset.status);
  const count = (status) => statuses.filter((each) => each === status).length;
  const shown = [...new Set(statuses)].filter((status) => FINAL_STATUSES.has(status) || status === "delayed").sort();
  const counts = shown.map((status) => `${count(status)} ${status}`);
  bar.value = statuses.filter((status) => FINAL_STATUSES.has(status)).length;
  summary.textContent = `${bar.value} of ${rows.size} done${counts.length ? `: ${counts.join(", ")}` : ""}.`;
}

new LiveEvents({
  after: Number(page.dataset.cursor),
  onState: showState(document.getElementById("live")),
  onEvent({ data }) {
    const row = rows.get(data.email_id);
    if (!row) return;
    row.dataset.status = data.status;
    row.querySelector(".status").replaceWith(statusBadge(data.status));
    row.querySelector(".reply").textContent = [data.smtp_code, data.response].filter(Boolean).join(" ");
    updateSummary();
  },
});
updateSummary();
