"use strict";
const MILLISECONDS = 120;
const KEYS = {ArrowLeft: "left", ArrowRight: "right", ArrowDown: "equal", u: "undo", U: "undo"};
const state = document.getElementById("state");
const progress = document.getElementById("progress");
const question = document.getElementById("question");
const buttons = document.querySelectorAll("[data-answer]");
const play = document.getElementById("play");
const sides = document.querySelectorAll(".side");
let shown = null;
let sending = false;
let at = 0;
let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;

function element(name, text, parent) {
  const one = document.createElement(name);
  if (text !== undefined) one.textContent = text;
  parent.append(one);
  return one;
}

function drawTable(side, segment) {
  const table = element("table", undefined, side);
  const head = element("tr", undefined, element("thead", undefined, table));
  for (const name of ["step", ...segment.columns]) element("th", name, head).scope = "col";
  const body = element("tbody", undefined, table);
  segment.rows.forEach((row, step) => {
    const line = element("tr", undefined, body);
    element("th", step, line).scope = "row";
    for (const value of row) element("td", value === null ? "" : Number(value.toPrecision(4)), line);
  });
}

function drawSide(side, segment, name) {
  side.replaceChildren();
  if (segment.pictures.length) {
    const image = element("img", undefined, side);
    image.alt = `${name}: ${segment.steps} steps, animated; the numbers are below`;
  }
  const end = segment.terminated ? "; then the episode was over" : "";
  element("p", `${segment.steps} step${segment.steps === 1 ? "" : "s"}${end}`, side).className = "note";
  let place = side;
  if (segment.pictures.length) {
    place = element("details", undefined, side);
    element("summary", "Numbers", place);
  }
  drawTable(place, segment);
}

function step() {
  if (!shown) return;
  const longest = Math.max(...shown.segments.map((segment) => segment.pictures.length));
  if (!longest) return;
  at = at % (longest + 5);  // it stands still before it starts again
  shown.segments.forEach((segment, i) => {
    const image = sides[i].querySelector("img");
    if (image) image.src = segment.pictures[Math.min(at, segment.pictures.length - 1)];
  });
  at += 1;
}

function show(content) {
  if (content.waiting) {
    shown = null;
    question.hidden = true;
    if (progress.value) state.textContent = "Thank you. The training goes on, and asks again here when it needs more answers.";
    return;
  }
  if (shown && shown.question === content.question && shown.answered === content.answered) return;
  shown = content;
  question.hidden = false;
  progress.max = content.total;
  progress.value = content.answered;
  state.textContent = `Question ${content.answered + 1} of ${content.total}. Each answer is saved at once.`;
  content.segments.forEach((segment, i) => drawSide(sides[i], segment, ["Left", "Right"][i]));
  for (const button of buttons) button.disabled = button.dataset.answer === "undo" && !content.undo;
  play.hidden = !content.segments.some((segment) => segment.pictures.length);
  at = 0;
  step();
}

async function refresh() {
  try {
    const response = await fetch("question");
    if (!response.ok) throw new Error(response.status);
    show(await response.json());
  } catch {
    shown = null;
    question.hidden = true;
    state.textContent = "The command has ended or cannot be reached. All answers are saved; run it again to continue.";
  }
}

async function answer(value) {
  if (!shown || sending || (value === "undo" && !shown.undo)) return;
  sending = true;
  try {
    const body = JSON.stringify({question: shown.question, answer: value});
    shown = null;  // nothing is answered twice
    await fetch("answer", {method: "POST", headers: {"Content-Type": "application/json"}, body});
  } catch {
    // The next refresh says that the command has ended.
  }
  sending = false;
  await refresh();
}

function turn() {
  playing = !playing;
  play.firstChild.textContent = playing ? "Pause " : "Play ";
}

for (const button of buttons) button.addEventListener("click", () => answer(button.dataset.answer));
play.addEventListener("click", turn);
addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "p" || event.key === "P") turn();
  const value = KEYS[event.key];
  if (value) {
    event.preventDefault();
    answer(value);
  }
});
if (!playing) play.firstChild.textContent = "Play ";
setInterval(() => playing && step(), MILLISECONDS);
setInterval(() => sending || refresh(), 1000);
refresh();
