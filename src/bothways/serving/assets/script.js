"use strict";
const $ = (id) => document.getElementById(id);
const SHOWN = 20;
const OWN = "own" in document.body.dataset;

function say(text, bad) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", Boolean(bad));
}

function headers() {
  const key = $("key").value;
  return { "Content-Type": "application/json", ...(key ? { Authorization: "Bearer " + key } : {}) };
}

async function ask(path, body) {
  const options = body === undefined ? { headers: headers() } : { method: "POST", headers: headers(), body: JSON.stringify(body) };
  const answer = await fetch(path, options);
  const value = await answer.json();
  if (answer.status === 401) {
    $("key").hidden = $("key-label").hidden = false;
    $("key").focus();
  }
  if (!answer.ok) throw new Error(value.error.message);
  return value;
}

async function models() {
  const found = await ask("v1/models");
  $("model").replaceChildren(...found.data.map((model) => new Option(model.id, model.id)));
}

function documents() {
  const text = $("texts").value.trim();
  const parts = /\n\s*\n/.test(text) ? text.split(/\n\s*\n/) : text.split("\n");
  return parts.map((part) => part.trim()).filter(Boolean);
}

function show(results) {
  $("results").replaceChildren(...results.map((result) => {
    const item = document.createElement("li");
    const parts = OWN
      ? [["score", result.score.toFixed(3)], ["text", result.text], ["place", `${result.file}, row ${result.row}, ${result.span.join("–")}`]]
      : [["score", result.relevance_score.toFixed(3)], ["text", result.document.text]];
    for (const [name, value] of parts) {
      const part = document.createElement("span");
      part.className = name;
      part.textContent = value;
      item.append(part);
    }
    return item;
  }));
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("search").disabled = true;
  say("Searching …");
  try {
    const begun = performance.now();
    const seconds = () => `${((performance.now() - begun) / 1000).toFixed(2)} s`;
    if (OWN) {
      const where = $("where").value.trim();
      const body = { query: $("query").value, top: SHOWN, hybrid: $("hybrid").checked, ...(where ? { where } : {}) };
      const found = await ask("search", body);
      show(found.results);
      say(`${found.results.length} results, ${seconds()}`);
      return;
    }
    if (!$("model").value) await models();
    const texts = documents();
    const body = { model: $("model").value, query: $("query").value, documents: texts, top_n: SHOWN, return_documents: true };
    const found = await ask("v1/rerank", body);
    show(found.results);
    say(`${texts.length} texts, ${found.usage.total_tokens} tokens, ${seconds()}`);
  } catch (error) {
    say(error.message, true);
  } finally {
    $("search").disabled = false;
  }
});

$("texts").required = !OWN;
models().catch((error) => say(error.message, true));
