// Draws the image of a MaskCanvas (mask_canvas.py) and sends gestures: box, point, stroke, add, remove, undo.
// Coordinates are image pixels in which pixel k reaches from k to k + 1.

const TOOLS = [
  { name: "box", label: "Box", key: "b", title: "Drag a box around the object (b)" },
  { name: "inside", label: "On it", key: "p", title: "Click on the object (p)" },
  { name: "outside", label: "Not on it", key: "o", title: "Click beside the object; or click with Shift (o)" },
  { name: "paint", label: "Paint", key: "a", title: "Paint pixels into the mask (a)" },
  { name: "erase", label: "Erase", key: "e", title: "Take pixels out of the mask (e)" },
];

function makeButton(label, title, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.title = title;
  button.addEventListener("click", act);
  return button;
}

function drawCross(context, x, y, colour, inside, unit) {
  const arm = 5 * unit;
  for (const [width, stroke] of [[4 * unit, "#fff"], [2 * unit, colour]]) {
    context.lineWidth = width;
    context.strokeStyle = stroke;
    context.beginPath();
    context.moveTo(x - arm, y);
    context.lineTo(x + arm, y);
    if (inside) {
      context.moveTo(x, y - arm);
      context.lineTo(x, y + arm);
    }
    context.stroke();
  }
}

function render({ model, el }) {
  let tool = "box";
  let radius = 6;
  let drag = null;

  const root = document.createElement("div");
  root.className = "ig-masks";
  const bar = document.createElement("div");
  bar.className = "ig-bar";
  const chips = document.createElement("div");
  chips.className = "ig-bar";
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  [canvas.width, canvas.height] = model.get("size");
  const status = document.createElement("div");
  status.className = "ig-status";
  status.setAttribute("role", "status");
  root.append(bar, chips, canvas, status);
  el.append(root);
  const context = canvas.getContext("2d");

  const toolButtons = TOOLS.map(({ name, label, title }) => {
    const button = makeButton(label, title, () => chooseTool(name));
    button.dataset.tool = name;
    return button;
  });
  const size = document.createElement("input");
  Object.assign(size, { type: "range", min: 1, max: 40, value: radius, title: "Radius of the brush, pixels" });
  size.addEventListener("input", () => { radius = Number(size.value); });
  const gap = document.createElement("span");
  gap.className = "ig-gap";
  bar.append(...toolButtons, size, gap, makeButton("Undo", "Take the last change back (z)", () => model.send({ kind: "undo" })));

  const marked = new Image();
  marked.addEventListener("load", draw);

  function chooseTool(name) {
    tool = name;
    toolButtons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.tool === name)));
  }

  function listObjects() {
    const selected = model.get("selected");
    const buttons = model.get("objects").map(({ colour, pixels }, index) => {
      const button = makeButton(`object ${index}`, `${pixels} pixels`, () => { model.set("selected", index); model.save_changes(); });
      button.className = "ig-object";
      button.style.setProperty("--ig-colour", colour);
      button.setAttribute("aria-pressed", String(index === selected));
      return button;
    });
    chips.replaceChildren(
      ...buttons,
      makeButton("+ object", "Mark a further object (n)", () => model.send({ kind: "add" })),
      makeButton("Remove", "Take the chosen object away", () => model.send({ kind: "remove" })),
    );
  }

  function drawMarks(unit) {
    const selected = model.get("selected");
    model.get("objects").forEach(({ colour, box, inside, outside }, index) => {
      if (box) {
        const [x0, y0, x1, y1] = box;
        context.lineWidth = (index === selected ? 2 : 1) * unit;
        context.setLineDash([6 * unit, 4 * unit]);
        context.strokeStyle = colour;
        context.strokeRect(x0, y0, x1 - x0, y1 - y0);
        context.setLineDash([]);
      }
      inside.forEach(([x, y]) => drawCross(context, x, y, colour, true, unit));
      outside.forEach(([x, y]) => drawCross(context, x, y, colour, false, unit));
    });
  }

  function drawDrag(unit) {
    if (!drag) return;
    context.strokeStyle = drag.tool === "erase" ? "rgba(255, 255, 255, .7)" : "rgba(29, 31, 33, .7)";
    if (drag.tool === "box") {
      const [[x0, y0], [x1, y1]] = [drag.path[0], drag.path.at(-1)];
      context.lineWidth = 2 * unit;
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    } else {
      context.lineWidth = 2 * radius;
      context.lineCap = context.lineJoin = "round";
      context.beginPath();
      drag.path.forEach(([x, y]) => context.lineTo(x, y));
      context.lineTo(...drag.path.at(-1));
      context.stroke();
    }
  }

  function draw() {
    const unit = canvas.width / (canvas.clientWidth || canvas.width);
    context.drawImage(marked, 0, 0, canvas.width, canvas.height);
    drawMarks(unit);
    drawDrag(unit);
  }

  function locate(event) {
    const frame = canvas.getBoundingClientRect();
    const x = ((event.clientX - frame.left) / frame.width) * canvas.width;
    const y = ((event.clientY - frame.top) / frame.height) * canvas.height;
    return [Math.min(Math.max(x, 0), canvas.width), Math.min(Math.max(y, 0), canvas.height)];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.focus({ preventScroll: true });
    const used = event.shiftKey ? "outside" : tool;
    const place = locate(event);
    if (used === "inside" || used === "outside") {
      model.send({ kind: "point", x: place[0], y: place[1], inside: used === "inside" });
      return;
    }
    canvas.setPointerCapture(event.pointerId);
    drag = { tool: used, path: [place] };
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return;
    drag.path.push(locate(event));
    draw();
  });
  canvas.addEventListener("pointerup", () => {
    if (!drag) return;
    const { tool: used, path } = drag;
    drag = null;
    if (used === "box") model.send({ kind: "box", box: [...path[0], ...path.at(-1)] });
    else model.send({ kind: "stroke", path, radius, erase: used === "erase" });
    draw();
  });
  canvas.addEventListener("pointercancel", () => { drag = null; draw(); });
  canvas.addEventListener("keydown", (event) => {
    const pressed = TOOLS.find(({ key }) => key === event.key);
    if (pressed) chooseTool(pressed.name);
    else if (event.key === "n") model.send({ kind: "add" });
    else if (event.key === "z") model.send({ kind: "undo" });
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  const showImage = () => { marked.src = model.get("marked"); };
  const showObjects = () => { listObjects(); draw(); };
  const showStatus = () => { status.textContent = model.get("status"); };
  model.on("change:marked", showImage);
  model.on("change:objects", showObjects);
  model.on("change:selected", showObjects);
  model.on("change:status", showStatus);
  chooseTool(tool);
  listObjects();
  showStatus();
  showImage();
  return () => {
    model.off("change:marked", showImage);
    model.off("change:objects", showObjects);
    model.off("change:selected", showObjects);
    model.off("change:status", showStatus);
  };
}

export default { render };
