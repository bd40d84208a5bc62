// The order of the page: with the sandbox one tries typingd, with a real org one watches what lives and tunes it.

import { at, setText } from "./dom.js";

/** @param {boolean} sandbox Whether the built-in sandbox is the upstream. */
export function arrange(sandbox) {
  const order = sandbox ? "sandbox" : "real";
  const root = document.documentElement;
  if (root.dataset.upstream === order) return;
  root.dataset.upstream = order;
  const [page, attempt, side, tune, study, beside, live, watch] = ["page", "try", "side", "tune", "study", "beside", "live", "watch"].map(at);
  for (const section of [tune, study]) section.classList.toggle("card", !sandbox);
  live.hidden = sandbox;
  side.hidden = !sandbox;
  (sandbox ? attempt : live).append(at("time"), at("tiles"));
  if (sandbox) side.append(tune, study);
  page.append(...(sandbox ? [attempt, side, beside, live, watch] : [tune, beside, live, study, watch, attempt, side]));
  setText(at("skip"), sandbox ? "Skip to the box to type in" : "Skip to the live conversations");
  at("skip").setAttribute("href", sandbox ? "#box" : "#live");
}
