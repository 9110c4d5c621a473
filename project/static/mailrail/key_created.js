"use strict";

const page = document.querySelector("[data-key-url]");

// This page is the response to a form. A reload must not submit the form again, which would create another key.
history.replaceState(null, "", page.dataset.keyUrl);

async function copy(source) {
  getSelection().selectAllChildren(source); // lets the user copy by hand if both methods below fail
  if (navigator.clipboard) return navigator.clipboard.writeText(source.textContent);
  if (!document.execCommand("copy")) throw new Error("not copied"); // navigator.clipboard is missing over plain HTTP
}

for (const button of page.querySelectorAll("[data-copies]")) {
  const status = button.closest("section").querySelector("[role=status]");
  button.hidden = false;
  button.addEventListener("click", () => {
    for (const other of page.querySelectorAll("[role=status]")) other.textContent = "";
    copy(document.getElementById(button.dataset.copies)).then(
      () => (status.textContent = "Copied."),
      () => (status.textContent = "Copying failed. The text is selected: press Ctrl+C."),
    );
  });
}
