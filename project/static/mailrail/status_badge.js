// A colored status badge, with the same markup as in the admin templates.

// `note` is about recipients whose status differs, such as "1 rejected".
export function statusBadge(status, note = "") {
  const badge = document.createElement("span");
  badge.className = `status status-${status}`;
  if (note) badge.classList.add("status-partly-sent");
  badge.textContent = note ? `${status} · ${note}` : status;
  return badge;
}
