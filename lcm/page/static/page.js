// The page's flow: a recording is given, sent, and shown. Whatever goes wrong is said in one line.
import { Microphone } from "/microphone.js";
import { Player } from "/player.js";
import { draw, loudest, powers } from "/spectrogram.js";

const TRACKS = ["original", "restored", "sinc"], LOWEST_FULL_DB = -60, SILENT = 1e-4, MADE_HZ = 12000;
const at = Object.fromEntries(Array.from(document.querySelectorAll("[id]"), element => [element.id, element]));
const given = { blob: null, name: "" };
let limits = { bytes: Infinity, seconds: Infinity }, player = null, microphone = null, turn = 0, shown = null;

const kilohertz = hz => `${Number((hz / 1000).toFixed(2))} kHz`;
const clock = seconds => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
const megabytes = bytes => `${Number((bytes / 1e6).toFixed(1))} MB`;

function say(state, error = "") {
  at.state.textContent = state;
  at.waited.textContent = "";
  at.error.textContent = error;
  at.error.hidden = !error;
}

// --- giving a recording

async function give(blob, name) {
  if (blob.size > limits.bytes) {
    return say("", `${name}: the file has ${megabytes(blob.size)}; this page takes at most ${megabytes(limits.bytes)}. \`lcm upscale\` takes any size.`);
  }
  Object.assign(given, { blob, name });
  return restore();
}

async function restore() {
  const own = ++turn, query = new URLSearchParams({ name: given.name, narrow: at.narrow.value });
  if (at.cutoff.value) query.set("cutoff", Math.round(Number(at.cutoff.value) * 1000));
  if (player?.playing) player.stop();
  const began = performance.now(), waits = setInterval(() => {
    if (own === turn) at.waited.textContent = `${Math.round((performance.now() - began) / 1000)} s`;
  }, 1000);
  say(`Restoring ${given.name} ...`);
  at.again.disabled = false;
  at.result.classList.add("busy");
  try {
    const answer = await fetch(`/restore?${query}`, { method: "POST", body: given.blob });
    const trial = await answer.json();
    if (own !== turn) return;
    if (!answer.ok) throw new Error(trial.error);
    const buffers = await load(trial);
    if (own !== turn) return;
    show(trial, buffers);
    say("");
  } catch (error) {
    if (own === turn) fail(error);
  } finally {
    clearInterval(waits);
    if (own === turn) at.result.classList.remove("busy");
  }
}

function fail(error) {
  at.result.hidden = true;
  say("", error instanceof TypeError ? `${given.name}: the server cannot be reached, or the file changed; is the command still running?` : error.message);
}

async function load(trial) {
  const context = new OfflineAudioContext(1, 1, trial.player_rate_hz);
  return Promise.all(TRACKS.map(async name => {
    const answer = await fetch(trial.tracks[name]);
    if (!answer.ok) throw new Error((await answer.json()).error);
    return context.decodeAudioData(await answer.arrayBuffer());
  }));
}

// --- showing it

function show(trial, buffers) {
  const heard = player ? player.current : TRACKS.indexOf("restored"), repeat = at.repeat.checked;
  player?.close();
  player = new Player(new AudioContext({ sampleRate: trial.player_rate_hz }), buffers, update);
  player.repeat = repeat;
  shown = { trial, buffers, silent: buffers[1].length > 0 && peak(buffers[1]) < SILENT };
  at.title.textContent = given.name;
  facts(trial);
  note(trial);
  at.download.href = trial.download;
  at.download.download = `${given.name.replace(/\.[^.]*$/, "")}-restored.wav`;
  at.position.max = player.seconds;
  at.result.hidden = false;
  at.tracks.querySelectorAll(".track").forEach(each => each.remove());
  TRACKS.forEach((name, index) => at.tracks.append(track(name, index, trial)));
  pictures();
  choose(heard);
}

function facts(trial) {
  const channels = trial.channels === 1 ? "mono" : trial.channels === 2 ? "stereo" : `${trial.channels} channels`;
  const speed = trial.seconds > 0 ? ` (real-time factor ${(trial.restore_s / trial.seconds).toPrecision(2)})` : "";
  const parts = [
    [clock(trial.seconds), `, ${channels}, ${kilohertz(trial.rate_hz)}`], [kilohertz(trial.cutoff_hz), " bandwidth"],
    [kilohertz(trial.output_rate_hz), " restored file"], [`${trial.restore_s.toFixed(2)} s`, ` to restore${speed}`], [`${trial.all_s.toFixed(2)} s`, " in all"],
  ];
  at.facts.replaceChildren(...parts.flatMap(([value, what], index) => {
    const strong = document.createElement("b");
    strong.textContent = value;
    return [index ? " · " : "", strong, what];
  }));
}

function note(trial) {
  const narrowed = trial.narrowed_hz ? "" : " Narrow it first to hear what the model does, with the truth beside it.";
  const alike = "The original and sinc sound alike here: playing a file is plain resampling. Narrow a full-band recording first to have the truth beside it.";
  at.note.textContent = shown.silent ? "It is silent, and stays so." : trial.passed ? `It is full-band already and is returned unchanged.${narrowed}`
    : trial.narrowed_hz ? "" : alike;
  at.note.hidden = !at.note.textContent;
}

function peak(buffer) {
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, index) => buffer.getChannelData(index));
  return Math.max(...channels.map(samples => samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0)));
}

