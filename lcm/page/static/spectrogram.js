// Spectrograms on a canvas: hann frames of 1024 samples at 24 kHz (2048 from 32 kHz on), as many as the canvas has columns.
const RANGE_DB = 90, INK = "rgba(255, 255, 255, .85)";
const STOPS = [[0, 0, 4], [40, 17, 89], [114, 31, 129], [182, 54, 121], [241, 96, 93], [254, 176, 120], [252, 253, 191]];
const PALETTE = Array.from({ length: 256 }, (_, value) => {
  const at = value / 255 * (STOPS.length - 1), from = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[from].map((low, channel) => low + (STOPS[from + 1][channel] - low) * (at - from));
});

// In-place FFT of a power of two, radix 2.
function transform(real, imaginary) {
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let half = 1; half < size; half *= 2) {
    for (let k = 0; k < half; k++) {
      const cos = Math.cos(Math.PI * k / half), sin = -Math.sin(Math.PI * k / half);
      for (let a = k; a < size; a += 2 * half) {
        const b = a + half, re = real[b] * cos - imaginary[b] * sin, im = real[b] * sin + imaginary[b] * cos;
        real[b] = real[a] - re;
        imaginary[b] = imaginary[a] - im;
        real[a] += re;
        imaginary[a] += im;
      }
    }
  }
}

function mono(buffer) {
  const mixed = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    buffer.getChannelData(channel).forEach((sample, index) => { mixed[index] += sample / buffer.numberOfChannels; });
  }
  return mixed;
}

// Returns power in dB (0: a sine at full scale), a Float32Array of size / 2 bins for each of `columns` frames.
export function powers(buffer, columns, seconds) {
  const samples = mono(buffer), size = buffer.sampleRate < 32000 ? 1024 : 2048, half = size / 2;
  const window = Float32Array.from({ length: size }, (_, n) => 0.5 - 0.5 * Math.cos(2 * Math.PI * n / size));
  const real = new Float64Array(size), imaginary = new Float64Array(size);
  return Array.from({ length: columns }, (_, column) => {
    const start = Math.round((column + 0.5) / columns * seconds * buffer.sampleRate) - half;
    for (let n = 0; n < size; n++) real[n] = (samples[start + n] || 0) * window[n];
    imaginary.fill(0);
    transform(real, imaginary);
    return Float32Array.from({ length: half }, (__, bin) => 10 * Math.log10((real[bin] ** 2 + imaginary[bin] ** 2) * (16 / size ** 2) + 1e-14));
  });
}

export function loudest(frames) {
  return frames.reduce((most, frame) => frame.reduce((a, b) => Math.max(a, b), most), -140);
}

// frames: from `powers`; topHz: highest frequency shown; fullDb: what is brightest; cutoffHz: where a line is drawn.
export function draw(canvas, frames, { rate, topHz, fullDb, cutoffHz, seconds }) {
  const [width, height] = [canvas.width, canvas.height], pen = canvas.getContext("2d"), image = pen.createImageData(width, height);
  const bins = frames[0].length, perBin = rate / 2 / bins;
  for (let y = 0; y < height; y++) {
    const at = Math.min(bins - 1, (1 - (y + 0.5) / height) * topHz / perBin), bin = Math.floor(at), next = Math.min(bins - 1, bin + 1);
    for (let x = 0; x < width; x++) {
      const level = frames[x][bin] + (frames[x][next] - frames[x][bin]) * (at - bin);
      const [red, green, blue] = PALETTE[Math.round(255 * Math.min(1, Math.max(0, 1 + (level - fullDb) / RANGE_DB)))];
      image.data.set([red, green, blue, 255], 4 * (y * width + x));
    }
  }
  pen.putImageData(image, 0, 0);
  const scale = devicePixelRatio || 1;
  Object.assign(pen, { fillStyle: INK, strokeStyle: INK, lineWidth: scale, font: `${11 * scale}px sans-serif`, shadowColor: "#000", shadowBlur: 3 * scale });
  axes(pen, width, height, scale, topHz, seconds);
  if (cutoffHz > 0 && cutoffHz < topHz) dashed(pen, width, Math.round(height * (1 - cutoffHz / topHz)) + 0.5, scale);
}

function axes(pen, width, height, scale, topHz, seconds) {
  const stepHz = topHz > 13000 ? 6000 : 3000;
  for (let hz = stepHz; hz < topHz; hz += stepHz) {
    const y = height * (1 - hz / topHz);
    pen.fillRect(0, y, 6 * scale, scale);
    pen.fillText(`${hz / 1000} kHz`, 9 * scale, y + 4 * scale);
  }
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120].find(each => seconds / each <= 10) || 300;
  for (let count = 1; count * step < seconds * 0.97; count++) {
    const x = width * count * step / seconds;
    pen.fillRect(x, height - 6 * scale, scale, 6 * scale);
    pen.fillText(`${Number((count * step).toFixed(1))} s`, x + 4 * scale, height - 4 * scale);
  }
}

function dashed(pen, width, y, scale) {
  pen.setLineDash([5 * scale, 5 * scale]);
  pen.beginPath();
  pen.moveTo(0, y);
  pen.lineTo(width, y);
  pen.stroke();
  pen.setLineDash([]);
}
