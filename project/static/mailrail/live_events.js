// Client of the live event WebSocket. It reconnects with the id of the last event that it received, so that every event arrives
// exactly once. It also reports the state of the connection.

const MIN_RECONNECT_DELAY = 250; // milliseconds
const MAX_RECONNECT_DELAY = 8000; // milliseconds
const PING_INTERVAL = 20000; // milliseconds
const RESPONSE_TIMEOUT = 10000; // milliseconds
const FINAL_CLOSE_CODES = { 4401: "logged-out", 4403: "forbidden" };
const STATE_LABELS = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  "logged-out": "Logged out: reload the page to log in",
  forbidden: "No permission to view live events",
};

export class LiveEvents {
  #lastId;
  #filter;
  #onEvent;
  #onState;
  #socket = null;
  #delay = MIN_RECONNECT_DELAY;
  #timer = 0; // timer for the next reconnect, the next ping, or the timeout of a response
  #closed = false;
  #reconnect = () => this.#socket === null && this.#open();

  // Receives the events after the event id `after`, or only new events if `after` is null. With `emailId`, receives only the
  // events of this email.
  constructor({ after = null, emailId = null, onEvent, onState }) {
    this.#lastId = after;
    this.#filter = emailId === null ? {} : { email_id: emailId };
    this.#onEvent = onEvent;
    this.#onState = onState;
    addEventListener("online", this.#reconnect);
    addEventListener("pageshow", this.#reconnect);
    onState("connecting");
    this.#open();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    removeEventListener("online", this.#reconnect);
    removeEventListener("pageshow", this.#reconnect);
    this.#socket?.close();
  }

  #open() {
    if (this.#closed) return;
    const after = this.#lastId === null ? {} : { after: this.#lastId };
    const url = new URL("/api/ws/events", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams({ ...this.#filter, ...after });
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#handleMessage(JSON.parse(data));
    socket.onclose = ({ code }) => socket === this.#socket && this.#handleClose(code);
    this.#startTimeout();
  }

  // A lost connection gets no close frame: treat a server that does not respond in time as gone.
  #startTimeout() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#timer = setTimeout(() => {
      socket.close();
      this.#handleClose(1006);
    }, RESPONSE_TIMEOUT);
  }

  #handleMessage(message) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#socket.send(JSON.stringify({ action: "ping" }));
      this.#startTimeout();
    }, PING_INTERVAL);
    if (message.type === "ready") {
      this.#lastId = message.cursor;
      this.#delay = MIN_RECONNECT_DELAY;
      this.#onState("live");
    } else if (message.id > this.#lastId) {
      this.#lastId = message.id;
      this.#onEvent(message);
    }
  }

  #handleClose(code) {
    clearTimeout(this.#timer);
    this.#socket = null;
    if (this.#closed) return;
    if (code in FINAL_CLOSE_CODES) {
      this.#closed = true;
      this.#onState(FINAL_CLOSE_CODES[code]);
      return;
    }
    this.#onState("reconnecting");
    // The delay has jitter, so that not all clients reconnect at once after a server restart.
    this.#timer = setTimeout(this.#reconnect, this.#delay * (0.5 + Math.random() / 2));
    this.#delay = Math.min(MAX_RECONNECT_DELAY, this.#delay * 2);
  }
}

// Returns an `onState` function that shows the state of the connection in an element.
export function showState(element) {
  return (state) => {
    element.dataset.state = state;
    element.textContent = STATE_LABELS[state];
  };
}
