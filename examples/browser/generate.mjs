// Generates text with a compiled model in Node, and says how long a token took.
//
//     node generate.mjs model.wasm --prompt "The " --tokens 500 --temperature 0.8 --seed 7

import { parseArgs } from "node:util";

import { Model } from "./edgernn.js";

const text = (fallback) => ({ type: "string", default: fallback });
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prompt: text(""),
    tokens: text("500"),
    temperature: text("1"),
    "top-k": text("0"),
    "top-p": text("1"),
    seed: text("0"),
  },
});

try {
  const model = await Model.load(positionals[0] ?? "model.wasm");
  const stream = model.stream({
    seed: BigInt(values.seed),
    temperature: Number(values.temperature),
    topK: Number(values["top-k"]),
    topP: Number(values["top-p"]),
  });
  if (values.prompt) stream.prefill(values.prompt);
  process.stdout.write(values.prompt);
  const start = performance.now();
  const tokens = [...stream.generate(Number(values.tokens))];
  const milliseconds = performance.now() - start;
  process.stdout.write(tokens.map((token) => (model.hasText ? stream.text(token) : `${token} `)).join("") + "\n");
  const each = ((1000 * milliseconds) / tokens.length).toFixed(1);
  console.error(`${tokens.length} tokens, ${each} us each; the model has ${model.bytes.toLocaleString("en")} bytes`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
