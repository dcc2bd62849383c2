// The page: it follows /api/watch, draws what changes, and asks about what is clicked.
import { addresses, eventText, filtered, networksOf, portText, ratesOf, size } from "./picture.js";

const $ = (selector, within = document) => within.querySelector(selector);
const maxEvents = 500;
const retryAfter = 1000; // milliseconds

// The token is in the fragment, which browsers send to nobody; it is taken away from what is seen and copied.
const told = new URLSearchParams(location.hash.slice(1)).get("token");
if (told) {
  sessionStorage.setItem("token", told);
  history.replaceState(null, "", location.pathname);
}
const headers = () => {
  const token = sessionStorage.getItem("token");
  return token ? { Authorization: `Bearer ${token}` } : {};
};

const now = { state: null, networks: [], top: null, rates: ratesOf(null), drift: null, view: "networks", shown: null };

/** An element with text and children; what is told by others is only ever text. */
function el(tag, properties = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(properties)) {
    if (k === "class") e.className = v;
    else if (k.startsWith("data-")) e.setAttribute(k, v);
    else e[k] = v;
  }
  e.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return e;
}

/** Puts rows into a parent in this order, making, changing and removing only what is not so yet. */
function keyed(parent, rows, make, change) {
  const have = (parent.rows ??= new Map());
  const wanted = new Set(rows.map((r) => r.key));
  for (const [key, e] of have) {
    if (!wanted.has(key)) {
      e.remove();
      have.delete(key);
    }
  }
  let at = parent.firstChild;
  for (const r of rows) {
    let e = have.get(r.key);
    if (!e) have.set(r.key, (e = make(r)));
    change(e, r);
    if (e === at) at = at.nextSibling;
    else parent.insertBefore(e, at);
  }
}

const write = (e, text) => {
  if (e.textContent !== text) e.textContent = text;
};

const rateText = (r) => (r && r.in + r.out >= 1 ? `↓${size(r.in)} ↑${size(r.out)}` : "");

function writeRates(e, r) {
  const text = rateText(r);
  if (e.shownText === text) return;
  e.shownText = text;
  e.replaceChildren(...(text ? [el("span", { class: "in" }, `↓${size(r.in)}/s `), el("span", { class: "out" }, `↑${size(r.out)}/s`)] : []));
}

// Networks

function makeNetwork(n) {
  const head = el("button", { type: "button", "data-network": n.id }, el("h2"), el("span", { class: "kind" }), el("span", { class: "rates" }));
  head.onclick = () => n.id && show({ kind: "network", id: n.id });
  return el("article", {}, head, el("ul"));
}

function changeNetwork(e, n) {
  write($("h2", e), n.name);
  write($(".kind", e), n.about);
  writeRates($(".rates", e), now.rates.networks.get(n.id));
  keyed($("ul", e), n.members, makeMember, (li, m) => changeMember(li, m, n));
}

function makeMember(m) {
  const b = el("button", { type: "button", "data-container": m.id },
    el("span", { class: "name" }), el("span", { class: "address" }), el("span", { class: "rates" }), el("span", { class: "ports" }));
  b.onclick = () => show({ kind: "container", id: m.id });
  return el("li", {}, b);
}

function changeMember(li, m, n) {
  li.classList.toggle("down", !m.up);
  write($(".name", li), m.name);
  write($(".address", li), m.addresses.join(" "));
  write($(".ports", li), m.ports.join(" "));
  writeRates($(".rates", li), now.rates.members.get(`${m.id}/${n.name}`));
}

function drawNetworks() {
  keyed($("#networks"), filtered(now.networks, $("#filter").value), makeNetwork, changeNetwork);
}

// Ports

function drawPorts() {
  const words = $("#filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = (now.top?.Ports ?? []).map((p) => ({
    key: `${p.ContainerID} ${p.Protocol} ${p.Address} ${p.HostPorts} ${p.ContainerPorts}`, p,
    cells: [
      p.HostPorts ? `${p.Address.includes(":") ? `[${p.Address}]` : p.Address}:${p.HostPorts}/${p.Protocol}` : "routed", p.Container, `${p.ContainerPorts}/${p.Protocol}`,
      ...(p.Counted ? [`${size(p.Both.BytesPerSecond)}/s`, p.ConnectionsPerSecond.toFixed(1), size(p.Both.Bytes), `${p.Connections}`] : ["–", "–", "–", "–"]),
    ],
  })).filter((r) => words.every((w) => r.cells.join(" ").toLowerCase().includes(w)));
  keyed($("#ports tbody"), rows,
    (r) => el("tr", {}, ...r.cells.map((_, i) => el("td", { class: i > 2 ? "number" : "" }))),
    (e, r) => r.cells.forEach((text, i) => write(e.children[i], text)));
  $("#ports .empty").hidden = rows.length > 0;
}

