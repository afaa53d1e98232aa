// Listening: one transport a clip. Its systems play together and one is let through, so that switching is a matter of gains: no gap, no
// restart. Those that nobody hears are kept in step by their rate. Without Web Audio they are muted instead.
const CLOSE_S = 0.003, APART_S = 0.012, LOST_S = 0.3, FADE_S = 0.004;
const decks = [], options = { repeat: false };
let context = null;

const clock = seconds => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
const settled = (track, event) => new Promise(done => {
  track.addEventListener(event, done, { once: true });
  track.addEventListener("error", done, { once: true });
});

class Deck {
  constructor(players, number) {
    this.figures = Array.from(players.querySelectorAll("figure"));
    this.tracks = this.figures.map(figure => figure.querySelector("audio"));
    this.gains = [];
    this.current = this.position = this.turn = 0;
    this.playing = false;
    this.build(players, number);
    this.tracks.forEach((track, index) => track.addEventListener("ended", () => { if (this.playing && index === this.current) this.finish(); }));
  }

  get heard() { return this.tracks[this.current]; }

  build(players, number) {
    this.root = document.getElementById("deck").content.firstElementChild.cloneNode(true);
    this.root.setAttribute("aria-label", `Player of ${players.dataset.clip}`);
    [this.button, this.bar, this.time] = [".play", "input", ".time"].map(name => this.root.querySelector(name));
    this.systems = this.root.querySelector(".systems");
    this.radios = this.figures.map((figure, index) => this.radio(figure.querySelector("figcaption").textContent, index, number));
    this.button.addEventListener("click", () => this.toggle());
    this.bar.addEventListener("input", () => this.drag());
    this.bar.addEventListener("change", () => { if (this.resume) this.play(); this.resume = false; });
    this.root.addEventListener("keydown", event => this.key(event));
    players.before(this.root);
    players.hidden = true;
    this.show();
  }

  radio(title, index, number) {
    const label = document.createElement("label"), input = document.createElement("input"), name = document.createElement("span");
    Object.assign(input, { type: "radio", name: `system-${number}`, checked: index === 0 });
    Object.assign(name, { className: "name", textContent: title });
    label.title = this.tracks[index].title;
    label.append(input, name);
    input.addEventListener("change", () => this.choose(index));
    this.systems.append(label);
    return input;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const asked = this.systems.querySelectorAll("input")[Number(event.key) - 1];  // in the order shown, which may be shuffled
    if (/^[1-9]$/.test(event.key) && asked) {
      asked.checked = true;
      asked.focus();
      this.choose(this.radios.indexOf(asked));
    } else if (event.key === " " && event.target !== this.button) {
      event.preventDefault();
      this.toggle();
    }
  }

  toggle() { return this.playing ? this.pause() : this.play(); }

  async play() {
    const turn = ++this.turn;
    decks.forEach(deck => { if (deck !== this) deck.release(); });
    if (this.position > this.heard.dataset.seconds - 0.02) this.position = 0;
    this.playing = true;
    this.show();
    await this.ready();
    if (turn !== this.turn) return;
    await Promise.all(this.tracks.map(track => track.play().catch(error => this.fail(track, error))));
    if (turn === this.turn) this.tick(turn);
  }

  // Loads every track, routes it through a gain, and sets all to one position.
  async ready() {
    await Promise.all(this.tracks.filter(track => track.readyState < 3 && !track.error).map(track => {
      track.preload = "auto";
      track.load();
      return settled(track, "canplay");
    }));
    this.route();
    if (context) await context.resume();
    await Promise.all(this.tracks.map(track => {
      track.playbackRate = 1;
      track.currentTime = this.position;
      return track.seeking ? settled(track, "seeked") : null;
    }));
  }

  route() {
    if (!context && window.AudioContext) context = new AudioContext();
    if (context && !this.gains.length) {
      this.gains = this.tracks.map(track => {
        const gain = context.createGain();
        context.createMediaElementSource(track).connect(gain).connect(context.destination);
        gain.gain.value = 0;
        return gain;
      });
    }
    for (const track of this.tracks) track.preservesPitch = false;
    this.open();
  }

