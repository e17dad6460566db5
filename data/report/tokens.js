// The picture of the tokens on a canvas: turned, projected and sorted from back to front for every frame.

const NONE = -32768;
const STEPS = 32767;
const ALONE = 65535;
const OUTLINED = 600; // tokens up to which each has a rim
const NEAR = 14; // pixels from a token at which the pointer is on it
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f5ab6", "#8c6d31", "#b8336a", "#2a9d8f"];

function clusterColour(cluster) {
  if (cluster === ALONE) return theme.now.soft;
  if (cluster < COLOURS.length) return COLOURS[cluster];
  return `hsl(${(cluster * 137.5) % 360} 55% ${45 + 12 * (cluster % 2)}%)`;
}

class TokenView {
  constructor(canvas, data) {
    this.canvas = canvas;
    this.data = data;
    this.components = data.places.length / (data.times.length * data.tokens.length);
    this.solid = this.components === 3;
    this.frame = 0;
    this.active = -1;
    this.attended = []; // of the active token: {token, share}, tokens as numbers in the picture
    this.fit = data.grows;
    this.largest = Math.max(...data.extents.filter(Number.isFinite), 1e-300);
    this.count = data.tokens.length;
    this.x = new Float64Array(this.count);
    this.y = new Float64Array(this.count);
    this.z = new Float64Array(this.count);
    this.crowd = new Float64Array(this.count);
    this.order = Array.from({ length: this.count }, (_, k) => k);
    this.reset();
  }

  reset() {
    this.yaw = this.solid ? 0.6 : 0;
    this.pitch = this.solid ? 0.45 : 0;
    this.zoom = 1;
    this.place();
  }