// Events

function addEvent(e) {
  const list = $("#events ol");
  $("#events .empty").hidden = true;
  const at = new Date(e.At);
  list.prepend(el("li", {}, el("time", { dateTime: e.At }, at.toLocaleTimeString()), eventText(e)));
  while (list.children.length > maxEvents) list.lastChild.remove();
}

// Rules

async function drawRules() {
  const here = $("#rules");
  const all = await ask("rules", {}, here);
  if (!all) return;
  const words = $("#filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  here.replaceChildren(...all
    .filter((a) => words.every((w) => `${a.Kind} ${a.Name} ${a.ID} ${a.Rules.map((r) => r.Text).join(" ")}`.toLowerCase().includes(w)))
    .map((a) => el("section", {}, el("h3", {}, `${a.Kind} ${a.Name}`), el("ul", {}, ...a.Rules.map((r) => el("li", {}, r.Text))))));
}

// Details

/** Asks, and returns the answer; null after having said why there is none. */
async function ask(what, words, where) {
  try {
    const r = await fetch(`api/${what}?${new URLSearchParams(words)}`, { headers: headers() });
    if (r.ok) return await r.json();
    where.replaceChildren(el("p", { class: "wrong" }, (await r.text()).trim()));
  } catch {
    where.replaceChildren(el("p", { class: "wrong" }, "`linkspan web` does not answer."));
  }
  return null;
}

const list = (...pairs) => el("dl", {}, ...pairs.filter(([, v]) => v !== "" && v !== undefined && v !== null).flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]));

/** Shows details of something; of nothing, closes them. */
function show(what) {
  now.shown = what;
  $("#detail").hidden = !what;
  const here = $("#detail div");
  if (!what) return here.replaceChildren();
  here.replaceChildren(el("p", {}, "…"));
  const draw = { network: showNetwork, container: showContainer, trace: showTrace }[what.kind];
  draw(what, here, () => now.shown === what);
}

async function showNetwork(what, here, current) {
  const n = now.state?.Networks?.find((x) => x.ID === what.id);
  if (!n) return here.replaceChildren(el("p", {}, "It is not there any more."));
  const rules = await ask("rules", {}, here);
  if (!rules || !current()) return;
  const own = rules.find((a) => a.Kind === "network" && a.ID === n.ID);
  here.replaceChildren(
    el("h2", {}, `Network ${n.Name}`),
    list(["Driver", n.Driver], ["ID", n.ID], ["Device", n.Device], ["Internal", n.Internal ? "yes" : "no"], ["Names", n.Named ? "served" : "not served"],
      ["Leaves the host", n.Masquerades ? "with the host's address" : "with its own addresses"], ["MTU", n.MTU ? `${n.MTU}` : ""]),
    el("h3", {}, "Subnets"), el("ul", {}, ...(n.Subnets ?? []).map((s) => el("li", {}, `${s.Subnet}${s.Gateway && s.Gateway !== "invalid IP" ? `, gateway ${s.Gateway}` : ""}`))),
    ...(n.Options && Object.keys(n.Options).length ? [el("h3", {}, "Options"), list(...Object.entries(n.Options))] : []),
    ...(own ? [el("h3", {}, "Rules"), el("ul", {}, ...own.Rules.map((r) => el("li", {}, r.Text)))] : []),
  );
}

async function showContainer(what, here, current) {
  const c = await ask("container", { ref: what.id }, here);
  if (!c || !current()) return;
  const ports = c.Ports ?? [];
  const verdicts = el("div");
  here.replaceChildren(
    el("h2", {}, `Container ${c.Name}`),
    list(["State", c.State], ["ID", c.ID], ["Namespace", c.Namespace || "the host's"], ["Name servers", (c.Servers ?? []).join(" ")], ["resolv.conf", c.ResolvConf]),
    ...(c.Networks ?? []).flatMap((m) => [el("h3", {}, `On ${m.Network}`),
      list(["Addresses", addresses(m).join(" ")], ["Interface", m.Interface], ["MAC", m.MAC], ["On the host", [m.Bridge, m.Port].filter(Boolean).join(" ")], ["Names", (m.Names ?? []).join(" ")])]),
    ...(ports.length ? [el("h3", {}, "Published"), el("ul", {}, ...ports.map((b) => el("li", {}, portText(b)))), verdicts] : []),
    el("p", {}, button(`Trace from ${c.Name}`, () => traceFrom(c.Name, "")), " ", button(`Trace to ${c.Name}`, () => traceFrom("", c.Name))),
  );
  if (!c.Up) return;
  for (const b of ports.slice(0, 8)) {
    const line = el("p");
    verdicts.append(line);
    const path = await ask("explain", { target: `${b.HostPort}/${b.Protocol}`, from: "" }, line);
    if (!current()) return;
    if (path) line.replaceChildren(path.Verdict);
  }
}

