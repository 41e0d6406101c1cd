// Mean-field theory in the browser: q and delta, layer by layer, of a wide random net. `explore` is what a test calls.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);

  // ---- activations: [phi, slope] with their usual parameters

  const sigmoid = (z) => (z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z)));
  const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
  const density = (z) => Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI);
  // The series with positive terms alone, e^(-x^2) sum 2^n x^(2n+1) / (2n+1)!!, which loses no digits.
  function erf(x) {
    const a = Math.abs(x);
    if (a > 6) return Math.sign(x);
    let term = a, sum = a;
    for (let n = 1; term > 1e-17 * sum; n += 1) { term *= (2 * a * a) / (2 * n + 1); sum += term; }
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * Math.exp(-a * a) * sum;
  }
  const normal = (z) => 0.5 * (1 + erf(z / Math.SQRT2));
  const clipped = (slope, low, high, shift) => [
    (z) => Math.min(Math.max(slope * z + shift, low), high),
    (z) => (slope * z + shift > low && slope * z + shift < high ? slope : 0)];
  const leaky = (below) => [(z) => (z > 0 ? z : below * z), (z) => (z > 0 ? 1 : below)];
  const elu = (alpha, scale) => [(z) => scale * (z > 0 ? z : alpha * Math.expm1(z)), (z) => scale * (z > 0 ? 1 : alpha * Math.exp(z))];
  const FORMULAS = {
    linear: [(z) => z, () => 1],
    sigmoid: [sigmoid, (z) => sigmoid(z) * sigmoid(-z)],
    hard_sigmoid: clipped(0.2, 0, 1, 0.5), hard_sigmoid_6: clipped(1 / 6, 0, 1, 0.5),
    tanh: [Math.tanh, (z) => 1 / Math.cosh(z) ** 2],
    hard_tanh: clipped(1, -1, 1, 0),
    softsign: [(z) => z / (1 + Math.abs(z)), (z) => 1 / (1 + Math.abs(z)) ** 2],
    erf: [erf, (z) => (2 / Math.sqrt(Math.PI)) * Math.exp(-z * z)],
    relu: leaky(0), leaky_relu: leaky(0.01), prelu: leaky(0.25),
    relu6: clipped(1, 0, 6, 0),
    thresholded_relu: [(z) => (z > 1 ? z : 0), (z) => (z > 1 ? 1 : 0)],
    elu: elu(1, 1), celu: elu(1, 1), selu: elu(1.6732632423543772, 1.0507009873554805),
    softplus: [softplus, sigmoid],
    gelu: [(z) => z * normal(z), (z) => normal(z) + z * density(z)],
    silu: [(z) => z * sigmoid(z), (z) => sigmoid(z) * (1 + z * sigmoid(-z))],
    mish: [(z) => z * Math.tanh(softplus(z)), (z) => {
      const t = Math.tanh(softplus(z));
      return t + z * (1 - t * t) * sigmoid(z);
    }],
    hard_swish: [(z) => z * Math.min(Math.max(z / 6 + 0.5, 0), 1), (z) => (z <= -3 ? 0 : z >= 3 ? 1 : z / 3 + 0.5)],
  };
  const known = data.activations.filter((one) => FORMULAS[one.name]);

  // ---- Gaussian means

  // Nodes and weights of Gauss and Legendre on [-1, 1], by Newton's method on the polynomial.
  function gauss(n) {
    const nodes = [], weights = [];
    for (let i = 0; i < n; i += 1) {
      let x = Math.cos(Math.PI * (i + 0.75) / (n + 0.5)), slope = 1;
      for (let turn = 0; turn < 60; turn += 1) {
        let before = 1, here = x;
        for (let k = 2; k <= n; k += 1) [before, here] = [here, ((2 * k - 1) * x * here - (k - 1) * before) / k];
        slope = n * (x * here - before) / (x * x - 1);
        const step = here / slope;
        x -= step;
        if (Math.abs(step) < 1e-15) break;
      }
      nodes.push(x);
      weights.push(2 / ((1 - x * x) * slope * slope));
    }
    return [nodes, weights];
  }
  const [NODES, WEIGHTS] = gauss(16);
  const REACH = 9;
  // E f(z)^2 for every f of `functions`, z ~ N(0, q): panels end at kinks, and where phi bends (|z| about 1).
  function meanSquares(functions, q, kinks) {
    const deviation = Math.sqrt(q);
    const bends = [0.1, 0.5, 1, 2, 4, 8, 16, 32].flatMap((v) => [-v, v]);
    const inside = [...kinks, 0, ...bends].map((v) => v / deviation).filter((x) => Math.abs(x) < REACH);
    const steps = Array.from({ length: 2 * REACH + 1 }, (_, i) => i - REACH);
    const edges = [...new Set([...steps, ...inside])].sort((a, b) => a - b);
    const sums = functions.map(() => 0);
    for (let i = 0; i + 1 < edges.length; i += 1) {
      const half = (edges[i + 1] - edges[i]) / 2, middle = (edges[i + 1] + edges[i]) / 2;
      NODES.forEach((node, k) => {
        const x = middle + half * node, weight = half * WEIGHTS[k] * density(x);
        functions.forEach((f, n) => { sums[n] += weight * f(deviation * x) ** 2; });
      });
    }
    return sums;
  }

  // ---- the net

  const SMALLEST = 1e-200, LARGEST = 1e300;
  // q, chi and log10 of delta relative to the top hidden layer, layer 1 first; inputs of mean square 1.
  function explore(name, depth, sigmaW, sigmaB) {
    const one = known.find((each) => each.name === name), [phi, slope] = FORMULAS[name];
    const q = [], chi = [];
    let variance = sigmaW ** 2 + sigmaB ** 2, last = null;
    for (let layer = 0; layer < depth; layer += 1) {
      variance = Math.min(Math.max(variance, SMALLEST), LARGEST);
      const here = last !== null && Math.abs(variance - last.q) <= 1e-15 * variance ? last
        : (([h, s]) => ({ q: variance, h, s }))(meanSquares([phi, slope], variance, one.kinks));
      q.push(variance);
      chi.push(sigmaW ** 2 * here.s);
      last = here;
      variance = sigmaW ** 2 * here.h + sigmaB ** 2;
    }
    const logs = new Array(depth).fill(0);
    for (let layer = depth - 2; layer >= 0; layer -= 1) logs[layer] = logs[layer + 1] + 0.5 * Math.log10(chi[layer]);
    return { q, chi, logs };
  }
  window.explore = explore;

  // ---- words

  const digits = (v) => (v !== 0 && (Math.abs(v) < 1e-3 || Math.abs(v) >= 1e5) ? v.toExponential(2) : String(+v.toPrecision(4)));
  function times(decades) {
    const a = Math.abs(decades);
    if (a >= 15) return `10^${a.toFixed(1)}`;
    const [power, word] = [[12, " trillion"], [9, " billion"], [6, " million"], [0, ""]].find(([p]) => a >= p);
    const number = 10 ** (a - power);
    return (number >= 99.5 ? Math.round(number).toLocaleString("en") : String(+number.toPrecision(2))) + word;
  }
  function headline(name, depth, decades) {
    if (decades === -Infinity) return `${name}: nothing reaches layer 1`;
    if (Math.abs(decades) < 0.1) return `${name}: the gradient survives. Layer 1 gets about as much as layer ${depth}`;
    const what = decades <= -2 ? "the gradient dies" : decades >= 2 ? "the gradient explodes" : "the gradient survives";
    return `${name}: ${what}. Layer 1 gets ${times(decades)} times ${decades < 0 ? "less" : "more"} than layer ${depth}`;
  }

  // ---- drawings

  const SUPER = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
  const power = (k) => (k === 0 ? "1" : `10${[...String(k)].map((c) => SUPER[c]).join("")}`);
  const scale = (low, high, start, end) => (v) => start + (end - start) * (v - low) / ((high - low) || 1);
  const n = (v) => v.toFixed(1);
  const path = (points, kind) => {
    let pen = "M", text = "";
    for (const [x, y] of points) {
      if (Number.isFinite(x) && Number.isFinite(y)) { text += `${pen}${n(x)} ${n(y)}`; pen = "L"; } else pen = "M";
    }
    return `<path class="${kind}" d="${text}"/>`;
  };
  const word = (x, y, text, anchor = "middle") => `<text x="${n(x)}" y="${n(y)}" text-anchor="${anchor}">${text}</text>`;

  // Drawings are as wide as their place, so that the words in them keep their size on a phone.
  const widthOf = (svg) => Math.max(280, Math.min(760, svg.parentElement.clientWidth || 640));
  function fill(svg, width, height, text) {
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.innerHTML = text;
  }

  function drawProfile(found, depth) {
    const svg = byId("profile"), width = widthOf(svg), right = width - 14;
    const finite = found.logs.filter(Number.isFinite);
    const low = Math.min(-1, Math.floor(Math.min(...finite))), high = Math.max(0, Math.ceil(Math.max(...finite)));
    const y = scale(low, high, 320, 12), x = scale(1, depth, 56, right);
    const stride = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500].find((s) => (high - low) / s <= 8);
    let text = "";
    for (let k = low; k <= high; k += 1) if (k % stride === 0) text += path([[44, y(k)], [right + 6, y(k)]], "g") + word(38, y(k) + 4, power(k), "end");
    const layers = [1];
    for (const l of [5, 10, 20, 30, 50, 75, 100, 150]) if (x(l) - x(layers[layers.length - 1]) >= 30 && x(depth) - x(l) >= 34) layers.push(l);
    for (const layer of [...new Set([...layers, depth])]) text += word(x(layer), 340, layer);
    text += word(width / 2, 357, "layer (input side left, loss side right)") + path([[56, y(0)], [right, y(0)]], "ref");
    text += path(found.logs.map((v, i) => [x(i + 1), y(v)]), "ln");
    if (depth <= 60) text += found.logs.map((v, i) => (Number.isFinite(v) ? `<circle class="pt" cx="${n(x(i + 1))}" cy="${n(y(v))}" r="3.5"/>` : "")).join("");
    fill(svg, width, 360, text);
  }
  function drawShape(name, q) {
    const svg = byId("shape"), width = widthOf(svg), right = width - 14;
    const [phi, slope] = FORMULAS[name], deviation = Math.sqrt(q);
    const zs = Array.from({ length: 401 }, (_, i) => -5 + i / 40);
    const x = scale(-5, 5, 44, right), y = scale(-1.1, 2.1, 230, 10);
    const inside = (v) => (v >= -1.1 && v <= 2.1 ? v : NaN);
    let text = "";
    const grey = zs.map((z) => [x(z), y(-1.1) - 130 * Math.exp(-0.5 * (z / deviation) ** 2)]);
    text += `<path class="tol" d="M${grey.map(([a, b]) => `${n(a)} ${n(b)}`).join("L")}L${n(x(5))} ${n(y(-1.1))}L${n(x(-5))} ${n(y(-1.1))}Z"/>`;
    for (const v of [-1, 0, 1, 2]) text += path([[44, y(v)], [right, y(v)]], v === 1 ? "ref" : "g") + word(38, y(v) + 4, v, "end");
    for (const v of [-4, -2, 0, 2, 4]) text += word(x(v), 246, v);
    text += word(width / 2, 258, "z (pre-activation)") + path(zs.map((z) => [x(z), y(inside(phi(z)))]), "thin");
    text += path(zs.map((z) => [x(z), y(inside(slope(z)))]), "ln");
    const peak = zs.reduce((best, z) => (Math.abs(z) <= 2.2 && slope(z) > slope(best) + 1e-9 ? z : best), 0);
    const last = zs.filter((z) => Number.isFinite(inside(phi(z)))).pop();
    text += word(x(peak) + 10, y(Math.min(slope(peak), 2)) - 6, "slope φ′", "start") + word(x(last) - 6, y(phi(last)) + (last > 4.9 ? 16 : 10), "φ", "end");
    fill(svg, width, 260, text);
  }

  // ---- wiring

  const field = (id) => Number(byId(id).value);
  function show() {
    const name = byId("activation").value, depth = field("depth"), sigmaW = field("sigma_w"), sigmaB = field("sigma_b");
    const one = known.find((each) => each.name === name), found = explore(name, depth, sigmaW, sigmaB);
    document.documentElement.style.setProperty("--c", `var(--s${one.look})`);
    byId("depth-text").textContent = depth;
    byId("sigma_w-text").textContent = sigmaW.toFixed(3);
    byId("sigma_b-text").textContent = sigmaB.toFixed(2);
    byId("headline").textContent = headline(name, depth, found.logs[0]);
    const top = Math.max(depth - 2, 0);
    byId("factor").textContent = `${digits(Math.sqrt(found.chi[top]))} of delta`;
    byId("q").textContent = digits(found.q[top]);
    byId("chi").textContent = digits(found.chi[top]);
    byId("critical").disabled = one.critical === null;
    const init = `gaussian:sigma_w=${sigmaW}${sigmaB ? `:sigma_b=${sigmaB}` : ""}`;
    const parts = ["gradlab run", `--activation ${name}`, `--depth ${depth}`, `--init ${init}`];
    byId("command").replaceChildren(...parts.flatMap((part, i) => {  // lines are broken between flags alone
      const span = document.createElement("span");
      span.textContent = part;
      return i ? [" ", span] : [span];
    }));
    byId("profile").setAttribute("aria-label", `delta by layer on a log axis: 10^${found.logs[0].toFixed(2)} in layer 1, 1 in layer ${depth}`);
    byId("shape").setAttribute("aria-label", `${name}: ${one.summary}`);
    drawProfile(found, depth);
    drawShape(name, found.q[Math.floor(depth / 2)]);
  }
  byId("activation").replaceChildren(...known.map((one) => new Option(one.name, one.name)));
  byId("activation").value = "sigmoid";
  const given = decodeURIComponent(location.hash.slice(1).replaceAll("&", "\n")).split("\n");
  const asked = (given[0] || "").split(":")[0];
  if (known.some((one) => one.name === asked)) byId("activation").value = asked;
  ["depth", "sigma_w", "sigma_b"].forEach((id, i) => { if (Number.isFinite(parseFloat(given[i + 1]))) byId(id).value = given[i + 1]; });
  byId("form").addEventListener("input", show);
  byId("form").addEventListener("submit", (event) => event.preventDefault());
  byId("critical").addEventListener("click", () => {
    const one = known.find((each) => each.name === byId("activation").value);
    byId("sigma_b").value = 0;
    byId("sigma_w").value = one.critical;
    show();
  });
  window.addEventListener("resize", show);
  show();
  document.documentElement.dataset.ready = "yes";
})();
