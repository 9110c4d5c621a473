// How far the mails are that were queued again.

import { badge } from "./badge.js";
import { Live, shownIn } from "./live.js";

const ENDS = new Set(["sent", "failed", "bounced", "suppressed", "canceled"]);
const page = document.getElementById("progress");
const bar = page.querySelector("progress");
const summary = page.querySelector("[role=status].summary");
const rows = new Map([...page.querySelectorAll("[data-email]")].map((row) => [row.dataset.email, row]));

function show() {
  const statuses = [...rows.values()].map((row) => row.dataset.status);
  const ended = statuses.filter((status) => ENDS.has(status));
  const counts = [...new Set(ended)].sort().map((status) => `${ended.filter((each) => each === status).length} ${status}`);
  bar.value = ended.length;
  summary.textContent = `${ended.length} of ${rows.size} done${counts.length ? `: ${counts.join(", ")}` : ""}.`;
}

new Live({
  after: Number(page.dataset.cursor),
  onState: shownIn(document.getElementById("live")),
  onEvent({ data }) {
    const row = rows.get(data.email_id);
    if (!row) return;
    row.dataset.status = data.status;
    row.querySelector(".status").replaceWith(badge(data.status));
    row.querySelector(".reply").textContent = [data.smtp_code, data.response].filter(Boolean).join(" ");
    show();
  },
});
show();
