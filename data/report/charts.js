// The observables over depth, a small chart of plotly each, with a cursor at the depth that is shown.

const MARGIN = { l: 54, r: 12, t: 8, b: 34 };

// Depth as charts have it: linear, or logarithmic with depth 0 a little before the first positive depth.
class DepthAxis {
  constructor(times, logarithmic) {
    const positive = times.filter((time) => time > 0);
    this.logarithmic = logarithmic && positive.length > 1;
    this.first = positive.length ? Math.log10(positive[0]) : 0;
    this.last = positive.length ? Math.log10(positive[positive.length - 1]) : 1;
    this.gap = 0.06 * (this.last - this.first);
    const ends = [this.of(times[0]), this.of(times[times.length - 1])];
    const margin = ends[1] > ends[0] ? 0.01 * (ends[1] - ends[0]) : 0.5;
    this.range = [ends[0] - margin, ends[1] + margin];
    this.zero = times[0] <= 0;
  }

  of(time) {
    if (!this.logarithmic) return time;
    return time > 0 ? Math.log10(time) : this.first - this.gap;
  }

  ticks() {
    if (!this.logarithmic) return { nticks: 6 };
    const powers = [];
    for (let power = Math.ceil(this.first); power <= Math.floor(this.last); power++) powers.push(power);
    const every = Math.max(1, Math.ceil(powers.length / 5));
    const some = powers.filter((_, k) => (powers.length - 1 - k) % every === 0);
    const far = some.filter((power) => !this.zero || power - this.of(0) > 0.12 * (this.last - this.first));
    const texts = far.map((power) => (power >= -2 && power <= 3 ? String(Number(`1e${power}`)) : `10<sup>${power}</sup>`));
    return this.zero ? { tickvals: [this.of(0), ...far], ticktext: ["0", ...texts] } : { tickvals: far, ticktext: texts };
  }
}

class Charts {
  constructor(place, observables, logarithmic, onPick) {
    this.observables = observables;
    this.axis = new DepthAxis(observables.times, logarithmic);
    this.frame = 0;
    this.cards = observables.charts.map((chart) => {
      const card = element("figure", undefined, "chart");
      const caption = element("figcaption");
      const value = element("span", "", "value");
      caption.append(element("strong", chart.name), " ", value);
      const plot = element("div", undefined, "plot");
      plot.setAttribute("role", "img");
      plot.setAttribute("aria-label",
        `${chart.name}${chart.meaning ? `, ${chart.meaning}` : ""}: over depth ${number(observables.times[0])} to ` +
        `${number(observables.times[observables.times.length - 1])} it goes from ${number(chart.first)} to ${number(chart.last)}.`);
      const cursor = element("div", undefined, "cursor");
      const frame = element("div", undefined, "framed");
      frame.append(plot, cursor);
      card.append(caption, frame);
      if (chart.meaning) card.append(element("p", chart.meaning, "hint"));
      place.append(card);
      return { chart, plot, cursor, value, range: this.axis.range };
    });
    this.onPick = onPick;
  }

  // Draw all of them, one after the other, so that the page stays quick meanwhile.
  async draw(Plotly) {
    this.Plotly = Plotly;
    for (const card of this.cards) {
      await Plotly.newPlot(card.plot, this.traces(card.chart), this.layout(card.chart), {
        displaylogo: false, responsive: true, displayModeBar: false,
      });
      card.plot.on("plotly_relayout", () => { this.keepRange(card); });
      card.plot.on("plotly_click", (event) => this.onPick(event.points[0].customdata));
      card.drawn = true;
      this.moveCursor(card);
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }

  traces(chart) {
    const { times } = this.observables;
    const x = times.map((time) => this.axis.of(time));
    const curves = chart.curves.length / times.length;
    const hover = { customdata: times, hovertemplate: "depth %{customdata:.4g}: %{y:.5g}<extra></extra>" };
    const traces = [];
    if (chart.range) {
      const low = Array.from(chart.range.subarray(0, times.length)), high = Array.from(chart.range.subarray(times.length));
      const plain = { x, mode: "lines", line: { width: 0 }, hoverinfo: "skip" };
      traces.push({ ...plain, y: low }, { ...plain, y: high, fill: "tonexty", fillcolor: theme.now.band });
    }
    for (let k = 0; k < curves; k++) {
      traces.push({
        x, y: Array.from(chart.curves.subarray(k * times.length, (k + 1) * times.length)),
        mode: times.length < 3 ? "markers" : "lines",
        line: { color: curves > 1 ? COLOURS[k % COLOURS.length] : theme.now.ink, width: 1.6, shape: chart.whole ? "hv" : "linear" },
        marker: { color: theme.now.ink }, ...hover,
      });
    }
    return traces;
  }

  layout(chart) {
    const line = { gridcolor: theme.now.faint, zeroline: false, linecolor: theme.now.faint, ticks: "outside", tickcolor: theme.now.faint };
    return {
      height: 190, margin: MARGIN, showlegend: false, hovermode: "closest", dragmode: "zoom",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 11, color: theme.now.ink },
      xaxis: { ...line, ...this.axis.ticks(), range: [...this.axis.range], title: { text: "depth t", standoff: 4 }, automargin: false },
      yaxis: { ...line, type: chart.logarithmic ? "log" : "linear", nticks: 5, automargin: false, exponentformat: "power", ...this.height(chart) },
    };
  }

  // The vertical axis: powers of ten alone, and values that hardly change not blown up to their rounding errors.
  height(chart) {
    let low = Infinity, high = -Infinity;
    for (const values of [chart.curves, chart.range || []]) {
      for (const value of values) if (Number.isFinite(value)) { low = Math.min(low, value); high = Math.max(high, value); }
    }
    if (chart.logarithmic) return { dtick: Math.max(1, Math.ceil(Math.log10(high / low) / 4)), tickformat: "~g" };
    const size = Math.max(Math.abs(low), Math.abs(high));
    if (!(high - low <= 1e-6 * size)) return {};
    const margin = chart.whole ? 1 : 0.01 * size || 1;
    return { range: [low - margin, high + margin] };
  }

  retheme() {
    for (const card of this.cards) {
      if (!card.drawn) continue;
      this.Plotly.react(card.plot, this.traces(card.chart), this.layout(card.chart));
      card.range = this.axis.range;
      this.moveCursor(card);
    }
  }

  keepRange(card) {
    card.range = card.plot.layout.xaxis.range;
    this.moveCursor(card);
  }

  show(frame) {
    this.frame = frame;
    for (const card of this.cards) this.moveCursor(card);
  }

  moveCursor(card) {
    const { times, at } = this.observables;
    const curves = card.chart.curves.length / times.length;
    card.value.textContent = curves === 1 ? number(card.chart.curves[at[this.frame]]) : "";
    const [low, high] = card.range;
    const share = (this.axis.of(times[at[this.frame]]) - low) / (high - low);
    card.cursor.hidden = !card.drawn || share < 0 || share > 1;
    const width = card.plot.clientWidth - MARGIN.l - MARGIN.r;
    card.cursor.style.transform = `translateX(${MARGIN.l + share * width}px)`;
  }
}
