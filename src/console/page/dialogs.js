// Questions to the reader.

import { at, setText, write } from "./dom.js";

/** What can stand in a header, and so in a token: visible ASCII. */
const TOKEN = /^[\x21-\x7e]+$/;

/**
 * Asks for the daemon's token. It is kept in memory only.
 * @param {boolean} wrong Whether one was sent already and refused.
 * @returns {Promise<string>}
 */
export function askToken(wrong) {
  /** @type {HTMLDialogElement} */
  const dialog = at("token");
  /** @type {HTMLInputElement} */
  const input = at("token-value");
  setText(at("token-wrong"), wrong ? "The daemon does not accept that token." : "");
  input.value = "";
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    // A browser may let its reader close any dialog; there is nothing to be seen without a token.
    const insist = () => dialog.showModal();
    dialog.addEventListener("close", insist);
    const take = (/** @type {Event} */ event) => {
      event.preventDefault();
      const token = input.value.trim();
      if (!TOKEN.test(token)) {
        setText(at("token-wrong"), "That can’t be a token: a token is visible ASCII without spaces.");
        return input.select();
      }
      input.value = "";
      dialog.removeEventListener("close", insist);
      at("token-form").removeEventListener("submit", take);
      // It gives the focus back to whatever had it.
      dialog.close();
      if (document.activeElement === document.body) at("box").focus();
      resolve(token);
    };
    at("token-form").addEventListener("submit", take);
  });
}

/**
 * Asks whether to go on.
 * @param {string} title
 * @param {...(Node | string)} question
 * @returns {Promise<boolean>}
 */
export function sure(title, ...question) {
  /** @type {HTMLDialogElement} */
  const dialog = at("sure");
  setText(at("sure-name"), title);
  write(at("sure-what"), ...question);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    at("sure-yes").onclick = () => dialog.close("yes");
    at("sure-no").onclick = () => dialog.close("");
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
