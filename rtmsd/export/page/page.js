"use strict";
// The page of a recording. `data` is what rtmsd/export/page/data.py says it is; times in seconds from the start.
// Everything from a recording becomes text by `textContent` or `fillText`: nothing of it is ever read as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const audio = document.querySelector("audio");
  const lanes = at("lanes"), head = at("head"), list = at("list");
  const FROM = data.from_s, TO = Math.max(data.to_s, FROM + 1);
  const PEAK_S = 0.1, STEP_S = 5, CLICK_PX = 5, LEAST_S = 1;

  let from = FROM, to = TO; // the part of the time axis that is shown
  let position = FROM; // of playback, or where the reader pointed without audio
  let sought = null; // where we sent the audio: its own clock may answer with a little less

  const make = (name, text, parent) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  };
  const two = (number) => String(number).padStart(2, "0");
  const clock = (s) => {
    const whole = Math.floor(Math.abs(s) + 1e-6);
    const text = `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
    return s < 0 && whole ? `-${text}` : text;
  };
  const length = (s) => (s < 60 ? `${s.toFixed(1)} s` : clock(s));

  // The time axis: a canvas for each lane, all of one width

  const drawn = []; // [canvas, function (context, width, height)]
  const addLane = (name, detail, draw, thin) => {
    const row = make("div", undefined, lanes);
    row.className = thin ? "lane thin" : "lane";
    const label = make("div", undefined, row);
    label.className = "label";
    make("bdi", name, label).title = name;
    make("span", detail, label);
    const canvas = make("canvas", undefined, row);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", detail ? `${name}, ${detail}` : name);
    drawn.push([canvas, draw]);
    return canvas;
  };
  const x = (s, width) => ((s - from) / (to - from)) * width;
  let colour = (name) => name;

  const drawRuler = (context, width, height) => {
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
    const step = steps.find((each) => (each / (to - from)) * width > 70) || 86400 * Math.ceil((to - from) / 864000);
    context.fillStyle = colour("--faint");
    for (let number = Math.ceil(from / step); number * step <= to; number++) {
      const s = number * step, left = x(s, width);
      context.fillRect(left, height - 6, 1, 6);
      context.fillText(step < 1 ? `${clock(s)}.${Math.round((s - Math.floor(s + 1e-6)) * 10)}` : clock(s), left + 3, 12);
    }
  };
  const eachShade = (lane, width, how) => {
    for (const shade of data.shades) {
      if (!shade.lanes.includes(lane) || shade.to_s < from || shade.from_s > to) continue;
      const left = Math.max(0, x(shade.from_s, width)), right = Math.min(width, x(shade.to_s, width));
      how(shade, left, right - left);
    }
  };
  const drawShades = (context, width, height, index) => {
    eachShade(index, width, (shade, left, wide) => {
      context.fillStyle = colour(shade.pause ? "--pause" : "--gap");
      context.fillRect(left, 0, Math.max(1, wide), height);
    });
  };
  const drawPeaks = (lane, index) => (context, width, height) => {
    drawShades(context, width, height, index);
    context.fillStyle = `hsl(${(205 + index * 67) % 360} 60% 50%)`;
    const perPixel = (to - from) / width / PEAK_S, first = (from - lane.from_s) / PEAK_S;
    for (let pixel = 0; pixel < width; pixel++) {
      const begin = Math.max(0, Math.floor(first + pixel * perPixel));
      const end = Math.min(lane.peaks.length, Math.max(begin + 1, Math.floor(first + (pixel + 1) * perPixel)));
      if (first + (pixel + 1) * perPixel < 0) continue;
      let peak = 0;
      for (let each = begin; each < end; each++) if (lane.peaks[each] > peak) peak = lane.peaks[each];
      const high = (peak / 255) * (height - 6);
      if (high > 0) context.fillRect(pixel, (height - high) / 2, 1, Math.max(1, high));
    }
    eachShade(index, width, (shade, left, wide) => {
      const textWidth = context.measureText(shade.text).width;
      if (textWidth + 8 > wide) return;
      context.fillStyle = colour("--back");
      context.fillRect(left + 2, 2, textWidth + 4, 14);
      context.fillStyle = colour(shade.pause ? "--faint" : "--gap-text");
      context.fillText(shade.text, left + 4, 13);
    });
  };
  const drawMarks = (times, index) => (context, width, height) => {
    drawShades(context, width, height, index);
    context.fillStyle = colour("--accent");
    let last = -9;
    for (const s of times) {
      const left = Math.round(x(s, width));
      if (s < from || s > to || left - last < 2) continue;
      context.fillRect(left, 4, 1, height - 8);
      last = left;
    }
  };

  const draw = () => {
    const style = getComputedStyle(document.documentElement), known = {};
    colour = (name) => (known[name] ??= style.getPropertyValue(name));
    const scale = window.devicePixelRatio || 1;
    for (const [canvas, how] of drawn) {
      const width = canvas.clientWidth, height = canvas.clientHeight;
      canvas.width = width * scale;
      canvas.height = height * scale;
      const context = canvas.getContext("2d");
      context.scale(scale, scale);
      context.font = "11px system-ui, sans-serif";
      how(context, width, height);
    }
    moveHead();
  };
  const moveHead = () => {
    const canvas = drawn[0][0];
    head.hidden = position < from || position > to;
    head.style.left = `${canvas.offsetLeft + x(position, canvas.clientWidth)}px`;
  };
  const show = (first, last) => {
    const span = Math.min(TO - FROM, Math.max(LEAST_S, last - first));
    from = Math.min(Math.max(FROM, first), TO - span);
    to = from + span;
    draw();
  };

  // The list of what was said and what is missing

  let now = -1, pointedAt = null, isReading = false;
  const unseen = document.createDocumentFragment(); // a browser is slow to add thousands of lines one by one
  const lines = data.lines.map(([at_s, who, text]) => ({ at_s, who: data.speakers[who] || "", text, gap: who === null }));
  const rows = lines.map((line, index) => {
    const row = make("li", undefined, unseen), button = make("button", undefined, row);
    button.type = "button";
    make("small", clock(line.at_s), button);
    if (line.who) make("b", undefined, button).append(make("bdi", line.who));
    make("bdi", line.text, button);
    if (line.gap) row.className = "gap";
    button.addEventListener("click", () => {
      seek(line.at_s);
      pointedAt = [index, position];
      follow();
    });
    return row;
  });
  list.append(unseen);
  const lineAt = (s) => {
    let low = 0, high = lines.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (lines[middle].at_s <= s + 0.002) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  };
  // A line that was pointed at stays the one, though another begins at the same moment.
  const follow = () => {
    if (pointedAt && Math.abs(position - pointedAt[1]) > 0.3) pointedAt = null;
    const next = pointedAt ? pointedAt[0] : lineAt(position);
    if (next === now) return;
    if (rows[now]) {
      rows[now].classList.remove("now");
      rows[now].removeAttribute("aria-current");
    }
    now = next;
    const row = rows[now];
    if (!row) return;
    row.classList.add("now");
    row.setAttribute("aria-current", "true");
    if (!isReading) list.scrollTop = row.offsetTop - (list.clientHeight - row.offsetHeight) / 2; // its box, not the page
  };
  // Not `mouseenter`: on a phone that comes with a tap, and nothing when the finger is gone.
  list.addEventListener("pointerenter", () => { isReading = true; });
  list.addEventListener("pointerleave", () => { isReading = false; });

  at("search").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLocaleLowerCase();
    let found = 0;
    lines.forEach((line, index) => {
      const fits = !wanted || `${line.who} ${line.text}`.toLocaleLowerCase().includes(wanted);
      rows[index].hidden = !fits;
      found += fits;
    });
    at("found").textContent = wanted ? `${found} of ${rows.length}` : "";
  });

  // Playback

  const moved = () => {
    at("clock").textContent = clock(position);
    slider.setAttribute("aria-valuenow", Math.round(position));
    slider.setAttribute("aria-valuetext", clock(position));
    moveHead();
    follow();
  };
  const seek = (s) => {
    position = Math.min(TO, Math.max(FROM, s));
    if (audio) {
      sought = Math.max(0, position - data.audio_from_s);
      audio.currentTime = sought;
    }
    moved();
    if (position < from || position > to) show(position - (to - from) / 2, position + (to - from) / 2);
  };
  const heard = () => {
    if (sought !== null && Math.abs(audio.currentTime - Math.min(sought, audio.duration || sought)) < 0.05) return;
    sought = null;
    position = audio.currentTime + data.audio_from_s;
    moved();
    if (!audio.paused && position > to && to < TO) show(position, position + (to - from));
  };
  const play = () => {
    if (!audio) return;
    if (audio.paused) audio.play().catch(() => {});
    else audio.pause();
  };
  if (audio) {
    const frame = () => {
      heard();
      if (!audio.paused) requestAnimationFrame(frame);
    };
    audio.addEventListener("play", frame);
    for (const event of ["timeupdate", "seeking", "seeked"]) audio.addEventListener(event, heard);
    audio.addEventListener("error", () => {
      at("note").textContent = "The audio cannot be played: its file is not where the page expects it, or the browser does not know its format.";
    });
  }

  // Pointing at the lanes: a click seeks, a drag zooms, two clicks show all

  const chosen = at("chosen");
  let pressed = null;
  const secondsAt = (event) => {
    const box = drawn[0][0].getBoundingClientRect();
    return from + (Math.min(Math.max(event.clientX - box.left, 0), box.width) / box.width) * (to - from);
  };
  lanes.addEventListener("pointerdown", (event) => {
    if (event.target.tagName !== "CANVAS" || event.button) return;
    pressed = { x: event.clientX, s: secondsAt(event) };
    lanes.setPointerCapture(event.pointerId);
  });
  lanes.addEventListener("pointermove", (event) => {
    if (!pressed || Math.abs(event.clientX - pressed.x) < CLICK_PX) return;
    const canvas = drawn[0][0], ends = [pressed.s, secondsAt(event)].map((s) => x(s, canvas.clientWidth));
    chosen.hidden = false;
    chosen.style.left = `${canvas.offsetLeft + Math.min(...ends)}px`;
    chosen.style.width = `${Math.abs(ends[0] - ends[1])}px`;
  });
  const release = (event) => {
    if (!pressed) return;
    const { x: left, s } = pressed, until = secondsAt(event);
    pressed = null;
    chosen.hidden = true;
    if (event.type === "pointercancel") return;
    if (Math.abs(event.clientX - left) < CLICK_PX) seek(until);
    else show(Math.min(s, until), Math.max(s, until));
  };
  lanes.addEventListener("pointerup", release);
  lanes.addEventListener("pointercancel", release);
  lanes.addEventListener("dblclick", () => show(FROM, TO));

  document.addEventListener("keydown", (event) => {
    const name = event.target.tagName;
    if (event.ctrlKey || event.metaKey || event.altKey || name === "INPUT" || name === "AUDIO") return;
    if (event.key === " " && name !== "SUMMARY" && (audio || name !== "BUTTON")) play(); // Enter presses a button
    else if (event.key === "ArrowLeft") seek(position - STEP_S);
    else if (event.key === "ArrowRight") seek(position + STEP_S);
    else return;
    event.preventDefault();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === " " && event.target.tagName === "BUTTON" && audio) event.preventDefault(); // it would press it
  });

  // Tables: filled when they are opened, as there may be thousands of lines

  const fill = (table, items) => {
    const body = make("tbody", undefined, table);
    for (const [s, ...cells] of items) {
      const row = make("tr", undefined, body);
      const button = make("button", clock(s), make("td", undefined, row));
      button.type = "button";
      button.addEventListener("click", () => seek(s));
      for (const cell of cells) make("td", undefined, row).append(make("bdi", cell));
    }
  };
  for (const name of ["gaps", "events", "chat"]) {
    const details = at(name);
    if (!details) continue;
    const open = () => {
      if (details.open && !details.querySelector("tbody")) fill(details.querySelector("table"), data[name]);
    };
    details.addEventListener("toggle", open);
    open();
  }

  const slider = addLane("", "", drawRuler, true);
  slider.setAttribute("role", "slider");
  slider.setAttribute("aria-label", "Position");
  slider.setAttribute("aria-valuemin", Math.floor(FROM));
  slider.setAttribute("aria-valuemax", Math.ceil(TO));
  slider.tabIndex = 0;
  data.lanes.forEach((lane, index) => {
    lane.peaks = Uint8Array.from(atob(lane.peaks), (char) => char.charCodeAt(0));
    addLane(lane.name, `${length(lane.spoken_s)} spoken`, drawPeaks(lane, index));
  });
  data.pictures.forEach((pictures, number) => {
    const marks = drawMarks(pictures.at_s, data.lanes.length + number);
    addLane(pictures.name, `${pictures.count} key images`, marks, true);
  });
  lanes.append(head, chosen);

  const open = () => {
    const wanted = /^#t=(-?[0-9]+(\.[0-9]+)?)$/.exec(location.hash);
    if (wanted) seek(Number(wanted[1]));
  };
  window.addEventListener("hashchange", open);
  window.addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
  moved();
  open();
})();
