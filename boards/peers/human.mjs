// The emotion model of @vladmandic/human, as that library feeds it, on tfjs' WebAssembly backend with one thread.
//
// Usage: node human.mjs NODE_MODULES MODEL.json FACES COUNT SIDE
// FACES holds COUNT grey pictures of SIDE x SIDE bytes. A line with an index on standard input is answered with
// {"ms": ..., "probabilities": [...]}: resizing and inference, timed here.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';

const [modules, modelPath, facesPath, count, side] = process.argv.slice(2);
const require = createRequire(join(modules, 'none.js'));
const tf = require('@tensorflow/tfjs-core');
const { loadGraphModel } = require('@tensorflow/tfjs-converter');
const wasm = require('@tensorflow/tfjs-backend-wasm');

wasm.setWasmPaths(join(modules, '@tensorflow/tfjs-backend-wasm/dist/'));
wasm.setThreadsCount(1);
await tf.setBackend('wasm');
await tf.ready();

const spec = JSON.parse(readFileSync(modelPath));
const weights = readFileSync(join(dirname(modelPath), spec.weightsManifest[0].paths[0]));
const model = await loadGraphModel({
  load: async () => ({
    modelTopology: spec.modelTopology,
    userDefinedMetadata: spec.userDefinedMetadata,
    weightSpecs: spec.weightsManifest.flatMap((group) => group.weights),
    weightData: weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.byteLength),
  }),
});
const faces = readFileSync(facesPath);
const pixels = Number(side) ** 2;

function classify(index) {
  return tf.tidy(() => {
    const face = Float32Array.from(faces.subarray(index * pixels, (index + 1) * pixels), (value) => value / 255);
    const grey = tf.tensor4d(face, [1, Number(side), Number(side), 1]);
    const input = tf.mul(tf.sub(tf.image.resizeBilinear(grey, [64, 64], false), 0.5), 2);
    return model.predict(input).dataSync();
  });
}

console.log(JSON.stringify({ version: tf.version_core, backend: tf.getBackend(), faces: Number(count) }));
for await (const line of createInterface({ input: process.stdin })) {
  const before = performance.now();
  const probabilities = classify(Number(line));
  console.log(JSON.stringify({ ms: performance.now() - before, probabilities: Array.from(probabilities) }));
}
