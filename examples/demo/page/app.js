// The page shows what /state sends and presses buttons by POST /act. It keeps nothing else but which
// device is chosen.
const $ = id => document.getElementById(id)
const marks = {accepted: '✓', refused: '✕', unknown: '?', down: '–', '': '·'}
const words = {accepted: 'accepted', refused: 'refused', unknown: 'cannot know', down: 'no answer', '': 'not asked'}
const series = ['one', 'two', 'three']
let state, chosen, answered = 0

// set changes only what is different, so that nothing flickers and no focus is lost.
const set = (e, text) => { if (e.textContent !== text) e.textContent = text }
const kind = (e, name) => { if (e.className !== name) e.className = name }
const make = (name, attributes = {}, ...children) => {
	const e = document.createElement(name)
	for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v)
	e.append(...children)
	return e
}
const capital = s => s[0].toUpperCase() + s.slice(1)
const inWords = ms => ms < 10 ? `${ms.toFixed(1)} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`

// A pill is a mark and a word: the state is never told by the colour alone.
const pill = (e, name, text) => {
	kind(e, 'pill ' + name)
	set(e.querySelector('.mark'), {fresh: '●', good: '●', stale: '▲', bad: '▲', warn: '◆', syncing: '◆'}[name] || '○')
	set(e.querySelector('.word'), text)
}
const newPill = () => make('span', {class: 'pill'}, make('span', {class: 'mark', 'aria-hidden': 'true'}), make('span', {class: 'word'}))

// ---- the grid

const rows = new Map(), groups = new Map()

function grid() {
	const table = $('devices').querySelector('table')
	if ($('names').cells.length === 1) for (const s of state.services) $('names').append(make('th', {scope: 'col'}, s.name))
	for (const u of state.users) {
		let g = groups.get(u.name)
		if (!g) {
			g = {body: make('tbody'), banned: newPill()}
			const head = make('th', {class: 'user', colspan: state.services.length + 1, scope: 'rowgroup'}, capital(u.name), g.banned)
			g.body.append(make('tr', {}, head))
			table.append(g.body)
			groups.set(u.name, g)
		}
		pill(g.banned, 'bad', 'banned')
		g.banned.hidden = !u.banned
	}
	const seen = new Set()
	for (const d of state.devices) {
		seen.add(d.id)
		let r = rows.get(d.id)
		if (!r) {
			r = newRow(d)
			groups.get(d.user).body.append(r.row)
			rows.set(d.id, r)
		}
		set(r.stream, streamWords(d))
		kind(r.stream, 'stream' + (['revoked', 'refused'].includes(d.stream) ? ' ended' : ''))
		d.answers.forEach((a, i) => {
			kind(r.cells[i].cell, 'cell ' + a)
			set(r.cells[i].mark, marks[a])
			set(r.cells[i].word, words[a])
		})
		kind(r.row, [d.thief && 'thief', d.id === chosen && 'chosen'].filter(Boolean).join(' '))
	}
	for (const [id, r] of rows) {
		if (seen.has(id)) continue
		if (id === chosen) choose(state.devices[0]?.id)
		r.row.remove()
		rows.delete(id)
	}
	if (chosen === undefined && state.devices.length) choose(state.devices[0].id)
}

function newRow(d) {
	const input = make('input', {type: 'radio', name: 'device', value: d.id})
	input.addEventListener('change', () => { choose(d.id); show() })
	const stream = make('span', {class: 'stream'})
	const label = make('label', {}, input, make('span', {}, make('span', {class: 'name'}, d.thief ? `Thief with the ${d.label}’s cookie` : capital(d.label)), stream))
	const row = make('tr', {'data-device': d.id}, make('th', {class: 'row', scope: 'row'}, label))
	const cells = state.services.map(s => {
		const mark = make('span', {class: 'mark', 'aria-hidden': 'true'}), word = make('span', {class: 'word'})
		const cell = make('td', {'data-service': s.name}, make('span', {}, mark, word))
		row.append(cell)
		return {cell, mark, word}
	})
	return {row, input, stream, cells}
}

const streamWords = d => ({
	open: 'stream open', closed: 'no stream yet', stale: 'stream waits', revoked: 'stream ended', refused: 'stream refused', lost: 'stream lost',
}[d.stream] + (d.over ? ', logged out' : ''))

function choose(id) {
	chosen = id
	const r = rows.get(id)
	if (r) r.input.checked = true
}

const chosenDevice = () => state.devices.find(d => d.id === chosen)

function actions() {
	const d = chosenDevice()
	set($('chosen'), !d ? 'a device' : d.thief ? `the thief with ${capital(d.user)}’s cookie` : `${capital(d.user)}’s ${d.label}`)
	const banned = d && state.users.find(u => u.name === d.user).banned
	$('ban').dataset.do = banned ? 'lift' : 'ban'
	set($('ban'), `${banned ? 'Lift the ban of' : 'Ban'} ${d ? capital(d.user) : 'the user'}`)
}

