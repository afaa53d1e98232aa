// Runs in the audio thread: hands on what comes in, in blocks of about a tenth of a second, and null after the last.
const BLOCK = 4096;

registerProcessor("recorder", class extends AudioWorkletProcessor {
  constructor() {
    super();
    Object.assign(this, { block: new Float32Array(BLOCK), held: 0, running: true });
    this.port.onmessage = () => {
      this.running = false;
      this.port.postMessage(this.block.slice(0, this.held));
      this.port.postMessage(null);
    };
  }

  process([[samples]]) {
    if (!this.running || !samples) return this.running;
    this.block.set(samples, this.held);
    this.held += samples.length;
    if (this.held === BLOCK) {
      this.port.postMessage(this.block.slice());
      this.held = 0;
    }
    return true;
  }
});