function track(name, index, trial) {
  const part = document.getElementById("track").content.firstElementChild.cloneNode(true), radio = part.querySelector("input");
  const narrowed = trial.narrowed_hz ? `narrowed to ${kilohertz(trial.narrowed_hz)}, ` : "";
  const what = { original: "as given", restored: `${narrowed}then through the model`, sinc: `${narrowed}then plain resampling` };
  if (!narrowed) Object.assign(what, { restored: "through the model", sinc: "plain resampling" });
  part.dataset.track = radio.value = name;
  [part.querySelector("kbd").textContent, part.querySelector(".name").textContent, part.querySelector(".what").textContent] = [index + 1, name, what[name]];
  radio.addEventListener("change", () => choose(index));
  part.querySelector("canvas").setAttribute("aria-label", `Spectrogram, ${name}`);
  part.querySelector(".picture").addEventListener("click", event => {
    const box = event.currentTarget.getBoundingClientRect();
    player.seek((event.clientX - box.left) / box.width * player.seconds);
  });
  return part;
}

function pictures() {
  const canvases = Array.from(at.tracks.querySelectorAll("canvas")), scale = devicePixelRatio || 1, { trial, buffers } = shown;
  const width = Math.max(100, Math.round(canvases[0].clientWidth * scale)), frames = buffers.map(buffer => powers(buffer, width, player.seconds));
  const fullDb = Math.max(LOWEST_FULL_DB, ...frames.map(loudest));  // one scale for all, so that they can be compared
  const topHz = trial.passed ? trial.output_rate_hz / 2 : MADE_HZ;  // above it nothing is added
  shown.width = canvases[0].clientWidth;
  canvases.forEach((canvas, index) => {
    Object.assign(canvas, { width, height: Math.round(canvas.clientHeight * scale) });
    const cutoffHz = index && !trial.passed ? trial.cutoff_hz : 0;
    draw(canvas, frames[index], { rate: trial.player_rate_hz, topHz, fullDb, cutoffHz, seconds: player.seconds });
  });
}

// --- listening

function choose(index) {
  player.choose(index);
  at.tracks.querySelectorAll("input")[index].checked = true;
}

function update() {
  const position = player.position;
  at.position.value = position;
  at.position.setAttribute("aria-valuetext", `${clock(position)} of ${clock(player.seconds)}`);
  at.time.textContent = `${clock(position)} / ${clock(player.seconds)}`;
  at.play.setAttribute("aria-label", player.playing ? "Pause" : "Play");
  at.result.classList.toggle("playing", player.playing);
  for (const head of at.tracks.querySelectorAll(".head")) head.style.left = `${100 * position / player.seconds}%`;
}

function tick() {
  if (player?.playing) update();
  requestAnimationFrame(tick);
}

function toggle() {
  if (player.playing) player.stop();
  else player.play();
}

function key(event) {
  if (at.result.hidden || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, [type=number]")) return;
  const index = Number(event.key) - 1;
  if (TRACKS[index]) choose(index);
  else if (event.key === " " && !event.target.matches("button, a, [type=checkbox], [type=file]")) {
    event.preventDefault();
    toggle();
  }
}

// --- recording

async function record() {
  if (microphone) return finish();
  microphone = new Microphone((level, seconds) => {
    at.level.value = level;
    at.elapsed.textContent = clock(seconds);
    if (seconds > limits.seconds - 1) finish();
  });
  if (player?.playing) player.stop();
  say("");
  try {
    await microphone.start();
    pressed(true);
  } catch (error) {
    await microphone.release();
    microphone = null;
    say("", `Recording: ${error.name === "NotAllowedError" ? "the microphone was refused; allow it in the browser's settings" : error.message}.`);
  }
}

async function finish() {
  const used = microphone;
  if (!used?.node) return;
  microphone = null;
  pressed(false);
  const blob = await used.stop();
  if (used.samples) await give(blob, "recording.wav");
  else say("", "Recording: nothing came from the microphone; record for longer, or choose another device in the browser's settings.");
}

function pressed(on) {
  at.record.textContent = on ? "Stop and restore" : "Record";
  at.record.setAttribute("aria-pressed", on);
  at.recording.hidden = !on;
}

at.file.addEventListener("change", () => {
  const [file] = at.file.files;
  if (file) give(file, file.name);
  at.file.value = "";  // the same file can be chosen again
});
addEventListener("dragover", event => { event.preventDefault(); document.body.classList.add("over"); });
addEventListener("dragleave", () => document.body.classList.remove("over"));
addEventListener("drop", event => {
  event.preventDefault();
  document.body.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) give(file, file.name);
});
at.record.addEventListener("click", record);
at.again.addEventListener("click", restore);
at.narrow.addEventListener("change", () => { if (given.blob) restore(); });
at.play.addEventListener("click", toggle);
at.position.addEventListener("input", () => player.seek(Number(at.position.value)));
at.repeat.addEventListener("change", () => { if (player) player.repeat = at.repeat.checked; });
addEventListener("keydown", key);
addEventListener("resize", () => { if (shown && !at.result.hidden && at.tracks.clientWidth && shown.width !== at.tracks.querySelector("canvas").clientWidth) pictures(); });
fetch("/limits").then(answer => answer.json()).then(found => { limits = found; }).catch(() => {});
tick();
