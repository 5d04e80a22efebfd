/**
 * Runs step models that `edgernn compile --target wasm32 --build` made: in browsers, in workers, and in Node.
 *
 *     import { Model } from "./edgernn.js";
 *     const model = await Model.load("model.wasm");
 *     const stream = model.stream({ temperature: 0.8, seed: 7 });
 *     stream.prefill("The ");
 *     for (const token of stream.generate(200)) console.log(stream.text(token));
 *
 * A stream's noise is that of the other engines, so the same seed gives the same tokens everywhere.
 *
 * @module edgernn
 */

const ABI = 1;
const REMEMBERED = 64;
const ALIGNMENT = 64;
const PAGE_BYTES = 65536;
const CALL_BYTES = 64;
const SNAPSHOT_MAGIC = "EDGERNN\x02";
const SNAPSHOT_HEAD_BYTES = 48;
const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};
const LIMITS = {
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  int8: [-128, 127],
  uint8: [0, 255],
  bool: [0, 1],
};
const SIMD_SAMPLE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
]);

/** What everything here throws. */
export class EdgeRNNError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** A file is missing, damaged, or no compiled model. */
export class ModelFileError extends EdgeRNNError {}

/** A value does not fit the model. */
export class InputError extends EdgeRNNError {}

/** A snapshot is another model's or damaged, or a stream was freed. */
export class StateError extends EdgeRNNError {}

/**
 * @typedef {object} TensorSpec One input or output of a step; axis 0 of the shape is the batch.
 * @property {string} name
 * @property {string} dtype
 * @property {(number | string)[]} shape
 * @property {string} role
 * @property {number | null} size For integers, the number that they lie below; null if it is not known.
 */

/**
 * @typedef {object} Sampling How tokens are chosen; a stream that is told nothing of it is greedy.
 * @property {number} [temperature] Divides the logits, 0.001 to 1000; 0 is greedy. 1 without.
 * @property {number} [topK] Keeps the k most probable tokens; 0, as without, keeps all.
 * @property {number} [topP] Keeps the most probable tokens that sum to at least this; 1, as without, keeps all.
 * @property {number} [repetitionPenalty] Divides the positive logits of the last 64 tokens; 1, as without, leaves them.
 */

/** A loaded, immutable step model. */
export class Model {
  #code;
  #heap;
  #codec;

  /**
   * Load a compiled model.
   *
   * @param {string | URL | Response | Blob | ArrayBuffer | ArrayBufferView} source The `.wasm` file: its address, a
   *     response of `fetch`, a file that a person chose, or its bytes. In Node an address may be a path.
   * @returns {Promise<Model>}
   * @throws {ModelFileError} If the file cannot be read, was not made by edgernn, is of another ABI, or needs what
   *     this machine's WebAssembly lacks.
   */
  static async load(source) {
    const bytes = await readBytes(source);
    checkMagic(bytes);
    const module = await compiled(bytes);
    const description = describe(module);
    const imports = WebAssembly.Module.imports(module);
    if (imports.length) {
      throw new ModelFileError(`the module imports ${imports[0].module}.${imports[0].name}, a compiled model nothing`);
    }
    const instance = await WebAssembly.instantiate(module);
    instance.exports._initialize?.();
    const abi = instance.exports.edgernn_abi?.();
    if (abi !== ABI) throw otherAbi(abi);
    return new Model(instance.exports, description, bytes.length);
  }

  /** Made by `Model.load`. */
  constructor(code, description, bytes) {
    this.#code = code;
    this.#heap = new Heap(code.memory, code.__heap_base.value);
    this.#codec = codecOf(description.spec);
    /** What the file says of itself: `abi`, `model_id`, `spec`, `target`, `cpu`, `compiler`. */
    this.description = Object.freeze(description);
    /** The size of the file. @type {number} */
    this.bytes = bytes;
  }

  /** The Spec, as its JSON object: `inputs`, `outputs`, `states`, `codec`, `feedback` and more. */
  get spec() {
    return this.description.spec;
  }

