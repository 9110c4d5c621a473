// A status in its colour, as the templates of the back office write it.

export function badge(status, text = status) {
  const element = document.createElement("span");
  element.className = `status status-${status}`;
  element.textContent = text;
  return element;
}
