"use strict";

// Mends parts of Django's admin pages that screen readers cannot read. They are built by Django's own scripts and templates.

addEventListener("load", () => {
  // SelectFilter2.js gives these icons a label, but no role that may have one.
  for (const icon of document.querySelectorAll(".help-tooltip[aria-label]:not([role])")) icon.setAttribute("role", "img");
  // The first column of a table of inline forms has no heading.
  for (const header of document.querySelectorAll("th.original:empty")) {
    const text = document.createElement("span");
    text.className = "visually-hidden";
    text.textContent = "Row";
    header.append(text);
  }
});
