"use strict";
// Values come as server-sent events, four a second; the picture is a stream of its own.
const SPAN_S = 120;
const GAP_S = 1.5;
const MOST_BARS = 10;
const TRAIL_S = 10;
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);
let past = [];
// Colours by label and by name: maps, because objects put names such as "1" first, and know "constructor".
let colours = new Map();
let names = new Map();
let newest = null;
let streaming = false;
let newestAt = 0;

function style(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

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
  const name = element("span");
  const dot = element("i");
  dot.style.background = names.get(face.name);
  name.append(dot, face.expression);
  made.append(name, element("b", "", face.strength), element("small", "", `face ${face.id}`));
  return made;
}

// What a task of classes or labels says of a face: a bar for each label, all of it its probability. Of many labels
// those with the greatest, and how many there are more.
function shares(face) {
  const bars = element("div", "bars");
  const numbers = [...colours.keys()].map((label, place) => [label, face.p[place]]);
  const many = numbers.length > MOST_BARS;
  if (many) numbers.sort((one, other) => other[1] - one[1]);
  for (const [label, share] of many ? numbers.slice(0, MOST_BARS - 2) : numbers) {
    bars.append(element("span", "", label), bar(share, colours.get(label)));
    bars.append(element("span", "value", `${Math.round(share * 100)}%`));
  }
  if (many) bars.append(element("span", "more", `${numbers.length - MOST_BARS + 2} more`));
  return bars;
}

