// A canvas as sharp as its screen, in the colours of the page, with the shapes that all its drawings share.

/** The colours that drawings use, by their names in the style. */
const COLOURS = [
  "paper", "card", "rule", "soft", "ink", "accent", "accent-soft", "past", "seen", "missed", "missed-ground", "wrong",
  "wrong-ground", "warn", "ahead",
];

export class Paint {
  width = 0;
  height = 0;
  /** @type {Record<string, string>} */
  #colours = {};
  #family = "sans-serif";
  #hatch = /** @type {CanvasPattern | null} */ (null);
  #dots = /** @type {CanvasPattern | null} */ (null);
  #unknown = /** @type {CanvasPattern | null} */ (null);

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {() => void} redraw Is called whenever what was drawn is no longer right.
   */
  constructor(canvas, redraw) {
    this.canvas = canvas;
    this.pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    new ResizeObserver(() => (this.#fit(), redraw())).observe(canvas);
    for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)", "(prefers-contrast: more)"]) {
      matchMedia(query).addEventListener("change", () => (this.#fit(), redraw()));
    }
    this.#fit();
  }

  #fit() {
    const scale = devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * scale);
    this.canvas.height = Math.round(this.height * scale);
    this.pen.setTransform(scale, 0, 0, scale, 0, 0);
    const style = getComputedStyle(this.canvas);
    this.#family = style.fontFamily;
    for (const name of COLOURS) this.#colours[name] = style.getPropertyValue(`--${name}`).trim() || "currentColor";
    this.#hatch = this.#pattern(6, "missed-ground", (pen) => {
      pen.strokeStyle = this.colour("missed");
      pen.lineWidth = 2;
      pen.beginPath();
      for (const x of [-6, 0, 6]) pen.moveTo(x, 6), pen.lineTo(x + 6, 0);
      pen.stroke();
    });
    this.#unknown = this.#pattern(8, "card", (pen) => {
      pen.strokeStyle = this.colour("past");
      pen.lineWidth = 1;
      pen.beginPath();
      for (const x of [-8, 0, 8]) pen.moveTo(x, 8), pen.lineTo(x + 8, 0);
      pen.stroke();
    });
    this.#dots = this.#pattern(5, "wrong-ground", (pen) => {
      pen.fillStyle = this.colour("wrong");
      pen.beginPath();
      pen.arc(2.5, 2.5, 1.3, 0, 7);
      pen.fill();
    });
  }

  /** @param {string} name */
  colour(name) {
    return this.#colours[name] ?? "currentColor";
  }

  /**
   * @param {number} size
   * @param {string} ground
   * @param {(pen: CanvasRenderingContext2D) => void} draw
   */
  #pattern(size, ground, draw) {
    const scale = Math.max(1, Math.round(devicePixelRatio || 1));
    const tile = document.createElement("canvas");
    tile.width = tile.height = size * scale;
    const pen = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"));
    pen.scale(scale, scale);
    pen.fillStyle = this.colour(ground);
    pen.fillRect(0, 0, size, size);
    draw(pen);
    const pattern = this.pen.createPattern(tile, "repeat");
    pattern?.setTransform(new DOMMatrix().scale(1 / scale));
    return pattern;
  }

  clear() {
    this.pen.clearRect(0, 0, this.width, this.height);
  }

  /**
   * @param {string} colour
   * @param {number} x
   * @param {number} y
   * @param {number} width
   * @param {number} height
   * @param {number} [radius]
   */
  bar(colour, x, y, width, height, radius = 0) {
    this.pen.fillStyle = this.colour(colour);
    this.pen.beginPath();
    this.pen.roundRect(x, y, width, height, radius);
    this.pen.fill();
  }

  /**
   * A piece of a lane: right as a plain bar, wrong or unknown as a patterned one, so that it is seen without its colour.
   * @param {"seen" | "missed" | "wrong" | "unknown"} kind
   * @param {number} x
   * @param {number} width
   * @param {number} base
   * @param {number} height
   */
  piece(kind, x, width, base, height) {
    const tall = kind === "missed" ? height * 0.42 : height;
    const pattern = { seen: null, missed: this.#hatch, wrong: this.#dots, unknown: this.#unknown }[kind];
    this.pen.fillStyle = pattern ?? this.colour(kind);
    this.pen.fillRect(x, base - tall, width, tall);
  }

  /**
   * @param {string} colour
   * @param {number} x
   * @param {number} from
   * @param {number} to
   * @param {number[]} [dash]
   * @param {number} [width]
   */
  upright(colour, x, from, to, dash = [], width = 1) {
    const { pen } = this;
    pen.strokeStyle = this.colour(colour);
    pen.lineWidth = width;
    pen.setLineDash(dash);
    pen.beginPath();
    pen.moveTo(x, from);
    pen.lineTo(x, to);
    pen.stroke();
    pen.setLineDash([]);
  }

  /**
   * What was requested: up for a Started, hollow for one requested again, down for a Stopped; a cross where it did not arrive.
   * @param {{indicator: string, reason: string, outcome: string | null}} request
   * @param {number} x
   * @param {number} y
   */
  mark(request, x, y) {
    const { pen } = this;
    const down = request.indicator === "TypingStopped";
    const lost = request.outcome !== null && request.outcome !== "delivered";
    const way = down ? -1 : 1;
    pen.lineWidth = 1.4;
    pen.beginPath();
    if (lost) {
      pen.strokeStyle = this.colour("warn");
      pen.moveTo(x - 4, y - 4), pen.lineTo(x + 4, y + 4), pen.moveTo(x + 4, y - 4), pen.lineTo(x - 4, y + 4);
      return pen.stroke();
    }
    pen.moveTo(x, y - 5 * way);
    pen.lineTo(x + 4.8, y + 3.6 * way);
    pen.lineTo(x - 4.8, y + 3.6 * way);
    pen.closePath();
    if (request.reason === "check") {
      pen.strokeStyle = this.colour("accent");
      pen.stroke();
    } else {
      pen.fillStyle = this.colour(down ? "ink" : "accent");
      pen.fill();
    }
  }

  /**
   * @param {string} text
   * @param {number} [size]
   */
  measure(text, size = 11.5) {
    this.pen.font = `400 ${size}px ${this.#family}`;
    return this.pen.measureText(text).width;
  }

  /**
   * A sentence in as many lines as it takes, centred.
   * @param {string} text
   * @param {number} x
   * @param {number} y The middle of its first line.
   * @param {number} width
   */
  lines(text, x, y, width) {
    const size = 14;
    let line = "";
    for (const word of text.split(" ")) {
      const longer = line ? `${line} ${word}` : word;
      if (line && this.measure(longer, size) > width) {
        this.write(line, x, y, { align: "center", size, ground: "card" });
        y += size * 1.4;
        line = word;
      } else {
        line = longer;
      }
    }
    this.write(line, x, y, { align: "center", size, ground: "card" });
  }

  /**
   * @param {string} text
   * @param {number} x
   * @param {number} y
   * @param {{colour?: string, align?: CanvasTextAlign, weight?: number, size?: number, ground?: string}} [how] `ground`: the
   * colour of what is behind it, which hides the lines that cross it.
   */
  write(text, x, y, { colour = "soft", align = "left", weight = 400, size = 11.5, ground } = {}) {
    this.pen.font = `${weight} ${size}px ${this.#family}`;
    if (ground) {
      const { width } = this.pen.measureText(text);
      const left = align === "center" ? x - width / 2 : align === "right" ? x - width : x;
      this.bar(ground, left - 2, y - size * 0.6, width + 4, size * 1.2);
    }
    this.pen.fillStyle = this.colour(colour);
    this.pen.textAlign = align;
    this.pen.textBaseline = "middle";
    this.pen.fillText(text, x, y);
    return this.pen.measureText(text).width;
  }
}
