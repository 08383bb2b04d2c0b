"use strict";
// Values come as server-sent events, four a second; the picture is a stream of its own.
const SPAN_S = 120;
const GAP_S = 1.5;
const $ = (id) => document.getElementById(id);
let past = [];
let colours = {};
let newest = null;
let streaming = false;

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

function showFaces(state) {
  const cards = state.faces.map((face) => {
    const card = element("article", "face");
    const head = element("h3");
    const name = element("span", "", face.expression);
    name.style.color = colours[face.expression];
    head.append(name, element("b", "", `${Math.round(face.confidence * 100)}%`), element("small", "", `face ${face.id}`));
    const bars = element("div", "bars");
    Object.keys(colours).forEach((label, place) => {
      const value = face.p[place];
      bars.append(element("span", "", label), bar(value, colours[label]));
      bars.append(element("span", "value", `${Math.round(value * 100)}%`));
    });
    card.append(head, bars);
    return card;
  });
  if (state.unnamed) cards.push(element("p", "empty", `${state.unnamed} more not named`));
  if (!cards.length) cards.push(element("p", "empty", "no face"));
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
  if (state.throttled) words.unshift("The board throttles: fewer frames until it has cooled.");
  notice(words.join(" "));
}

function showLegend() {
  $("legend").replaceChildren(...Object.entries(colours).map(([label, colour]) => {
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
      pen.fillStyle = colours[expression] || "#ffffff";
      pen.fillRect(x(start), top, Math.max(x(until) - x(start), 1), 20);
    }
  });
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
  picture.onerror = () => { streaming = false; };
  picture.src = `/stream.mjpg?${Date.now()}`;
}

function show(state) {
  if (!state.now) return;
  newest = state;
  if (state.history) past = state.history;
  else past.push(state.now);
  while (past.length && state.now.t - past[0].t > SPAN_S) past.shift();
  if (Object.keys(state.labels).join() !== Object.keys(colours).join()) {
    colours = state.labels;
    showLegend();
  }
  showVitals(state);
  showFaces(state);
  showStages(state);
  showPicture(state);
  drawTimeline();
}

const events = new EventSource("/events");
events.onmessage = (message) => show(JSON.parse(message.data));
events.onerror = () => {
  notice("No connection to the board; trying again.");
  streaming = false;
};
window.addEventListener("resize", () => { if (newest) drawTimeline(); });
