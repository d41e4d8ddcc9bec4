// SPDX-License-Identifier: Apache-2.0
// node load.mjs MODEL mmap|read|direct PORT BYTES: llama.cpp loads the model and speaks a word, then BYTES go to a loopback port.
import net from 'node:net';
import {getLlama, LlamaCompletion} from 'node-llama-cpp';

const [modelPath, way, port, bytes] = process.argv.slice(2);
const llama = await getLlama({gpu: false, build: 'never', progressLogs: false, logLevel: 'error'});
const model = await llama.loadModel({modelPath, useMmap: way === 'mmap', useDirectIo: way === 'direct', useMlock: false});
const context = await model.createContext({contextSize: 64, threads: 1});
const completion = new LlamaCompletion({contextSequence: context.getSequence()});
await completion.generateCompletion('abc', {maxTokens: 2});

const socket = net.connect({host: '127.0.0.1', port: Number(port)});
await new Promise((resolve, reject) => {
  socket.on('error', reject);
  socket.on('close', resolve);
  socket.end(Buffer.alloc(Number(bytes), 'x'));
  socket.resume();
});
console.log(`${way}: loaded ${model.size} bytes of tensors, sent ${bytes}`);
await model.dispose();
process.exit(0);
