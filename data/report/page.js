// The page: its controls, and what they show.

const find = (id) => document.getElementById(id);
const quiet = window.matchMedia("(prefers-reduced-motion: reduce)");
const RUN_SECONDS = 10; // from the first frame to the last
const STEPS_A_SECOND = 30;

class Page {
  constructor(data) {
    this.data = data;
    this.times = data.times;
    this.hovered = -1;
    this.kept = -1;
    this.head = 0;
    this.view = new TokenView(find("tokens"), data);
    this.charts = new Charts(find("charts"), data.observables, data.logarithmic, (time) => this.showDepth(time));
    find("observables").hidden = data.observables.charts.length === 0;
    find("range-note").hidden = !data.observables.charts.some((chart) => chart.range);
    this.listTokens();
    this.listHeads();
    this.listen();
    this.describe();
  }

  name(token) {
    const text = this.data.strings && this.data.strings[token];
    return text ? `${text} (token ${this.data.tokens[token]})` : `token ${this.data.tokens[token]}`;
  }

  nameInFile(number) {
    const text = this.data.attendedStrings[number];
    return text ? `${text} (${number})` : `token ${number}`;
  }

  listTokens() {
    const list = find("token-list");
    this.data.tokens.forEach((number, token) => {
      const option = element("option");
      option.value = this.data.strings ? `${number} ${this.data.strings[token]}` : String(number);
      list.append(option);
    });
  }

  listHeads() {
    const { attention } = this.data;
    this.rowOf = new Map(attention ? attention.tokens.map((token, row) => [token, row]) : []);
    this.placeOf = new Map(this.data.tokens.map((number, token) => [number, token]));
    if (!attention) {
      find("attention-note").textContent = "The page holds no attention: the law is not known from the file.";
      return;
    }
    attention.heads.forEach((name, head) => {
      const option = element("option", name);
      option.value = head;
      find("head").append(option);
    });
    find("head-row").hidden = attention.heads.length < 2;
  }

  listen() {
    const canvas = find("tokens"), slider = find("depth");
    slider.max = this.times.length - 1;
    slider.disabled = find("play").disabled = this.times.length < 2;
    slider.addEventListener("input", () => { this.stop(); this.show(Number(slider.value)); });
    find("play").addEventListener("click", () => (this.playing ? this.stop() : this.play()));
    find("token").addEventListener("change", (event) => this.search(event.target.value));
    find("head").addEventListener("change", (event) => { this.head = Number(event.target.value); this.tellChosen(); this.redraw(); });
    find("fit-row").hidden = !(this.data.radius === null && this.times.length > 1);
    find("fit").checked = this.view.fit;
    find("fit").addEventListener("change", (event) => { this.view.fit = event.target.checked; this.show(this.view.frame); });
    canvas.addEventListener("keydown", (event) => this.key(event));
    this.listenToPointer(canvas);
    new ResizeObserver(() => { this.view.resize(); this.redraw(); this.charts.show(this.view.frame); }).observe(canvas);
    const retheme = () => { theme.now = theme(); this.show(this.view.frame); this.charts.retheme(); };
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", retheme);
    for (const [event, printing] of [["beforeprint", true], ["afterprint", false]]) {
      window.addEventListener(event, () => { document.documentElement.classList.toggle("printing", printing); retheme(); this.view.draw(); });
    }
  }