function chase() {
	const c = state.chase
	if (!c) return
	kind($('chase'), 'chase ' + (c.over ? 'over' : 'running'))
	set($('chase-figure'), c.last ? inWords(c.last) : '…')
	set($('chase-title'), c.over ? `${c.title}: from the click to the last of ${c.total} refusals` : `${c.title}: ${c.done} of ${c.total} refused so far`)
	const each = state.services.map((s, i) => `${s.name} ${c.each[i] ? inWords(c.each[i]) : '…'}`).join(' · ')
	set($('chase-each'), `${each} · ${c.let} ${c.let === 1 ? 'call was' : 'calls were'} accepted after the click`)
	if (c.over) set($('chase-said'), `${c.title}: refused everywhere ${inWords(c.last)} after the click.`)
}

// ---- services and NATS

const cards = new Map()
const policies = {
	Deny: 'Deny: answer 503', MaxStaleness: 'MaxStaleness(30s): accept that long', AllowYounger: 'AllowYounger(1m): accept new tokens', InsecureAllow: 'InsecureAllow: accept',
}

function services() {
	for (const s of state.services) {
		let c = cards.get(s.name)
		if (!c) cards.set(s.name, c = newCard(s))
		pill(c.pill, s.up ? s.state : 'down', s.up ? s.state : 'restarting')
		set(c.reason, s.state === 'fresh' ? 'proven up to date' : s.up ? s.reason : 'no process')
		set(c.age, s.age < 0 ? 'nothing yet' : s.age < 2 ? 'just now' : `${s.age} s ago`)
		set(c.entries, String(s.entries))
		if (document.activeElement !== c.policy && c.policy.value !== s.policy) c.policy.value = s.policy
		c.cut.dataset.do = s.cut ? 'mend' : 'cut'
		set(c.cut, s.cut ? 'Reconnect it' : 'Cut it off')
	}
	const fresh = state.services.filter(s => s.state === 'fresh').length, all = state.services.length
	pill($('overall'), fresh === all ? 'good' : 'bad', fresh === all ? `all ${all} services fresh` : `${fresh} of ${all} services fresh`)
}

function newCard(s) {
	const c = {pill: newPill(), reason: make('dd'), age: make('dd'), entries: make('dd'), policy: make('select', {id: 'policy-' + s.name, 'data-policy': s.name}),
		cut: make('button', {type: 'button', 'data-service': s.name})}
	for (const [value, text] of Object.entries(policies)) c.policy.append(make('option', {value}, text))
	c.policy.addEventListener('change', () => act({do: 'policy', service: s.name, policy: c.policy.value}, c.policy))
	c.cut.addEventListener('click', () => act({do: c.cut.dataset.do, service: s.name}, c.cut))
	const again = make('button', {type: 'button', 'data-do': 'restart', 'data-service': s.name}, 'Restart it')
	again.addEventListener('click', () => act({do: 'restart', service: s.name}, again))
	const title = make('h3', {id: 'service-' + s.name}, s.name)
	$('services').append(make('section', {class: 'card service', 'aria-labelledby': 'service-' + s.name, id: 'card-' + s.name},
		make('div', {class: 'head'}, title, c.pill),
		make('dl', {},
			make('dt', {}, 'Follows'), make('dd', {}, s.mirrored ? 'a mirror of the stream' : 'the stream'),
			make('dt', {}, 'Reason'), c.reason, make('dt', {}, 'Last proof'), c.age, make('dt', {}, 'Revocations held'), c.entries),
		make('label', {for: c.policy.id}, 'While it is not fresh'), c.policy,
		make('div', {class: 'buttons'}, c.cut, again)))
	return c
}

function nats() {
	const n = state.nats
	pill($('nats-state'), !n.running ? 'bad' : n.forked ? 'warn' : 'good', !n.running ? 'stopped' : n.forked ? 'running, mirror forked' : 'running')
	set($('nats-about'), `One server holds the log of revocations and a mirror of it, which search follows. `
		+ (n.losses ? `It has lost what it had acknowledged ${n.losses === 1 ? 'once' : n.losses + ' times'}; the auth service published ${n.republished} events again.` : 'It has lost nothing so far.'))
	$('stop').dataset.do = n.running ? 'stop' : 'start'
	set($('stop'), n.running ? 'Stop NATS' : 'Start NATS')
	$('fork').dataset.do = n.forked ? 'remake' : 'fork'
	set($('fork'), n.forked ? 'Make the mirror anew' : 'Fork the mirror')
}

// ---- the chart

const svg = (name, attributes, ...children) => {
	const e = document.createElementNS('http://www.w3.org/2000/svg', name)
	for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v)
	e.append(...children)
	return e
}
const dot = (i, x, y) => i === 0 ? svg('circle', {class: 'dot', cx: x, cy: y, r: 3.5})
	: i === 1 ? svg('rect', {class: 'dot', x: x - 3, y: y - 3, width: 6, height: 6})
	: svg('path', {class: 'dot', d: `M${x} ${y - 4}l4 7h-8z`})
let drawn = ''

