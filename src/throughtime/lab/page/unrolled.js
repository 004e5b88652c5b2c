// A network unrolled over time, drawn from its own numbers: forward its states appear, back its
// gradients. Played, paused, or moved step by step; a step that is looked at shows its numbers.

const WIDTH = 68;
const LEFT = 34;
const CELL = 11;
const TOP = 92;

const svg = (name, attributes = {}, text = "") => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
};
const html = (name, attributes = {}, text = "") => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
};
const norm = (numbers) => Math.hypot(...numbers);
const short = (number) =>
  number === 0 ? "0" : Math.abs(number) < 0.001 ? number.toExponential(1) : number.toPrecision(2);
const tint = (value) => {
  const strength = Math.round(Math.min(1, Math.abs(value)) * 100);
  const colour = value < 0 ? "var(--minus)" : "var(--plus)";
  return `color-mix(in srgb, ${colour} ${strength}%, var(--nought))`;
};

export default {
  template: '<div class="unrolled"></div>',
  props: { network: Object },
  mounted() {
    this.frame = 0;
    this.looked = null;
    this.build();
  },
  beforeUnmount() {
    clearTimeout(this.timer);
  },
  watch: {
    network() {
      this.build();
    },
  },
  methods: {
    build() {
      clearTimeout(this.timer);
      this.playing = false;
      this.last = this.network.steps.length + this.network.asked + 1;
      this.frame = Math.min(this.frame, this.last);
      this.$el.replaceChildren(this.controls(), this.told(), this.drawn(), this.table());
      this.paint();
    },

    controls() {
      const row = html("div", { class: "unrolled-controls" });
      const button = (label, text, act) => {
        const made = html("button", { type: "button", "aria-label": label, title: label }, text);
        made.addEventListener("click", act);
        row.append(made);
        return made;
      };
      button("one step back", "◀", () => this.go(this.frame - 1));
      this.play = button("play", "Play", () => (this.playing ? this.pause() : this.start()));
      button("one step on", "▶", () => this.go(this.frame + 1));
      this.place = html("input", {
        type: "range",
        min: 0,
        max: this.last,
        step: 1,
        "aria-label": "where the animation is",
      });
      this.place.addEventListener("input", () => this.go(Number(this.place.value)));
      row.append(this.place);
      return row;
    },

    told() {
      this.says = html("p", { class: "unrolled-says", "aria-live": "polite" });
      return this.says;
    },

    drawn() {
      const { steps, states, asked, delay } = this.network;
      const units = steps[0].values[states[0]].length;
      const low = TOP + units * CELL;
      const width = LEFT + steps.length * WIDTH;
      const height = low + 118;
      const box = html("div", { class: "unrolled-scroll", tabindex: 0 });
      box.setAttribute("aria-label", "the network, step by step; scrolls sideways");
      const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
      const names = [
        [26, "says"],
        [TOP + (units * CELL) / 2 + 4, states.join(" ")],
        [low + 42, "reads"],
        [low + 84, "dL/d" + states[0]],
      ];
      for (const [y, text] of names) picture.append(svg("text", { x: 0, y, class: "axis" }, text));
      this.parts = steps.map((step, t) => this.column(picture, step, t, low));
      const from = LEFT + (asked + 0.5) * WIDTH;
      const back = LEFT + (asked - delay + 0.5) * WIDTH;
      const loss = svg("text", { x: from, y: 68, class: "loss", "text-anchor": "middle" }, "loss");
      const source = svg("rect", {
        x: back - 15, y: low + 22, width: 30, height: 30, rx: 8, class: "source",
      });
      picture.append(loss, source);
      this.back = [loss, source];
      box.append(picture);
      this.box = box;
      return box;
    },

    column(picture, step, t, low) {
      const { states, asked, steps } = this.network;
      const middle = LEFT + (t + 0.5) * WIDTH;
      const group = svg("g", { class: "step", tabindex: 0, role: "button" });
      group.setAttribute("aria-label", `step ${t + 1}: its numbers`);
      const show = () => {
        this.looked = t;
        this.paint();
      };
      for (const event of ["click", "focus", "mouseenter"]) group.addEventListener(event, show);
      const part = { group, forward: [], cells: [] };
      const area = { x: middle - WIDTH / 2 + 2, y: 2, width: WIDTH - 4, height: low + 112, rx: 8 };
      group.append(svg("rect", { ...area, class: "area" }));

      group.append(svg("rect", {
        x: middle - 15, y: low + 22, width: 30, height: 30, rx: 8, class: "letter",
      }));
      group.append(svg("text", {
        x: middle, y: low + 42, "text-anchor": "middle", class: "reads",
      }, step.letter));
      part.forward.push(this.arrow(group, middle, low + 21, middle, low + 4, "up"));

      states.forEach((name, place) => {
        const x = middle - (states.length * 14) / 2 + place * 14;
        step.values[name].forEach((value, unit) => {
          const cell = svg("rect", { x, y: TOP + unit * CELL, width: 13, height: CELL - 1, rx: 2 });
          cell.setAttribute("class", "cell");
          part.cells.push([cell, value]);
          group.append(cell);
        });
      });

      const right = step.answer === null ? "none" : step.says === step.answer ? "right" : "wrong";
      const out = svg("g", { class: `out ${right}` });
      out.append(svg("rect", { x: middle - 17, y: 8, width: 34, height: 30, rx: 15 }));
      const said = step.answer === null ? "–" : step.says;
      out.append(svg("text", { x: middle, y: 28, "text-anchor": "middle" }, said));
      group.append(out);
      part.forward.push(out);
      part.forward.push(this.arrow(group, middle, TOP - 3, middle, t === asked ? 73 : 42, "up"));
      if (t > 0) {
        const half = states.length * 7;
        const y = TOP + 12;
        part.carry = this.arrow(group, middle - WIDTH + half + 2, y, middle - half - 3, y, "on");
      }

      part.norms = states.map((name) => norm(step.gradients[name]));
      const greatest = Math.max(...steps.map((each) => norm(each.gradients[states[0]])));
      // Three decades of a gradient fit into the thickness of an arrow.
      const share = Math.max(0, 1 + Math.log10(part.norms[0] / greatest) / 3);
      part.amount = svg("text", {
        x: middle, y: low + 84, "text-anchor": "middle", class: "amount",
      }, short(part.norms[0]));
      const bar = { x: middle - 12, y: low + 92, width: 24, height: 10, class: "bar" };
      part.bar = svg("rect", { ...bar, "fill-opacity": 0.1 + 0.9 * share });
      group.append(part.amount, part.bar);
      if (t < asked) {
        const half = states.length * 7;
        const y = low - 14;
        const from = middle + WIDTH - half - 2;
        const thick = 0.6 + 8 * share;
        part.flow = this.arrow(group, from, y, middle + half + 3, y, "back", 4 + thick * 0.75);
        part.flow.style.strokeWidth = thick;
      }
      picture.append(group);
      return part;
    },

    arrow(group, x1, y1, x2, y2, kind, size = 4) {
      const made = svg("g", { class: `arrow ${kind}` });
      const angle = Math.atan2(y2 - y1, x2 - x1);
      const at = (far, aside) =>
        `${x2 - far * Math.cos(angle) - aside * Math.sin(angle)},` +
        `${y2 - far * Math.sin(angle) + aside * Math.cos(angle)}`;
      const ends = { x1, y1, x2: x2 - size * Math.cos(angle), y2: y2 - size * Math.sin(angle) };
      made.append(svg("line", ends));
      const head = [at(size, size * 0.8), `${x2},${y2}`, at(size, -size * 0.8)];
      made.append(svg("polygon", { points: head.join(" ") }));
      group.append(made);
      return made;
    },

    table() {
      this.numbers = html("div", { class: "unrolled-numbers" });
      return this.numbers;
    },

    start() {
      if (this.frame >= this.last) this.frame = 0;
      this.playing = true;
      this.tick();
    },
    pause() {
      this.playing = false;
      clearTimeout(this.timer);
      this.paint();
    },
    tick() {
      if (!this.playing) return;
      this.frame += 1;
      if (this.frame >= this.last) this.playing = false;
      this.paint();
      this.follow();
      this.timer = setTimeout(() => this.tick(), 700);
    },
    go(frame) {
      this.playing = false;
      clearTimeout(this.timer);
      this.frame = Math.max(0, Math.min(this.last, frame));
      this.paint();
      this.follow();
    },
    now() {
      const { steps, asked } = this.network;
      return this.frame <= steps.length
        ? { read: this.frame, reached: null }
        : { read: steps.length, reached: asked - (this.frame - steps.length - 1) };
    },
    follow() {
      const { read, reached } = this.now();
      const at = LEFT + ((reached ?? read - 1) + 0.5) * WIDTH;
      this.box.scrollTo({ left: at - this.box.clientWidth / 2, behavior: "smooth" });
    },

    paint() {
      const { steps, asked } = this.network;
      const { read, reached } = this.now();
      const backward = reached !== null;
      this.place.value = this.frame;
      this.play.textContent = this.playing ? "Pause" : "Play";
      this.play.setAttribute("aria-label", this.playing ? "pause" : "play");
      for (const part of this.back) part.classList.toggle("seen", backward);
      this.parts.forEach((part, t) => {
        const seen = t < read;
        const passed = backward && t >= reached && t <= asked;
        part.group.classList.toggle("now", backward ? t === reached : t === read - 1);
        part.group.classList.toggle("looked", t === this.looked);
        for (const each of part.forward) each.classList.toggle("seen", seen);
        part.carry?.classList.toggle("seen", seen);
        part.flow?.classList.toggle("seen", passed);
        part.amount.classList.toggle("seen", passed);
        part.bar.classList.toggle("seen", passed);
        for (const [cell, value] of part.cells) cell.style.fill = seen ? tint(value) : "";
      });
      this.says.textContent = this.words(read, reached);
      this.show();
    },

    words(read, reached) {
      const { steps, asked, delay, states } = this.network;
      if (reached !== null) {
        const size = short(norm(this.network.steps[reached].gradients[states[0]]));
        const back = asked - reached;
        const steps = back === 1 ? "1 step back" : `${back} steps back`;
        const far = back === 0 ? "at the step of the loss" : steps;
        const note = back === delay ? " Here is the letter that the answer needs." : "";
        return `Back, step ${reached + 1}, ${far}: the gradient has norm ${size}.${note}`;
      }
      if (read === 0) return "Nothing is read yet. Play, or go step by step.";
      const step = steps[read - 1];
      const due = step.answer === null
        ? `nothing is asked before step ${delay + 1}`
        : `says ${step.says}, ${step.chance.toFixed(2)} sure; right is ${step.answer}`;
      return `Forward, step ${read}: reads ${step.letter}, makes a new state, ${due}.`;
    },

    show() {
      this.numbers.replaceChildren();
      if (this.looked === null) {
        this.numbers.append(html("p", {}, "Point at a step, or tap it, for its numbers."));
        return;
      }
      const step = this.network.steps[this.looked];
      const loss = step.loss === null ? "no loss" : `loss ${short(step.loss)}`;
      this.numbers.append(html("p", {}, `Step ${this.looked + 1}: reads ${step.letter}, ${loss}.`));
      const table = html("table");
      const rows = [
        ...Object.entries(step.values),
        ...Object.entries(step.gradients).map(([name, each]) => [`dL/d${name}`, each]),
      ];
      for (const [name, numbers] of rows) {
        const row = html("tr");
        row.append(html("th", { scope: "row" }, name));
        for (const number of numbers) row.append(html("td", {}, short(number)));
        table.append(row);
      }
      const box = html("div", { class: "unrolled-table", tabindex: 0 });
      box.append(table);
      this.numbers.append(box);
    },
  },
};