// What a task of values says of a face: a bar for each scale, from its lowest to its highest.
function scales(face, task) {
  const bars = element("div", "bars");
  [...colours.keys()].forEach((label, place) => {
    const value = face.p[place];
    bars.append(element("span", "", label), bar((value - task.low) / (task.high - task.low), names.get(face.name)));
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
  const [across, up] = colours.keys();
  const figure = drawn("svg", { viewBox: `-16 -16 ${side + 32} ${side + 32}`, class: "plane", role: "img" });
  figure.append(drawn("title", {}, `${across} to the right, ${up} upwards, of every face`));
  figure.append(drawn("circle", { class: "axis", cx: side / 2, cy: side / 2, r: side / 2 }));
  figure.append(drawn("path", { class: "axis", d: `M0 ${y(0)}H${side}M${x(0)} 0V${side}` }));
  figure.append(drawn("text", { class: "scale", x: side, y: y(0) + 14, "text-anchor": "end" }, across));
  figure.append(drawn("text", { class: "scale", x: x(0) + 5, y: 10 }, up));
  for (const [name, [right, above]] of Object.entries(anchors)) {
    figure.append(drawn("circle", { cx: x(right), cy: y(above), r: 3, fill: names.get(name) }));
    figure.append(drawn("text", { class: "anchor", x: x(right), y: y(above) - 7 }, name));
  }
  for (const face of state.faces) {
    const trail = past.filter((point) => state.now.t - point.t <= TRAIL_S)
      .flatMap((point) => point.faces.filter(([id]) => id === face.id).map(([, , p]) => `${x(p[0])},${y(p[1])}`));
    figure.append(drawn("polyline", { class: "trail", points: trail.join(" ") }));
    figure.append(drawn("circle", { class: "here", cx: x(face.p[0]), cy: y(face.p[1]), r: 8, fill: names.get(face.name) }));
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
  if (ofValues && colours.size === 2) cards.unshift(plane(state));
  if (state.unnamed) cards.push(element("p", "empty", `${state.unnamed} more not named`));
  if (!state.faces.length) cards.push(element("p", "empty", "no face"));
  $("faces").replaceChildren(...cards);
}

function showStages(state) {
  const stages = Object.entries(state.stage_ms).filter(([name]) => name !== "total");
  const most = Math.max(...stages.map(([, ms]) => ms), 0.01);
  const bars = element("div", "bars");
  for (const [name, ms] of stages) {
    bars.append(element("span", "", name), bar(ms / most, style("--stage")), element("span", "value", `${ms.toFixed(1)} ms`));
  }
  $("stages").replaceChildren(bars);
}

function showVitals(state) {
  $("source").textContent = state.source;
  $("fps").textContent = state.fps ? state.fps.toFixed(1) : "–";
  $("total").textContent = "total" in state.stage_ms ? `${state.stage_ms.total.toFixed(1)} ms` : "–";
  $("board").hidden = state.temp_c === null;
  if (state.temp_c !== null) $("temp").textContent = `${state.temp_c.toFixed(0)} °C`;
  $("temp").classList.toggle("warn", state.throttled === true);
  const lost = Object.entries(state.lost).filter(([, count]) => count > 0);
  const words = lost.map(([name, count]) => `${name} lost ${count} results.`);
  if (state.unusable_outputs) words.push(`The model gave no usable output for ${state.unusable_outputs} faces.`);
  if (state.throttled) words.unshift("The board throttles: fewer frames until it has cooled.");
  notice(words.join(" "));
}

function showLegend() {
  $("legend").replaceChildren(...[...names].map(([label, colour]) => {
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
  pen.fillStyle = style("--dim");
  pen.strokeStyle = style("--line");
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
    pen.fillStyle = style("--dim");
    pen.fillText(`face ${id}`, 0, top + 14);
    for (const [start, until, expression] of stretches(points)) {
      pen.fillStyle = names.get(expression) || style("--text");
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
  if (!state.now || paused) return;
  newest = state;
  newestAt = performance.now();
  if (state.history) past = state.history;
  else past.push(state.now);
  while (past.length && state.now.t - past[0].t > SPAN_S) past.shift();
  colours = new Map(state.labels);
  if (JSON.stringify(state.names) !== JSON.stringify([...names])) {
    names = new Map(state.names);
    showLegend();
    loadHistory();
  }
  showVitals(state);
  showFaces(state);
  showStages(state);
  showPicture(state);
  showAge();
  drawTimeline();
}

// The last hour or day, a bar a minute; asked for again twice a minute, and only while somebody looks.
let history = { minutes: [], visits: [] };
let minutesShown = 60;

async function loadHistory() {
  if (document.hidden || paused) return;
  try {
    const answer = await fetch("/minutes");
    if (!answer.ok) return;
    history = await answer.json();
  } catch {
    return; // what is wrong with the connection, the events say
  }
  showHistory();
}

function showHistory() {
  const end = history.minutes.length ? history.minutes[history.minutes.length - 1][0] + 60 : 0;
  const shown = history.minutes.filter(([begin]) => end - begin <= minutesShown * 60);
  drawHistory(shown, end);
  const counts = new Map();
  for (const [, , , found] of shown) {
    for (const [name, count] of Object.entries(found)) counts.set(name, (counts.get(name) || 0) + count);
  }
  showCounts(counts);
  showVisits();
}

function showCounts(counts) {
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const rows = [...counts].sort((one, other) => other[1] - one[1]).flatMap(([name, count]) => {
    const label = element("span");
    const dot = element("i");
    dot.style.background = names.get(name);
    label.append(dot, name);
    return [label, bar(count / total, names.get(name)), element("span", "value", `${Math.round(100 * count / total)}%`)];
  });
  $("counts").replaceChildren(...rows);
}

function lasting(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

function showVisits() {
  const rows = history.visits.slice(-8).reverse().map(([id, first, last, name]) => {
    const row = element("li");
    const dot = element("i");
    dot.style.background = names.get(name);
    const what = element("span");
    what.append(dot, `face ${id}, mostly ${name}`);
    row.append(what, element("time", "", `${new Date(first * 1000).toLocaleTimeString()}, ${lasting(last - first)}`));
    return row;
  });
  $("visits").replaceChildren(...(rows.length ? rows : [element("li", "empty", "nobody yet")]));
}

function drawHistory(shown, end) {
  const canvas = $("history");
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, 120];
  canvas.style.height = `${height}px`;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "12px system-ui, sans-serif";
  const floor = height - 18;
  const x = (begin) => width * (1 - (end - begin) / (60 * minutesShown));
  const most = Math.max(...shown.map(([, , , found]) => Object.values(found).reduce((sum, count) => sum + count, 0)), 1);
  for (const [begin, , , found] of shown) {
    let top = floor;
    const wide = Math.max(width / minutesShown - (minutesShown > 100 ? 0 : 1), 1);
    const counted = new Map(Object.entries(found));
    for (const [name, colour] of names) {
      const high = (floor * (counted.get(name) || 0)) / most;
      pen.fillStyle = colour;
      pen.fillRect(x(begin), top - high, wide, high);
      top -= high;
    }
  }
  pen.strokeStyle = style("--line");
  pen.strokeRect(0.5, 0.5, width - 1, floor);
  pen.fillStyle = style("--dim");
  pen.fillText(minutesShown === 60 ? "1 hour ago" : "1 day ago", 0, height - 4);
  pen.textAlign = "right";
  pen.fillText("now", width, height - 4);
}

for (const button of document.querySelectorAll("[data-minutes]")) {
  button.addEventListener("click", () => {
    minutesShown = Number(button.dataset.minutes);
    for (const other of document.querySelectorAll("[data-minutes]")) other.setAttribute("aria-pressed", other === button);
    showHistory();
  });
}

// While paused nothing is fetched, which leaves the place to another viewer; the last picture stays as a still.
let paused = false;

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", paused);
  $("pause").textContent = paused ? "Resume" : "Pause";
  if (paused) pause();
  else goOn();
});

function pause() {
  const picture = $("picture");
  const still = $("still");
  if (!picture.hidden) {
    still.width = picture.naturalWidth;
    still.height = picture.naturalHeight;
    still.getContext("2d").drawImage(picture, 0, 0);
    still.hidden = false;
  }
  picture.hidden = true;
  picture.removeAttribute("src");
  events.close();
  notice("Paused.");
}

function goOn() {
  $("still").hidden = true;
  streaming = false;
  notice("");
  connect();
  loadHistory();
}

// Frames that stop while the board answers: its camera or stream is away.
function showSilence() {
  const silent_s = newest ? (performance.now() - newestAt) / 1000 : 0;
  if (paused || events.readyState !== EventSource.OPEN || silent_s < 3) return;
  notice(`No frame for ${Math.round(silent_s)} s: the camera or stream is away. What is shown is old.`);
}

let events;

function connect() {
  events = new EventSource("/events");
  events.onmessage = (message) => show(JSON.parse(message.data));
  events.onerror = lost;
}

async function lost() {
  if (paused) return;
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
loadHistory();
setInterval(() => { showAge(); showSilence(); }, 1000);
setInterval(loadHistory, 30_000);
document.addEventListener("visibilitychange", loadHistory);
function redraw() { if (newest) { drawTimeline(); showHistory(); } }
window.addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
