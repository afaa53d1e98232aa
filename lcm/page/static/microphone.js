// The microphone's own samples as a WAV: what MediaRecorder gives is compressed, and no format that the server reads.
const FLOAT = 3, HEADER = 44;

export class Microphone {
  // heard: called with the level (0 to 1) and the seconds so far.
  constructor(heard) { Object.assign(this, { heard, blocks: [], samples: 0 }); }

  async start() {
    if (!navigator.mediaDevices) throw new Error("this browser gives the microphone only to pages under 127.0.0.1, localhost or https");
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };  // each of them cuts highs
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("/recorder.js");
    const source = this.context.createMediaStreamSource(this.stream);
    this.node = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    this.node.port.onmessage = event => this.take(event.data);
    source.connect(this.node);
    await this.context.resume();
  }

  take(block) {
    if (block === null) return this.flushed();
    this.blocks.push(block);
    this.samples += block.length;
    return this.heard(block.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0), this.samples / this.context.sampleRate);
  }

  // Returns a Blob, a mono WAV in 32-bit float at the device's rate.
  async stop() {
    const flushed = new Promise(done => { this.flushed = done; });
    this.node.port.postMessage("stop");
    await flushed;
    const rate = this.context.sampleRate;
    await this.release();
    return wav(this.blocks, this.samples, rate);
  }

  async release() {
    this.stream?.getTracks().forEach(track => track.stop());
    if (this.context && this.context.state !== "closed") await this.context.close();
  }
}

function wav(blocks, samples, rate) {
  const view = new DataView(new ArrayBuffer(HEADER)), bytes = 4 * samples;
  const text = (at, letters) => Array.from(letters, (letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, HEADER - 8 + bytes, true);
  text(8, "WAVEfmt ");
  [[16, 16, 4], [20, FLOAT, 2], [22, 1, 2], [24, rate, 4], [28, 4 * rate, 4], [32, 4, 2], [34, 32, 2]]
    .forEach(([at, value, size]) => (size === 4 ? view.setUint32(at, value, true) : view.setUint16(at, value, true)));
  text(36, "data");
  view.setUint32(40, bytes, true);
  return new Blob([view.buffer, ...blocks], { type: "audio/wav" });
}
