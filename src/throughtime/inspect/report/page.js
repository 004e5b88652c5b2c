const byId = (name) => document.getElementById(name);

const data = JSON.parse(byId("data").textContent);
if (data.symbols) showText(data);

function bytes(text) {
  return Uint8Array.from(atob(text), (symbol) => symbol.charCodeAt(0));
}

function showText(data) {
  const count = data.symbols.length;
  const text = byId("text");
  const places = Array.from(text.children);
  const layers = data.layers.map((layer) => ({
    ...layer,
    values: new Int8Array(bytes(layer.values).buffer),
  }));
  const mattered = bytes(data.mattered);
  const state = { by: "surprise", layer: layers.length - 1, unit: 0, asked: null, seen: null };

  const named = (place) => {
    const symbol = data.symbols[place];
    return { "\n": "line end", " ": "space", "\t": "tab" }[symbol] ?? `‘${symbol}’`;
  };
  const percent = (share) => `${(100 * share).toPrecision(share < 0.0995 ? 2 : 3)} %`;
  // Values are stored as bytes of -127 to 127, relative to the largest of the unit.
  const relative = (place) => layers[state.layer].values[state.unit * count + place] / 127;
  const value = (place) => relative(place) * layers[state.layer].scales[state.unit];
  // Shares are stored as square roots, relative to the largest for the same later symbol.
  const strength = (later, back) => mattered[later * data.back + back - 1] / 255;
  const share = (later, back) => data.peaks[later] * strength(later, back) ** 2;

  function colour(place) {
    if (state.by === "surprise") {
      return `rgba(207, 79, 95, ${Math.min(data.surprise[place] / 8, 1) * 0.85})`;
    }
    if (state.by === "mattered") {
      const back = state.asked === null ? 0 : state.asked - place;
      if (back < 1 || back > data.back) return "";
      return `rgba(47, 158, 119, ${strength(state.asked, back) * 0.85})`;
    }
    const shown = relative(place);
    const tone = shown < 0 ? "63, 134, 200" : "217, 130, 43";
    return `rgba(${tone}, ${Math.abs(shown) * 0.85})`;
  }

  function legend() {
    if (state.by === "surprise") {
      return ["0 nats", "transparent, rgba(207, 79, 95, 0.85)", "8 nats or more"];
    }
    if (state.by === "mattered") {
      return ["0", "transparent, rgba(47, 158, 119, 0.85)", "the most for the chosen character"];
    }
    const largest = layers[state.layer].scales[state.unit].toPrecision(3);
    const ends = "rgba(63, 134, 200, 0.85), transparent, rgba(217, 130, 43, 0.85)";
    return [`−${largest}`, ends, `+${largest}`];
  }

  function summary() {
    if (state.by !== "mattered") return "Tap a character for its figures, and for what mattered for it.";
    if (state.asked === null) return "Tap a later character.";
    const shares = Array.from({ length: data.back }, (_, back) => share(state.asked, back + 1));
    const within = (last) => percent(shares.slice(0, last).reduce((sum, each) => sum + each, 0));
    const outside = shares.slice(state.asked).reduce((sum, each) => sum + each, 0);
    return (
      `For ${named(state.asked)}: ${within(1)} of what mattered is the character before, ` +
      `${within(10)} the last 10` +
      (outside > 0.001 ? `, ${percent(outside)} before the text shown` : "")
    );
  }

  function figures(place) {
    const nats = data.surprise[place];
    const guesses = data.likely[place].map(([symbol, chance]) => {
      const name = { "\n": "line end", " ": "space" }[symbol] ?? `‘${symbol}’`;
      return `${name} ${percent(chance)}`;
    });
    const parts = [
      `${named(place)}, ${place}: ${nats.toPrecision(3)} nats (${percent(Math.exp(-nats))}); ` +
        `likeliest ${guesses.join(", ")}`,
    ];
    const layer = layers[state.layer];
    parts.push(`unit ${state.unit} of ${layer.name} is ${value(place).toPrecision(2)} after it`);
    if (state.asked !== null && place < state.asked && state.asked - place <= data.back) {
      parts.push(`${percent(share(state.asked, state.asked - place))} of what mattered for ${named(state.asked)}`);
    }
    return parts.join(" · ");
  }

  function tell() {
    const place = state.seen ?? state.asked;
    byId("summary").textContent = summary();
    byId("figures").textContent = place === null ? "" : figures(place);
  }

  function paint() {
    places.forEach((element, place) => {
      element.style.backgroundColor = colour(place);
      element.classList.toggle("asked", place === state.asked);
    });
    const [low, gradient, high] = legend();
    byId("low").textContent = low;
    byId("high").textContent = high;
    byId("scale").style.backgroundImage = `linear-gradient(90deg, ${gradient})`;
    for (const choice of document.querySelectorAll("input[name=by]")) {
      choice.checked = choice.value === state.by;
    }
    byId("layer").value = String(state.layer);
    for (const name of ["unit", "slide"]) {
      byId(name).max = String(layers[state.layer].scales.length - 1);
      byId(name).value = String(state.unit);
    }
    for (const button of document.querySelectorAll("[data-unit]")) {
      const chosen =
        state.by === "unit" &&
        Number(button.dataset.layer) === state.layer &&
        Number(button.dataset.unit) === state.unit;
      button.setAttribute("aria-pressed", String(chosen));
    }
    tell();
  }

  function choose(change) {
    Object.assign(state, change);
    const last = layers[state.layer].scales.length - 1;
    state.unit = Math.min(Math.max(Math.round(state.unit) || 0, 0), last);
    paint();
  }

  function see(place) {
    if (state.seen !== null) places[state.seen].classList.remove("seen");
    if (place !== null) places[place].classList.add("seen");
    state.seen = place;
    tell();
  }

  const placeOf = (event) => {
    const place = places.indexOf(event.target);
    return place < 0 ? null : place;
  };
  text.addEventListener("pointerover", (event) => {
    if (event.pointerType === "mouse") see(placeOf(event));
  });
  text.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") see(null);
  });
  text.addEventListener("click", (event) => {
    const place = placeOf(event);
    if (place === null) return;
    see(place);
    choose({ by: "mattered", asked: place });
  });
  text.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const asked = Math.min(Math.max((state.asked ?? -1) + step, 0), count - 1);
    see(null);
    choose({ by: "mattered", asked });
  });
  for (const choice of document.querySelectorAll("input[name=by]")) {
    choice.addEventListener("change", () => choose({ by: choice.value }));
  }
  byId("layer").addEventListener("change", (event) =>
    choose({ by: "unit", layer: Number(event.target.value) }));
  for (const name of ["unit", "slide"]) {
    byId(name).addEventListener("input", (event) =>
      choose({ by: "unit", unit: Number(event.target.value) }));
  }
  for (const button of document.querySelectorAll("[data-unit]")) {
    const { layer, unit } = button.dataset;
    button.addEventListener("click", () =>
      choose({ by: "unit", layer: Number(layer), unit: Number(unit) }));
  }
  paint();
}
