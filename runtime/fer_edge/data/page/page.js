"use strict";
// Values come as server-sent events, four a second; the picture is a stream of its own.
const SPAN_S = 120;
const GAP_S = 1.5;
const TRAIL_S = 10;
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);
let past = [];
let colours = {};
let names = {};
let newest = null;
let streaming = false;
let newestAt = 0;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function bar(share, colour) {
  const track = element("div", "track");
  const fill = element("div", "fill");
  fill.style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  fill.style.background = colour;
  track.append(fill);
  return track;
}

function head(face) {
  const made = element("h3");
  const name = element("span", "", face.expression);
  name.style.color = names[face.expression];
  made.append(name, element("b", "", face.strength), element("small", "", `face ${face.id}`));
  return made;
}

// What a task of classes or labels says of a face: a bar for each label, all of it its probability.
function shares(face) {
  const bars = element("div", "bars");
  Object.keys(colours).forEach((label, place) => {
    bars.append(element("span", "", label), bar(face.p[place], colours[label]));
    bars.append(element("span", "value", `${Math.round(face.p[place] * 100)}%`));
  });
  return bars;
}

// What a task of values says of a face: a bar for each scale, from its lowest to its highest.
function scales(face, task) {
  const bars = element("div", "bars");
  Object.keys(colours).forEach((label, place) => {
    const value = face.p[place];
    bars.append(element("span", "", label), bar((value - task.low) / (task.high - task.low), names[face.expression]));
    bars.append(element("span", "value", value.toFixed(2)));
  });
  return bars;
}

