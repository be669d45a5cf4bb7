'use strict';
// Whatever comes from the database is set as text: nothing of it is ever read as a tag.
const place = (id) => document.getElementById(id);
const made = (tag, text, name) => {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = String(text);
  if (name) node.className = name;
  return node;
};
const whole = (number) => (number === null || number === undefined ? '–' : number.toLocaleString('en'));
const fill = (id, ...nodes) => place(id).replaceChildren(...nodes);
const kind = (state) => {
  if (['stopped', 'stopping', 'unauthorized', 'unreachable', 'out_of_quota'].includes(state)) return 'bad';
  return ['held', 'paused', 'degraded'].includes(state) ? 'odd' : 'good';
};
const command = (text) => {
  const shown = made('span');
  shown.append(made('code', text));
  if (navigator.clipboard) {
    const copies = made('button', 'copy');
    copies.addEventListener('click', () => navigator.clipboard.writeText(text));
    shown.append(copies);
  }
  return shown;
};
const table = (heads, rows) => {
  const all = made('table');
  const line = all.appendChild(made('thead')).appendChild(made('tr'));
  for (const [text, name] of heads) line.append(made('th', text, name));
  const body = all.appendChild(made('tbody'));
  for (const { cells, name } of rows) {
    const own = body.appendChild(made('tr', null, name));
    cells.forEach((cell, index) => {
      const place = made('td', cell instanceof Node ? null : cell, heads[index][1]);
      if (cell instanceof Node) place.append(cell);
      own.append(place);
    });
  }
  const wide = made('div', null, 'wide');
  wide.append(all);
  return wide;
};
const chart = (title, hours, parts) => {
  const most = Math.max(1, ...hours.map((hour) => hour[parts[0][0]]));
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  const attributes = (node, all) => Object.entries(all).forEach(([name, value]) => node.setAttribute(name, value));
  attributes(svg, { viewBox: `0 0 ${hours.length * 10} 50`, preserveAspectRatio: 'none', role: 'img', 'aria-label': title });
  hours.forEach((hour, index) => {
    for (const [column, name] of parts) {
      const height = (hour[column] / most) * 50;
      const bar = document.createElementNS(space, 'rect');
      attributes(bar, { class: name, x: index * 10 + 1, y: 50 - height, width: 8, height });
      const told = document.createElementNS(space, 'title');
      told.textContent = `${hour.at.slice(11, 16)} UTC: ${whole(hour[column])}`;
      bar.append(told);
      svg.append(bar);
    }
  });
  const sum = hours.reduce((all, hour) => all + hour[parts[0][0]], 0);
  const drawn = made('figure');
  drawn.append(made('figcaption', `${title}: ${whole(sum)}, at most ${whole(most)} an hour`, 'soft'), svg);
  return drawn;
};
const list = (id, title, rows) => {
  place(id).hidden = rows.length === 0;
  fill(id, made('h2', title), ...(rows.length ? [table(rows[0].heads, rows)] : []));
};
const show = (now) => {
  const { health, quota } = now;
  const state = health.state || 'stopped';
  document.title = `hubsyncd: ${state}`;
  fill('state', made('span', state, `state ${kind(state)}`));
  const about = [];
  if (health.version) about.push(`hubsyncd ${health.version}`);
  if (health.portal_id) about.push(`portal ${health.portal_id}`);
  if (health.started_at) about.push(`since ${health.started_at.slice(0, 16).replace('T', ' ')} UTC`);
  fill('about', made('p', about.join(', '), 'soft'));
  const troubles = [health.config_error, health.last_error].filter(Boolean).map((text) => made('p', text, 'trouble'));
  const sides = now.paused.map((row) => row.side);
  if (sides.length) troubles.push(made('p', `Paused: ${sides.join(' and ')}; INSERT INTO sync_commands (command) VALUES ('resume') ends that`, 'trouble'));
  for (const row of now.objects.filter((row) => row.last_error)) {
    troubles.push(made('p', `${row.object}: ${row.last_error}${row.code ? ` [${row.code}]` : ''}`, 'trouble'));
  }
  if (now.remedy) troubles.push(made('p', `What to do: ${now.remedy}`));
  fill('trouble', ...troubles);
  const parts = [`${whole(health.requests_last_minute)} requests in the last minute`];
  if (health.daily_limit) parts.push(`${whole(health.daily_used)} of ${whole(health.daily_limit)} today`);
  if (quota.empty_at) parts.push(`the day is spent at ${quota.empty_at.slice(11, 16)} UTC`);
  parts.push(`${whole(health.outbox_depth)} local changes wait`, `${whole(health.inbox_depth)} events wait`);
  fill('queues', made('p', parts.join(' · ')));
  const number = 'number';
  const heads = [['object'], ['rows', number], ['in sync', number], ['waiting', number], ['failing', number], ['excluded', number], ['first read'], ['lag', number]];
  const objects = now.objects.map((row) => ({
    name: row.failing > 0 ? 'failing' : '',
    cells: [row.object, whole(row.rows), whole(row.in_sync), whole(row.waiting), whole(row.failing), whole(row.excluded), row.backfill,
      row.lag_seconds === null ? '–' : `${whole(Math.round(row.lag_seconds))} s`],
  }));
  fill('objects', made('h2', 'Objects'), table(heads, objects));
  const charts = made('div', null, 'charts');
  charts.append(
    chart('Requests', now.hours, [['requests', 'bar'], ['failed', 'bar failed']]),
    chart('Changes', now.hours, [['changes', 'bar']]),
  );
  fill('hours', made('h2', 'The last 24 hours'), charts);
  const record = (row) => (row.local_id === null ? row.object : `${row.object} ${row.local_id}`);
  const either = (...texts) => {
    const all = made('div');
    texts.forEach((text) => all.append(command(text), made('br')));
    return all;
  };
  list('problems', 'Fields that are not synced', now.problems.map((row) => ({
    heads: [['field'], ['state'], ['why'], ['what to do']],
    cells: [`${row.object}.${row.property}`, row.state, row.problem ?? '', row.hint ?? ''],
  })));
  list('backfills', 'First reads', now.backfills.map((row) => ({
    heads: [['object'], ['read so far', number], ['of about', number]],
    cells: [row.object, whole(row.backfill_rows), whole(row.backfill_total)],
  })));
  list('holds', 'Held by the guard', now.holds.filter((row) => !row.approved_at).map((row) => ({
    heads: [['hold'], ['what'], ['records', number], ['to decide']],
    cells: [row.id, `${row.operation} of ${row.object}, ${row.side}`, whole(row.records),
      either(`hubsyncd outbox approve ${row.id}`, `hubsyncd outbox discard --hold ${row.id}`)],
  })));
  list('conflicts', 'Open conflicts', now.conflicts.map((row) => ({
    heads: [['conflict'], ['field'], ['here'], ['in HubSpot'], ['to decide']],
    cells: [row.id, `${record(row)}, ${row.property}`, row.local_value ?? '–', row.remote_value ?? '–',
      either(`hubsyncd conflicts resolve ${row.id} --take local`, `hubsyncd conflicts resolve ${row.id} --take remote`)],
  })));
  list('dead', 'Refused for good', now.dead.map((row) => ({
    heads: [['entry'], ['what'], ['why'], ['to decide']],
    cells: [row.id, `${row.operation} of ${record(row)}`, row.last_error ?? row.code ?? '',
      either(`hubsyncd outbox retry ${row.id}`, `hubsyncd outbox discard ${row.id}`)],
  })));
  list('changes', 'Last changes', now.changes.map((row) => ({
    heads: [['at'], ['field'], ['before'], ['after'], ['by']],
    cells: [row.at.slice(0, 19).replace('T', ' '), `${record(row)}, ${row.property}`, row.old_value ?? '–', row.new_value ?? '–', row.origin],
  })));
};
const look = async () => {
  try {
    const answer = await fetch('status.json', { cache: 'no-store' });
    if (!answer.ok) throw new Error(`the daemon answered ${answer.status}`);
    show(await answer.json());
    fill('silent');
  } catch (error) {
    fill('silent', made('p', `The daemon does not answer, and what is shown here is old: ${error.message}`, 'trouble'));
  }
};
look();
setInterval(() => { if (!document.hidden) look(); }, 5000);
