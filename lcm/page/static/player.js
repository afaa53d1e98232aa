// Tracks of equal rate play together, started at one sample; one is let through. A switch is a matter of gains: no gap, no restart.
const FADE_S = 0.004, AHEAD_S = 0.05;

export class Player {
  // context: an AudioContext at the tracks' rate; buffers: an AudioBuffer a track; changed: called when anything shown may differ.
  constructor(context, buffers, changed) {
    Object.assign(this, { context, buffers, changed, sources: [], current: 0, repeat: false, began: 0, kept: 0 });
    this.gains = buffers.map((_, index) => {
      const gain = context.createGain();
      gain.gain.value = index === this.current ? 1 : 0;
      gain.connect(context.destination);
      return gain;
    });
    this.seconds = Math.max(...buffers.map(buffer => buffer.duration));
  }

  get playing() { return this.sources.length > 0; }

  get position() {
    return this.playing ? Math.min(this.seconds, Math.max(this.kept, this.context.currentTime - this.began)) : this.kept;
  }

  async play() {
    await this.context.resume();
    if (this.playing) return;
    if (this.kept > this.seconds - 0.02) this.kept = 0;
    this.start();
  }

  start() {
    const at = this.context.currentTime + AHEAD_S;
    this.began = at - this.kept;
    this.sources = this.buffers.map((buffer, index) => {
      const source = new AudioBufferSourceNode(this.context, { buffer });
      source.connect(this.gains[index]);
      source.start(at, Math.min(this.kept, buffer.duration));
      return source;
    });
    const running = this.sources, longest = this.buffers.findIndex(buffer => buffer.duration === this.seconds);
    running[longest].addEventListener("ended", () => { if (this.sources === running) this.end(); });
    this.changed();
  }

  stop() {
    const position = this.position, running = this.sources;
    this.sources = [];
    running.forEach(source => { source.stop(); source.disconnect(); });
    this.kept = position;
    this.changed();
  }

  end() {
    this.stop();
    this.kept = this.repeat ? 0 : this.seconds;
    if (this.repeat) this.start();
    this.changed();
  }

  seek(seconds) {
    const playing = this.playing;
    if (playing) this.stop();
    this.kept = Math.min(this.seconds, Math.max(0, seconds));
    if (playing) this.start();
    this.changed();
  }

  choose(index) {
    this.current = index;
    this.gains.forEach((gain, each) => gain.gain.setTargetAtTime(each === index ? 1 : 0, this.context.currentTime, FADE_S));
    this.changed();
  }

  close() {
    if (this.playing) this.stop();
    this.changed = () => {};
    this.context.close();
  }
}
