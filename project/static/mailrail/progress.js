// Progress of emails that were retried together.

import { LiveEvents, showState } from "./live_events.js";
import { statusBadge } from "./status_badge.js";

const FINAL_STATUSES = new Set(["sent", "failed", "bounced", "suppressed", "canceled"]);
const page = document.getElementById("progress");
const bar = page.querySelector("progress");
const summary = page.querySelector("[role=status].summary");
const rows = new Map([...page.querySelectorAll("[data-email]")].map((row) => [row.dataset.email, row]));

function updateSummary() {
  const done = [...rows.values()].map((row) => row.dataset.status).filter((status) => FINAL_STATUSES.has(status));
  const counts = [...new Set(done)].sort().map((status) => `${done.filter((each) => each === status).length} ${status}`);
  bar.value = done.length;
  summary.textContent = `${done.length} of ${rows.size} done${counts.length ? `: ${counts.join(", ")}` : ""}.`;
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