function chart() {
	const box = $('chart'), key = JSON.stringify([state.pulses, box.clientWidth])
	if (key === drawn) return
	drawn = key
	if (!$('chart-legend').children.length) {
		state.services.forEach((s, i) => $('chart-legend').append(make('li', {class: series[i]}, svg('svg', {viewBox: '0 0 12 12', 'aria-hidden': 'true'}, dot(i, 6, 6)), s.name)))
	}
	const width = box.clientWidth, height = 190, left = 44, right = 8, top = 8, bottom = 14
	const y = ms => top + (height - top - bottom) * (1 - (Math.log10(Math.min(2000, Math.max(1, ms))) / Math.log10(2000)))
	const x = i => width - right - (state.pulses.length - 1 - i) * (width - left - right) / 29
	const s = svg('svg', {width, height, 'aria-hidden': 'true'})
	for (const ms of [1, 10, 100, 1000]) {
		s.append(svg('line', {class: 'rule', x1: left, x2: width - right, y1: y(ms), y2: y(ms)}), svg('text', {x: left - 8, y: y(ms) + 4, 'text-anchor': 'end'}, ms < 1000 ? `${ms} ms` : '1 s'))
	}
	state.services.forEach((_, n) => {
		const g = svg('g', {class: series[n]})
		let line = []
		const end = () => { if (line.length > 1) g.append(svg('polyline', {points: line.join(' ')})); line = [] }
		state.pulses.forEach((p, i) => p.each[n] == null ? end() : line.push(`${x(i)},${y(p.each[n])}`))
		end()
		state.pulses.forEach((p, i) => { if (p.each[n] != null) g.append(dot(n, x(i), y(p.each[n]))) })
		s.append(g)
	})
	box.replaceChildren(s)
	const all = state.pulses.flatMap(p => p.each).filter(v => v != null).sort((a, b) => a - b)
	box.setAttribute('aria-label', all.length ? `Propagation of the last ${state.pulses.length} revocations: half of the refusals came within ${inWords(all[all.length >> 1])}, the last after ${inWords(all.at(-1))}` : 'No measurement yet')
	const figures = $('figures')
	if (!figures.tHead.rows.length) figures.tHead.append(make('tr', {}, make('th', {scope: 'col'}, 'No.'), ...state.services.map(s => make('th', {scope: 'col'}, s.name))))
	figures.tBodies[0].replaceChildren(...state.pulses.slice(-10).reverse().map(p => make('tr', {}, make('th', {scope: 'row'}, String(p.n)), ...p.each.map(v => make('td', {}, v == null ? '–' : inWords(v))))))
}
new ResizeObserver(() => state && chart()).observe($('chart'))

// ---- words

function happened() {
	if (state.said && state.said.n > answered) tell(state.said)
}

function tell(said) {
	answered = said.n ?? answered
	const box = $('happened')
	kind(box.parentElement, 'card happened' + (said.no ? ' no' : ''))
	set(box.querySelector('.title'), said.title)
	set(box.querySelector('.what'), said.what)
	set(box.querySelector('.why'), said.why || '')
	box.querySelector('.docs').replaceChildren(...(said.docs ? ['Read on in ', make('code', {}, said.docs)] : []))
}

let written = 0
function log() {
	for (const l of state.log) {
		if (l.n <= written) continue
		written = l.n
		$('log').prepend(make('li', {}, make('time', {}, l.at), make('span', {}, l.text)))
	}
	while ($('log').children.length > 60) $('log').lastChild.remove()
}

function show() {
	grid()
	actions()
	chase()
	services()
	nats()
	chart()
	happened()
	log()
}

// ---- buttons

async function act(press, button) {
	if (button.getAttribute('aria-busy') === 'true') return
	button.setAttribute('aria-busy', 'true')
	try {
		const r = await fetch('/act', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(press)})
		const answer = await r.json()
		if (!r.ok) tell({title: 'Not done', what: answer.error, no: true})
	} catch {
		tell({title: 'Not done', what: 'The demo does not answer. Is it still running?', no: true})
	}
	button.removeAttribute('aria-busy')
}

for (const b of document.querySelectorAll('button[data-do]')) {
	b.addEventListener('click', () => act({do: b.dataset.do, device: chosen, user: chosenDevice()?.user}, b))
}
$('devices').addEventListener('submit', e => e.preventDefault())

const dark = () => getComputedStyle(document.documentElement).colorScheme === 'dark' || !document.documentElement.dataset.theme && matchMedia('(prefers-color-scheme: dark)').matches
const nameTheme = () => set($('theme'), dark() ? 'Light' : 'Dark')
$('theme').addEventListener('click', () => {
	localStorage.setItem('theme', document.documentElement.dataset.theme = dark() ? 'light' : 'dark')
	nameTheme()
})
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', nameTheme)
nameTheme()

const source = new EventSource('/state')
source.onmessage = e => { state = JSON.parse(e.data); show() }
source.onerror = () => pill($('overall'), 'bad', 'the demo does not answer')
