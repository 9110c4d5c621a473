"use strict";

// Pressing "/" focuses the search field.

addEventListener("keydown", (event) => {
  const field = document.getElementById("searchbar");
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || !field) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  event.preventDefault();
  field.focus();
  field.select();
});