  listenToPointer(canvas) {
    let from = null, moved = 0;
    const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    canvas.addEventListener("pointerdown", (event) => { from = place(event); moved = 0; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = place(event);
      if (from) {
        moved += Math.abs(x - from[0]) + Math.abs(y - from[1]);
        this.view.turn((x - from[0]) * 0.01, (y - from[1]) * 0.01);
        from = [x, y];
        this.hover(-1);
      } else {
        this.hover(this.view.nearest(x, y));
      }
    });
    canvas.addEventListener("pointerup", (event) => {
      from = null;
      if (moved < 4) this.keep(this.view.nearest(...place(event)));
    });
    canvas.addEventListener("pointercancel", () => { from = null; });
    canvas.addEventListener("pointerleave", () => { if (!from) this.hover(-1); });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== canvas) return; // else the page could not be scrolled past it
      event.preventDefault();
      this.zoom(Math.exp(-0.002 * event.deltaY));
    }, { passive: false });
  }

  key(event) {
    const turn = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    if (turn && this.view.solid) this.view.turn(...turn);
    else if (event.key === "+" || event.key === "=") this.zoom(1.15);
    else if (event.key === "-") this.zoom(1 / 1.15);
    else if (event.key === "Home") this.view.reset();
    else if (event.key === "Escape") this.keep(-1);
    else return;
    event.preventDefault();
    this.redraw();
  }

  zoom(factor) {
    this.view.zoom = Math.max(0.3, Math.min(40, this.view.zoom * factor));
    this.view.place();
    this.redraw();
  }

  // Draw once before the browser next paints, however often it is asked for.
  redraw() {
    if (this.due) return;
    this.due = requestAnimationFrame(() => { this.due = 0; this.view.draw(); this.tip(); });
  }

  show(frame) {
    this.view.show(frame);
    find("depth").value = frame;
    const text = this.depthText(frame);
    find("depth").setAttribute("aria-valuetext", text);
    find("depth-text").textContent = text;
    this.charts.show(frame);
    this.tellChosen();
    this.tellClusters();
    this.redraw();
  }

  showDepth(time) {
    this.stop();
    const apart = this.times.map((other) => Math.abs(other - time));
    this.show(apart.indexOf(Math.min(...apart)));
  }

  depthText(frame) {
    const { layerStep, counts, frames, allFrames } = this.data;
    const layer = layerStep ? `layer ${Math.round(this.times[frame] / layerStep)}, ` : "";
    const count = counts[frame] < 0 ? "" : `, ${counts[frame]} ${counts[frame] === 1 ? "cluster" : "clusters"}`;
    return `${layer}depth ${number(this.times[frame])}${count} (frame ${frames[frame] + 1} of ${allFrames})`;
  }

  play() {
    const last = this.times.length - 1;
    if (this.view.frame >= last) this.show(0);
    const steps = quiet.matches ? 20 : RUN_SECONDS * STEPS_A_SECOND;
    const stride = Math.max(1, Math.ceil(last / steps));
    const pause = quiet.matches ? 1000 : Math.min(250, (1000 * RUN_SECONDS * stride) / last);
    let due = performance.now() + pause;
    const step = (now) => {
      if (!this.playing) return;
      if (now >= due) {
        due = Math.max(due + pause, now);
        this.show(Math.min(last, this.view.frame + stride));
        if (this.view.frame >= last) { this.stop(); return; }
      }
      this.playing = requestAnimationFrame(step);
    };
    find("depth-text").setAttribute("aria-live", "off"); // or every frame would be read out
    this.button("Pause", true);
    this.playing = requestAnimationFrame(step);
  }

  stop() {
    if (!this.playing) return;
    cancelAnimationFrame(this.playing);
    this.playing = 0;
    this.button("Play", false);
    find("depth-text").setAttribute("aria-live", "polite");
  }

  button(text, pressed) {
    find("play").textContent = text;
    find("play").setAttribute("aria-pressed", String(pressed));
  }

  search(text) {
    const wanted = text.trim();
    const { tokens, strings } = this.data;
    let token = -1;
    if (/^\d+(\s|$)/.test(wanted)) token = tokens.indexOf(parseInt(wanted, 10));
    if (token < 0 && strings && wanted) {
      const same = strings.map((string, k) => (string.trim().toLowerCase() === wanted.toLowerCase() ? k : -1)).filter((k) => k >= 0);
      const after = same.find((k) => k > this.kept); // again: the next of the same name
      token = after ?? same[0] ?? strings.findIndex((string) => string.toLowerCase().includes(wanted.toLowerCase()));
    }
    this.keep(token);
    if (token < 0 && wanted) find("chosen-text").textContent = "No token shown has this name or number.";
  }

  keep(token) {
    this.kept = token;
    this.choose();
  }

  hover(token) {
    if (token !== this.hovered) {
      this.hovered = token;
      this.choose();
    }
    this.redraw();
  }

  choose() {
    this.view.active = this.hovered >= 0 ? this.hovered : this.kept;
    find("chosen").setAttribute("aria-live", this.hovered >= 0 ? "off" : "polite");
    this.tellChosen();
    this.redraw();
  }

  // The name of the token under the pointer, beside it.
  tip() {
    const tip = find("tip"), token = this.hovered;
    tip.hidden = token < 0;
    if (token < 0) return;
    const together = this.view.together(token);
    const names = together.slice(0, 5).map((other) => (this.data.strings && this.data.strings[other]) || this.data.tokens[other]);
    const more = together.length > 5 ? ` and ${together.length - 5} more` : "";
    tip.replaceChildren(element("strong", this.name(token)));
    if (together.length) tip.append(element("br"), `with ${names.join(", ")}${more}`);
    const right = this.view.x[token] < this.view.width / 2;
    tip.style.left = right ? `${this.view.x[token] + 12}px` : "auto";
    tip.style.right = right ? "auto" : `${this.view.width - this.view.x[token] + 12}px`;
    tip.style.top = `${Math.max(0, this.view.y[token] - 14)}px`;
  }

  tellChosen() {
    const token = this.view.active, { data, view } = this;
    const bars = find("attention");
    bars.replaceChildren();
    view.attended = [];
    find("attention-title").hidden = true;
    if (token < 0) {
      find("chosen-name").textContent = "No token chosen";
      find("chosen-text").textContent = "Point at a token, click it to keep it, or find it by name or number.";
      return;
    }
    find("chosen-name").textContent = this.name(token);
    const at = data.axes.map((axis, k) => `${axis} = ${number(view.coordinate(view.frame, token, k))}`).join(", ");
    const cluster = view.cluster(token);
    find("chosen-text").textContent = `${cluster === ALONE ? "By itself" : `In cluster ${cluster + 1}`}; ${at}; weight ${number(view.weight(token) / data.allTokens)}.`;
    if (data.attention) this.tellAttention(token, bars);
  }

  tellAttention(token, bars) {
    const { attention, times } = this.data, row = this.rowOf.get(token);
    const title = find("attention-title"), note = find("attention-note");
    title.hidden = row === undefined;
    note.textContent = row === undefined ? "The attention of this token is not on the page." : "";
    if (row === undefined) return;
    const apart = attention.frames.map((frame) => Math.abs(frame - this.view.frame));
    const depth = apart.indexOf(Math.min(...apart));
    const at = (depth * attention.heads.length + this.head) * attention.tokens.length + row;
    const peak = attention.peaks[at];
    let sum = 0;
    for (let k = 0; k < attention.width; k++) {
      const share = (attention.shares[at * attention.width + k] / STEPS) * peak;
      const to = attention.to[at * attention.width + k];
      if (share === 0) continue;
      sum += share;
      const item = element("li");
      const bar = element("span", "", "bar");
      bar.style.width = `${(100 * Math.abs(share)) / (peak || 1)}%`;
      item.append(bar, element("span", this.nameInFile(to), "to"), element("span", number(share, 3), "share"));
      bars.append(item);
      this.view.attended.push({ token: this.placeOf.get(to) ?? -1, share });
    }
    title.textContent = `attends to, at depth ${number(times[attention.frames[depth]])}` + (attention.heads.length > 1 ? `, ${attention.heads[this.head]}` : "");
    note.textContent = bars.childElementCount ? `These weights add up to ${number(sum, 3)}.` : "It attends to nobody.";
  }

  tellClusters() {
    const sizes = new Map();
    for (let token = 0; token < this.view.count; token++) {
      const cluster = this.view.cluster(token);
      sizes.set(cluster, (sizes.get(cluster) || 0) + 1);
    }
    const alone = sizes.get(ALONE) || 0;
    sizes.delete(ALONE);
    const rows = [...sizes].sort((a, b) => b[1] - a[1]);
    const items = rows.slice(0, 8).map(([cluster, size]) => this.legendItem(cluster, `cluster ${cluster + 1}: ${size} ${size === 1 ? "token" : "tokens"}`));
    if (rows.length > 8) items.push(element("li", `and ${rows.length - 8} smaller ones`));
    if (alone) items.push(this.legendItem(ALONE, `${alone} ${alone === 1 ? "token" : "tokens"} by ${alone === 1 ? "itself" : "themselves"}`));
    find("legend").replaceChildren(...items);
  }

  legendItem(cluster, text) {
    const item = element("li"), swatch = element("span", "", "swatch");
    swatch.style.background = clusterColour(cluster);
    item.append(swatch, text);
    return item;
  }

  describe() {
    const { view, data } = this;
    if (view.count < data.allTokens) find("legend-title").textContent += ", by the tokens shown";
    const turning = view.solid ? "Drag it, or use the arrow keys, to turn it; " : "";
    find("keys").textContent = `${turning}+ and − to zoom, Home to begin anew.`;
    find("tokens").setAttribute("aria-label", `${view.count} tokens ${data.kind === "components" ? "in their principal components" : `as a ${data.kind}`}. ${turning}What it shows is told beside it.`);
  }
}

async function start() {
  theme.now = theme();
  const data = await unpackAll(JSON.parse(find("data").textContent));
  const page = new Page(data);
  page.view.resize();
  page.show(0);
  // for the console, and for whoever tests the page
  window.attndyn = {
    show: (frame) => page.show(frame),
    frame: () => page.view.frame,
    pixel: (token) => [page.view.x[token], page.view.y[token]],
    position: (token) => data.axes.map((_, axis) => page.view.coordinate(page.view.frame, token, axis)),
    angles: () => [page.view.yaw, page.view.pitch],
    chosen: () => page.view.active,
    draw: () => page.view.draw(),
  };
  const script = document.createElement("script");
  script.textContent = await unpackText(find("plotly").textContent);
  document.head.append(script);
  await page.charts.draw(window.Plotly);
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  const failure = find("failure");
  failure.hidden = false;
  failure.textContent = `The tokens cannot be shown (${error.message}); a browser of 2023 or later is needed.`;
  throw error;
});
