// What the page asks its reader, and waits for.

import { at, tell, write } from "./dom.js";

/** What can stand in a header, and so in a token: visible ASCII. */
const TOKEN = /^[\x21-\x7e]+$/;

/**
 * Asks for the daemon's token. It stays in this page's memory, and goes with it.
 * @param {boolean} wrong Whether one was shown already, and was not taken.
 * @returns {Promise<string>}
 */
export function askToken(wrong) {
  /** @type {HTMLDialogElement} */
  const dialog = at("token");
  /** @type {HTMLInputElement} */
  const input = at("token-value");
  tell(at("token-wrong"), wrong ? "The daemon does not take that token." : "");
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
        tell(at("token-wrong"), "That can’t be a token: it has visible ASCII characters alone, and no space within.");
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
 * Asks whether something is to be done.
 * @param {...(Node | string)} question
 * @returns {Promise<boolean>}
 */
export function sure(...question) {
  /** @type {HTMLDialogElement} */
  const dialog = at("sure");
  write(at("sure-what"), ...question);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const yes = () => dialog.close("yes");
    const no = () => dialog.close("");
    at("sure-yes").addEventListener("click", yes);
    at("sure-no").addEventListener("click", no);
    dialog.addEventListener(
      "close",
      () => {
        at("sure-yes").removeEventListener("click", yes);
        at("sure-no").removeEventListener("click", no);
        resolve(dialog.returnValue === "yes");
      },
      { once: true },
    );
  });
}
