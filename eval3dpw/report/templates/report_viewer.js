"use strict";
/* Bodies in 3D by WebGL 2: meshes are sums of a mean and components (see report_scene.py), lit from the viewer. */
(() => {
  const canvas = document.getElementById("scene-canvas");
  if (!canvas) return;
  const byId = (id) => document.getElementById("scene-" + id);
  const gl = canvas.getContext("webgl2", { antialias: true, alpha: false, preserveDrawingBuffer: true });
  if (!gl) {
    const text = document.createElement("p");
    text.className = "told";
    text.textContent = "This browser has no WebGL 2: the bodies cannot be shown in 3D.";
    canvas.replaceWith(text);
    return;
  }

  const VERTEX = `#version 300 es
    in vec3 position; in vec3 normal; uniform mat4 view; uniform mat4 projection; out vec3 seen; out vec3 turned;
    void main() { vec4 p = view * vec4(position, 1.0); seen = p.xyz; turned = mat3(view) * normal; gl_Position = projection * p; }`;
  const FRAGMENT = `#version 300 es
    precision highp float; in vec3 seen; in vec3 turned; uniform vec4 colour; uniform float lit; out vec4 result;
    void main() {
      float facing = abs(dot(normalize(turned + vec3(1e-9)), normalize(-seen)));
      result = vec4(colour.rgb * mix(1.0, 0.3 + 0.75 * facing, lit), colour.a);
    }`;

  function program() {
    const made = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(made, shader);
    }
    gl.bindAttribLocation(made, 0, "position");
    gl.bindAttribLocation(made, 1, "normal");
    gl.linkProgram(made);
    return made;
  }

  function decode(text, Type) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Type(bytes.buffer);
  }

  const unpacked = new Map();
  function scene(number) {
    if (!unpacked.has(number)) {
      const packed = DATA.scenes[number];
      unpacked.set(number, {
        rows: packed.rows, frameIds: packed.frame_ids, count: packed.num_components, scale: packed.mean_scale, error: packed.error_mm,
        faces: decode(packed.faces, Uint16Array), mean: decode(packed.mean, Int16Array), components: decode(packed.components, Int16Array),
        coefficients: decode(packed.coefficients, Float32Array), pelvis: decode(packed.pelvis, Float32Array), orientation: decode(packed.orientation, Float32Array),
      });
    }
    return unpacked.get(number);
  }

  /* Vertices of one row at one frame in the viewer's axes (+x right, +y up, +z towards the viewer). */
  function vertices(s, row, frame, origin) {
    const size = s.mean.length, at = row * s.frameIds.length + frame;
    const local = new Float32Array(size);
    for (let i = 0; i < size; i++) local[i] = s.mean[i] * s.scale;
    for (let c = 0; c < s.count; c++) {
      const amount = s.coefficients[at * s.count + c], from = c * size;
      if (amount !== 0) for (let i = 0; i < size; i++) local[i] += amount * s.components[from + i];
    }
    const R = s.orientation.subarray(9 * at, 9 * at + 9), p = s.pelvis.subarray(3 * at, 3 * at + 3);
    const result = new Float32Array(size);
    for (let i = 0; i < size; i += 3) {
      const x = local[i], y = local[i + 1], z = local[i + 2];
      for (let k = 0; k < 3; k++) {
        const value = R[3 * k] * x + R[3 * k + 1] * y + R[3 * k + 2] * z + p[k] - origin[k];
        result[i + k] = k === 0 ? value : -value;
      }
    }
    return result;
  }

  function normals(points, faces) {
    const result = new Float32Array(points.length);
    for (let f = 0; f < faces.length; f += 3) {
      const a = 3 * faces[f], b = 3 * faces[f + 1], c = 3 * faces[f + 2];
      const ux = points[b] - points[a], uy = points[b + 1] - points[a + 1], uz = points[b + 2] - points[a + 2];
      const vx = points[c] - points[a], vy = points[c + 1] - points[a + 1], vz = points[c + 2] - points[a + 2];
      const nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
      for (const corner of [a, b, c]) { result[corner] += nx; result[corner + 1] += ny; result[corner + 2] += nz; }
    }
    return result;
  }

  const shader = program();
  const where = (name) => gl.getUniformLocation(shader, name);
  const uniforms = { view: where("view"), projection: where("projection"), colour: where("colour"), lit: where("lit") };
  const buffers = { position: gl.createBuffer(), normal: gl.createBuffer(), faces: gl.createBuffer() };

  function upload(attribute, buffer, values) {
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(attribute);
    gl.vertexAttribPointer(attribute, 3, gl.FLOAT, false, 0, 0);
  }

  const START = { turn: 0.5, tilt: 0.15, distance: 3.2 };
  const view = { ...START };
  let number = 0, frame = 0, playing = 0;

  function matrices() {
    const aspect = canvas.width / canvas.height, f = 1 / Math.tan(0.35), near = 0.05, far = 60;
    const distance = view.distance * Math.max(1, 0.75 / aspect);
    const projection = [f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, (far + near) / (near - far), -1, 0, 0, (2 * far * near) / (near - far), 0];
    const [ct, st, cu, su] = [Math.cos(view.tilt), Math.sin(view.tilt), Math.cos(view.turn), Math.sin(view.turn)];
    return { projection, view: [cu, st * su, -ct * su, 0, 0, ct, st, 0, su, -st * cu, ct * cu, 0, 0, 0, -distance, 1] };
  }

  function colour(hex, alpha) {
    const value = parseInt(hex.slice(1), 16);
    return [((value >> 16) & 255) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255, alpha];
  }

  function shownRows(s) {
    const wanted = [[byId("row").value, 1]];
    if (byId("initial").checked && byId("row").value !== "init") wanted.push(["init", 1]);
    if (byId("truth").checked) wanted.push(["truth", 0.55]);
    return wanted.filter(([row]) => s.rows.includes(row));
  }

  function draw() {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    const s = scene(number), rows = shownRows(s), m = matrices();
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0.933, 0.945, 0.957, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.useProgram(shader);
    gl.uniformMatrix4fv(uniforms.view, false, m.view);
    gl.uniformMatrix4fv(uniforms.projection, false, m.projection);
    const pelvisOf = (row) => { const at = 3 * (s.rows.indexOf(row) * s.frameIds.length + frame); return s.pelvis.subarray(at, at + 3); };
    const reference = s.rows.includes("truth") ? "truth" : s.rows[0];
    let floor = Infinity;
    for (const [row, alpha] of rows) {
      const origin = pelvisOf(byId("together").checked ? row : reference);
      const points = vertices(s, s.rows.indexOf(row), frame, origin);
      for (let i = 1; i < points.length; i += 3) floor = Math.min(floor, points[i]);
      upload(0, buffers.position, points);
      upload(1, buffers.normal, normals(points, s.faces));
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffers.faces);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, s.faces, gl.DYNAMIC_DRAW);
      gl.uniform1f(uniforms.lit, 1);
      gl.uniform4fv(uniforms.colour, colour(DATA.colours[row], alpha));
      if (alpha < 1) { // depth first: of a translucent body only the nearest surface is seen
        gl.colorMask(false, false, false, false);
        gl.drawElements(gl.TRIANGLES, s.faces.length, gl.UNSIGNED_SHORT, 0);
        gl.colorMask(true, true, true, true);
        gl.depthFunc(gl.LEQUAL);
      }
      gl.drawElements(gl.TRIANGLES, s.faces.length, gl.UNSIGNED_SHORT, 0);
      gl.depthFunc(gl.LESS);
    }
    drawFloor(Number.isFinite(floor) ? floor : -1);
    byId("chosen").textContent = `${s.frameIds[frame]} (${frame + 1}/${s.frameIds.length})`;
    byId("frame").setAttribute("aria-valuetext", `frame ${s.frameIds[frame]}`);
    canvas.dataset.drawn = rows.map(([row]) => row).join(" ") + ` @${frame}`;
  }

  /* A square metre's grid at the height of the lowest point. */
  function drawFloor(height) {
    const points = [];
    for (let i = -4; i <= 4; i++) points.push(i / 2, height, -2, i / 2, height, 2, -2, height, i / 2, 2, height, i / 2);
    upload(0, buffers.position, new Float32Array(points));
    upload(1, buffers.normal, new Float32Array(points.length));
    gl.uniform1f(uniforms.lit, 0);
    gl.uniform4fv(uniforms.colour, [0.4, 0.45, 0.5, 0.5]);
    gl.drawArrays(gl.LINES, 0, points.length / 3);
  }

  let waiting = 0;
  function redraw() {
    if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; draw(); });
  }

  function choose(track) {
    number = track;
    frame = 0;
    const s = scene(number);
    byId("frame").max = String(s.frameIds.length - 1);
    byId("frame").value = "0";
    byId("frame").disabled = byId("play").disabled = s.frameIds.length < 2;
    byId("truth").disabled = !s.rows.includes("truth");
    byId("error").textContent = s.error.toFixed(1);
    redraw();
  }

  function step(frames) {
    const count = scene(number).frameIds.length;
    frame = (frame + frames + count) % count;
    byId("frame").value = String(frame);
    redraw();
  }

  function play(on) {
    clearInterval(playing);
    playing = on ? setInterval(() => step(1), 1000 / 12) : 0;
    byId("play").textContent = on ? "Pause" : "Play";
  }

  byId("track").addEventListener("change", () => choose(Number(byId("track").value)));
  for (const id of ["row", "initial", "truth", "together"]) byId(id).addEventListener("change", redraw);
  byId("frame").addEventListener("input", () => { frame = Number(byId("frame").value); redraw(); });
  byId("play").addEventListener("click", () => play(!playing));
  byId("reset").addEventListener("click", () => { Object.assign(view, START); redraw(); });

  function turn(dx, dy) {
    view.turn += dx;
    view.tilt = Math.max(-1.5, Math.min(1.5, view.tilt + dy));
    redraw();
  }
  function zoom(factor) {
    view.distance = Math.max(0.6, Math.min(20, view.distance * factor));
    redraw();
  }
  const held = new Map();
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); held.set(event.pointerId, [event.clientX, event.clientY]); });
  canvas.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return;
    const spread = () => { const [a, b] = Array.from(held.values()); return Math.hypot(a[0] - b[0], a[1] - b[1]); };
    const old = held.size === 2 ? spread() : 0;
    held.set(event.pointerId, [event.clientX, event.clientY]);
    if (held.size === 2) zoom(old / Math.max(1, spread()));
    else turn((event.clientX - before[0]) * 0.008, (event.clientY - before[1]) * 0.008);
  });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => held.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(event.deltaY * 0.001)); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => turn(-0.1, 0), ArrowRight: () => turn(0.1, 0), ArrowUp: () => turn(0, -0.1), ArrowDown: () => turn(0, 0.1),
      "+": () => zoom(0.9), "=": () => zoom(0.9), "-": () => zoom(1.1), " ": () => play(!playing),
    };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  window.addEventListener("resize", redraw);

  /* The scene is unpacked when it comes into view, so that the page opens at once. */
  const watcher = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) { watcher.disconnect(); choose(0); }
  }, { rootMargin: "300px" });
  watcher.observe(canvas);
})();
