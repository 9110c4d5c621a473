"use strict";

const page = document.querySelector("[data-address]");

// The page is the answer to a form. Reloaded, it must not send the form again, and so make another key.
history.replaceState(null, "", page.dataset.address);

async function copy(source) {
  getSelection().selectAllChildren(source); // to be copied by hand, if nothing else works
  if (navigator.clipboard) return navigator.clipboard.writeText(source.textContent);
  if (!document.execCommand("copy")) throw new Error("not copied"); // over plain HTTP there is no clipboard to write to
}

for (const button of page.querySelectorAll("[data-copies]")) {
  const status = button.closest("section").querySelector("[role=status]");
  button.hidden = false;
  button.addEventListener("click", () => {
    for (const each of page.querySelectorAll("[role=status]")) each.textContent = "";
    copy(document.getElementById(button.dataset.copies)).then(
      () => (status.textContent = "Copied."),
      () => (status.textContent = "It could not be copied. It is selected: press Ctrl+C."),
    );
  });
}
