// Generates text with a compiled model in Node, and says how long a token took.
//
//     node generate.mjs model.wasm --prompt "The " --tokens 500 --temperature 0.8 --seed 7

import { parseArgs } from "node:util";

import { InputError, Model } from "./edgernn.js";

const USAGE = `usage: node generate.mjs [MODEL.wasm] [--prompt TEXT] [--tokens N] [--temperature T] [--top-k K]
       [--top-p P] [--seed SEED]`;

const text = (fallback) => ({ type: "string", default: fallback });
const options = {
  prompt: text(""),
  tokens: text("500"),
  temperature: text("1"),
  "top-k": text("0"),
  "top-p": text("1"),
  seed: text("0"),
  help: { type: "boolean", short: "h" },
};

try {
  const { values, positionals } = given();
  if (values.help) console.log(USAGE);
  else await generate(values, positionals[0] ?? "model.wasm");
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

async function generate(values, path) {
  const number = (name) => numberOf(name, values[name], Number);
  const tokens = number("tokens");
  const model = await Model.load(path);
  const stream = model.stream({
    seed: numberOf("seed", values.seed, BigInt),
    temperature: number("temperature"),
    topK: number("top-k"),
    topP: number("top-p"),
  });
  const generation = stream.generate(tokens);
  if (values.prompt) stream.prefill(values.prompt);
  process.stdout.write(values.prompt);
  const start = performance.now();
  const made = [...generation];
  const milliseconds = performance.now() - start;
  process.stdout.write(made.map((token) => (model.hasText ? stream.text(token) : `${token} `)).join("") + "\n");
  const each = made.length ? `, ${((1000 * milliseconds) / made.length).toFixed(1)} us each` : "";
  console.error(`${made.length} tokens${each}; the model has ${model.bytes.toLocaleString("en")} bytes`);
}

/** The options and arguments that were typed. */
function given() {
  try {
    const found = parseArgs({ allowPositionals: true, options });
    if (found.positionals.length > 1) throw new InputError("one model at a time");
    return found;
  } catch (error) {
    throw new InputError(`${error.message}\n${USAGE}`);
  }
}

/** What an option stands for, read by `Number` or `BigInt`. */
function numberOf(name, typed, read) {
  try {
    const number = read(typed);
    if (typed.trim() && (typeof number === "bigint" || Number.isFinite(number))) return number;
  } catch {
    // not what BigInt reads
  }
  throw new InputError(`--${name} must be ${read === BigInt ? "an integer" : "a number"}, got ${typed || "nothing"}`);
}