const button = (text, onclick) => el("button", { type: "button", onclick }, text);

function traceFrom(from, to) {
  const form = $("#trace");
  if (from) form.from.value = from;
  if (to) form.to.value = to;
  (form.from.value ? form.to : form.from).focus();
}

async function showTrace(what, here, current) {
  here.replaceChildren(el("p", {}, `Looking at the way from ${what.from} to ${what.to} …`));
  const r = await ask("trace", { from: what.from, to: what.to }, here);
  if (!r || !current()) return;
  here.replaceChildren(
    el("h2", {}, `From ${what.from} to ${what.to}`),
    el("p", { class: `verdict ${r.Outcome === "broken" ? "wrong" : ""}` }, `${r.Outcome}: ${r.Verdict}`),
    list(["Whose it is", r.Whose], ["What to do", r.WayOut]),
    el("ol", {}, ...r.Steps.map((s) => el("li", { class: s.Status }, `${s.About}: ${s.Text}`, s.WayOut ? el("div", { class: "kind" }, s.WayOut) : null))),
  );
}

// What happens

function drawHead() {
  const d = now.state?.Daemon;
  if (d) {
    const up = now.state.Containers?.filter((c) => c.Up).length ?? 0;
    write($("#daemon"), `${d.Version} · ${now.state.Networks?.length ?? 0} networks · ${up} of ${now.state.Containers?.length ?? 0} containers up · ${d.FirewallBackend}`);
  }
  const badge = $("#drift");
  badge.hidden = !now.drift;
  if (!now.drift) return;
  const differences = now.drift.Differences ?? [];
  badge.classList.toggle("wrong", differences.length > 0);
  write(badge, differences.length ? `${differences.length} differ from what is wanted` : "as wanted");
  badge.title = differences.join("\n");
}

function draw() {
  drawHead();
  if (now.view === "networks") drawNetworks();
  if (now.view === "ports") drawPorts();
}

// Messages that come together are drawn once.
let pending = false;
function drawSoon() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    const start = performance.now();
    draw();
    performance.clearMeasures("draw");
    performance.measure("draw", { start }); // for whoever wants to know how long it takes
  });
}

function take(m) {
  if (m.Away) {
    $("#away").hidden = false;
    write($("#away"), `${m.Away.split("\n")[0]}. What is shown is how it was.`);
  }
  if (m.State) {
    $("#away").hidden = true;
    now.state = m.State;
    now.networks = networksOf(m.State);
    $("#parties").replaceChildren(...["host", "outside", ...(m.State.Containers ?? []).filter((c) => c.Up).map((c) => c.Name)].map((value) => el("option", { value })));
  }
  if (m.Top) {
    now.top = m.Top;
    now.rates = ratesOf(m.Top);
  }
  if (m.Drift) now.drift = m.Drift;
  if (m.Event) addEvent(m.Event);
  drawSoon();
}

/** Follows what happens until the connection ends. */
async function follow() {
  const r = await fetch("api/watch", { headers: headers() });
  if (!r.ok) throw new Error((await r.text()).trim());
  let rest = "";
  const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("`linkspan web` has ended.");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) take(JSON.parse(line));
  }
}

async function followForEver() {
  for (;;) {
    try {
      await follow();
    } catch (e) {
      $("#away").hidden = false;
      write($("#away"), e instanceof TypeError ? "`linkspan web` does not answer. What is shown is how it was." : e.message);
    }
    await new Promise((r) => setTimeout(r, retryAfter));
  }
}

// Who looks

function view(name) {
  now.view = name;
  for (const b of document.querySelectorAll("nav button")) b.setAttribute("aria-pressed", `${b.dataset.view === name}`);
  for (const s of document.querySelectorAll("main > section")) s.hidden = s.id !== name;
  if (name === "rules") drawRules();
  draw();
}

for (const b of document.querySelectorAll("nav button")) b.onclick = () => view(b.dataset.view);
$("#close").onclick = () => show(null);
$("#filter").oninput = () => (now.view === "rules" ? drawRules() : draw());
$("#trace").onsubmit = (e) => {
  e.preventDefault();
  show({ kind: "trace", from: e.target.from.value.trim(), to: e.target.to.value.trim() });
};
addEventListener("keydown", (e) => {
  if (e.key === "Escape") {
    show(null);
    if (document.activeElement === $("#filter")) $("#filter").value = "";
    draw();
  } else if (e.key === "/" && !["INPUT", "TEXTAREA"].includes(document.activeElement.tagName)) {
    e.preventDefault();
    $("#filter").focus();
  }
});
followForEver();
