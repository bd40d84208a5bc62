// The document, by few words.

import { visible } from "./words.js";

/**
 * The element with this id, which is there.
 * @param {string} id
 * @returns {any}
 */
export function at(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`there is no #${id} on the page`);
  return found;
}

/**
 * Writes a text if it is another, so that nothing is read out twice.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Writes a text with elements in it, if it is another.
 * @param {Element} element
 * @param {...(Node | string)} parts
 */
export function write(element, ...parts) {
  const text = parts.map((part) => (typeof part === "string" ? part : part.textContent)).join("");
  if (element.textContent !== text) element.replaceChildren(...parts);
}

/**
 * Anyone's id: invisible characters in it are made visible, and it can neither reverse nor push aside what is beside it.
 * @param {string} text
 */
export function id(text) {
  return make("bdi", { class: "id", title: visible(text) }, visible(text));
}

/**
 * A new element. Text is text: nothing on this page writes markup.
 * @param {string} name
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Whether the reader wants no motion. */
export function still() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Waits.
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
