// Keeps a page of the node fresh. Pages are complete without it.
"use strict";

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const visible = () => !document.hidden || new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));

// The index: fetched again as a page; its main part is put in place when it differs.
async function keepIndexFresh() {
  for (;;) {
    await wait(2000);
    await visible();
    try {
      const response = await fetch("/_nexus/", { headers: { Accept: "text/html" } });
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html").querySelector("main[data-index]");
      const main = document.querySelector("main[data-index]");
      if (!fresh || fresh.innerHTML === main.innerHTML) continue;
      const focused = document.activeElement?.getAttribute?.("href");
      main.replaceWith(fresh);
      if (focused) fresh.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    } catch {
      // The node is away; it is asked again.
    }
  }
}

// A page about a state: shows what happens, and asks again for what was wanted once the state is another.
async function followSite(main) {
  const { live, state, method } = main.dataset;
  const message = document.getElementById("message");
  const log = document.getElementById("log");
  for (;;) {
    await wait(state === "starting" ? 1000 : 3000);
    await visible();
    try {
      const response = await fetch(`/_nexus/status/${live}`);
      if (!response.ok) continue;
      const now = await response.json();
      if (now.state !== state) return again(method);
      if (now.message) message.replaceChildren(...sentence(now.message));
      showPhase(now.phase);
      const text = now.log.join("\n") + "\n";
      if (now.log.length && log.textContent !== text) {
        log.textContent = text;
        log.parentElement.hidden = false;
        log.scrollTop = log.scrollHeight;
      }
    } catch {
      // The node is away; it is asked again.
    }
  }
}

// As on the page: a capital letter, a full stop, and code for what stands in backticks.
function sentence(message) {
  const text = message[0].toUpperCase() + message.slice(1) + (/[.?!:]$/.test(message) ? "" : ".");
  return text.split("`").map((part, index) => (index % 2 ? Object.assign(document.createElement("code"), { textContent: part }) : part));
}

function showPhase(phase) {
  const steps = [...document.querySelectorAll("#steps li")];
  const current = steps.findIndex((step) => step.dataset.phase === phase);
  if (current < 0) return;
  steps.forEach((step, index) => {
    step.className = index < current ? "done" : index === current ? "now" : "later";
    if (index === current) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
  });
}

// A GET is repeated at once; anything else only when the person says so. Reloading keeps method, address and body.
function again(method) {
  if (method === "GET") return location.reload();
  const button = document.getElementById("again");
  button.hidden = false;
  button.addEventListener("click", () => location.reload());
}

const log = document.getElementById("log");
if (log) log.scrollTop = log.scrollHeight;
if (document.querySelector("main[data-index]")) keepIndexFresh();
const main = document.querySelector("main[data-live]");
if (main) followSite(main);