function drawn(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Two scales are a plane, as valence and arousal are the circumplex: the task's anchors on it, and every face with
// where it was in the last seconds.
function plane(state) {
  const { low, high, anchors } = state.task;
  const side = 300;
  const x = (value) => ((Math.min(Math.max(value, low), high) - low) / (high - low)) * side;
  const y = (value) => side - x(value);
  const [across, up] = Object.keys(colours);
  const figure = drawn("svg", { viewBox: `-16 -16 ${side + 32} ${side + 32}`, class: "plane", role: "img" });
  figure.append(drawn("title", {}, `${across} to the right, ${up} upwards, of every face`));
  figure.append(drawn("circle", { class: "axis", cx: side / 2, cy: side / 2, r: side / 2 }));
  figure.append(drawn("path", { class: "axis", d: `M0 ${y(0)}H${side}M${x(0)} 0V${side}` }));
  figure.append(drawn("text", { class: "scale", x: side, y: y(0) + 14, "text-anchor": "end" }, across));
  figure.append(drawn("text", { class: "scale", x: x(0) + 5, y: 10 }, up));
  for (const [name, [right, above]] of Object.entries(anchors)) {
    figure.append(drawn("circle", { cx: x(right), cy: y(above), r: 3, fill: names[name] }));
    figure.append(drawn("text", { class: "anchor", x: x(right), y: y(above) - 7 }, name));
  }
  for (const face of state.faces) {
    const trail = past.filter((point) => state.now.t - point.t <= TRAIL_S)
      .flatMap((point) => point.faces.filter(([id]) => id === face.id).map(([, , p]) => `${x(p[0])},${y(p[1])}`));
    figure.append(drawn("polyline", { class: "trail", points: trail.join(" ") }));
    figure.append(drawn("circle", { class: "here", cx: x(face.p[0]), cy: y(face.p[1]), r: 8, fill: names[face.expression] }));
    figure.append(drawn("text", { class: "who", x: x(face.p[0]), y: y(face.p[1]) + 4 }, face.id));
  }
  return figure;
}

function showFaces(state) {
  const ofValues = state.task.kind === "values";
  const cards = state.faces.map((face) => {
    const card = element("article", "face");
    card.append(head(face), ofValues ? scales(face, state.task) : shares(face));
    return card;
  });
  if (ofValues && Object.keys(colours).length === 2) cards.unshift(plane(state));
  if (state.unnamed) cards.push(element("p", "empty", `${state.unnamed} more not named`));
  if (!state.faces.length) cards.push(element("p", "empty", "no face"));
  $("faces").replaceChildren(...cards);
}

function showStages(state) {
  const stages = Object.entries(state.stage_ms).filter(([name]) => name !== "total");
  const most = Math.max(...stages.map(([, ms]) => ms), 0.01);
  const bars = element("div", "bars");
  for (const [name, ms] of stages) {
    bars.append(element("span", "", name), bar(ms / most, "#56b4e9"), element("span", "value", `${ms.toFixed(1)} ms`));
  }
  $("stages").replaceChildren(bars);
}

function showVitals(state) {
  $("source").textContent = state.source;
  $("fps").textContent = state.fps ? state.fps.toFixed(1) : "–";
  $("total").textContent = "total" in state.stage_ms ? `${state.stage_ms.total.toFixed(1)} ms` : "–";
  $("temp").textContent = state.temp_c === null ? "no probe" : `${state.temp_c.toFixed(0)} °C`;
  $("temp").classList.toggle("warn", state.throttled === true);
  const lost = Object.entries(state.lost).filter(([, count]) => count > 0);
  const words = lost.map(([name, count]) => `${name} lost ${count} results.`);
  if (state.unusable_outputs) words.push(`The model gave no usable output for ${state.unusable_outputs} faces.`);
  if (state.throttled) words.unshift("The board throttles: fewer frames until it has cooled.");
  notice(words.join(" "));
}

function showLegend() {
  $("legend").replaceChildren(...Object.entries(names).map(([label, colour]) => {
    const item = element("li");
    const dot = element("i");
    dot.style.background = colour;
    item.append(dot, label);
    return item;
  }));
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

function tracks() {
  const rows = new Map();
  for (const point of past) {
    for (const [id, expression] of point.faces) {
      if (!rows.has(id)) rows.set(id, []);
      rows.get(id).push([point.t, expression]);
    }
  }
  // The newest eight: what is in view now, and who was last.
  return [...rows.entries()].slice(-8);
}

// Neighbouring points of one expression as one stretch, so that no seams show.
function stretches(points) {
  const found = [];
  points.forEach(([t, expression], place) => {
    const next = place + 1 < points.length ? points[place + 1][0] : t + 0.25;
    const until = next - t > GAP_S ? t + 0.25 : next;
    const last = found[found.length - 1];
    if (last && last[2] === expression && t - last[1] < 0.01) last[1] = until;
    else found.push([t, until, expression]);
  });
  return found;
}

function drawTimeline() {
  const canvas = $("timeline");
  const rows = tracks();
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = Math.max(rows.length, 2) * 26 + 22;
  canvas.style.height = `${height}px`;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "12px system-ui, sans-serif";
  const left = 52;
  const end = past.length ? past[past.length - 1].t : 0;
  const x = (t) => left + (width - left) * (1 - (end - t) / SPAN_S);
  pen.fillStyle = "#93a1b3";
  pen.strokeStyle = "#2a3442";
  for (const [seconds, text, align] of [[120, "2 min", "left"], [60, "1 min", "center"], [0, "now", "right"]]) {
    const at = x(end - seconds);
    pen.textAlign = align;
    pen.fillText(text, at, height - 4);
    pen.beginPath();
    pen.moveTo(at, 0);
    pen.lineTo(at, height - 18);
    pen.stroke();
  }
  pen.textAlign = "left";
  rows.forEach(([id, points], row) => {
    const top = row * 26 + 3;
    pen.fillStyle = "#93a1b3";
    pen.fillText(`face ${id}`, 0, top + 14);
    for (const [start, until, expression] of stretches(points)) {
      pen.fillStyle = names[expression] || "#ffffff";
      pen.fillRect(x(start), top, Math.max(x(until) - x(start), 1), 20);
    }
  });
}

// An old picture must not look live: from two seconds on its age is said, and goes on while nothing new comes.
function showAge() {
  const known = newest && newest.picture_age_s !== null && !$("picture").hidden;
  const age = known ? newest.picture_age_s + (performance.now() - newestAt) / 1000 : 0;
  $("age").hidden = age < 2;
  $("age").textContent = `This picture is ${Math.round(age)} s old.`;
}

function showPicture(state) {
  const picture = $("picture");
  if (state.privacy === "numbers") {
    picture.hidden = true;
    $("no-picture").textContent = "No picture: this camera shows numbers only.";
    return;
  }
  if (streaming) return;
  streaming = true;
  picture.onload = () => { picture.hidden = false; $("no-picture").hidden = true; };
  picture.onerror = () => { setTimeout(() => { streaming = false; }, 5000); };
  picture.src = `/stream.mjpg?${Date.now()}`;
}

function show(state) {
  if (!state.now) return;
  newest = state;
  newestAt = performance.now();
  if (state.history) past = state.history;
  else past.push(state.now);
  while (past.length && state.now.t - past[0].t > SPAN_S) past.shift();
  colours = state.labels;
  if (Object.keys(state.names).join() !== Object.keys(names).join()) {
    names = state.names;
    showLegend();
  }
  showVitals(state);
  showFaces(state);
  showStages(state);
  showPicture(state);
  showAge();
  drawTimeline();
}

let events;

function connect() {
  events = new EventSource("/events");
  events.onmessage = (message) => show(JSON.parse(message.data));
  events.onerror = lost;
}

async function lost() {
  streaming = false;
  notice("No connection to the board; trying again.");
  if (events.readyState !== EventSource.CLOSED) return;
  // The board answered with a refusal, whose reason EventSource keeps to itself.
  try {
    const answer = await fetch("/events");
    if (answer.ok) answer.body.cancel();
    else notice(await answer.text());
  } catch {
    // No answer at all: that is what the notice says.
  }
  setTimeout(connect, 5000);
}

connect();
setInterval(showAge, 1000);
window.addEventListener("resize", () => { if (newest) drawTimeline(); });
