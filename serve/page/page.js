"use strict";
// The chat page: OpenAI's streamed chat with a session of ours, and opinions on replies. What anybody says is only ever
// set as text, never as HTML. The key lives in this tab, the session's name in this browser.
const KEY = "rejoinder-key", SESSION = "rejoinder-session";
const IDEAS = ["Hello! How are you today?", "What do you like to do?", "Tell me about your family."];
const THUMB = "M2 10h4v11H2zM6 10l4-8c2 0 3 1 3 3v4h7c1 0 2 1 2 2l-2 8c0 1-1 2-2 2H6z";
const $ = (id) => document.getElementById(id);
let model = null, running = null, asking = null;

function made(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

class Refused extends Error {
  constructor(status, detail) {
    super(detail.message);
    this.status = status;
    this.code = detail.code;
  }
}

async function ask(path, options = {}) {
  const headers = { "content-type": "application/json" }, key = sessionStorage.getItem(KEY);
  if (key) headers.authorization = `Bearer ${key}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { message: "The service does not answer. Is it running?" });
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => null);
  throw new Refused(answer.status, body?.error ?? { message: `The service answered ${answer.status}.` });
}

async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Refused(0, { message: "The connection broke before the reply's end." });
    const found = (rest + value).split("\n\n");
    rest = found.pop();
    for (const event of found) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Refused(0, chunk.error);
      yield chunk;
    }
  }
}

function say(message) {
  $("notice").textContent = message ?? "";
  $("notice").hidden = !message;
}

function toEnd() {
  const main = document.querySelector("main");
  main.scrollTop = main.scrollHeight;
}

function isAtEnd() {
  const main = document.querySelector("main");
  return main.scrollHeight - main.scrollTop - main.clientHeight < 48;
}

function showTurn(role, text) {
  const turn = made("article", `turn ${role}`);
  turn.setAttribute("aria-label", role === "user" ? "You" : "Reply");
  turn.append(made("p", "words", text));
  $("log").append(turn);
  $("welcome").hidden = true;
  $("delete").hidden = false;
  toEnd();
  return turn;
}

function addThumbs(turn, replyId) {
  const row = made("div", "thumbs"), note = made("span");
  note.setAttribute("role", "status");
  const thumbs = [["up", "Good reply"], ["down", "Bad reply"]].map(([thumb, name]) => {
    const button = made("button", `quiet thumb ${thumb}`);
    button.type = "button";
    button.title = name;
    button.setAttribute("aria-label", name);
    button.setAttribute("aria-pressed", "false");
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
    svg.firstChild.setAttribute("d", THUMB);
    button.append(svg);
    button.addEventListener("click", async () => {
      try {
        await ask("/v1/feedback", { method: "POST", body: JSON.stringify({ reply_id: replyId, thumb }) });
        for (const other of thumbs) other.setAttribute("aria-pressed", String(other === button));
        note.textContent = "Thank you.";
      } catch (error) {
        note.textContent = error.message;
        if (error.status === 401) askForKey(error.message);
      }
    });
    return button;
  });
  row.append(...thumbs, note);
  turn.append(row);
}

function setRunning(controller) {
  running = controller;
  $("send").textContent = controller ? "Stop" : "Send";
  $("new").disabled = $("delete").disabled = controller !== null;
}

function grow() {
  const field = $("text");
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

async function send(text) {
  const controller = new AbortController();
  setRunning(controller);
  say(null);
  const mine = showTurn("user", text), turn = showTurn("assistant", ""), words = turn.firstChild;
  turn.setAttribute("aria-busy", "true");
  let id = null;
  try {
    if (model === null) await findModel();
    const body = {
      model, messages: [{ role: "user", content: text }], stream: true,
      session_id: localStorage.getItem(SESSION) ?? "new",
    };
    const answer = await ask("/v1/chat/completions", {
      method: "POST", body: JSON.stringify(body), signal: controller.signal,
    });
    showVersion(answer.headers.get("x-model-version"));
    for await (const chunk of events(answer)) {
      const follows = isAtEnd();
      id = chunk.id;
      if (chunk.session_id) localStorage.setItem(SESSION, chunk.session_id);
      words.textContent += chunk.choices[0]?.delta.content ?? "";
      if (follows) toEnd();
    }
    turn.removeAttribute("aria-busy");
    addThumbs(turn, id);
  } catch (error) {
    lose(mine, turn, text, error);
  }
  setRunning(null);
  $("text").focus();
  toEnd();
}

// A turn counts when its reply has ended: what was stopped or failed is no part of the conversation.
function lose(mine, turn, text, error) {
  turn.removeAttribute("aria-busy");
  const wasStopped = error.name === "AbortError";
  if (turn.firstChild.textContent) {
    for (const one of [mine, turn]) one.classList.add("lost");
    turn.append(made("p", "note", wasStopped ? "Stopped: not part of the conversation." : "Broken off: not part of it."));
  } else {
    mine.remove();
    turn.remove();
    if (!$("log").firstChild) forget();
  }
  $("text").value ||= text;
  grow();
  if (wasStopped) return;
  if (error.code === "session_not_found") {
    forget();
    say("That conversation is no longer kept. Send again to begin a new one.");
  } else if (error.status === 401) {
    askForKey(error.message);
  } else {
    say(error.message);
  }
}

function forget() {
  localStorage.removeItem(SESSION);
  $("log").replaceChildren();
  $("welcome").hidden = false;
  $("delete").hidden = true;
  say(null);
}

// The first click asks, for some seconds: what is deleted does not come back.
function askToDelete(asks) {
  clearTimeout(asking);
  asking = asks ? setTimeout(() => askToDelete(false), 5000) : null;
  $("delete").textContent = asks ? "Really delete?" : "Delete";
}

function askForKey(why) {
  $("key-why").textContent = why && sessionStorage.getItem(KEY) ? `${why}.` : $("key-why").dataset.first;
  $("key-button").hidden = false;
  $("key-forget").hidden = !sessionStorage.getItem(KEY);
  $("key").value = "";
  if (!$("key-dialog").open) $("key-dialog").showModal();
}

function showVersion(version) {
  const number = version?.match(/\/(\d+)$/)?.[1];
  if (model && number) $("model").textContent = `${model}, version ${number}`;
}

async function findModel() {
  const answer = await ask("/v1/models");
  model = (await answer.json()).data[0].id;
  $("model").textContent = model;
  showVersion(answer.headers.get("x-model-version"));
}

async function begin() {
  if (sessionStorage.getItem(KEY)) $("key-button").hidden = false;
  try {
    await findModel();
    const session = localStorage.getItem(SESSION);
    if (!session) return;
    const kept = await (await ask(`/v1/sessions/${session}`)).json();
    // The newest page of a long conversation is enough to go on with.
    const start = Math.max(0, kept.num_turns - 100);
    const page = start ? await (await ask(`/v1/sessions/${session}?start=${start}`)).json() : kept;
    $("log").replaceChildren();
    for (const said of page.turns) {
      const turn = showTurn(said.role, said.content);
      if (said.reply_id) addThumbs(turn, said.reply_id);
    }
  } catch (error) {
    if (error.status === 401) askForKey(error.message);
    else if (error.code === "session_not_found") forget();
    else say(error.message);
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) return running.abort();
  const text = $("text").value.trim();
  if (!text) return $("text").focus();
  $("text").value = "";
  grow();
  return send(text);
});
$("text").addEventListener("input", grow);
$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!running) $("form").requestSubmit();
});
$("new").addEventListener("click", () => {
  forget();
  $("text").focus();
});
$("delete").addEventListener("blur", () => askToDelete(false));
$("delete").addEventListener("click", async () => {
  if (asking === null) return askToDelete(true);
  askToDelete(false);
  const session = localStorage.getItem(SESSION);
  try {
    if (session) await ask(`/v1/sessions/${session}`, { method: "DELETE" });
  } catch (error) {
    if (error.code !== "session_not_found") return say(error.message);
  }
  forget();
  $("text").focus();
  return undefined;
});
$("key-why").dataset.first = $("key-why").textContent;
$("key-button").addEventListener("click", () => askForKey());
$("key-forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  $("key-dialog").close();
  forget();
});
$("key-form").addEventListener("submit", () => {
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("key").value = "";
  say(null);
  begin();
});
for (const idea of IDEAS) {
  const button = made("button", "idea", idea), item = made("li");
  button.type = "button";
  button.addEventListener("click", () => { if (!running) send(idea); });
  item.append(button);
  $("ideas").append(item);
}
begin();
