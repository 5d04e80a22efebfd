/** The view of a model that draws: grey pictures, pixel by pixel in reading order, of a class if the model takes it. */

const PIXELS_A_SECOND = [16, 64, 4000];
const REST_MS = 700;
const KEPT = 20;
const MEASURED_PIXELS = 500;
const MEASURED_AFTER_MS = [0, 400, 1500, 4000];

const find = (id) => document.getElementById(id);

/** The input that says what to draw; undefined if there is none. */
export function classInput(spec) {
  return spec.inputs.find((input) => input.role === "condition" && input.size > 1);
}

/**
 * Start drawing.
 *
 * @param {import("./edgernn.js").Model} model
 * @param {(measured: {count: number, seconds: number}) => void} measured Told how long pixels took.
 * @returns {{close: () => void}}
 */
export function showPicture(model, measured) {
  const { width, height, levels } = model.spec.codec;
  const classes = classInput(model.spec);
  const events = new AbortController();
  const stream = model.stream();
  const canvas = find("canvas");
  let frame = 0;
  let last = performance.now();
  let due = 0;
  let done = 0;
  let kind = 0;
  let seed = Number(find("picture-seed").defaultValue);
  let restUntil = 0;

  const on = (id, listener) => find(id).addEventListener("change", listener, { signal: events.signal });
  on("picture-seed", () => find("picture-seed").reportValidity() && begin(kind));
  find("picture-temperature").addEventListener("input", () => (stream.sampling = settings()), {
    signal: events.signal,
  });
  find("drawn").replaceChildren();
  find("classes").replaceChildren(...Array.from({ length: classes?.size ?? 0 }, button));
  Object.assign(canvas, { width, height });
  canvas.style.aspectRatio = `${width} / ${height}`;

  const timers = MEASURED_AFTER_MS.map((delay) => setTimeout(measure, delay));
  begin(0);
  frame = requestAnimationFrame(draw);

  /** Draw the pixels that are due; a picture that is done moves to the others, and the next one begins. */
  function draw(now) {
    frame = requestAnimationFrame(draw);
    const elapsed = Math.min(now - last, 100);
    last = now;
    if (now < restUntil) return;
    if (done === width * height) {
      keep();
      const next = classes ? (kind + 1) % classes.size : 0;
      if (next === 0) find("picture-seed").value = seed + 1;
      begin(next);
    }
    due += (elapsed / 1000) * PIXELS_A_SECOND[find("picture-pace").value];
    for (; due >= 1 && done < width * height; due--, done++) paint(canvas, done, stream.next());
    if (done === width * height) {
      due = 0;
      restUntil = now + (find("picture-pace").value === "2" ? 0 : REST_MS);
    }
  }

  function paint(target, place, token) {
    const grey = Math.round((255 * token) / (levels - 1));
    const context = target.getContext("2d");
    context.fillStyle = `rgb(${grey} ${grey} ${grey})`;
    context.fillRect(place % width, Math.floor(place / width), 1, 1);
  }

  function begin(which) {
    kind = which;
    done = due = restUntil = 0;
    if (find("picture-seed").validity.valid) seed = Number(find("picture-seed").value);
    stream.reset({ seed: seed * 100 + kind }); // every class has noise of its own
    stream.sampling = settings();
    prepare(stream);
    canvas.getContext("2d").clearRect(0, 0, width, height);
    for (const each of find("classes").children) each.setAttribute("aria-pressed", each.textContent === String(kind));
  }

  /** Tell a new stream what to draw, and what begins a picture if the model has no such token. */
  function prepare(which) {
    if (classes) which.setInput(classes.name, kind);
    if (model.spec.feedback.start === null) which.prefill([0]);
  }

  function keep() {
    const copy = Object.assign(document.createElement("canvas"), { width, height });
    copy.style.aspectRatio = `${width} / ${height}`;
    copy.getContext("2d").drawImage(canvas, 0, 0);
    const drawn = find("drawn");
    drawn.append(copy);
    while (drawn.childElementCount > KEPT) drawn.firstChild.remove();
  }

  function button(_, which) {
    const made = Object.assign(document.createElement("button"), { type: "button", textContent: String(which) });
    made.addEventListener("click", () => begin(which), { signal: events.signal });
    return made;
  }

  function measure() {
    const beside = model.stream({ ...settings(), seed: 1 });
    prepare(beside);
    const start = performance.now();
    for (let i = 0; i < MEASURED_PIXELS; i++) beside.next();
    measured({ count: MEASURED_PIXELS, seconds: (performance.now() - start) / 1000 });
    beside.free();
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
  return { temperature: Number(find("picture-temperature").value) };
}
