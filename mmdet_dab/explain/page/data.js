// The recordings: JSON, and one compressed block of numbers that it points into.

const page = JSON.parse(document.getElementById('data').textContent);
const TYPES = { f4: Float32Array, u2: Uint16Array, u1: Uint8Array, i2: Int16Array };
let block = new ArrayBuffer(0);

async function unpack() {
  const packed = Uint8Array.from(atob(page.block), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  block = await new Response(stream).arrayBuffer();
}

// A typed array, flat; made when it is first asked for. 'f3' are floats without their last byte.
function numbers(ref) {
  if (!ref) return null;
  if (!ref.flat) {
    const size = ref.shape.reduce((product, side) => product * side, 1);
    if (ref.type === 'f3') {
      const bytes = new Uint8Array(block, ref.at, 3 * size);
      const whole = new Uint32Array(size);
      for (let i = 0; i < size; i++) {
        whole[i] = ((bytes[i] << 24) | (bytes[size + i] << 16) | (bytes[2 * size + i] << 8)) >>> 0;
      }
      ref.flat = new Float32Array(whole.buffer);
    } else {
      ref.flat = new TYPES[ref.type](block, ref.at, size);
    }
  }
  return ref.flat;
}

// Rows of numbers that were rounded to steps: (..., S) of one row.
function rounded(ref, row) {
  const size = ref.steps.shape.at(-1);
  const steps = numbers(ref.steps).subarray(row * size, (row + 1) * size);
  const low = numbers(ref.low)[row];
  const step = numbers(ref.step)[row];
  return Float64Array.from(steps, (count) => low + count * step);
}
