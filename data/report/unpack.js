// What the page holds, unpacked: arrays and texts are deflated and written in letters.

async function inflate(letters) {
  const text = atob(letters);
  const bytes = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

async function unpackText(letters) {
  return new TextDecoder().decode(await inflate(letters));
}

const TYPES = { Float32Array, Int16Array, Uint16Array, Uint32Array, Uint8Array };

async function unpackArray(packed) {
  return new TYPES[packed.type](await inflate(packed.data));
}

// Replace every packed array below a value by the array itself.
async function unpackAll(value) {
  if (value === null || typeof value !== "object") return value;
  if (value.type in TYPES && typeof value.data === "string") return unpackArray(value);
  await Promise.all(Object.keys(value).map(async (key) => { value[key] = await unpackAll(value[key]); }));
  return value;
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function number(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "not finite";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(digits - 2) : String(Number(value.toPrecision(digits)));
}

// The colours of the page as its style sheet has them, light or dark.
function theme() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "soft", "faint", "paper", "accent", "band"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}
