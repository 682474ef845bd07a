"use strict";
// The editor of a mask: a canvas over a frame, a brush that adds or erases. Pixels that no stroke touches stay as they were.
window.maskEditor = (() => {
  const UNDO = 10;
  let editor = null;

  const picture = (source) =>
    new Promise((done, fail) => {
      const image = new Image();
      image.onload = () => done(image);
      image.onerror = fail;
      image.src = source;
    });

  async function fresh() {
    for (let tries = 0; tries < 300; tries++) {
      const root = document.querySelector(".mask-editor:not([data-ready])");
      if (root) return root;
      await new Promise((done) => setTimeout(done, 20));
    }
    return null;
  }

  function pixels(pen, change) {
    const { width, height } = pen.canvas;
    const data = pen.getImageData(0, 0, width, height);
    for (let at = 0; at < data.data.length; at += 4) data.data.set(change(data.data, at), at);
    return data;
  }

  function maskPen(image, colour) {
    const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(image, 0, 0);
    pen.putImageData(pixels(pen, (data, at) => [...colour, data[at] > 127 ? 255 : 0]), 0, 0);
    return pen;
  }

  async function open() {
    const root = await fresh();
    if (!root) return;
    root.dataset.ready = "yes";
    const view = root.querySelector("canvas");
    const [frame, mask] = await Promise.all([picture(view.dataset.frame), picture(view.dataset.mask)]);
    const colour = view.dataset.colour.split(",").map(Number);
    const pen = maskPen(mask, colour);
    editor = { root, view, frame, pen, colour, undo: [], last: null, at: null };
    view.width = frame.width;
    view.height = frame.height;
    listen();
    draw();
    root.dataset.shown = "yes";
  }

  const size = () => Number(editor.root.querySelector("[name=size]").value);
  const erases = () => editor.root.querySelector("[value=erase]").checked;

  function listen() {
    const { root, view } = editor;
    view.addEventListener("pointerdown", (event) => {
      view.setPointerCapture(event.pointerId);
      keep();
      stroke(place(event));
    });
    view.addEventListener("pointermove", (event) => {
      editor.at = place(event);
      if (editor.last) stroke(editor.at);
      else draw();
    });
    for (const name of ["pointerup", "pointercancel"]) view.addEventListener(name, () => (editor.last = null));
    view.addEventListener("pointerleave", () => {
      editor.at = null;
      draw();
    });
    root.querySelector("[name=undo]").addEventListener("click", undo);
    root.querySelector("[name=clear]").addEventListener("click", clear);
    root.addEventListener("keydown", press);
  }

  function press(event) {
    const brush = editor.root.querySelector("[name=size]");
    if (event.key === "[") brush.stepDown();
    else if (event.key === "]") brush.stepUp();
    else if (event.key === "x") editor.root.querySelector(`[value=${erases() ? "add" : "erase"}]`).checked = true;
    else if (event.key === "z") undo();
    else return;
    event.preventDefault();
    draw();
  }

  function place(event) {
    const { view } = editor;
    return [(event.offsetX * view.width) / view.clientWidth, (event.offsetY * view.height) / view.clientHeight];
  }

  function stroke(to) {
    const { pen, colour } = editor;
    const from = editor.last || to;
    pen.globalCompositeOperation = erases() ? "destination-out" : "source-over";
    pen.strokeStyle = pen.fillStyle = `rgb(${colour})`;
    pen.lineWidth = size();
    pen.lineCap = "round";
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(...to);
    pen.stroke();
    pen.beginPath();
    pen.arc(...to, size() / 2, 0, 7);
    pen.fill();
    editor.last = editor.at = to;
    draw();
  }

  function keep() {
    const { pen, undo } = editor;
    undo.push(pen.getImageData(0, 0, pen.canvas.width, pen.canvas.height));
    if (undo.length > UNDO) undo.shift();
  }

  function undo() {
    const before = editor.undo.pop();
    if (before) editor.pen.putImageData(before, 0, 0);
    draw();
  }

  function clear() {
    keep();
    editor.pen.clearRect(0, 0, editor.pen.canvas.width, editor.pen.canvas.height);
    draw();
  }

  function draw() {
    const { view, frame, pen, at } = editor;
    const ink = view.getContext("2d");
    ink.drawImage(frame, 0, 0);
    ink.save();
    ink.globalAlpha = 0.6;
    ink.shadowColor = "white"; // a rim, where the object has the mask's colour
    ink.shadowBlur = Math.max(2, view.width / 150);
    ink.drawImage(pen.canvas, 0, 0);
    ink.restore();
    if (!at) return;
    for (const [colour, radius] of [["black", size() / 2 + view.width / view.clientWidth], ["white", size() / 2]]) {
      ink.strokeStyle = colour;
      ink.lineWidth = view.width / view.clientWidth;
      ink.beginPath();
      ink.arc(...at, radius, 0, 7);
      ink.stroke();
    }
  }

  // The mask as a PNG, white inside and black outside; "" without an editor.
  function png() {
    if (!editor || !editor.root.isConnected) return "";
    const { pen } = editor;
    const canvas = Object.assign(document.createElement("canvas"), { width: pen.canvas.width, height: pen.canvas.height });
    const binary = pixels(pen, (data, at) => (data[at + 3] > 127 ? [255, 255, 255, 255] : [0, 0, 0, 255]));
    canvas.getContext("2d").putImageData(binary, 0, 0);
    return canvas.toDataURL("image/png");
  }

  return { open, png };
})();