  open() {
    this.tracks.forEach((track, index) => {
      const on = index === this.current;
      if (context) this.gains[index].gain.setTargetAtTime(on ? 1 : 0, context.currentTime, FADE_S);
      else track.muted = !on;
    });
  }

  choose(index) {
    const before = this.heard;
    this.current = index;
    if (!this.playing || !this.tracks.every(track => track.readyState)) return this.show();
    this.heard.playbackRate = 1;
    if (this.heard.ended || this.heard.duration <= before.currentTime) return this.finish();
    if (this.heard.paused || Math.abs(this.heard.currentTime - before.currentTime) > LOST_S) {
      this.heard.currentTime = before.currentTime;
      this.heard.play().catch(error => this.fail(this.tracks[index], error));
    }
    this.open();
    return this.show();
  }

  tick(turn) {
    if (turn !== this.turn || !this.playing) return;
    this.position = this.heard.currentTime;
    for (const track of this.tracks) if (track !== this.heard && !track.paused && !track.seeking) this.follow(track);
    this.show();
    requestAnimationFrame(() => this.tick(turn));
  }

  follow(track) {
    const ahead = track.currentTime - this.heard.currentTime;
    if (Math.abs(ahead) > LOST_S) track.currentTime = this.heard.currentTime;
    else if (Math.abs(ahead) > APART_S) track.playbackRate = ahead > 0 ? 0.9 : 1.1;
    else if (Math.abs(ahead) < CLOSE_S && track.playbackRate !== 1) track.playbackRate = 1;
  }

  pause() {
    this.turn++;
    this.playing = false;
    this.tracks.forEach(track => track.pause());
    this.show();
  }

  finish() {
    this.pause();
    this.position = options.repeat ? 0 : Number(this.heard.dataset.seconds);
    if (options.repeat) this.play();
    this.show();
  }

  drag() {
    this.resume = this.resume || this.playing;
    if (this.playing) this.pause();
    this.position = Number(this.bar.value);
    this.show();
  }

  // A browser allows few loaded players: the deck that plays keeps its own, the others give theirs back.
  release() {
    if (this.playing) this.pause();
    for (const track of this.tracks.filter(each => each.readyState)) {
      track.preload = "none";
      track.load();
    }
  }

  fail(track, error) {
    if (error.name !== "AbortError") this.radios[this.tracks.indexOf(track)].parentElement.classList.add("broken");  // else paused meanwhile
  }

  show() {
    const seconds = Number(this.heard.dataset.seconds), at = Math.min(this.position, seconds);
    this.bar.max = seconds;
    this.bar.value = at;
    this.bar.setAttribute("aria-valuetext", `${clock(at)} of ${clock(seconds)}`);
    this.time.textContent = `${clock(at)} / ${clock(seconds)}`;
    this.button.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    this.root.classList.toggle("playing", this.playing);
  }

  // Letters in a random order instead of names; afterwards each name stands behind its letter.
  hide(names) {
    const labels = this.radios.map(radio => radio.parentElement);
    if (names) labels.map(label => [Math.random(), label]).sort((a, b) => a[0] - b[0]).forEach(([, label]) => this.systems.append(label));
    Array.from(this.systems.querySelectorAll("label")).forEach((label, place) => {
      const index = labels.indexOf(label), letter = String.fromCharCode(65 + place);
      label.querySelector(".name").textContent = names ? letter : `${letter}: ${this.figures[index].querySelector("figcaption").textContent}`;
      label.title = names ? "" : this.tracks[index].title;
    });
  }
}

document.querySelectorAll("[data-clip]").forEach((players, number) => decks.push(new Deck(players, number)));
for (const part of document.querySelectorAll("[data-scripted]")) part.hidden = false;
for (const box of document.querySelectorAll("input[data-option]")) {
  box.addEventListener("change", () => {
    if (box.dataset.option === "repeat") options.repeat = box.checked;
    else {
      document.body.classList.toggle("blind", box.checked);
      decks.forEach(deck => deck.hide(box.checked));
    }
  });
}
