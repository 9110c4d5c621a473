// The socket of live events. It is opened again when it closes, with the id of the last event that came: none is lost,
// none comes twice, and whoever looks can see how it stands.

const FIRST_WAIT = 250; // milliseconds
const LONGEST_WAIT = 8000;
const ASK_EVERY = 20000;
const ANSWERS_WITHIN = 10000;
const ENDS = { 4401: "signed-out", 4403: "refused" };
const SAID = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  "signed-out": "Signed out: reload to sign in",
  refused: "You may not follow events",
};

export class Live {
  #last;
  #filter;
  #onEvent;
  #onState;
  #socket = null;
  #wait = FIRST_WAIT;
  #timer = 0; // until the next try, the next question or the answer that is due
  #over = false;
  #hurry = () => this.#socket === null && this.#open();

  // Follows what comes after the event `after` (from now on, if there is none), of one mail if `emailId` is given.
  constructor({ after = null, emailId = null, onEvent, onState }) {
    this.#last = after;
    this.#filter = emailId === null ? {} : { email_id: emailId };
    this.#onEvent = onEvent;
    this.#onState = onState;
    addEventListener("online", this.#hurry);
    addEventListener("pageshow", this.#hurry);
    onState("connecting");
    this.#open();
  }

  close() {
    this.#over = true;
    clearTimeout(this.#timer);
    removeEventListener("online", this.#hurry);
    removeEventListener("pageshow", this.#hurry);
    this.#socket?.close();
  }

  #open() {
    if (this.#over) return;
    const after = this.#last === null ? {} : { after: this.#last };
    const url = new URL("/api/ws/events", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams({ ...this.#filter, ...after });
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#heard(JSON.parse(data));
    socket.onclose = ({ code }) => socket === this.#socket && this.#closed(code);
    this.#expect();
  }

  // A connection that was lost on the way is not closed by anybody: who does not answer in time is taken to be gone.
  #expect() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#timer = setTimeout(() => {
      socket.close();
      this.#closed(1006);
    }, ANSWERS_WITHIN);
  }

  #heard(message) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#socket.send(JSON.stringify({ action: "ping" }));
      this.#expect();
    }, ASK_EVERY);
    if (message.type === "ready") {
      this.#last = message.cursor;
      this.#wait = FIRST_WAIT;
      this.#onState("live");
    } else if (message.id > this.#last) {
      this.#last = message.id;
      this.#onEvent(message);
    }
  }

  #closed(code) {
    clearTimeout(this.#timer);
    this.#socket = null;
    if (this.#over) return;
    if (code in ENDS) {
      this.#over = true;
      this.#onState(ENDS[code]);
      return;
    }
    this.#onState("reconnecting");
    this.#timer = setTimeout(this.#hurry, this.#wait * (0.5 + Math.random() / 2)); // not all at once after a restart
    this.#wait = Math.min(LONGEST_WAIT, this.#wait * 2);
  }
}

// Gives what shows a state in an element.
export function shownIn(element) {
  return (state) => {
    element.dataset.state = state;
    element.textContent = SAID[state];
  };
}