  /** The model's id, 64 hexadecimal digits. @type {string} */
  get modelId() {
    return this.description.model_id;
  }

  /** The number of tokens of a model that generates tokens; 0 for others. @type {number} */
  get vocabulary() {
    const { feedback, distribution, outputs } = this.spec;
    if (!feedback || distribution !== "categorical" || !this.#code.edgernn_next) return 0;
    return outputs.find((each) => each.name === feedback.output).shape[1];
  }

  /** Whether its tokens are text. @type {boolean} */
  get hasText() {
    return this.vocabulary > 0 && this.#codec !== null;
  }

  /** The token that ends what is generated; null if there is none. @type {number | null} */
  get end() {
    return (this.hasText && this.spec.codec.end) ?? null;
  }

  /** Bytes of WebAssembly memory that the model has now. @type {number} */
  get memoryBytes() {
    return this.#code.memory.buffer.byteLength;
  }

  /**
   * The tokens of a text.
   *
   * @param {string} text
   * @returns {number[]}
   * @throws {InputError} If the model has no codec of text, or no token for a part of it.
   */
  encode(text) {
    if (!this.hasText) throw new InputError("the model has no codec of text; give it tokens");
    return this.#codec.encode(text);
  }

  /**
   * The characters or symbols of a text that the model has no token for.
   *
   * @param {string} text
   * @returns {string[]}
   */
  unknown(text) {
    return this.hasText ? this.#codec.unknown(text) : [];
  }

  /**
   * Start a stream, at the initial state.
   *
   * @param {Sampling & {seed?: number | bigint}} [options] The seed is that of its noise, below 2 ** 64; 0 without.
   * @returns {Stream}
   * @throws {InputError} If the model generates no tokens, or a setting is out of range.
   */
  stream(options = {}) {
    if (!this.vocabulary) {
      throw new InputError("the model generates no tokens by itself; use model.executor() and its run()");
    }
    return new Stream(this, this.#code, this.#heap, this.#codec, options);
  }

  /**
   * Make an executor: the model's inputs and outputs as arrays, one step a call.
   *
   * @param {{rows?: number}} [options] How many streams it steps at once; 1 without.
   * @returns {Executor}
   */
  executor({ rows = 1 } = {}) {
    return new Executor(this.spec, this.#code, this.#heap, rows);
  }
}

/** One live generation; mutable. `model.stream()` makes one. */
export class Stream {
  #model;
  #code;
  #heap;
  #codec;
  #layout;
  #at;
  #held = new Uint8Array(0);
  #sampling;
  #seed;
  #end;

  constructor(model, code, heap, codec, { seed = 0, ...sampling }) {
    this.#model = model;
    this.#code = code;
    this.#heap = heap;
    this.#codec = codec;
    this.#end = model.end;
    const temperature = Object.keys(sampling).length ? 1 : 0;
    this.#sampling = checkedSampling({ temperature, topK: 0, topP: 1, repetitionPenalty: 1 }, sampling);
    this.#seed = checkedSeed(seed);
    this.#layout = streamLayout(model.spec, code);
    this.#at = heap.allocate(this.#layout.bytes, this);
    this.reset();
  }

  /** The model. @type {Model} */
  get model() {
    return this.#model;
  }

  /** Steps taken since the last reset. @type {number} */
  get step() {
    return Number(this.#view().getBigUint64(this.#layout.step, true));
  }

  /** The token that was given or chosen and not yet fed; -1 if there is none. @type {number} */
  get pending() {
    return this.#view().getInt32(this.#layout.pending, true);
  }

  /** The seed of the noise. @type {bigint} */
  get seed() {
    return this.#seed;
  }

  /** How tokens are chosen; what is assigned holds from the next token on, and may name only what changes. */
  get sampling() {
    return this.#sampling;
  }

  set sampling(sampling) {
    this.#sampling = checkedSampling(this.#sampling, sampling);
    const view = this.#view();
    const { temperature, topK, topP, repetitionPenalty } = this.#sampling;
    view.setFloat32(this.#layout.sampler, temperature, true);
    view.setInt32(this.#layout.sampler + 4, topK, true);
    view.setFloat32(this.#layout.sampler + 8, topP, true);
    view.setFloat32(this.#layout.sampler + 12, repetitionPenalty, true);
  }

  /**
   * Feed a prompt. Its last token stays pending, so that what follows can be chosen from it.
   *
   * @param {string | Iterable<number>} prompt Text, or tokens.
   * @throws {InputError} If a character or a token is not in the vocabulary, or an integer input beside the token is
   *     out of range; nothing is fed then.
   */
  prefill(prompt) {
    const tokens = typeof prompt === "string" ? this.#model.encode(prompt) : Array.from(prompt);
    for (const token of tokens) this.#check(token);
    if (!tokens.length) return;
    this.#live();
    const at = this.#heap.allocate(4 * tokens.length);
    try {
      new Int32Array(this.#heap.buffer, at, tokens.length).set(tokens);
      if (this.#code.edgernn_prefill(this.#at, at, tokens.length) !== 0) throw this.#outOfRange();
    } finally {
      this.#heap.free(at);
    }
    this.#held = new Uint8Array(0);
  }

  /**
   * Feed the pending token, choose the next one, and leave that pending.
   *
   * @returns {number}
   * @throws {InputError} If there is neither a prompt nor a token that begins a stream, an integer input beside the
   *     token is out of range (nothing is fed then), or the model's output is not finite.
   */
  next() {
    const token = this.#code.edgernn_next(this.#live());
    if (token < 0) throw this.#unchosen();
    return token;
  }

  /**
   * Yield tokens as they are chosen.
   *
   * @param {number} count How many at most; Infinity goes on until one ends it.
   * @param {{stop?: Iterable<number>}} [options] Tokens that end it, without being yielded; without, the one that the
   *     model's codec says ends it.
   * @returns {Generator<number, void>}
   * @throws {InputError} If the count is no number of tokens; and whatever `next` throws, as tokens are asked for.
   */
  generate(count, { stop } = {}) {
    if (count !== Infinity && !(Number.isInteger(count) && count >= 0)) {
      throw new InputError(`a number of tokens must be an integer from 0 on, or Infinity, got ${count}`);
    }
    return this.#generated(count, new Set(stop ?? (this.#end === null ? [] : [this.#end])));
  }

  *#generated(count, stops) {
    for (let i = 0; i < count; i++) {
      const token = this.next();
      if (stops.has(token)) {
        this.#held = new Uint8Array(0);
        return;
      }
      yield token;
    }
  }

  /**
   * The text that a token completes; the bytes of an unfinished character wait for the next token.
   *
   * @param {number} token
   * @returns {string}
   * @throws {InputError} If the model has no codec of text, or the token is not in its vocabulary.
   */
  text(token) {
    if (!this.#codec) throw new InputError("the model has no codec of text, so its tokens are not text");
    this.#check(token);
    const { text, held } = this.#codec.decode(token, this.#held);
    this.#held = held;
    return text;
  }

  /**
   * Set an input beside the token, such as a condition. A new stream has zeros there.
   *
   * @param {string} name
   * @param {number | bigint | ArrayLike<number>} value One number, or as many as the input has.
   * @throws {InputError} If the model has no such input, or the value does not fit.
   */
  setInput(name, value) {
    const input = this.#layout.beside.find((each) => each.name === name);
    if (!input) {
      const names = this.#layout.beside.map((each) => each.name).join(", ") || "none";
      throw new InputError(`the model has no input ${name} beside its token; there are: ${names}`);
    }
    const array = new ARRAYS[input.dtype](this.#heap.buffer, this.#live() + input.at, input.count);
    array.set(checkedValues(input, typeof value === "object" ? Array.from(value) : [value]));
  }

  /**
   * Go back to the initial state. The sampling stays; inputs beside the token are zeros again.
   *
   * @param {{seed?: number | bigint}} [options] Another seed.
   */
  reset({ seed = this.#seed } = {}) {
    this.#seed = checkedSeed(seed);
    const { temperature, topK, topP, repetitionPenalty } = this.#sampling;
    const low = Number(this.#seed & 0xffffffffn) | 0;
    const high = Number(this.#seed >> 32n) | 0;
    this.#code.edgernn_begin(this.#live(), low, high, temperature, topK, topP, repetitionPenalty);
    this.#held = new Uint8Array(0);
  }

  /**
   * Everything that is needed to continue from here, in bytes that may be stored.
   *
   * @returns {Uint8Array}
   */
  snapshot() {
    const bytes = new Uint8Array(SNAPSHOT_HEAD_BYTES + this.#layout.bytes);
    bytes.set(new TextEncoder().encode(SNAPSHOT_MAGIC));
    bytes.set(hexBytes(this.#model.modelId), 8);
    bytes[40] = this.#held.length;
    bytes.set(this.#held, 41);
    bytes.set(new Uint8Array(this.#heap.buffer, this.#live(), this.#layout.bytes), SNAPSHOT_HEAD_BYTES);
    return bytes;
  }

  /**
   * Continue from a snapshot, with its seed and its sampling.
   *
   * @param {Uint8Array} snapshot
   * @throws {StateError} If it is another model's, or damaged; the stream is then unchanged.
   */
  restore(snapshot) {
    checkSnapshot(snapshot, this.#model, this.#layout);
    const view = new DataView(snapshot.buffer, snapshot.byteOffset + SNAPSHOT_HEAD_BYTES, this.#layout.bytes);
    const at = this.#layout.sampler;
    const sampling = checkedSampling(this.#sampling, {
      temperature: view.getFloat32(at, true),
      topK: view.getInt32(at + 4, true),
      topP: view.getFloat32(at + 8, true),
      repetitionPenalty: view.getFloat32(at + 12, true),
    });
    new Uint8Array(this.#heap.buffer, this.#live(), this.#layout.bytes).set(snapshot.subarray(SNAPSHOT_HEAD_BYTES));
    this.#sampling = sampling;
    this.#seed = view.getBigUint64(this.#layout.seed, true);
    this.#held = snapshot.slice(41, 41 + snapshot[40]);
  }

  /** A new stream that continues exactly like this one, and apart from it. @returns {Stream} */
  fork() {
    const other = this.#model.stream();
    other.restore(this.snapshot());
    return other;
  }

  /** Give the stream's memory back; a stream that is forgotten gives it back by itself, some time later. */
  free() {
    this.#heap.free(this.#live());
    this.#at = 0;
  }

  #live() {
    if (!this.#at) throw new StateError("the stream was freed; make another one");
    return this.#at;
  }

  #view() {
    return new DataView(this.#heap.buffer, this.#live(), this.#layout.bytes);
  }

  #unchosen() {
    if (this.pending >= 0) return this.#outOfRange();
    if (this.step > 0) {
      return new InputError("the model's output is not finite, so nothing can be chosen; reset the stream");
    }
    if (typeof this.#model.spec.feedback.start === "number") return this.#outOfRange();
    return new InputError("the model has no token that begins a stream; prefill a prompt first");
  }

  #outOfRange() {
    const whole = this.#layout.beside.filter(({ dtype }) => !dtype.startsWith("float")).map(({ name }) => name);
    return new InputError(`an integer input is out of range; look at what setInput gave ${whole.join(", ")}`);
  }

  #check(token) {
    if (!Number.isInteger(token) || token < 0 || token >= this.#model.vocabulary) {
      throw new InputError(`a token must lie in 0..${this.#model.vocabulary - 1}, got ${token}`);
    }
  }
}

/** The inputs, outputs and states of streams that are stepped together; mutable. `model.executor()` makes one. */
export class Executor {
  #code;
  #heap;
  #at;
  #states;
  #rows;

  constructor(spec, code, heap, rows) {
    if (!Number.isInteger(rows) || rows < 1) throw new InputError(`rows must be a positive integer, got ${rows}`);
    this.#code = code;
    this.#heap = heap;
    this.#rows = rows;
    const tensors = [...spec.inputs, ...spec.outputs];
    const pointers = CALL_BYTES;
    this.#states = aligned(pointers + 4 * tensors.length, ALIGNMENT);
    let bytes = this.#states + rows * code.edgernn_state_bytes();
    const offsets = tensors.map((each) => {
      const offset = bytes;
      bytes = aligned(bytes + rows * elements(each.shape) * ARRAYS[each.dtype].BYTES_PER_ELEMENT, ALIGNMENT);
      return offset;
    });
    this.#at = heap.allocate(bytes, this);
    const view = new DataView(heap.buffer, this.#at, bytes);
    offsets.forEach((offset, i) => view.setUint32(pointers + 4 * i, this.#at + offset, true));
    const lists = [this.#at + this.#states, this.#at + pointers, this.#at + pointers + 4 * spec.inputs.length];
    lists.forEach((at, i) => view.setUint32(4 * i, at, true));
    view.setInt32(12, rows, true);
    view.setFloat32(24, 1, true);
    const named = (part, from) => this.#views(part.map((each, i) => [each, offsets[from + i]]));
    /**
     * The inputs by name: arrays of all rows' elements, to write into. After memory has grown, which making streams
     * and executors can do, an array that was kept is empty; ask for it again.
     * @type {Readonly<Record<string, Float32Array | BigInt64Array | Int32Array | Uint8Array>>}
     */
    this.inputs = named(spec.inputs, 0);
    /** The outputs by name, likewise, of the last step. */
    this.outputs = named(spec.outputs, spec.inputs.length);
    for (let row = 0; row < rows; row++) this.reset(row);
  }

  /** The number of streams that it steps. @type {number} */
  get rows() {
    return this.#rows;
  }

  /**
   * Take one step with what the inputs hold, and leave what it gives in the outputs.
   *
   * @throws {InputError} If an integer input is out of range; nothing has changed then.
   */
  run() {
    if (this.#code.edgernn_run(this.#live()) !== 0) {
      throw new InputError("an integer input is out of range; the Spec's inputs say below which size they lie");
    }
  }

  /** Put a row back to the initial state. @param {number} [row] */
  reset(row = 0) {
    if (!Number.isInteger(row) || row < 0 || row >= this.#rows) {
      throw new InputError(`row must lie in 0..${this.#rows - 1}, got ${row}`);
    }
    this.#code.edgernn_reset(this.#live() + this.#states + row * this.#code.edgernn_state_bytes());
  }

  /** Give its memory back. */
  free() {
    this.#heap.free(this.#live());
    this.#at = 0;
  }

  #live() {
    if (!this.#at) throw new StateError("the executor was freed; make another one");
    return this.#at;
  }

  #views(placed) {
    const named = {};
    for (const [tensor, offset] of placed) {
      let kept = new ARRAYS[tensor.dtype](0);
      const get = () => {
        const at = this.#live() + offset;
        if (kept.buffer !== this.#heap.buffer) {
          const count = this.#rows * elements(tensor.shape);
          kept = new ARRAYS[tensor.dtype](this.#heap.buffer, at, count);
        }
        return kept;
      };
      Object.defineProperty(named, tensor.name, { get, enumerable: true });
    }
    return Object.freeze(named);
  }
}

/** Memory above what the module itself uses: first fit, neighbours joined when freed. */
class Heap {
  #memory;
  #top;
  #used = new Map();
  #gaps = [];
  #forgotten = new FinalizationRegistry((at) => this.#release(at));

  constructor(memory, base) {
    this.#memory = memory;
    this.#top = aligned(base, ALIGNMENT);
  }

  get buffer() {
    return this.#memory.buffer;
  }

  /** Where `bytes` are free from now on, a multiple of 64; given back when `owner` is forgotten, if there is one. */
  allocate(bytes, owner) {
    const size = aligned(Math.max(bytes, 1), ALIGNMENT);
    const found = this.#gaps.findIndex((gap) => gap.size >= size);
    let at = this.#top;
    if (found >= 0) {
      const gap = this.#gaps[found];
      at = gap.at;
      if (gap.size === size) this.#gaps.splice(found, 1);
      else this.#gaps[found] = { at: at + size, size: gap.size - size };
    } else {
      this.#grow(at + size);
      this.#top += size;
    }
    const token = {};
    this.#used.set(at, { size, token });
    if (owner) this.#forgotten.register(owner, at, token);
    return at;
  }

  free(at) {
    this.#forgotten.unregister(this.#used.get(at).token);
    this.#release(at);
  }

  #release(at) {
    const { size } = this.#used.get(at);
    this.#used.delete(at);
    this.#gaps.push({ at, size });
    this.#gaps.sort((a, b) => a.at - b.at);
    const joined = [];
    for (const gap of this.#gaps) {
      const last = joined.at(-1);
      if (last && last.at + last.size === gap.at) last.size += gap.size;
      else joined.push(gap);
    }
    const last = joined.at(-1);
    if (last.at + last.size === this.#top) this.#top = joined.pop().at;
    this.#gaps = joined;
  }

  #grow(end) {
    const lacking = end - this.#memory.buffer.byteLength;
    if (lacking <= 0) return;
    try {
      this.#memory.grow(Math.ceil(lacking / PAGE_BYTES));
    } catch (error) {
      throw new EdgeRNNError(`there is no memory for ${lacking} bytes more; free streams`, { cause: error });
    }
  }
}

/** One token a character; token 0 stands for those that training never saw. */
class CharacterCodec {
  constructor({ symbols }) {
    this.symbols = Array.from(symbols);
    this.tokens = new Map(this.symbols.map((symbol, token) => [symbol, token]));
  }

  unknown(text) {
    return [...new Set(text)].filter((symbol) => !this.tokens.has(symbol));
  }

  encode(text) {
    const unknown = this.unknown(text);
    if (unknown.length) {
      const code = (symbol) => symbol.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      const shown = unknown.slice(0, 5).map((symbol) => `'${symbol}' (U+${code(symbol)})`);
      throw new InputError(
        `the model was trained without ${unknown.length} of the text's characters: ${shown.join(", ")}; ` +
          "remove them, or train with text that has them or with the byte codec",
      );
    }
    return Array.from(text, (symbol) => this.tokens.get(symbol));
  }

  decode(token, held) {
    return { text: this.symbols[token], held };
  }
}

/** One token a byte of UTF-8. */
class ByteCodec {
  unknown() {
    return [];
  }

  encode(text) {
    return Array.from(new TextEncoder().encode(text));
  }

  decode(token, held) {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    decoder.decode(held, { stream: true });
    const text = decoder.decode(Uint8Array.of(token), { stream: true });
    const leads = token >= 0xc2 && token <= 0xf4;
    return { text, held: leads ? Uint8Array.of(token) : text ? new Uint8Array(0) : Uint8Array.of(...held, token) };
  }
}

/** One token a symbol: a character, or a name between blanks; tokens of their own begin and end a sequence. */
class SymbolCodec {
  constructor({ symbols, separator, order, begin, end }) {
    this.symbols = symbols;
    this.separator = separator;
    this.order = order;
    this.marks = new Set([begin, end]);
    this.tokens = new Map(
      symbols.map((symbol, token) => [symbol, token]).filter(([, token]) => !this.marks.has(token)),
    );
  }

  pieces(text) {
    return this.separator ? text.split(/\s+/u).filter(Boolean) : Array.from(text);
  }

  unknown(text) {
    return [...new Set(this.pieces(text))].filter((piece) => !this.tokens.has(piece));
  }

  encode(text) {
    const unknown = this.unknown(text);
    if (unknown.length) {
      const shown = unknown
        .slice(0, 5)
        .map((piece) => `'${piece}'`)
        .join(", ");
      throw new InputError(`the model was trained without ${shown}; remove that, or train with text that has it`);
    }
    const tokens = this.pieces(text).map((piece) => this.tokens.get(piece));
    return this.order === "reverse" ? tokens.reverse() : tokens;
  }

  decode(token, held) {
    if (this.marks.has(token)) return { text: "", held: new Uint8Array(0) };
    const text = (held.length ? this.separator : "") + this.symbols[token];
    return { text, held: this.separator ? Uint8Array.of(32) : held };
  }
}

function codecOf({ codec }) {
  const kinds = { characters: CharacterCodec, bytes: ByteCodec, symbols: SymbolCodec };
  return codec && kinds[codec.kind] ? new kinds[codec.kind](codec) : null;
}

async function readBytes(source) {
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (typeof source === "string" || source instanceof URL) return readAddress(source);
  if (typeof source?.arrayBuffer !== "function") {
    throw new ModelFileError("a model is loaded from an address, a response, a file or bytes");
  }
  if (source.ok === false) throw new ModelFileError(`${source.url} could not be read: status ${source.status}`);
  return new Uint8Array(await source.arrayBuffer());
}

async function readAddress(source) {
  try {
    const remote = /^(https?|data|blob):/u.test(String(source));
    if (!remote && globalThis.process?.versions?.node) {
      const { readFile } = await import("node:fs/promises");
      return new Uint8Array(await readFile(source));
    }
    return await readBytes(await fetch(source));
  } catch (error) {
    if (error instanceof ModelFileError) throw error;
    throw new ModelFileError(`${source} could not be read: ${error.message}`, { cause: error });
  }
}

function checkMagic(bytes) {
  if ([0, 97, 115, 109].every((byte, i) => bytes[i] === byte)) return;
  const page = new TextDecoder().decode(bytes.subarray(0, 200)).trimStart().startsWith("<");
  throw new ModelFileError(
    `this is ${page ? "a web page" : "no WebAssembly module"}; a model is the .wasm file that ` +
      "edgernn compile --target wasm32 --build writes",
  );
}

async function compiled(bytes) {
  try {
    return await WebAssembly.compile(bytes);
  } catch (error) {
    throw new ModelFileError(
      WebAssembly.validate(SIMD_SAMPLE)
        ? `the module is damaged: ${error.message}`
        : "this machine's WebAssembly has no SIMD, which the module needs; update the browser",
      { cause: error },
    );
  }
}

function describe(module) {
  const [section] = WebAssembly.Module.customSections(module, "edgernn");
  if (!section) {
    throw new ModelFileError("the module has no section edgernn, so it is no model; edgernn compile makes one");
  }
  let description;
  try {
    description = JSON.parse(new TextDecoder().decode(section));
  } catch (error) {
    throw new ModelFileError("the module is damaged: its description cannot be read; compile it again", {
      cause: error,
    });
  }
  if (description.abi !== ABI) throw otherAbi(description.abi);
  return description;
}

function otherAbi(abi) {
  return new ModelFileError(`the module has ABI ${abi}, this edgernn.js runs ABI ${ABI}; compile the model again`);
}

/** Where the parts of a stream lie: the rules of C for wasm32, checked against what the module says. */
function streamLayout(spec, code) {
  let at = 0;
  const place = (dtype, count) => {
    const size = ARRAYS[dtype].BYTES_PER_ELEMENT;
    const offset = aligned(at, size);
    at = offset + size * count;
    return offset;
  };
  spec.states.forEach((state) => place(state.dtype, elements(state.shape)));
  at = aligned(Math.max(at, 1), Math.max(1, ...spec.states.map((state) => ARRAYS[state.dtype].BYTES_PER_ELEMENT)));
  const layout = {
    sampler: place("float32", 4),
    seed: place("int64", 1),
    step: place("int64", 1),
    pending: place("int32", 1),
    remembered: place("int32", 1),
    recent: place("int32", REMEMBERED),
    beside: spec.inputs
      .filter((input) => input.name !== spec.feedback.input)
      .map((input) => {
        const count = elements(input.shape);
        return { name: input.name, dtype: input.dtype, size: input.size, count, at: place(input.dtype, count) };
      }),
    bytes: aligned(at, 8),
  };
  if (layout.bytes !== code.edgernn_stream_bytes()) {
    throw new ModelFileError(
      `the module's streams have ${code.edgernn_stream_bytes()} bytes, expected ${layout.bytes}; ` +
        "take the edgernn.js of the edgernn that compiled it",
    );
  }
  return layout;
}

function checkSnapshot(snapshot, model, layout) {
  const magic = new TextEncoder().encode(SNAPSHOT_MAGIC);
  if (!(snapshot instanceof Uint8Array) || magic.some((byte, i) => snapshot[i] !== byte)) {
    throw new StateError("this is no snapshot of a stream");
  }
  const id = Array.from(snapshot.subarray(8, 40), (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (id !== model.modelId) {
    throw new StateError(`the snapshot is of model ${id.slice(0, 12)}, this is ${model.modelId.slice(0, 12)}`);
  }
  const bytes = SNAPSHOT_HEAD_BYTES + layout.bytes;
  if (snapshot.length !== bytes) throw new StateError(`a snapshot has ${bytes} bytes, got ${snapshot.length}`);
  const view = new DataView(snapshot.buffer, snapshot.byteOffset + SNAPSHOT_HEAD_BYTES, layout.bytes);
  const remembered = view.getUint32(layout.remembered, true);
  const tokens = [view.getInt32(layout.pending, true)];
  for (let i = 0; i < Math.min(remembered, REMEMBERED); i++) tokens.push(view.getInt32(layout.recent + 4 * i, true));
  const wrong = tokens.some((token, i) => token < (i ? 0 : -1) || token >= model.vocabulary);
  if (remembered > REMEMBERED || snapshot[40] > 3 || wrong) throw new StateError("the snapshot is damaged");
}

function checkedSampling(before, given) {
  const sampling = { ...before, ...given };
  const unknown = Object.keys(given).find((name) => !(name in before));
  if (unknown) throw new InputError(`a stream has no setting ${unknown}; there are ${Object.keys(before).join(", ")}`);
  const { temperature, topK, topP, repetitionPenalty } = sampling;
  const hot = temperature === 0 || (temperature >= 0.001 - 1e-9 && temperature <= 1000);
  if (!hot) throw new InputError(`temperature must be 0 (greedy) or 0.001 to 1000, got ${temperature}`);
  if (!Number.isInteger(topK) || topK < 0) throw new InputError(`topK must be 0 (off) or positive, got ${topK}`);
  if (!(topP > 0 && topP <= 1)) throw new InputError(`topP must lie in (0, 1], got ${topP}`);
  if (!(repetitionPenalty >= 0.01 - 1e-9 && repetitionPenalty <= 100)) {
    throw new InputError(`repetitionPenalty must lie in 0.01 to 100, got ${repetitionPenalty}`);
  }
  return Object.freeze({ ...sampling, topK: Math.min(topK, 0x7fffffff) });
}

function checkedSeed(seed) {
  const valid = typeof seed === "bigint" || Number.isSafeInteger(seed);
  if (!valid || seed < 0 || BigInt(seed) >= 1n << 64n) {
    throw new InputError(`a seed must be an integer in 0..2 ** 64 - 1, got ${seed}`);
  }
  return BigInt(seed);
}

function checkedValues({ name, dtype, size, count }, values) {
  if (values.length !== count) throw new InputError(`${name} takes ${count} numbers, got ${values.length}`);
  if (dtype.startsWith("float")) return values.map(Number);
  const whole = (value) => typeof value === "bigint" || Number.isInteger(value);
  const [least, most] = size === null ? LIMITS[dtype] : [0, size - 1];
  const wrong = values.findIndex((value) => !(whole(value) && value >= least && value <= most));
  if (wrong >= 0) throw new InputError(`${name} must be an integer in ${least}..${most}, got ${values[wrong]}`);
  return dtype === "int64" ? values.map(BigInt) : values.map(Number);
}

function elements(shape) {
  return shape.slice(1).reduce((product, axis) => product * axis, 1);
}

function aligned(value, unit) {
  return Math.ceil(value / unit) * unit;
}

function hexBytes(text) {
  return Uint8Array.from(text.match(/../gu), (pair) => parseInt(pair, 16));
}
