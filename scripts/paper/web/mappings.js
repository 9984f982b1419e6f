// The five mappings in plain JavaScript, for rows of a few scores: clear rather than fast.
// A test holds them against the library; the problems that they solve are in its docstrings.
"use strict";

const sum = (values) => values.reduce((total, value) => total + value, 0);

function softmax(scores, { gamma }) {
  const top = Math.max(...scores);
  const powers = scores.map((score) => Math.exp((score - top) / gamma));
  return alone(powers.map((power) => power / sum(powers)));
}

function sparsemax(scores, { gamma }) {
  return alone(projectSimplex(scores.map((score) => score / gamma)));
}

function fusedmax(scores, { gamma, lam }) {
  if (lam === 0) return sparsemax(scores, { gamma });
  const { values, labels } = proxTv(scores.map((score) => score / gamma), lam);
  return { weights: projectSimplex(values), labels };
}

// Without the absolute values of OSCAR's proximal operator, which miss the argmax where signs are mixed.
function oscarmax(scores, { gamma, lam }) {
  if (lam === 0) return sparsemax(scores, { gamma });
  const order = scores.map((_, i) => i).sort((i, j) => scores[j] - scores[i]);
  const lowered = order.map((i, rank) => scores[i] / gamma - lam * (scores.length - 1 - rank));
  const sorted = isotonicDecreasing(lowered);
  const values = [], labels = [];
  order.forEach((i, rank) => {
    values[i] = sorted.values[rank];
    labels[i] = sorted.labels[rank];
  });
  return { weights: projectSimplex(values), labels };
}

// y_i = r_i^(q−1) / Σ r^(q−1) with r_i = max(1 − (max x − x_i)/m, 0); one unknown, m = max x − τ in (0, γ].
function pnormmax(scores, { gamma, p }) {
  const q = p / (p - 1), top = Math.max(...scores);
  const ratios = (m) => scores.map((score) => Math.max(1 - (top - score) / m, 0));
  const total = (values, power) => sum(values.map((value) => value ** power));
  let low = 0, high = gamma;
  for (let step = 0; step < 200; step++) {
    const m = (low + high) / 2, r = ratios(m);
    const isSmall = m * total(r, q - 1) < gamma * total(r, q) ** ((2 - p) / p);
    if (isSmall) low = m; else high = m;
  }
  const powers = ratios(high).map((ratio) => ratio ** (q - 1));
  return alone(powers.map((power) => power / sum(powers)));
}

// Every position a group by itself.
function alone(weights) {
  return { weights, labels: weights.map((_, i) => i) };
}

// The nearest point whose entries are at least 0 and add up to 1: all lowered by one threshold, then cut at 0.
function projectSimplex(values) {
  const sorted = [...values].sort((a, b) => b - a);
  let total = 0, threshold = 0;
  sorted.forEach((value, k) => {
    total += value;
    if (value > (total - 1) / (k + 1)) threshold = (total - 1) / (k + 1);
  });
  return values.map((value) => Math.max(value - threshold, 0));
}

// argmin ½‖y − x‖² + λ Σ|y_{i+1} − y_i|: the slopes of the shortest string through a tube of radius λ round
// the sums of x, fixed at both ends. Segments between two bends share one value.
function proxTv(x, lam) {
  const sums = [0];
  x.forEach((value, i) => sums.push(sums[i] + value));
  const radius = (k) => (k === 0 || k === x.length ? 0 : lam);
  const values = [], labels = [];
  let start = 0, height = 0;
  while (start < x.length) {
    const bend = nextBend(sums, radius, start, height);
    for (let i = start; i < bend.at; i++) {
      values.push(bend.slope);
      labels.push(start);
    }
    start = bend.at;
    height = bend.height;
  }
  return { values, labels };
}

// How far a straight line from (start, height) stays inside the tube, and at which slope.
function nextBend(sums, radius, start, height) {
  let low = { slope: -Infinity }, high = { slope: Infinity };
  for (let k = start + 1; k < sums.length; k++) {
    const floor = through(k, sums[k] - radius(k)), ceiling = through(k, sums[k] + radius(k));
    if (floor.slope > high.slope) return high;
    if (ceiling.slope < low.slope) return low;
    if (floor.slope >= low.slope) low = floor;
    if (ceiling.slope <= high.slope) high = ceiling;
  }
  return low;

  function through(k, there) {
    return { at: k, height: there, slope: (there - height) / (k - start) };
  }
}

// The nearest sequence that never rises: neighbours in the wrong order are pooled to their mean.
function isotonicDecreasing(values) {
  const pools = [];
  for (const value of values) {
    let pool = { total: value, size: 1 };
    while (pools.length && pools.at(-1).total / pools.at(-1).size <= pool.total / pool.size) {
      const before = pools.pop();
      pool = { total: before.total + pool.total, size: before.size + pool.size };
    }
    pools.push(pool);
  }
  const spread = (entry) => pools.flatMap((pool, label) => Array(pool.size).fill(entry(pool, label)));
  return { values: spread((pool) => pool.total / pool.size), labels: spread((_, label) => label) };
}

const MAPPINGS = { softmax, sparsemax, fusedmax, oscarmax, pnormmax };

// What a mapping makes of scores: weights, and for each position the number of its group, 0 outside the
// support. A position whose mask is false takes no part; its neighbours become neighbours of each other.
function attend(name, scores, strengths, mask = scores.map(() => true)) {
  const places = scores.map((_, i) => i).filter((i) => mask[i]);
  const weights = scores.map(() => 0), groups = scores.map(() => 0);
  if (!places.length) return { weights, groups };
  const found = MAPPINGS[name](places.map((i) => scores[i]), strengths);
  places.forEach((i, k) => {
    weights[i] = found.weights[k];
    groups[i] = found.weights[k] > 0 ? found.labels[k] + 1 : 0;
  });
  return { weights, groups };
}
