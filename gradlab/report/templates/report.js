// The page's behaviour: plots from the embedded numbers, a slider through the steps, sorting and filtering.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { zero: ZERO, infinite: INFINITE, strip: [LEAST_GAP, GAP_SHARE], dashes: DASHES, marks: MARKS } = data;
  const byId = (id) => document.getElementById(id);
  const LIGHT = {
    back: "#ffffff", text: "#1b1d20", quiet: "#595f66", line: "#dfe2e5", theory: "#1b1d20", ...data.light,
  };
  const DARK = {
    back: "#15171a", text: "#e9eaeb", quiet: "#a6adb5", line: "#32373d", theory: "#e9eaeb", ...data.dark,
  };
  const VERMILION = LIGHT.series[1];  // of marks on a map or between ridges, on either background
  const darkQuery = window.matchMedia("(prefers-color-scheme: dark)");
  let printing = false;
  const theme = () => (darkQuery.matches && !printing ? DARK : LIGHT);

  // ---- numbers

  const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");  // Plotly reads names as markup
  const isNumber = (v) => v !== null && v !== ZERO && v !== INFINITE;
  const power = (v) => {  // thousandths of log10 -> text
    if (v === null || v === undefined) return "";
    if (v === ZERO) return "0";
    if (v === INFINITE) return "inf or nan";
    let exponent = Math.floor(v / 1000);
    let digits = (10 ** (v / 1000 - exponent)).toFixed(2);
    if (digits === "10.00") { digits = "1.00"; exponent += 1; }
    return exponent >= -2 && exponent <= 3 ? String(+(10 ** (v / 1000)).toPrecision(3)) : `${digits}e${exponent}`;
  };
  const share = (v) => (v === null || v === undefined ? "" : (v / 10).toFixed(1));

  // A log10 axis with a strip for exact zeros below and one for what is not finite above.
  function decades(lists) {
    const all = lists.flat(Infinity);
    const finite = all.filter((v) => v !== undefined && isNumber(v));
    let low = -1, high = 0;
    if (finite.length) {
      low = Math.floor(finite.reduce((a, b) => Math.min(a, b)) / 1000);
      high = Math.ceil(finite.reduce((a, b) => Math.max(a, b)) / 1000);
      if (high === low) high += 1;
    }
    const gap = Math.max(LEAST_GAP, GAP_SHARE * (high - low));
    const zero = all.includes(ZERO), infinite = all.includes(INFINITE);
    const place = (v) => (v === null ? null : v === ZERO ? low - gap : v === INFINITE ? high + gap : v / 1000);
    const stride = [1, 2, 3, 5, 10, 20, 30, 50, 100].find((s) => (high - low) / s <= 7);
    const tickvals = [], ticktext = [];
    for (let k = low; k <= high; k += 1) {
      if (k % stride === 0) { tickvals.push(k); ticktext.push(k === 0 ? "1" : `10<sup>${k}</sup>`); }
    }
    if (zero) { tickvals.push(low - gap); ticktext.push("0"); }
    if (infinite) { tickvals.push(high + gap); ticktext.push("inf"); }
    const strips = () => [
      ...(zero ? [strip(low - 1.5 * gap, low - 0.5 * gap, theme().zero)] : []),
      ...(infinite ? [strip(high + 0.5 * gap, high + 1.5 * gap, theme().nonfinite)] : []),
    ];
    const range = [zero ? low - 1.5 * gap : low - 0.1, infinite ? high + 1.5 * gap : high + 0.1];
    return { low, high, place, axis: { tickvals, ticktext, range }, strips };
  }
  const strip = (y0, y1, fillcolor) => (
    { type: "rect", xref: "paper", x0: 0, x1: 1, y0, y1, fillcolor, line: { width: 0 }, layer: "below" });

  // ---- plots

  const narrow = () => window.innerWidth < 600;
  const drawn = new Map();  // id -> function that draws it again
  function draw(id, make) {
    const element = byId(id);
    if (!element) return;
    const again = () => {
      const { traces, layout, label } = make();
      const colours = theme();
      // On paper a plot gets its size here: the page is laid out for the screen when it is drawn.
      const paper = printing ? { width: element.closest(".wide") ? 680 : 330 } : {};
      element.style.height = "";
      const height = (printing ? (element.matches(".ridges") ? 420 : 230) : element.clientHeight) + legendHeight(traces, paper.width || element.clientWidth);
      element.style.height = `${height}px`;
      const axis = { gridcolor: colours.line, linecolor: colours.line, zeroline: false, automargin: true };
      Plotly.react(element, traces, {
        margin: { l: 48, r: 12, t: 12, b: 74 }, paper_bgcolor: colours.back, plot_bgcolor: colours.back,
        modebar: { bgcolor: "rgba(0,0,0,0)", color: colours.quiet, activecolor: colours.text },
        font: { color: colours.text, size: 12, family: "system-ui, sans-serif" }, hovermode: "closest",
        legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom" }, ...paper, height, ...layout,
        xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
      }, { responsive: true, displaylogo: false, displayModeBar: narrow() ? false : "hover", showSendToCloud: false, plotlyServerURL: "",
        modeBarButtonsToRemove: ["select2d", "lasso2d", "sendChartToCloud"] });  // nothing leaves this page
      if (!printing && element._fullLayout.width !== element.clientWidth) Plotly.Plots.resize(element);
      element.setAttribute("role", "group");  // not img: it holds the buttons to zoom
      element.setAttribute("aria-label", label || "");
    };
    drawn.set(id, again);
    again();
  }
  // How much higher than two lines the legend under a plot will be, in pixels, so that it does not squeeze the plot.
  function legendHeight(traces, width) {
    const names = traces.filter((t) => t.showlegend !== false && t.name).map((t) => t.name.replace("&lt;", "<").length);
    const columns = Math.max(1, Math.floor((width - 60) / (50 + 6.6 * names.reduce((a, b) => Math.max(a, b), 0))));
    return names.length > 1 ? 19 * Math.max(0, Math.ceil(names.length / columns) - 2) : 0;
  }
  const TRAIN = LIGHT.series.length - 1;  // grey, for what is drawn beside a cell's own line
  const series = (n) => theme().series[n % theme().series.length];
  const faint = (colour) => `${colour}33`;

  function line(x, y, n, name, more = {}) {
    return {
      x, y, name: escaped(name), mode: "lines+markers", type: "scatter", connectgaps: false,
      line: { color: series(n), width: 2, dash: DASHES[n % DASHES.length] },
      marker: { color: series(n), size: x.length > 60 ? 3 : 6, symbol: MARKS[n % MARKS.length] }, ...more,
    };
  }
  // Values on a log axis: the line runs through numbers only, zeros and infinities are marks in their strips.
  function logLines(x, values, n, name, scale, more = {}) {
    const texts = values.map(power);
    const traces = [line(x, values.map((v) => (isNumber(v) ? scale.place(v) : null)), n, name,
      { text: texts, hovertemplate: "layer %{x}: %{text}<extra>%{fullData.name}</extra>", ...more })];
    if (values.some((v) => v !== null && !isNumber(v))) {
      traces.push(line(x, values.map((v) => (isNumber(v) ? null : scale.place(v))), n, name,
        { mode: "markers", showlegend: false, text: texts, hovertemplate: "layer %{x}: %{text}<extra></extra>" }));
    }
    return traces;
  }
  function band(x, low, high, n) {
    const keep = x.map((_, i) => low[i] !== null && high[i] !== null);
    const xs = x.filter((_, i) => keep[i]);
    return {
      x: [...xs, ...xs.slice().reverse()],
      y: [...high.filter((_, i) => keep[i]), ...low.filter((_, i) => keep[i]).reverse()],
      fill: "toself", fillcolor: faint(series(n)), line: { width: 0 }, mode: "lines", type: "scatter",
      hoverinfo: "skip", showlegend: false,
    };
  }
  const layerAxis = (cell) => {
    const last = cell.layers[cell.layers.length - 1];
    const stride = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 1e4].find((s) => last / s <= 8);
    const wanted = cell.layers.filter((l) => l === 1 || l === last ||
      (l % stride === 0 && l - 1 >= 0.6 * stride && last - l >= 0.8 * stride));
    const tickvals = wanted.length > 2 ? wanted : cell.layers;
    return { title: { text: "layer (input at the left)" }, tickvals,
      ticktext: tickvals.map((l) => (l === last && cell.readout ? "out" : String(l))) };
  };

  // ---- one cell

  let current = null, record = 0;
  const stepText = () => `step ${current.steps[record]} of ${current.steps[current.steps.length - 1]}`;

  function gradientPlot(id, column, name) {
    const source = current[column];
    const theory = column === "delta_rms" ? current.theory : undefined;
    const scale = decades([source.m, ...(source.lo ? [source.lo, source.hi] : []), theory || []]);
    draw(id, () => {
      // A model with branches has one line, its stream; each branch and head is a thin line beside it.
      const [main, ...beside] = current.lines || [current.layers.map((_, i) => i)];
      const along = (values) => main.map((i) => values[i]);
      const apart = (values) => beside.flatMap((line) => [...line.map((i) => values[i]), null]);
      const x = along(current.layers);
      const traces = [];
      const own = current.look, ghost = { color: theme().quiet };
      if (beside.length) {
        traces.push(...logLines(apart(current.layers), apart(source.m[record]), own, "branches and heads", scale,
          { opacity: 0.6, line: { ...ghost, width: 1 }, marker: { ...ghost, size: 4 } }));
      }
      if (source.lo) {
        traces.push(band(x, along(source.lo[record]).map(scale.place), along(source.hi[record]).map(scale.place), own));
      }
      if (record > 0) traces.push(...logLines(x, along(source.m[0]), own, "step 0", scale, { opacity: 0.7, line: { ...ghost, width: 1.5 }, marker: { ...ghost, size: 4 } }));
      traces.push(...logLines(x, along(source.m[record]), own, `step ${current.steps[record]}`, scale));
      if (theory) {
        traces.push({ ...line(current.layers, theory.map((v) => (isNumber(v) ? scale.place(v) : null)), 0, "theory, step 0"),
          mode: "lines", line: { color: theme().theory, width: 2, dash: "dot" }, text: theory.map(power),
          hovertemplate: "layer %{x}: %{text}<extra>theory, step 0</extra>" });
      }
      const values = source.m[record];
      return {
        traces, layout: { xaxis: layerAxis(current), yaxis: { ...scale.axis }, shapes: scale.strips() },
        label: `${name} at ${stepText()}: ${power(values[0])} in layer 1, ${power(values[values.length - 1])} in layer ` +
          `${current.names[values.length - 1]}. The numbers are in the table below.`,
      };
    });
  }

  const MAPS = { ...Object.fromEntries(Object.entries(data.gradients).map(([column, name]) => [column, `log10 ${name}`])),
    ...data.shares };
  // One range of a quantity for all cells, at least a decade, so that noise does not look like a trend.
  const ranges = new Map();
  function mapRange(column) {
    if (!ranges.has(column)) {
      let low = Infinity, high = -Infinity;
      for (const cell of Object.values(data.cells)) {
        for (const row of cell[column].m) for (const v of row) if (isNumber(v)) { low = Math.min(low, v); high = Math.max(high, v); }
      }
      if (low > high) [low, high] = [-1000, 0];
      const lack = Math.max(1000 - (high - low), 0) / 2;
      ranges.set(column, [(low - lack) / 1000, (high + lack) / 1000]);
    }
    return ranges.get(column);
  }
  function mapPlot() {
    const column = byId("map").value;
    const logarithmic = column in data.gradients;
    const rows = logarithmic ? current[column].m : current[column];
    draw("plot-map", () => {
      const across = (pick) => current.layers.map((_, l) => rows.map((row) => pick(row[l])));
      const number = (v) => (v === null || (logarithmic && !isNumber(v)) ? null : v / 1000);
      const x = current.steps.map(String);
      const [zmin, zmax] = logarithmic ? mapRange(column) : [0, 1];
      const base = { x, y: current.layers, type: "heatmap", hoverongaps: false, text: across(logarithmic ? power : share) };
      const traces = [{ ...base, z: across(number), colorscale: data.map, zmin, zmax,
        colorbar: { thickness: 12, outlinewidth: 0, tickfont: { color: theme().text },
          title: { text: MAPS[column], side: "right", font: { color: theme().text, size: 12 } },
          ...(logarithmic ? {} : { tickformat: ".0%" }) },
        hovertemplate: `step %{x}, layer %{y}: %{text}${logarithmic ? "" : " %"}<extra></extra>` }];
      for (const [code, colour, name] of [[ZERO, "#8c9196", "exactly 0"], [INFINITE, VERMILION, "inf or nan"]]) {
        if (logarithmic && rows.some((row) => row.includes(code))) {
          traces.push({ ...base, z: across((v) => (v === code ? 1 : null)), showscale: false,
            colorscale: [[0, colour], [1, colour]], hovertemplate: `step %{x}, layer %{y}: ${name}<extra></extra>` });
          traces.push({ x: [null], y: [null], name, type: "scatter", mode: "markers",
            marker: { symbol: "square", color: colour, size: 10 }, showlegend: true });
        }
      }
      return {
        traces,
        layout: {
          xaxis: { title: { text: "step (records)" }, type: "category", nticks: 8 },
          yaxis: { ...layerAxis(current), title: { text: "layer" } },
          shapes: [{ type: "rect", xref: "x", yref: "paper", x0: record - 0.5, x1: record + 0.5, y0: 0, y1: 1,
            line: { color: VERMILION, width: 2 } }],
        },
        label: `${MAPS[column]} over layers and recorded steps, of ${current.label}`,
      };
    });
  }

  function sharesPlot() {
    const wanted = Object.keys(data.shares).filter((c) => current[c]);
    // A chart in which nothing happens is left out, and a sentence says so.
    const most = (column) => current[column].flat().reduce((a, b) => Math.max(a, b ?? 0), 0);
    const empty = wanted.every((column) => most(column) < 1000 * data.least_share);
    byId("shares").hidden = empty;
    byId("no-shares").hidden = !(empty && wanted.length);
    const highest = wanted.reduce((a, c) => Math.max(a, most(c)), 0);
    byId("no-shares").textContent = `${wanted.map((c) => data.shares[c]).join(" and ").replace(/^./, (c) => c.toUpperCase())}: ` +
      `${highest ? `never more than ${share(highest)} % of a layer` : "none in any record"}, so there is no chart of them.`;
    if (empty) { drawn.delete("plot-shares"); return; }
    draw("plot-shares", () => ({
      traces: wanted.map((column, n) => line(current.layers, current[column][record].map((v) => (v === null ? null : v / 1000)),
        n, data.shares[column],
        { hovertemplate: "layer %{x}: %{y:.1%}<extra>%{fullData.name}</extra>" })),
      layout: { xaxis: layerAxis(current), yaxis: { range: [-0.02, 1.02], tickformat: ".0%" } },
      label: `Shares of dead units and saturated outputs by layer at ${stepText()}; the numbers are in the table below.`,
    }));
  }

  function timePlot() {
    const time = current.time;
    byId("in-time").hidden = !time;
    if (!time) { drawn.delete("plot-time"); return; }
    const scale = decades([time.m, time.theory]);
    draw("plot-time", () => {
      const nth = time.steps.reduce((best, step, i) => (step <= current.steps[record] ? i : best), 0);
      const words = { hovertemplate: "step %{x}: %{text}<extra>%{fullData.name}</extra>" };
      const traces = [];
      time.names.forEach((name, n) => {
        const theory = time.theory[n][nth];
        traces.push(...logLines(time.at, time.m[n][nth], n, name, scale, words));
        if (theory.some((v) => v !== null)) {
          traces.push({ ...line(time.at, theory.map((v) => (isNumber(v) ? scale.place(v) : null)), n, "theory"), ...words,
            mode: "lines", line: { color: theme().theory, width: 2, dash: "dot" }, text: theory.map(power), showlegend: n === 0 });
        }
      });
      return {
        traces, layout: { xaxis: { title: { text: "step of the sequence (first input at the left)" } }, yaxis: { ...scale.axis }, shapes: scale.strips() },
        label: `What is left of the last output's gradient, at ${stepText()}: ` +
          time.names.map((name, n) => `${name} ${power(time.m[n][nth][0])} in the first step`).join(", "),
      };
    });
  }

  function attentionPlot() {
    const found = current.attention, choice = byId("attention");
    byId("attending").hidden = !found;
    if (!found) { drawn.delete("plot-attention"); return; }
    const nth = Math.max(0, found.names.indexOf(choice.value));
    choice.replaceChildren(...found.names.map((name) => new Option(name, name)));
    choice.value = found.names[nth];
    draw("plot-attention", () => ({
      traces: found.heads[nth].map((values, n) => line(places(found.steps), values.map((v) => (v === null ? null : v / 1000)), n, `head ${n + 1}`,
        { text: found.steps.map(String), hovertemplate: "step %{text}: %{y:.3f}<extra>%{fullData.name}</extra>" })),
      layout: { xaxis: stepAxis(), yaxis: { range: [-0.02, 1.02] } },
      label: `Entropy of the weights of the heads of ${found.names[nth]} against step, over its maximum`,
    }));
  }

  // Where a loss is not finite the plot says so: a shaded strip over those records.
  function broken(course) {
    if (!course) return [];
    const at = places(course.x.filter((_, i) => typeof course.m[i] === "string"));
    return at.length ? [{ type: "rect", xref: "x", yref: "paper", x0: at[0], x1: at[at.length - 1], y0: 0, y1: 1,
      fillcolor: theme().nonfinite, opacity: 0.6, line: { width: 0 }, layer: "below",
      label: { text: "inf or nan", font: { color: theme().text } } }] : [];
  }

  // A signed log axis for values whose layers reach far apart, else as they are.
  function ridgePlaces(quantity, records) {
    const all = records.flat().filter((one) => one && one[4].length);
    const ends = all.map((one) => middle(one));
    const reach = ends.map(([a, b]) => Math.max(Math.abs(a), Math.abs(b))).filter((v) => v > 0);
    const widest = reach.reduce((a, b) => Math.max(a, b), 0), least = reach.reduce((a, b) => Math.min(a, b), Infinity);
    const unit = quantity !== "delta" && widest > data.ridge.wide * least ? 10 ** Math.floor(Math.log10(least)) : 0;
    const of = (v) => (unit ? Math.sign(v) * Math.log10(1 + Math.abs(v) / unit) : v);
    let low = ends.reduce((a, [v]) => Math.min(a, of(v)), Infinity), high = ends.reduce((a, [, v]) => Math.max(a, of(v)), -Infinity);
    if (!(high > low)) [low, high] = Number.isFinite(low) ? [low - 1, low + 1] : [-1, 1];
    const gap = 0.08 * (high - low), some = (n) => records.flat().some((one) => one && one[n] > 0);
    const zero = quantity === "delta" ? low - gap : 0, broken = high + gap;
    const axis = { range: [low - gap * (quantity === "delta" && some(2) ? 1.8 : 0.3), high + gap * (some(3) ? 1.8 : 0.3)] };
    if (quantity === "delta" || unit) {
      const tickvals = [], ticktext = [];
      if (unit) {
        const top = Math.ceil(Math.max(Math.abs(low), Math.abs(high))), stride = Math.max(1, Math.ceil(top / 3));
        for (let p = stride; p <= top; p += stride) for (const s of [-1, 1]) {
          tickvals.push(of(s * unit * 10 ** p)); ticktext.push(String(+(s * unit * 10 ** p).toPrecision(2)));
        }
        tickvals.push(0); ticktext.push("0");
      } else {
        const stride = [1, 2, 3, 5, 10, 20, 50, 100, 200].find((s) => (high - low) / s <= 7);
        for (let k = Math.ceil(low); k <= high; k += 1) if (k % stride === 0) { tickvals.push(k); ticktext.push(k === 0 ? "1" : `10<sup>${k}</sup>`); }
        if (some(2)) { tickvals.push(zero); ticktext.push("0"); }
      }
      if (some(3)) { tickvals.push(broken); ticktext.push("inf"); }
      Object.assign(axis, { tickvals, ticktext });
    }
    return { of, zero, broken, axis };
  }
  // [low, high] without the outermost `tail` of the drawn heights at each side, as the figure has it.
  function middle([low, high, , , heights]) {
    const total = heights.reduce((a, b) => a + b, 0), width = (high - low) / heights.length;
    let first = 0, last = heights.length - 1, sum = heights[0];
    while (sum <= data.ridge.tail * total && first < last) { first += 1; sum += heights[first]; }
    sum = heights[last];
    while (sum <= data.ridge.tail * total && last > first) { last -= 1; sum += heights[last]; }
    return [low + first * width, low + (last + 1) * width];
  }

  function ridgePlot() {
    const found = data.ridges[current.key];
    const box = byId("ridges");
    if (!box) return;
    box.hidden = !found;
    if (!found) { drawn.delete("plot-ridges"); return; }
    const quantity = byId("quantity").value;
    const step = current.steps[record];
    const nearest = found.steps.reduce((best, s, i) => (s <= step ? i : best), 0);
    byId("ridges-step").textContent = `step ${found.steps[nearest]}`;
    const places = ridgePlaces(quantity, found[quantity]);
    const name = (i) => current.names[current.layers.indexOf(found.layers[i])] ?? String(found.layers[i]);
    draw("plot-ridges", () => {
      const traces = [], zeros = { x: [], y: [], text: [] }, broken = { x: [], y: [], text: [] };
      const rows = found[quantity][nearest];
      for (let i = rows.length - 1; i >= 0; i -= 1) {  // the first layer last: in front
        const one = rows[i];
        if (!one) continue;
        const [low, high, zero, bad, heights] = one;
        if (heights.length) {
          const width = (high - low) / heights.length, x = [], y = [];
          heights.forEach((height, k) => {
            for (const edge of [low + k * width, low + (k + 1) * width]) { x.push(places.of(edge)); y.push(i + data.ridge.overlap * height / 100); }
          });
          const ends = quantity === "delta" ? `${power(1000 * low)} to ${power(1000 * high)}` : `${+low.toPrecision(3)} to ${+high.toPrecision(3)}`;
          traces.push({
            x: [x[0], ...x, x[x.length - 1]], y: [i, ...y, i], fill: "toself", fillcolor: theme().ridge,
            line: { color: series(0), width: 1 }, mode: "lines", type: "scatter", hoveron: "fills", name: `layer ${name(i)}`,
            text: `layer ${name(i)}: ${ends}`, hoverinfo: "text", showlegend: false,
          });
        }
        for (const [list, share, x, what] of [[zeros, zero, places.zero, "exactly 0"], [broken, bad, places.broken, "inf or nan"]]) {
          if (!share) continue;
          const words = `layer ${name(i)}: ${(share / 10).toFixed(1)} % ${what}`;
          list.x.push(x, x, null); list.y.push(i, i + data.ridge.full * share / 1000, null); list.text.push(words, words, "");
        }
      }
      for (const [list, colour, words] of [[zeros, VERMILION, "exactly 0 (a full bar: all)"], [broken, theme().broken, "inf or nan"]]) {
        if (list.x.length) traces.push({ ...list, mode: "lines", type: "scatter", line: { color: colour, width: 4 }, name: words, hoverinfo: "text" });
      }
      return {
        traces,
        layout: {
          xaxis: { ...places.axis },
          yaxis: { title: { text: "layer" }, tickvals: rows.map((_, i) => i), ticktext: rows.map((_, i) => name(i)), range: [-0.4, rows.length + 0.8] },
        },
        label: `Distributions of ${quantity} by layer at step ${found.steps[nearest]}`,
      };
    });
  }

  // Steps on a log axis, step 0 at its left end.
  const ZERO_STEP = 0.5;
  const stepPlace = (step) => (step === 0 ? ZERO_STEP : step);
  function stepAxis() {
    const last = current.steps[current.steps.length - 1];
    if (last <= 10) return { title: { text: "step" } };
    const tickvals = [ZERO_STEP], ticktext = ["0"];
    for (let k = 0; 10 ** k <= last; k += 1) { tickvals.push(10 ** k); ticktext.push(k < 4 ? String(10 ** k) : `10<sup>${k}</sup>`); }
    return { type: "log", title: { text: "step" }, tickvals, ticktext, range: [Math.log10(ZERO_STEP) - 0.1, Math.log10(last) + 0.1] };
  }
  const places = (steps) => (current.steps[current.steps.length - 1] > 10 ? steps.map(stepPlace) : steps);
  function coursePlot(id, names, title, range, decades = true) {
    const there = Object.keys(names).some((c) => current.course[c] && current.course[c].m.some((v) => v !== null));
    byId(id).closest("figure").hidden = !there;
    if (!there) { drawn.delete(id); return; }
    draw(id, () => {
      const traces = [];
      Object.entries(names).forEach(([column, name], n) => {
        const course = current.course[column];
        if (!course || course.m.every((v) => v === null)) return;
        const number = (v) => (typeof v === "number" ? v : null);
        const at = places(course.x), look = n === 0 ? TRAIN : current.look;
        if (current.seeds > 1) traces.push(band(at, course.lo.map(number), course.hi.map(number), look));
        traces.push(line(at, course.m.map(number), look, name,
          { text: course.x.map(String), hovertemplate: "step %{text}: %{y:.4g}<extra>%{fullData.name}</extra>" }));
      });
      if (range && current.chance !== null && traces.length) {
        const ends = places([current.steps[0], current.steps[current.steps.length - 1]]);
        traces.push({ x: ends, y: [current.chance, current.chance], name: "the commonest class", mode: "lines", type: "scatter",
          line: { color: theme().theory, width: 1, dash: "dot" }, hovertemplate: "%{y:.3f}<extra>always guessing the commonest class</extra>" });
      }
      const values = traces.flatMap((trace) => trace.y || []).filter((v) => typeof v === "number" && v > 0);
      const steep = decades && values.length && Math.max(...values) > 100 * Math.min(...values);
      const shown = Object.keys(names).map((c) => current.course[c]).find((c) => c);
      const last = shown ? shown.m[shown.m.length - 1] : null;
      return {
        traces, layout: { xaxis: stepAxis(), yaxis: range ? { range } : { type: steep ? "log" : "linear", exponentformat: "power" },
          shapes: [{ type: "line", xref: "x", yref: "paper", x0: places([current.steps[record]])[0], x1: places([current.steps[record]])[0],
            y0: 0, y1: 1, line: { color: theme().text, width: 1, dash: "dot" } }, ...broken(shown)] },
        label: `${title} against step, ${last === null ? "" : `${last} at the last record`}`,
      };
    });
  }

  function layerTable() {
    const body = byId("layer-table").tBodies[0];
    const rows = current.layers.map((layer, i) => {
      const delta = current.delta_rms.m[record][i];
      const theory = record === 0 && current.theory ? current.theory[i] : null;
      const ratio = theory !== null && isNumber(theory) && isNumber(delta) ? 10 ** ((delta - theory) / 1000) : null;
      const dead = current.dead_fraction ? current.dead_fraction[record][i] : null;
      const saturated = current.saturated_fraction ? current.saturated_fraction[record][i] : null;
      const gradient = current.weight_grad_norm.m[record][i];
      return [[current.names[i], layer], [power(delta), delta], [power(gradient), gradient], [power(theory), theory],
        [ratio === null ? "" : ratio.toFixed(3), ratio], [share(dead), dead], [share(saturated), saturated]];
    });
    body.replaceChildren(...rows.map((fields) => {
      const row = document.createElement("tr");
      fields.forEach(([text, value], i) => {
        const field = document.createElement(i === 0 ? "th" : "td");
        if (i === 0) field.scope = "row"; else field.className = "number";
        field.textContent = text;
        field.dataset.value = value === null || value === undefined ? "" : value;
        row.append(field);
      });
      return row;
    }));
    sortTable(byId("layer-table"));
    filterTable(byId("layer-table"), byId("layer-filter").value);
  }

  function showRecord() {
    const slider = byId("step");
    slider.value = record;
    byId("step-text").textContent = stepText();
    slider.setAttribute("aria-valuetext", stepText());
    for (const id of ["plot-delta", "plot-gradient", "plot-shares", "plot-time"]) if (drawn.has(id)) drawn.get(id)();
    const move = (id, shape) => byId(id).data && Plotly.relayout(byId(id), shape);
    move("plot-map", { "shapes[0].x0": record - 0.5, "shapes[0].x1": record + 0.5 });
    for (const id of ["plot-loss", "plot-accuracy"]) {
      const [at] = places([current.steps[record]]);
      move(id, { "shapes[0].x0": at, "shapes[0].x1": at });
    }
    ridgePlot();
    layerTable();
  }

  // What the advice comes to: a command to copy, or code to write, and why.
  function tryLine(command, reason) {
    const make = (tag, name, text = "") => Object.assign(document.createElement(tag), { className: name, textContent: text });
    const box = make("div", "try");
    if (command) {
      const line = make("div", "cmd"), code = make("code", "");
      code.tabIndex = 0;
      // Lines are broken between flags alone.
      command.split(" --").forEach((part, i) => code.append(i ? " " : "", make("span", "", i ? `--${part}` : part)));
      line.append(code);
      if (command.startsWith("gradlab ")) {
        const copy = make("button", "copy", "Copy");
        copy.type = "button";
        copy.setAttribute("aria-label", `Copy the command ${command}`);
        line.append(copy);
      }
      box.append(line);
    }
    box.append(make("span", "quiet", reason));
    return box;
  }

  function showCell(key) {
    if (!data.cells[key]) return;
    const row = data.rows[key];
    current = { ...data.cells[key], key, label: row.label, chance: row.chance, look: row.look };
    record = 0;
    const choice = byId("cell-choice");
    if (choice) choice.value = key;
    document.querySelectorAll("#cells tbody tr").forEach((tr) => tr.classList.toggle("current", tr.dataset.cell === key));
    const verdict = byId("cell-verdict");
    if (verdict) verdict.replaceChildren(...row.verdicts.map(([name, seeds]) => {
      const badge = document.createElement("span");
      badge.className = `badge ${name}`;
      badge.textContent = seeds ? `${name} ${seeds}` : name;
      return badge;
    }));
    if (verdict && row.try) verdict.append(tryLine(...row.try));
    byId("cell-name").textContent = row.label;
    byId("step").max = current.steps.length - 1;
    const map = byId("map"), chosen = map.value || "delta_rms";
    map.replaceChildren(...Object.keys(MAPS).filter((c) => current[c]).map((c) => new Option(MAPS[c], c)));
    map.value = current[chosen] ? chosen : "delta_rms";
    drawn.delete("plot-shares");
    gradientPlot("plot-delta", "delta_rms", "Delta");
    gradientPlot("plot-gradient", "weight_grad_norm", "Weight gradient norm");
    mapPlot();
    sharesPlot();
    timePlot();
    attentionPlot();
    coursePlot("plot-loss", data.losses, "Loss");
    const numbers = Boolean(current.course.val_r2);
    byId("score-title").textContent = numbers ? "R^2" : "Accuracy";
    coursePlot("plot-accuracy", data.scores, numbers ? "R^2" : "Accuracy", numbers ? null : [-0.02, 1.02], false);
    showRecord();
  }

  // ---- comparison and activations

  function depthPlot(id, column, title, range) {
    draw(id, () => ({
      traces: data.families.lines.map((family) => {
        const keep = family.depth.map((_, i) => i).filter((i) => typeof family[column][i] === "number");
        const reach = (end, half) => keep.map((i) => {
          const low = family[`${column}_${end}`];
          return low ? Math.abs((low[i] ?? family[column][i]) - family[column][i]) : family[half][i] || 0;
        });
        return line(keep.map((i) => family.depth[i]), keep.map((i) => family[column][i]), family.look, family.name, {
          error_y: { type: "data", symmetric: false, array: reach("high", `${column}_ci`), arrayminus: reach("low", `${column}_ci`), thickness: 1, width: 3 },
          hovertemplate: "depth %{x}: %{y:.3f}<extra>%{fullData.name}</extra>" });
      }),
      layout: { xaxis: { title: { text: "depth" } }, yaxis: { ...(range ? { range } : {}) } },
      label: `${title}; the numbers are in the ranking.`,
    }));
  }

  function profilesPlot() {
    const depth = Number(byId("depth").value);
    const lines = data.families.lines.flatMap((family) => family.cells
      .filter((key, i) => key && family.depth[i] === depth && data.cells[key])
      .map((key) => ({ cell: data.cells[key], name: family.name, n: family.look })));
    const scale = decades(lines.map((l) => l.cell.delta_rms.m[0]));
    draw("plot-profiles", () => ({
      traces: lines.flatMap(({ cell, name, n }) => {
        const main = cell.lines ? cell.lines[0] : cell.layers.map((_, i) => i);
        return logLines(main.map((i) => cell.layers[i]), main.map((i) => cell.delta_rms.m[0][i]), n, name, scale);
      }),
      layout: { xaxis: lines.length ? layerAxis(lines[0].cell) : {}, yaxis: { ...scale.axis }, shapes: scale.strips() },
      label: `Delta against layer at step 0, depth ${depth}: ` + lines.map(({ cell, name }) =>
        `${name} ${power(cell.delta_rms.m[0][0])} in layer 1`).join(", "),
    }));
  }

  // ---- tables

  const valueOf = (field) => {
    const text = field.dataset.value ?? field.textContent;
    return text === "" ? null : Number.isNaN(Number(text)) && text !== "-inf" && text !== "inf" ? text
      : text === "-inf" ? -Infinity : text === "inf" ? Infinity : Number(text);
  };
  function sortTable(table) {
    const heads = [...table.tHead.rows[0].cells];
    const column = heads.findIndex((head) => head.hasAttribute("aria-sort"));
    if (column < 0) return;
    const sign = heads[column].getAttribute("aria-sort") === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[column]), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);  // empty last, either way
      if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
      return sign * (typeof a === "string" ? a.localeCompare(b) : a < b ? -1 : a > b ? 1 : 0);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }
  document.querySelectorAll("table.sortable thead button").forEach((button) => button.addEventListener("click", () => {
    const head = button.parentElement, table = head.closest("table");
    const next = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    head.parentElement.querySelectorAll("[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", next);
    sortTable(table);
  }));
  function filterTable(table, text) {
    const words = text.toLowerCase().split(/[\s,]+/).filter(Boolean);
    const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent.toLowerCase());
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const named = [...row.cells].map((field, i) => `${heads[i]} ${field.textContent}`.toLowerCase()).join(" | ");
      const tokens = named.split(/[\s|]+/);
      const fits = words.every((word) => (/^[\d.]+$/.test(word) ? tokens.includes(word) : named.includes(word)));
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    return shown;
  }

  // ---- wiring

  const on = (id, event, act) => byId(id) && byId(id).addEventListener(event, act);
  on("filter", "input", (event) => {
    const shown = filterTable(byId("cells"), event.target.value);
    byId("filtered").textContent = `${shown} of ${byId("cells").tBodies[0].rows.length} cells`;
  });
  on("layer-filter", "input", (event) => filterTable(byId("layer-table"), event.target.value));
  on("step", "input", (event) => { record = Number(event.target.value); showRecord(); });
  on("map", "change", mapPlot);
  on("attention", "change", attentionPlot);
  on("quantity", "change", ridgePlot);
  on("depth", "change", profilesPlot);
  on("cell-choice", "change", (event) => showCell(event.target.value));
  on("cells", "click", (event) => {
    const link = event.target.closest("a[data-cell]");
    if (link) showCell(link.dataset.cell);
  });
  let timer = null;
  on("play", "click", () => {
    const button = byId("play");
    if (timer === null && record === current.steps.length - 1) record = 0;
    const tick = () => {
      if (record < current.steps.length - 1) { record += 1; showRecord(); }
      if (record === current.steps.length - 1) stop();
    };
    const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; button.setAttribute("aria-pressed", "false"); };
    if (timer !== null) { stop(); return; }
    button.textContent = "Pause";
    button.setAttribute("aria-pressed", "true");
    timer = setInterval(tick, 400);
  });
  const redraw = () => drawn.forEach((again) => again());
  darkQuery.addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => {
    printing = true;
    redraw();
  });
  window.addEventListener("afterprint", () => { printing = false; redraw(); });

  // The library comes packed: a page without it is a third as large.
  async function unpack() {
    if (typeof DecompressionStream !== "function") return false;
    const packed = Uint8Array.from(atob(byId("plotly").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const element = document.createElement("script");
    element.textContent = await new Response(stream).text();
    document.head.append(element);
    return typeof Plotly === "object";
  }
  function drawAll() {
    if (byId("comparison")) {
      const depths = [...new Set(data.families.lines.flatMap((family) => family.depth))].sort((a, b) => a - b);
      byId("depth").replaceChildren(...depths.map((depth) => new Option(depth, depth)));
      byId("depth").value = depths[depths.length - 1];
      if (data.families.left_out) {
        byId("left-out").hidden = false;
        byId("left-out").textContent = `${data.families.lines.length} lines, evenly from the best to the worst; ` +
          `${data.families.left_out} more are in the ranking.`;
      }
      depthPlot("plot-accuracy-depth", "accuracy", `${data.score} against depth`, data.low === 0 ? [-0.02, 1.02] : null);
      depthPlot("plot-attenuation-depth", "attenuation", "Attenuation against depth");
      profilesPlot();
    }
    const first = byId("cell-choice") ? byId("cell-choice").value : Object.keys(data.cells)[0];
    if (first) showCell(first);
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const code = button.previousElementSibling, range = document.createRange();
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {  // a page opened from disk may not write to the clipboard: select the command instead
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  const net = Object.values(data.rows).map((row) => row.net).find((found) => found);
  if (net) byId("explorer").href += `#${net.map(encodeURIComponent).join("&")}`;

  unpack().catch(() => false).then((there) => {
    if (there) drawAll();
    else {
      byId("no-charts").hidden = false;
      document.querySelectorAll(".plot, .plots figure").forEach((each) => { each.hidden = true; });
    }
    document.documentElement.dataset.ready = "yes";
  });
})();
