/** The page: loads a model, shows the view that fits it, and the figures. */

import { EdgeRNNError, Model, ModelFileError } from "./edgernn.js";
import { classInput, showPicture } from "./picture.js";
import { showText } from "./text.js";

const find = (id) => document.getElementById(id);
let view = null;

const named = new URLSearchParams(location.search).get("model");
open(named ?? "model.wasm");

find("file").addEventListener("change", ({ target }) => target.files[0] && open(target.files[0]));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
});
for (const range of document.querySelectorAll("input[type=range]")) {
  range.addEventListener("input", () => showRange(range));
}

/** Load a model and show it; what was shown before stays if that fails. */
async function open(source) {
  try {
    const model = await Model.load(source);
    const pictures = model.vocabulary > 0 && model.spec.codec?.kind === "image";
    if (!pictures && !model.hasText) {
      throw new EdgeRNNError("This model generates neither text nor pictures, which is all that this page shows.");
    }
    const unknown = unknownInput(model.spec, pictures);
    if (unknown) throw new EdgeRNNError(`This model needs ${unknown.name}, which this page does not know.`);
    view?.close();
    for (const id of ["missing", "text", "picture"]) find(id).hidden = true;
    find(pictures ? "picture" : "text").hidden = false;
    find("figures").hidden = false;
    describe(model, pictures);
    view = (pictures ? showPicture : showText)(model, (measured) => showFigures(model, measured));
    document.querySelectorAll("input[type=range]").forEach(showRange);
  } catch (error) {
    if (!(error instanceof EdgeRNNError)) throw error;
    if (!view) find("what").textContent = "A recurrent network that runs in this page, one step at a time.";
    find("reason").textContent = error.message;
    find("unnamed").hidden = named !== null || source !== "model.wasm";
    find("named").hidden = source !== named || !(error instanceof ModelFileError);
    find("missing").hidden = false;
  }
}

/** An input that the page has no value for: one beside the token and, of a picture, its class. */
function unknownInput(spec, pictures) {
  const known = [spec.feedback.input, pictures ? classInput(spec)?.name : undefined];
  return spec.inputs.find(({ name }) => !known.includes(name));
}

function describe(model, pictures) {
  const { spec } = model;
  const made = pictures ? "draws grey pictures, pixel by pixel" : "writes one token at a time";
  find("what").textContent = `A recurrent network that ${made}, in this page: no server, nothing else to load.`;
  find("each-label").textContent = pictures ? "a pixel" : "a token";
  find("rate-label").textContent = pictures ? "pixels a second" : "tokens a second";
  find("size").textContent = bytesText(model.bytes);
  find("identity").textContent = `${spec.precision} weights · model ${model.modelId.slice(0, 12)}`;
}

/** Show how long `count` steps took, in seconds; a dash if the clock did not move meanwhile. */
function showFigures(model, { count, seconds }) {
  const each = (seconds / count) * 1e6;
  const moved = seconds > 0;
  find("each").textContent = moved ? `${each < 10 ? each.toFixed(1) : Math.round(each)} µs` : "–";
  find("rate").textContent = moved ? Number((count / seconds).toPrecision(3)).toLocaleString("en") : "–";
  find("memory").textContent = bytesText(model.memoryBytes);
}

function bytesText(bytes) {
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(2)} MB`;
}

function showRange(range) {
  const names = range.dataset.names?.split("|");
  const value = Number(range.value);
  const text = names ? names[value] : range.id.endsWith("temperature") ? value.toFixed(2) : value || "all";
  range.parentElement.querySelector("output").textContent = text;
}
