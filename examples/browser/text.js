/** The view of a model that writes: what a person types goes into the live stream, and the model goes on from there. */

const PACES = [15, 40, 160, 1000, Infinity];
const REST_MS = 600;
const SLICE_MS = 8;
const KEPT_CHARACTERS = 8000;
const MEASURED_TOKENS = 300;
const MEASURED_AFTER_MS = [0, 400, 1500, 4000];
const FIGURES_MS = 500;

const find = (id) => document.getElementById(id);

/**
 * Start writing.
 *
 * @param {import("./edgernn.js").Model} model
 * @param {(measured: {count: number, seconds: number}) => void} measured Told how long tokens took.
 * @returns {{close: () => void}}
 */
export function showText(model, measured) {
  const events = new AbortController();
  const stream = model.stream(settings());
  const typed = find("typed");
  let frame = 0;
  let last = performance.now();
  let due = 0;
  let restUntil = 0;
  let paused = false;
  let before = null;
  let written = { count: 0, seconds: 0 };

  const on = (id, kind, listener) => find(id).addEventListener(kind, listener, { signal: events.signal });
  on("temperature", "input", () => (stream.sampling = settings()));
  on("top-k", "input", () => (stream.sampling = settings()));
  on("seed", "change", again);
  on("again", "click", again);
  on("pause", "click", () => pause(!paused));
  on("line", "submit", (event) => {
    event.preventDefault();
    type("\n");
    settle();
  });
  on("typed", "input", ({ isComposing }) => isComposing || type());
  on("typed", "compositionend", () => type());

  const timers = MEASURED_AFTER_MS.map((delay) => setTimeout(measure, delay));
  restart();

  /** Write as many tokens as are due, in a slice that leaves the page time to answer. */
  function write(now) {
    frame = requestAnimationFrame(write);
    const elapsed = Math.min(now - last, 100);
    last = now;
    if (paused || now < restUntil) return;
    if (before) settle();
    const pace = PACES[find("pace").value];
    due = pace === Infinity ? Infinity : due + (pace * elapsed) / 1000;
    const start = performance.now();
    let text = "";
    let count = 0;
    while (due >= 1 && performance.now() - start < SLICE_MS) {
      const burst = Math.min(due, 32);
      for (let i = 0; i < Math.floor(burst); i++, count++) {
        const token = stream.next();
        text += token === model.end ? "\n" : stream.text(token);
        if (token === model.end) stream.reset({ seed: stream.seed + 1n });
      }
      due -= Math.floor(burst);
    }
    written.count += count;
    written.seconds += (performance.now() - start) / 1000;
    if (pace !== Infinity) written = { count: 0, seconds: 0 };
    if (written.seconds > FIGURES_MS / 1000) {
      measured(written);
      written = { count: 0, seconds: 0 };
    }
    append(text, "");
    trim();
  }

  /** Put what stands in the field at the stream's end: the stream goes back to before the first of it, and reads it. */
  function type(extra = "") {
    before ??= { snapshot: stream.snapshot(), place: find("written").querySelector(".cursor").previousSibling };
    stream.restore(before.snapshot);
    while (cursor().previousSibling !== before.place) cursor().previousSibling.remove();
    const wanted = gap() + typed.value + extra;
    const unknown = new Set(model.unknown(wanted));
    const known = Array.from(wanted)
      .filter((character) => !unknown.has(character))
      .join("");
    find("refused").textContent = unknown.size ? `The model was trained without ${[...unknown].join(" ")}` : "";
    stream.prefill(known);
    append(known, "yours");
    restUntil = performance.now() + REST_MS;
    pause(false);
  }

  /** Keep what was typed; the model goes on. */
  function settle() {
    before = null;
    typed.value = "";
    due = Math.max(due, 1);
  }

  function append(text, author) {
    if (!text) return;
    const paper = find("written");
    const near = paper.scrollHeight - paper.scrollTop - paper.clientHeight < 80;
    const tail = cursor().previousSibling;
    if (tail && tail !== before?.place && tail.className === author) {
      tail.textContent += text;
    } else {
      const piece = document.createElement("span");
      piece.className = author;
      piece.textContent = text;
      paper.insertBefore(piece, cursor());
    }
    if (near) paper.scrollTop = paper.scrollHeight;
  }

  /** A blank, if what is typed would else run into the word before. */
  function gap() {
    const words = before.place?.textContent ?? "";
    return /\S$/u.test(words) && !/^\s/u.test(typed.value) && model.unknown(" ").length === 0 ? " " : "";
  }

  function trim() {
    const paper = find("written");
    while (paper.childNodes.length > 2 && paper.textContent.length > KEPT_CHARACTERS) paper.firstChild.remove();
    const text = paper.firstChild.textContent;
    if (text.length > 2 * KEPT_CHARACTERS) paper.firstChild.textContent = text.slice(-KEPT_CHARACTERS);
  }

  function cursor() {
    return find("written").lastChild;
  }

  /** Start over if the seed is one; else the browser says what is wrong with it. */
  function again() {
    if (find("seed").reportValidity()) restart();
  }

  function restart() {
    settle();
    const { validity, value, defaultValue } = find("seed");
    stream.reset({ seed: Number(validity.valid ? value : defaultValue) });
    if (model.spec.feedback.start === null) stream.prefill(beginning());
    const mark = document.createElement("span");
    mark.className = "cursor";
    find("written").replaceChildren(mark);
    find("refused").textContent = "";
    restUntil = 0;
    pause(false);
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(write);
  }

  function pause(value) {
    paused = value;
    find("pause").textContent = paused ? "Go on" : "Pause";
  }

  /** Time many tokens of a stream beside, so that a slow pace does not hide how fast the model is. */
  function measure() {
    const beside = model.stream({ ...settings(), seed: 1 });
    beside.prefill(beginning());
    const start = performance.now();
    for (let i = 0; i < MEASURED_TOKENS; i++) beside.next();
    measured({ count: MEASURED_TOKENS, seconds: (performance.now() - start) / 1000 });
    beside.free();
  }

  /** What to begin with if the model has no token for that: a new line, as if one had ended. */
  function beginning() {
    const start = model.spec.feedback.start;
    return start !== null ? [start] : model.unknown("\n").length ? [0] : "\n";
  }

  return {
    close() {
      cancelAnimationFrame(frame);
      timers.forEach(clearTimeout);
      events.abort();
      stream.free();
    },
  };
}

function settings() {
  return { temperature: Number(find("temperature").value), topK: Number(find("top-k").value) };
}
