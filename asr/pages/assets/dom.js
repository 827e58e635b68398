"use strict";
// Texts reach the page only through textContent: hostile names and transcripts stay text.
const data = JSON.parse(document.getElementById("data")?.textContent ?? "null");
const $ = (id) => document.getElementById(id);
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const makeButton = (text, action, className = "", name = "") => {
  const node = make("button", className, text);
  node.type = "button";
  if (name) node.setAttribute("aria-label", name);
  node.addEventListener("click", action);
  return node;
};
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
// Canvases draw with the colours of the theme: each of class "timeline" has a function `paint`.
const repaint = () => document.querySelectorAll("canvas.timeline").forEach((canvas) =>
  canvas.paint?.());
$("theme")?.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  repaint();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
addEventListener("resize", repaint);
