// What is seen of what the daemon tells: pure functions of its messages.

/** Bytes a second, or bytes, as `docker stats` writes them. */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let i = 0;
  for (; bytes >= 1000 && i < units.length - 1; i++) bytes /= 1000;
  return `${i === 0 ? Math.round(bytes) : bytes.toPrecision(3)} ${units[i]}`;
}

/** "0.0.0.0:8080→80/tcp" */
export function portText(b) {
  const last = b.Count > 1 ? b.Count - 1 : 0;
  const stretch = (first) => (last ? `${first}-${first + last}` : `${first}`);
  const host = b.Host && b.Host.includes(":") ? `[${b.Host}]` : (b.Host ?? "");
  return `${host}:${stretch(b.HostPort)}→${stretch(b.ContainerPort)}/${b.Protocol}`;
}

/** A container's address on a network, without the length of the prefix. */
export const addresses = (member) => (member.Addresses ?? []).map((a) => a.Address.split("/")[0]);

/**
 * The networks with who is on them, and a last one of those that are on none. Each has key, name, driver, about and
 * members; each member key, name, up, addresses, ports and search, the text that a filter looks into.
 */
export function networksOf(state) {
  const out = new Map();
  for (const n of state.Networks ?? []) {
    const subnets = (n.Subnets ?? []).map((s) => s.Subnet);
    out.set(n.ID, { key: n.ID, id: n.ID, name: n.Name, driver: n.Driver, about: [n.Driver, ...subnets, ...(n.Internal ? ["internal"] : [])].join(" · "), members: [], network: n });
  }
  const alone = { key: "none", id: "", name: "on the host's network, or on none", driver: "", about: "", members: [], network: null };
  for (const c of state.Containers ?? []) {
    const ports = (c.Ports ?? []).map(portText);
    const add = (network, member) => {
      const at = member ? addresses(member) : [];
      network.members.push({
        key: `${network.key}/${c.ID}`, id: c.ID, name: c.Name, up: member ? member.Up : c.Up, addresses: at, ports, container: c, member,
        search: [c.Name, c.ID, ...at, ...ports, ...(member?.Names ?? [])].join(" ").toLowerCase(),
      });
    };
    const on = (c.Networks ?? []).filter((m) => out.has(m.NetworkID));
    for (const m of on) add(out.get(m.NetworkID), m);
    if (on.length === 0) add(alone, null);
  }
  const all = [...out.values()].sort((a, b) => b.members.length - a.members.length || a.name.localeCompare(b.name));
  if (alone.members.length) all.push(alone);
  for (const n of all) n.members.sort((a, b) => b.up - a.up || a.name.localeCompare(b.name));
  return all;
}

/** What of the networks a filter leaves; a network that is named itself is left whole. */
export function filtered(networks, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return networks;
  const has = (search) => words.every((w) => search.includes(w));
  return networks.flatMap((n) => {
    if (has(`${n.name} ${n.id} ${n.about}`.toLowerCase())) return [n];
    const members = n.members.filter((m) => has(m.search));
    return members.length ? [{ ...n, members }] : [];
  });
}

/** Rates by container and network name: Map of "container/network" and of network to {in, out} in bytes a second. */
export function ratesOf(top) {
  const members = new Map(), networks = new Map();
  const rate = (f) => ({ in: f.In.BytesPerSecond, out: f.Out.BytesPerSecond });
  for (const c of top?.Containers ?? []) members.set(`${c.ContainerID}/${c.Network}`, rate(c));
  for (const n of top?.Networks ?? []) networks.set(n.NetworkID, rate(n));
  return { members, networks };
}

/** An event in words. */
export const eventText = (e) => [e.Type, e.Action, e.Name.length === 64 ? e.Name.slice(0, 12) : e.Name, e.Text].filter(Boolean).join(" ");