  turn(yaw, pitch) {
    if (this.solid) {
      this.yaw = (this.yaw + yaw) % (2 * Math.PI);
      this.pitch = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, this.pitch + pitch));
    } else {
      this.yaw = 0;
    }
    this.place();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.ratio = ratio;
    this.place();
  }

  // A coordinate of the data, in its units about the centre; NaN where there is none.
  coordinate(frame, token, axis) {
    const step = this.data.places[(frame * this.count + token) * this.components + axis];
    return step === NONE ? NaN : (step / STEPS) * (this.data.extents[frame] ?? NaN);
  }

  // What is in the middle of the picture, and half its size: of the run or, to fit every depth, of this frame.
  frameUp() {
    this.centre = [0, 0, 0];
    this.size = this.largest;
    if (!this.fit) return;
    const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
    for (let token = 0; token < this.count; token++) {
      for (let axis = 0; axis < this.components; axis++) {
        const value = this.coordinate(this.frame, token, axis);
        if (value < low[axis]) low[axis] = value;
        if (value > high[axis]) high[axis] = value;
      }
    }
    const half = low.map((value, axis) => (high[axis] - value) / 2);
    this.centre = low.map((value, axis) => (half[axis] >= 0 ? value + half[axis] : 0));
    this.size = Math.max(...half.filter((value) => value >= 0), 1e-4 * (this.data.extents[this.frame] || 0)) || 1;
  }

  // Coordinates in the picture, which reaches from -1 to 1, turned towards the viewer.
  turned(frame, token) {
    const a = (this.coordinate(frame, token, 0) - this.centre[0]) / this.size;
    if (this.components === 1) return [a, this.count > 1 ? (2 * token) / (this.count - 1) - 1 : 0, 0];
    const b = (this.coordinate(frame, token, 1) - this.centre[1]) / this.size;
    return this.solid ? this.rotate(a, b, (this.coordinate(frame, token, 2) - this.centre[2]) / this.size) : [a, b, 0];
  }

  rotate(a, b, c) {
    const cy = Math.cos(this.yaw), sy = Math.sin(this.yaw), cp = Math.cos(this.pitch), sp = Math.sin(this.pitch);
    const across = cy * a - sy * b, away = sy * a + cy * b;
    return [across, cp * c - sp * away, -sp * c - cp * away]; // right, up, towards the viewer
  }

  get scale() {
    const room = this.data.radius === null && this.solid ? 1.25 : 1.08;
    return (this.zoom * Math.min(this.width, this.height)) / 2 / room;
  }

  toPixels(point) {
    return [this.width / 2 + this.scale * point[0], this.height / 2 - this.scale * point[1]];
  }

  place() {
    if (!this.width) return;
    this.frameUp();
    for (let token = 0; token < this.count; token++) {
      const point = this.turned(this.frame, token);
      const [x, y] = this.toPixels(point);
      this.x[token] = x;
      this.y[token] = y;
      this.z[token] = point[2];
    }
    if (this.solid) this.order.sort((a, b) => this.z[a] - this.z[b]);
    this.gather();
  }

  // How many tokens stand in one place, for the size of their dot.
  gather() {
    const cells = new Map(), cell = (token) => Math.round(this.x[token] / 3) * 65536 + Math.round(this.y[token] / 3);
    for (let token = 0; token < this.count; token++) cells.set(cell(token), (cells.get(cell(token)) || 0) + 1);
    for (let token = 0; token < this.count; token++) this.crowd[token] = 1 + 0.18 * Math.log2(cells.get(cell(token)));
  }

  show(frame) {
    this.frame = frame;
    this.place();
  }

  cluster(token) {
    return this.data.clusters[this.frame * this.count + token];
  }

  weight(token) {
    const weights = this.data.weights;
    return weights.length === this.count ? weights[token] : weights[this.frame * this.count + token];
  }

  radius(token) {
    const base = this.count > 600 ? 2.4 : this.count > 150 ? 3.2 : 4.2;
    return base * this.crowd[token] * Math.max(0.6, Math.min(2.2, Math.sqrt(this.weight(token))));
  }

  nearest(x, y) {
    let best = -1, least = NEAR * NEAR;
    for (const token of this.order) {
      const apart = (this.x[token] - x) ** 2 + (this.y[token] - y) ** 2;
      if (apart <= least) { least = apart; best = token; } // of several in one place, the one in front
    }
    return best;
  }

  // The tokens that stand where this one does.
  together(token) {
    return this.order.filter((other) =>
      other !== token && Math.abs(this.x[other] - this.x[token]) < 2 && Math.abs(this.y[other] - this.y[token]) < 2 &&
      Math.abs(this.z[other] - this.z[token]) < 0.02);
  }

  draw() {
    const pen = this.canvas.getContext("2d");
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    if (this.data.radius !== null) this.drawSphere(pen); else this.drawAxes(pen);
    if (this.active >= 0) this.drawPath(pen);
    this.drawTokens(pen);
    if (this.active >= 0) this.drawActive(pen);
  }

  drawSphere(pen) {
    const [x, y] = this.toPixels([0, 0]);
    const radius = (this.scale * this.data.radius) / this.size;
    pen.lineWidth = 1;
    pen.strokeStyle = theme.now.faint;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.stroke();
    if (!this.solid) return;
    for (let line = 0; line < 9; line++) {
      for (const front of [false, true]) {
        pen.globalAlpha = front ? 0.9 : 0.35;
        pen.beginPath();
        let drawing = false;
        for (let k = 0; k <= 72; k++) {
          const angle = (2 * Math.PI * k) / 72;
          let point;
          if (line < 6) {
            const around = (Math.PI * line) / 6;
            point = [Math.sin(angle) * Math.cos(around), Math.sin(angle) * Math.sin(around), Math.cos(angle)];
          } else {
            const up = Math.sin(((line - 7) * Math.PI) / 4), across = Math.cos(((line - 7) * Math.PI) / 4);
            point = [across * Math.cos(angle), across * Math.sin(angle), up];
          }
          const turned = this.rotate(...point);
          if (turned[2] >= 0 !== front) { drawing = false; continue; }
          const px = x + radius * turned[0], py = y - radius * turned[1];
          if (drawing) pen.lineTo(px, py); else pen.moveTo(px, py);
          drawing = true;
        }
        pen.stroke();
      }
    }
    pen.globalAlpha = 1;
  }

  drawAxes(pen) {
    pen.strokeStyle = theme.now.faint;
    pen.fillStyle = theme.now.soft;
    pen.font = "12px system-ui, sans-serif";
    pen.lineWidth = 1;
    const ends = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].slice(0, this.components === 1 ? 2 : this.components);
    const names = this.components === 1 ? [this.data.axes[0], "token"] : this.data.axes;
    ends.forEach((end, k) => {
      const turned = this.solid ? this.rotate(...end) : end;
      const from = this.toPixels(turned.map((value) => -value)), to = this.toPixels(turned);
      pen.beginPath();
      pen.moveTo(...from);
      pen.lineTo(...to);
      pen.stroke();
      pen.textAlign = to[0] > this.width - 40 ? "right" : "left";
      pen.fillText(names[k], to[0] + (pen.textAlign === "left" ? 4 : -4), Math.max(14, to[1] - 4));
    });
    pen.textAlign = "left";
  }

  drawPath(pen) {
    pen.strokeStyle = theme.now.accent;
    pen.globalAlpha = 0.45;
    pen.lineWidth = 1.2;
    pen.beginPath();
    let drawing = false;
    for (let frame = 0; frame <= this.frame; frame++) {
      const point = this.turned(frame, this.active);
      if (!Number.isFinite(point[0] + point[1])) { drawing = false; continue; }
      const [x, y] = this.toPixels(point);
      if (drawing) pen.lineTo(x, y); else pen.moveTo(x, y);
      drawing = true;
    }
    pen.stroke();
    pen.globalAlpha = 1;
  }

  drawTokens(pen) {
    pen.lineWidth = 0.7;
    pen.strokeStyle = theme.now.paper;
    const depth = this.solid ? 0.28 : 0;
    for (const token of this.order) {
      const x = this.x[token], y = this.y[token];
      if (!Number.isFinite(x + y)) continue;
      const front = Math.max(-1, Math.min(1, this.z[token]));
      pen.globalAlpha = this.solid ? 0.7 + 0.3 * front : 0.9;
      pen.beginPath();
      pen.arc(x, y, this.radius(token) * (1 + depth * front), 0, 2 * Math.PI);
      if (this.weight(token) > 0) {
        pen.fillStyle = clusterColour(this.cluster(token));
        pen.fill();
        if (this.count <= OUTLINED) pen.stroke();
      } else { // nobody sees it
        pen.strokeStyle = theme.now.soft;
        pen.stroke();
        pen.strokeStyle = theme.now.paper;
      }
    }
    pen.globalAlpha = 1;
  }

  drawActive(pen) {
    const x = this.x[this.active], y = this.y[this.active];
    if (!Number.isFinite(x + y)) return;
    const largest = Math.max(...this.attended.map((row) => Math.abs(row.share)), 0);
    pen.strokeStyle = theme.now.accent;
    for (const { token, share } of this.attended) {
      if (token < 0 || token === this.active || !(largest > 0)) continue;
      pen.globalAlpha = 0.25 + (0.7 * Math.abs(share)) / largest;
      pen.lineWidth = 0.6 + (2.4 * Math.abs(share)) / largest;
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(this.x[token], this.y[token]);
      pen.stroke();
    }
    pen.globalAlpha = 1;
    pen.lineWidth = 2;
    pen.strokeStyle = theme.now.ink;
    pen.beginPath();
    pen.arc(x, y, this.radius(this.active) + 3, 0, 2 * Math.PI);
    pen.stroke();
  }
}
