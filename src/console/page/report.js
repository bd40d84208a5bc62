// A trace dropped onto the page, and the report of `tune` on it.

import { Refusal, Unreachable } from "./daemon.js";
import { at, pause, setText } from "./dom.js";
import { count, named, visible } from "./words.js";

/** The longest trace that the daemon takes. */
const TRACE_BYTES_MAX = 64 * 1024 * 1024;
/** When to come again if the daemon studies another trace. */
const BUSY_MS = 2_000;

/** What a study comes to, where it advises no change. @type {Record<string, string>} */
const VERDICTS = { keep: "Keep the timing in force", not_enough_data: "Not enough data for advice" };

export class Report {
  #url = "";
  #asked = /** @type {AbortController | null} */ (null);
  #depth = 0;
  #unanswered = false;
  /** What the study on the page advises. @type {import("./words.js").Setting | null} */
  #advice = null;

  /**
   * @param {import("./daemon.js").Daemon} daemon
   * @param {import("./sliders.js").Sliders} sliders
   */
  constructor(daemon, sliders) {
    this.daemon = daemon;
    this.sliders = sliders;
    daemon.addEventListener("link", () => {
      if (daemon.up && this.#unanswered) setText(at("report-state"), "");
    });
    /** @type {HTMLInputElement} */
    const input = at("trace");
    input.addEventListener("change", () => {
      const file = input.files?.[0];
      if (file) void this.study(file);
      input.value = "";
    });
    const holdsFile = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
    const over = (/** @type {number} */ depth) => {
      this.#depth = depth;
      document.documentElement.classList.toggle("dropping", depth > 0);
    };
    addEventListener("dragenter", (event) => holdsFile(event) && (event.preventDefault(), over(this.#depth + 1)));
    addEventListener("dragleave", (event) => holdsFile(event) && over(Math.max(0, this.#depth - 1)));
    addEventListener("dragover", (event) => holdsFile(event) && event.preventDefault());
    addEventListener("drop", (event) => {
      if (!holdsFile(event)) return;
      event.preventDefault();
      over(0);
      const file = event.dataTransfer?.files[0];
      if (file) void this.study(file);
    });
    at("report-close").addEventListener("click", () => at("report").close());
    at("report-apply").addEventListener("click", () => {
      const advice = this.#advice;
      at("report").close();
      if (advice) void this.sliders.adopt(advice);
    });
    at("report").addEventListener("close", () => this.#forget());
  }

  /** @param {File} file */
  async study(file) {
    this.#asked?.abort();
    const asked = (this.#asked = new AbortController());
    const say = (/** @type {string} */ text) => {
      this.#unanswered = false;
      setText(at("report-state"), visible(text));
    };
    if (file.size > TRACE_BYTES_MAX) {
      return say(`${file.name} is longer than 64 MiB; typingd tune, the command, takes traces of any length.`);
    }
    say(`Studying ${file.name} (${count(Math.ceil(file.size / 1024))} KiB) under 330 settings…`);
    try {
      const answer = await this.#ask(file, "html", asked.signal);
      const page = await answer.blob();
      if (asked.signal.aborted) return;
      say(`The report on ${file.name} is open.`);
      this.#show(page, file.name);
      // The same study for programs: what it advises can then be put in force.
      const study = await (await this.#ask(file, "json", asked.signal)).json();
      if (!asked.signal.aborted) this.#advise(study);
    } catch (error) {
      if (asked.signal.aborted) return;
      say(`${file.name}: ${/** @type {Error} */ (error).message}`);
      this.#unanswered = error instanceof Unreachable;
    }
  }

  /**
   * While the daemon studies another trace, this one waits.
   * @param {File} file
   * @param {string} format
   * @param {AbortSignal} signal
   */
  async #ask(file, format, signal) {
    for (;;) {
      try {
        return await this.daemon.study(`format=${format}`, file, signal);
      } catch (error) {
        if (!(error instanceof Refusal) || error.status !== 503) throw error;
        await pause(BUSY_MS, signal);
      }
    }
  }

  /**
   * Offers what the study advises, if it advises a change.
   * @param {any} study
   */
  #advise({ verdict, advice }) {
    setText(at("report-verdict"), VERDICTS[verdict] ?? "");
    if (verdict !== "change" || !advice) return;
    this.#advice = { mode: advice.mode, check: advice.check_ms, dismiss: advice.dismiss_ms };
    setText(at("report-apply"), `Put ${named(this.#advice)} in force${this.sliders.live ? "" : "…"}`);
    at("report-apply").hidden = false;
  }

  /**
   * @param {Blob} page
   * @param {string} name
   */
  #show(page, name) {
    this.#forget();
    this.#url = URL.createObjectURL(new Blob([page], { type: "text/html" }));
    setText(at("report-name"), name);
    /** @type {HTMLAnchorElement} */
    const save = at("report-save");
    save.href = this.#url;
    save.download = `${name.replace(/\.[^.]*$/, "")}-tune.html`;
    at("report-page").src = this.#url;
    at("report").showModal();
  }

  #forget() {
    this.#advice = null;
    at("report-apply").hidden = true;
    setText(at("report-verdict"), "");
    if (!this.#url) return;
    URL.revokeObjectURL(this.#url);
    this.#url = "";
    at("report-page").removeAttribute("src");
  }
}
