'use strict'
// The status page of footbridge: $SYS by MQTT over the WebSocket of the listener that it came from.
// What comes from the broker is shown as text only, never as markup.

const $ = id => document.getElementById(id)
const text = new TextDecoder()
const bytes = new TextEncoder()

// --- MQTT 5, and 3.1.1 where the listener takes no other

const [CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, UNSUBSCRIBE, PINGREQ, DISCONNECT] = [1, 2, 3, 4, 8, 9, 10, 12, 14]
// Seconds: between two pings, and without an answer until the connection counts as lost.
const PING = 5
const SILENCE = 12

const REASONS = {
  0x80: 'unspecified error', 0x84: 'the listener does not take this version of MQTT', 0x85: 'the client id is not allowed',
  0x86: 'wrong user name or password', 0x87: 'not authorized', 0x88: 'the broker is unavailable', 0x89: 'the broker is busy',
  0x8a: 'banned', 0x8e: 'another client has taken the client id', 0x8f: 'not a valid filter', 0x90: 'not a valid topic',
  0x95: 'too large', 0x97: 'quota exceeded', 0x9a: 'retained messages are not supported', 0x9f: 'too many attempts: wait a while'
}
const REASONS_311 = { 1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87, 128: 0x80 }
const reason = code => REASONS[code] || 'error ' + code

const u16 = n => [n >> 8, n & 255]
const string = s => { const b = bytes.encode(s); return [...u16(b.length), ...b] }
const varint = n => { const out = []; do { out.push(n % 128 | (n > 127 ? 128 : 0)); n = Math.floor(n / 128) } while (n > 0); return out }

class Mqtt {
  // `on` has opened(), message(topic, payload, isRetained) and closed(code, why).
  constructor (login, version, on) {
    this.version = version
    this.on = on
    this.rest = new Uint8Array(0)
    this.next = 1
    this.waiting = new Map()
    this.heard = Date.now()
    this.socket = new WebSocket(location.protocol.replace('http', 'ws') + '//' + location.host + '/mqtt', 'mqtt')
    this.socket.binaryType = 'arraybuffer'
    this.socket.onopen = () => this.connect(login)
    this.socket.onmessage = event => this.read(new Uint8Array(event.data))
    this.socket.onclose = () => this.end(0, '')
    this.timer = setInterval(() => this.tick(), PING * 1000)
  }

  properties () { return this.version === 5 ? [0] : [] }

  send (type, flags, body) {
    if (this.socket.readyState === 1) this.socket.send(new Uint8Array([type << 4 | flags, ...varint(body.length), ...body]))
  }

  connect (login) {
    const id = 'status-page-' + [...crypto.getRandomValues(new Uint8Array(6))].map(b => b.toString(16).padStart(2, '0')).join('')
    const flags = 2 | (login ? 0x80 | (login.password ? 0x40 : 0) : 0)
    const body = [...string('MQTT'), this.version, flags, ...u16(3 * PING), ...this.properties(), ...string(id)]
    if (login) body.push(...string(login.user))
    if (login && login.password) body.push(...string(login.password))
    this.send(CONNECT, 0, body)
  }

  // Calls back with the reason code of the broker's answer; below 0x80 it has agreed.
  ask (type, flags, head, body, answered) {
    const id = this.next
    this.next = this.next % 65535 + 1
    this.waiting.set(id, answered)
    this.send(type, flags, [...head, ...u16(id), ...this.properties(), ...body])
  }

  subscribe (filter, answered) { this.ask(SUBSCRIBE, 2, [], [...string(filter), 0], answered) }
  unsubscribe (filter) { this.ask(UNSUBSCRIBE, 2, [], string(filter), () => {}) }
  publish (topic, payload, retain, answered) { this.ask(PUBLISH, 2 | retain, string(topic), bytes.encode(payload), answered) }

  tick () {
    if (Date.now() - this.heard > SILENCE * 1000) this.end(0, 'the broker does not answer')
    else this.send(PINGREQ, 0, [])
  }

  end (code, why) {
    if (!this.on) return
    const { closed } = this.on
    this.on = null
    clearInterval(this.timer)
    this.socket.close()
    closed(code, why)
  }

  read (more) {
    this.heard = Date.now()
    const all = new Uint8Array(this.rest.length + more.length)
    all.set(this.rest)
    all.set(more, this.rest.length)
    let at = 0
    while (this.on && at + 2 <= all.length) {
      let length = 0
      let start = at + 1
      let shift = 1
      do { length += (all[start] & 127) * shift; shift *= 128 } while (all[start++] & 128 && start < all.length && start < at + 5)
      if (start + length > all.length || all[start - 1] & 128) break
      this.packet(all[at] >> 4, all[at] & 15, all.subarray(start, start + length))
      at = start + length
    }
    this.rest = all.slice(at)
  }

  // Where the properties that begin at `at` end.
  behind (body, at) {
    if (this.version !== 5) return at
    let length = 0
    let shift = 1
    let byte
    do { byte = body[at++]; length += (byte & 127) * shift; shift *= 128 } while (byte & 128)
    return at + length
  }

  packet (type, flags, body) {
    const fives = code => this.version === 5 ? code : REASONS_311[code] || code
    if (type === CONNACK) {
      if (body[1]) this.end(fives(body[1]), '')
      else this.on.opened()
    } else if (type === PUBLISH) {
      const end = 2 + (body[0] << 8 | body[1])
      this.on.message(text.decode(body.subarray(2, end)), body.subarray(this.behind(body, end)), !!(flags & 1))
    } else if (type === PUBACK || type === SUBACK) {
      const id = body[0] << 8 | body[1]
      const code = type === PUBACK ? body[2] || 0 : fives(body[this.behind(body, 2)])
      const answered = this.waiting.get(id)
      this.waiting.delete(id)
      if (answered) answered(code)
    } else if (type === DISCONNECT) {
      this.end(body[0] || 0, '')
    } else if (type === 11) {
      this.waiting.delete(body[0] << 8 | body[1])
    }
  }
}

// --- Elements, made new only where they change

const SVG = new Set(['svg', 'path', 'circle', 'line', 'g', 'title', 'rect'])
const h = (tag, props, ...children) => ({ tag, props: props || {}, children: children.flat(5).filter(child => child != null && child !== false && child !== '') })

function make (want) {
  if (!want.tag) return document.createTextNode(want)
  const node = SVG.has(want.tag) ? document.createElementNS('http://www.w3.org/2000/svg', want.tag) : document.createElement(want.tag)
  return node
}

function patch (node, children) {
  children.forEach((want, at) => {
    let have = node.childNodes[at]
    const fits = have && (want.tag ? have.nodeName.toLowerCase() === want.tag : have.nodeType === 3)
    if (!fits) {
      const made = make(want)
      have ? node.replaceChild(made, have) : node.appendChild(made)
      have = made
    }
    if (!want.tag) {
      if (have.data !== String(want)) have.data = want
      return
    }
    const old = have.props || {}
    for (const name in { ...old, ...want.props }) {
      const value = want.props[name]
      if (old[name] === value) continue
      if (name === 'width') have.style.width = value || ''
      else if (value == null || value === false) have.removeAttribute(name)
      else have.setAttribute(name, value)
    }
    have.props = want.props
    patch(have, want.children)
  })
  while (node.childNodes.length > children.length) node.lastChild.remove()
}

// --- Numbers in words, units as footbridge.conf has them: 1 MB is 1024 kB

const count = n => Math.round(n).toLocaleString('en').replaceAll(',', '\u2009')
const plural = (n, one, many) => count(n) + ' ' + (n === 1 ? one : many || one + 's')
const messages = n => plural(n, 'message')

function size (n) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let at = 0
  while (n >= 1023.5 && at < 4) { n /= 1024; at++ }
  return (at && n < 10 ? n.toFixed(1) : Math.round(n)) + '\u00a0' + units[at]
}

function span (s) {
  s = Math.max(0, Math.floor(s))
  if (s < 60) return s + '\u00a0s'
  if (s < 3600) return Math.floor(s / 60) + '\u00a0min'
  if (s < 86400) return Math.floor(s / 3600) + '\u00a0h' + (s % 3600 >= 60 ? ' ' + Math.floor(s % 3600 / 60) + '\u00a0min' : '')
  return plural(Math.floor(s / 86400), 'day')
}

const clock = seconds => {
  const date = new Date(seconds * 1000)
  const time = date.toTimeString().slice(0, 5)
  return date.toDateString() === new Date().toDateString() ? time : date.toISOString().slice(5, 10) + ' ' + time
}

// The name that a level of a topic stands for.
const unescaped = level => { try { return decodeURIComponent(level) } catch { return level } }
const sentence = s => s && (s[0].toUpperCase() + s.slice(1)).replace(/([^.?!])$/, '$1.')

// --- What is known

const MOST_FIGURES = 20000
const HOUR = 360
const figures = new Map()
const lines = []
const history = new Map()
const failed = new Map()
let sawFigures = false
// How much the broker's clock is ahead of the browser's, in seconds.
let ahead = 0
const now = () => Date.now() / 1000 + ahead

const get = (topic, or = '') => { const value = figures.get('$SYS/broker/' + topic); return value === undefined ? or : value }
const num = (topic, or = 0) => { const value = parseFloat(get(topic)); return isNaN(value) ? or : value }

function feed (topic, value) {
  const level = topic.match(/^\$SYS\/broker\/log\/(.*)/)
  if (level) {
    // The time before it is that of the box, in seconds, unless log_timestamp_format says otherwise.
    lines.push({ level: level[1], at: new Date().toTimeString().slice(0, 8), line: value.replace(/^\d{9,}: /, '') })
    if (lines.length > 200) lines.shift()
  } else if (value === '') {
    figures.delete(topic)
  } else if (figures.has(topic) || figures.size < MOST_FIGURES) {
    note(topic, value)
    figures.set(topic, value)
    sawFigures = true
  }
  draw()
}

// Of an attempt, the step that it had come to when it ended.
function note (topic, value) {
  const link = topic.match(/^\$SYS\/broker\/connection\/(.*)\/link\/state$/)
  if (!link) return
  const before = figures.get(topic)
  if (value === 'up') failed.delete(link[1])
  else if (value === 'waiting' && (before === 'connecting' || before === 'handshake')) failed.set(link[1], before)
}

// The bridges, each with what is known of it.
function bridges () {
  const found = []
  for (const topic of figures.keys()) {
    const name = topic.match(/^\$SYS\/broker\/connection\/([^/]+)\/queue\/messages$/)
    if (name) found.push(bridge(name[1]))
  }
  return found.sort((a, b) => a.name < b.name ? -1 : 1)
}

function bridge (level) {
  const at = 'connection/' + level + '/'
  const of = (name, or) => num(at + name, or)
  const state = get(at + 'link/state')
  const mappings = []
  for (const topic of figures.keys()) {
    const start = '$SYS/broker/' + at + 'topic/'
    if (!topic.startsWith(start) || !topic.endsWith('/filter')) continue
    const n = at + 'topic/' + topic.slice(start.length, -7) + '/'
    mappings.push({
      n: topic.slice(start.length, -7), filter: get(n + 'filter'), messages: num(n + 'messages'), bytes: num(n + 'bytes'),
      dropped: num(n + 'dropped'), why: get(n + 'dropped_reason'), first: num(n + 'dropped_first'), last: num(n + 'dropped_last'),
      paused: num(n + 'paused'), pausedFor: get(n + 'paused_reason'), until: num(n + 'paused_until')
    })
  }
  return {
    level, name: unescaped(level), state, isUp: state === 'up', error: get(at + 'link/error'), address: get(at + 'link/address'),
    protocol: get(at + 'link/protocol'), since: of('link/down_since', of('link/since', 0)), quiet: of('link/progress_seconds', null),
    messages: of('queue/messages'), bytes: of('queue/bytes'), oldest: of('queue/oldest_seconds'), dropped: of('queue/dropped'),
    refused: of('queue/refused'), dead: of('queue/dead_letters'), deadBytes: of('queue/dead_letter_bytes'),
    drain: of('queue/drain_seconds', null), room: of('queue/room_seconds', null), out: of('rate/out', null), in: of('rate/in', null),
    today: of('wire/today', null), month: of('wire/month', null), sent: of('sent/messages', null), received: of('received/messages', null),
    without: get(at + 'without'), limits: of('window/limits'), syncing: of('retained/syncing'),
    mappings: mappings.sort((a, b) => a.n - b.n), gap: mappings.filter(m => m.last).sort((a, b) => b.last - a.last)[0]
  }
}

// --- Sentences

const RESTING = {
  stopped: ['stopped', 'Stopped by command: it keeps what is to go out and waits for `footbridge bridge start NAME`.'],
  manual: ['not started', 'Connects only by command (start_type manual): `footbridge bridge start NAME`.'],
  once: ['ended', 'Has connected once and is done (start_type once).'],
  idle: ['idle', 'Connects when enough waits (start_type lazy).']
}
const resting = b => RESTING[b.state]
const downFor = b => b.since ? ' for ' + span(now() - b.since) : ''

function progress (b) {
  if (resting(b)) return resting(b)[1].replace('NAME', b.name) + (b.messages ? ' ' + sentence(messages(b.messages) + ' wait') : '')
  if (!b.state) return b.messages ? sentence(messages(b.messages) + ' wait') : 'Nothing waits.'
  const wait = messages(b.messages) + (b.messages === 1 ? ' waits' : ' wait') + (b.oldest ? ', the oldest for ' + span(b.oldest) : '')
  if (!b.isUp) {
    const room = b.room != null ? ' There is room for another ' + span(b.room) + '.' : ''
    return 'Not connected' + downFor(b) + (isLossy(b) ? '. Messages were dropped; ' : '. Nothing is lost: ') + wait + '.' + room
  }
  const answered = b.quiet != null ? ' ' + b.name + ' last answered ' + (b.quiet < 2 ? 'just now.' : span(b.quiet) + ' ago.') : ''
  if (!b.messages) return 'Everything is delivered.' + answered
  if (b.quiet > 60) return 'Connected, but nothing was acknowledged for ' + span(b.quiet) + ': ' + wait + '.'
  if (b.drain != null) return 'Catching up: ' + wait + '. At this rate all is delivered in ' + span(b.drain) + '.'
  if (b.oldest < 10) return 'Keeping pace: ' + wait + '.' + answered
  return 'Connected, but not catching up: ' + wait + '.' + answered
}

const DAY = 86400
const isLossy = b => b.gap && now() - b.gap.last < DAY

const STEPS = { connecting: 'reaching the upstream (name, network, TLS)', handshake: 'the MQTT login (CONNECT, CONNACK)' }

// What needs a person: [how bad, what, why, what to do].
function issues () {
  const found = []
  const add = (level, what, why, cure) => found.push({ level, what, why, cure })
  if (link !== 'live') {
    add(3, 'No contact with the broker', lost ? sentence(lost) + ' What is below is of ' + span((Date.now() - lostAt) / 1000) + ' ago.' : 'It did not answer yet.',
      'The page tries again by itself. Is the box on, does footbridge run, and is this browser in its network?')
  }
  if (link === 'live' && !sawFigures && Date.now() - liveAt > 4000) {
    add(2, 'No figures come', 'Either this user may not read them, or the broker publishes none.', 'In acl_file: `topic read $SYS/#`. In footbridge.conf: sys_interval above 0.')
  }
  const store = get('store/state')
  if (store && store !== 'ok') {
    add(3, store === 'full' ? 'The disk is full' : 'The store does not write', store === 'full' ? 'Messages that would have to be stored are refused.' : sentence(store),
      store === 'full' ? 'Make room on the disk of persistence_location: what is owed is kept meanwhile.' : 'See to the disk of persistence_location. Acknowledgements wait until it works.')
  }
  for (const b of bridges()) {
    if (b.state && !b.isUp && !resting(b) && (b.error || now() - b.since > 10)) {
      add(2, b.name + ' is not connected', sentence(b.error || 'it has not come to an answer yet'),
        'It tries again by itself, and keeps what waits while there is room. If it stays so, see `footbridge bridge list` and the log.')
    }
    if (b.state === 'stopped') add(1, b.name + ' is stopped', 'By command.', '`footbridge bridge start ' + b.name + '` starts it again.')
    if (b.isUp && b.messages && b.quiet > 60) {
      add(2, b.name + ' acknowledges nothing', 'It is connected and silent for ' + span(b.quiet) + ', while ' + messages(b.messages) + ' wait.', 'Look at the upstream: is it overloaded, or does it refuse what is sent?')
    }
    if (b.room != null && b.room < DAY) {
      add(b.room < 3600 ? 3 : 2, b.name + ' has room for ' + span(b.room) + ' more', 'The queue grows and has a bound.', 'Mend the uplink, or raise max_queued_bytes if RAM and flash allow it.')
    }
    if (isLossy(b)) {
      add(2, messages(b.dropped) + ' for ' + b.name + ' dropped', 'The last at ' + clock(b.gap.last) + (b.gap.why ? ' (' + b.gap.why + ')' : '') + ', of ' + b.gap.filter + '.', 'Raise max_queued_bytes, or let less important topics go first: overflow= of a topic line.')
    }
    if (b.dead) {
      add(2, plural(b.dead, 'dead letter') + ' of ' + b.name, 'The upstream refuses them whenever they are sent; the log names topic and reason.', 'Change what is sent or the topic lines: at SIGHUP they are tried again.')
    }
    for (const m of b.mappings) {
      if (m.paused) add(1, b.name + ': ' + m.filter + ' pauses', sentence(m.pausedFor || 'the upstream refuses it') + (m.until ? ' It is tried again at ' + clock(m.until) + '.' : ''), 'Does the upstream allow this topic to the login of the bridge?')
    }
  }
  const [used, limit] = [num('memory/counted'), num('memory/limit')]
  if (limit && used > limit * 0.75) add(used > limit * 0.9 ? 3 : 1, 'Memory is short', size(used) + ' of memory_limit ' + size(limit) + ' are taken.', 'See below what takes it. Queues are kept small until it is less.')
  if (num('memory/closed')) add(1, plural(num('memory/closed'), 'connection') + ' closed for lack of memory', 'Who held most was closed when memory_limit was reached.', 'The log names who. Raise memory_limit or lower the bounds of queues.')
  for (const d of drops()) {
    if (now() - d.last < DAY) add(1, messages(d.messages) + ' for ' + d.name + ' dropped', 'The last at ' + clock(d.last) + ' (' + d.reason + ').', 'Is the client away for longer than its queue reaches, or too slow?')
  }
  return found.sort((a, b) => b.level - a.level)
}

function drops () {
  const found = []
  for (const [topic, value] of figures) {
    const id = topic.match(/^\$SYS\/broker\/client\/(.*)\/dropped$/)
    if (!id) continue
    try { found.push({ name: unescaped(id[1]), ...JSON.parse(value) }) } catch { }
  }
  return found.sort((a, b) => b.last - a.last)
}

// --- What is seen

const code = s => s.split('`').map((part, at) => at % 2 ? h('code', null, part) : part)

function drawIssues () {
  const found = issues()
  const worst = found.length ? found[0].level : 0
  document.title = (worst > 1 ? '\u25cf ' : '') + (found.length ? plural(found.length, 'issue') : 'All is well') + ' \u2013 ' + location.hostname
  const icon = 'data:image/svg+xml,' + encodeURIComponent('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="4" fill="' + (worst > 1 ? '#d63c3c' : worst ? '#c98a12' : '#11806f') + '"/></svg>')
  const favicon = document.querySelector('link[rel=icon]')
  if (favicon.getAttribute('href') !== icon) favicon.href = icon
  const row = i => h('li', { class: 'issue level' + i.level }, h('div', { class: 'what' }, i.what), h('div', { class: 'why' }, i.why), h('div', { class: 'cure' }, code(i.cure)))
  patch($('issues'), [found.length
    ? h('ul', { class: 'list' }, found.map(row))
    : h('div', { class: 'well' }, h('svg', { viewBox: '0 0 24 24', 'aria-hidden': 'true' }, h('path', { d: 'M5 12.5l4.5 4.5L19 7.5' })), h('span', null, sawFigures ? 'All is well' : 'Waiting for figures'))])
}

const ICONS = {
  site: 'M4 20V10l8-6 8 6v10M9 20v-6h6v6',
  queue: 'M5 7h14M5 12h14M5 17h14',
  uplink: 'M12 20v-7M7.5 15.5a6 6 0 0 1 0-7M16.5 15.5a6 6 0 0 0 0-7M4.5 18a10 10 0 0 1 0-12M19.5 18a10 10 0 0 0 0-12M12 12.5a.5.5 0 1 0 0-1 .5.5 0 0 0 0 1',
  cloud: 'M7 18a4 4 0 0 1-.5-8 6 6 0 0 1 11.300 1.200A3.500 3.500 0 0 1 17.500 18z'
}

const station = (icon, label, value, more, state) => h('li', { class: 'station ' + state },
  h('svg', { viewBox: '0 0 24 24', 'aria-hidden': 'true' }, h('path', { d: ICONS[icon] })),
  h('div', { class: 'label' }, label), h('div', { class: 'value' }, value), h('div', { class: 'more' }, more))

const rate = n => n == null ? '\u2013' : (n < 10 ? n.toFixed(1) : count(n)) + '/s'

function route (b) {
  const rests = !!resting(b)
  const state = b.isUp || !b.state ? 'good' : rests ? 'rests' : 'bad'
  const flows = b.isUp && (b.out > 0 || b.in > 0)
  return h('ol', { class: 'route ' + state + (flows ? ' flows' : ''), 'aria-label': 'From the site to ' + b.name },
    station('site', 'Site', count(num('clients/connected')), num('clients/connected') === 1 ? 'client' : 'clients', 'good'),
    station('queue', 'Queue', count(b.messages), b.messages ? size(b.bytes) : 'waiting', b.messages && b.oldest > 60 ? 'full' : 'good'),
    station('uplink', 'Uplink', b.isUp ? '\u2191\u2009' + rate(b.out) : b.state ? 'down' : '\u2013', b.isUp ? '\u2193\u2009' + rate(b.in) : downFor(b).slice(5) || '\u2013', state),
    station('cloud', 'Cloud', b.isUp ? 'connected' : '\u2013', b.isUp && b.quiet != null ? (b.quiet < 2 ? 'now' : span(b.quiet) + ' ago') : '\u2013', state))
}

// The backlog of the last hour; where the bridge was down, below in red.
function spark (b) {
  const samples = history.get(b.level) || []
  const most = Math.max(1, ...samples.map(s => s.n))
  const x = at => (600 - (samples.length - 1 - at) * 600 / (HOUR - 1)).toFixed(1)
  const y = n => (38 - 34 * n / most).toFixed(1)
  const line = samples.map((s, at) => (at ? 'L' : 'M') + x(at) + ' ' + y(s.n)).join('')
  const down = samples.map((s, at) => s.isUp || !at ? '' : 'M' + x(at - 1) + ' 40H' + x(at)).join('')
  const area = line && line + 'V40H' + x(0) + 'z'
  return h('figure', { class: 'spark' },
    h('svg', { viewBox: '0 0 600 42', preserveAspectRatio: 'none', role: 'img', 'aria-label': 'Backlog of the last hour, at most ' + messages(most) },
      h('path', { class: 'area', d: area || 'M0 40' }), h('path', { class: 'line', d: line || 'M0 40' }), h('path', { class: 'down', d: down || 'M0 40' })),
    h('figcaption', null, h('span', null, samples.length < 7 ? 'the last hour, from when this page was opened' : 'an hour ago'), h('span', null, 'at most ' + count(Math.max(0, ...samples.map(s => s.n))) + ' waiting'), h('span', null, 'now')))
}

const figure = (label, value, more, isBad) => h('div', { class: isBad ? 'bad' : '' }, h('dt', null, label), h('dd', null, value, more && h('small', null, more)))
const none = '\u2013'

function drawBridge (b) {
  const state = b.isUp ? ['good', 'connected'] : resting(b) ? ['rests', resting(b)[0]] : b.state ? ['bad', b.state === 'waiting' ? 'not connected' : b.state] : ['rests', none]
  const step = failed.get(b.level) || (b.state === 'handshake' ? b.state : '')
  const isDown = b.state && !b.isUp && !resting(b)
  return h('article', { class: 'card bridge', 'aria-label': 'Bridge ' + b.name },
    h('h2', null, b.name, h('span', { class: 'pill ' + state[0] }, state[1])),
    h('p', { class: 'sentence' }, progress(b)),
    isDown && h('p', { class: 'fails' }, h('b', null, step ? 'Fails at ' + STEPS[step] + '. ' : 'Last attempt: '), sentence(b.error || 'under way')),
    route(b), spark(b),
    h('dl', { class: 'figures' },
      figure('Backlog', count(b.messages), size(b.bytes)),
      figure('Oldest', b.messages ? span(b.oldest) : none, 'waiting'),
      figure('Drained in', b.drain != null ? span(b.drain) : none, b.messages ? 'at this rate' : 'nothing waits'),
      figure('Room for', b.room != null ? span(b.room) : none, b.room != null ? 'as it grows now' : 'does not grow', b.room != null && b.room < DAY),
      figure('Sent', b.sent == null ? none : count(b.sent), 'since start'),
      figure('Received', b.received == null ? none : count(b.received), 'since start'),
      figure('Uplink today', b.today == null ? none : size(b.today), b.month == null ? '' : size(b.month) + ' this month'),
      figure('Dropped', count(b.dropped), b.gap ? 'last gap ' + clock(b.gap.first) + (b.gap.first === b.gap.last ? '' : '\u2013' + clock(b.gap.last)) : 'no gap', b.dropped > 0)),
    h('p', { class: 'via' }, b.address, b.protocol && ' \u00b7 MQTT ' + b.protocol, b.limits ? ' \u00b7 limited by how much may be under way' : '', b.syncing ? ' \u00b7 sends retained values' : '', b.without && ' \u00b7 does without: ' + b.without),
    b.mappings.length > 0 && h('details', null, h('summary', null, plural(b.mappings.length, 'mapping')),
      table(['Filter', 'Waiting', 'Bytes', 'Dropped', 'State'], b.mappings.map(m => [m.filter, count(m.messages), size(m.bytes), count(m.dropped), m.paused ? 'paused: ' + m.pausedFor : m.why || 'ok']))))
}

const table = (head, rows) => h('div', { class: 'scroll' }, h('table', null,
  h('thead', null, h('tr', null, head.map(cell => h('th', { scope: 'col' }, cell)))),
  h('tbody', null, rows.map(row => h('tr', null, row.map(cell => h('td', null, cell)))))))

const PARTS = ['messages', 'retained', 'queues', 'connections', 'outboxes', 'half_packets', 'sessions', 'store', 'filters', 'tls']

function drawBroker () {
  const perMinute = name => { const n = num('load/' + name + '/1min', null); return n == null ? none : rate(n / 60) }
  const [used, limit, heap] = [num('memory/counted'), num('memory/limit'), num('heap/current', null)]
  const parts = PARTS.map(name => [name.replace('_', ' '), num('memory/part/' + name)]).filter(part => part[1] > 0).sort((a, b) => b[1] - a[1])
  const sum = parts.reduce((all, part) => all + part[1], 0) || 1
  const [today, budget] = [num('store/written/today', null), num('store/written/budget', null)]
  return [
    h('div', { class: 'card' }, h('h2', null, 'Clients'), h('dl', { class: 'figures' },
      figure('Connected', count(num('clients/connected')), 'of ' + count(num('clients/total')) + ' known'),
      figure('Most', count(num('clients/maximum')), 'at a time'),
      figure('In', perMinute('publish/received'), 'published'),
      figure('Out', perMinute('publish/sent'), 'delivered'),
      figure('Retained', count(num('retained messages/count')), 'values'),
      figure('Subscriptions', count(num('subscriptions/count'))),
      figure('Refused', count(num('connections/refused')), 'since start'),
      figure('Dropped', count(num('publish/messages/dropped')), 'messages'))),
    h('div', { class: 'card' }, h('h2', null, 'Flash'), h('dl', { class: 'figures' },
      figure('Written today', today == null ? none : size(today), budget ? 'of ' + size(budget) + ' a day' : 'no flash_budget', budget && today > budget),
      figure('In all', size(num('store/written/total')), 'written'),
      figure('Store', size(num('store/file/bytes')), get('store/state') === 'ok' ? 'works' : 'fails', get('store/state', 'ok') !== 'ok'),
      figure('Commits', count(num('store/commits')), 'every ' + num('store/commit_interval_ms') / 1000 + '\u00a0s at most')),
    budget > 0 && h('div', { class: 'bar', role: 'img', 'aria-label': 'Written today of the budget' }, h('i', { class: today > budget ? 'over' : '', width: Math.min(100, 100 * today / budget) + '%' }))),
    h('div', { class: 'card' }, h('h2', null, 'Memory'), h('dl', { class: 'figures' },
      figure('Process', heap == null ? none : size(heap), 'at most ' + size(num('heap/maximum'))),
      figure('Counted', size(used), limit ? 'of ' + size(limit) : 'no memory_limit', limit && used > limit * 0.75)),
    h('div', { class: 'bar', role: 'img', 'aria-label': 'Memory by part' }, parts.map(([name, n], at) => h('i', { class: 'part' + Math.min(at, 4), width: (limit ? 100 * n / Math.max(limit, sum) : 100 * n / sum) + '%', title: name + ' ' + size(n) }))),
    h('ul', { class: 'parts' }, parts.slice(0, 6).map(([name, n], at) => h('li', null, h('i', { class: 'part' + Math.min(at, 4) }), name + ' ' + size(n)))))
  ]
}

const LEVELS = { E: 'error', W: 'warning', N: 'notice', I: 'info' }

function drawLog () {
  const log = $('log')
  const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8
  patch(log, lines.length
    ? lines.map(l => h('div', { class: 'line ' + l.level }, h('time', null, l.at), h('span', { class: 'kind' }, LEVELS[l.level] || l.level), h('span', { class: 'said' }, l.line)))
    : [h('p', { class: 'hint' }, code('No line has come yet. The log shows here with `log_dest topic` in footbridge.conf.'))])
  if (isAtEnd) log.scrollTop = log.scrollHeight
}

let isDue = false
function draw () {
  if (isDue) return
  isDue = true
  setTimeout(() => { isDue = false; drawNow() }, 100)
}

function drawNow () {
  drawIssues()
  patch($('bridges'), bridges().map(drawBridge))
  patch($('broker'), drawBroker())
  const dropped = drops()
  patch($('drops'), dropped.length
    ? [table(['Client', 'Messages', 'Bytes', 'Reason', 'First', 'Last'], dropped.map(d => [d.name, count(d.messages), size(d.bytes), d.reason, clock(d.first), clock(d.last)]))]
    : [h('p', { class: 'hint' }, 'Nothing was dropped on the way to a client.')])
  drawLog()
  drawTree()
  patch($('foot'), [h('span', null, get('version', 'footbridge').replace(' version', '')), h('span', null, sawFigures ? 'up for ' + span(parseInt(get('uptime', '0'))) : ''), h('a', { href: 'metrics' }, 'metrics'), h('a', { href: 'health' }, 'health')])
  const live = $('live')
  live.textContent = link === 'live' ? 'live' : link === 'login' ? 'log in' : link
  live.className = link
}

// --- The topic tree

const MOST_NODES = 500
const MOST_DEPTH = 32
let watched = ''
let tree = null
let nodes = 0
let left = 0

function matches (filter, topic) {
  const [want, have] = [filter.replace(/^\$share\/[^/]+\//, '').split('/'), topic.split('/')]
  if (topic[0] === '$' && '+#'.includes(want[0])) return false
  for (let at = 0; at < want.length; at++) {
    if (want[at] === '#') return true
    if (at >= have.length || (want[at] !== '+' && want[at] !== have[at])) return false
  }
  return want.length === have.length
}

const newNode = () => ({ below: new Map(), count: 0, value: '' })

function grow (topic, payload, isRetained) {
  let node = tree
  for (const level of topic.split('/', MOST_DEPTH)) {
    let next = node.below.get(level)
    if (!next) {
      if (nodes >= MOST_NODES) { left++; return }
      nodes++
      node.below.set(level, next = newNode())
    }
    node = next
  }
  node.count++
  node.value = shown(payload)
  node.isRetained = isRetained
}

function shown (payload) {
  const start = text.decode(payload.subarray(0, 200))
  if (start.includes('\ufffd') || /[\0-\x08]/.test(start)) return plural(payload.length, 'byte') + ': ' + [...payload.subarray(0, 24)].map(b => b.toString(16).padStart(2, '0')).join(' ')
  return start + (payload.length > 200 ? '\u2026' : '')
}

const branch = node => h('ul', null, [...node.below].sort((a, b) => a[0] < b[0] ? -1 : 1).map(([level, child]) => h('li', null,
  h('span', { class: 'level' }, level || '\u00a0'),
  child.count > 0 && h('span', { class: 'payload' }, child.value || h('em', null, 'empty')),
  child.count > 0 && h('span', { class: 'times' }, child.isRetained ? 'retained' : count(child.count) + '\u00d7'),
  child.below.size > 0 && branch(child))))

function drawTree () {
  patch($('tree'), tree && tree.below.size
    ? [branch(tree), left > 0 && h('p', { class: 'hint' }, messages(left) + ' on further topics: the tree shows ' + MOST_NODES + ' levels. A narrower filter shows them.')].filter(Boolean)
    : [])
}

function watch (filter) {
  unwatch()
  watched = filter
  tree = newNode()
  nodes = left = 0
  const said = $('watch-said')
  mqtt.subscribe(filter, code => {
    said.textContent = code < 0x80 ? 'Watching ' + filter + '.' : 'The broker does not agree: ' + reason(code) + '.'
    if (code >= 0x80) watched = ''
    $('unwatch').disabled = !watched
  })
  draw()
}

function unwatch () {
  if (watched && mqtt && watched !== '$SYS/#') mqtt.unsubscribe(watched)
  watched = ''
  $('unwatch').disabled = true
}

// --- The connection

let mqtt = null
let link = 'connecting'
let lost = ''
let lostAt = 0
let liveAt = 0
let attempts = 0
let version = 5
let login = JSON.parse(sessionStorage.getItem('footbridge') || 'null')
let asked = false

const REFUSED = [0x86, 0x87]

function open () {
  mqtt = new Mqtt(login, version, {
    opened () {
      link = 'live'
      liveAt = Date.now()
      attempts = 0
      // What is gone meanwhile does not come again.
      figures.clear()
      if (login) sessionStorage.setItem('footbridge', JSON.stringify(login))
      show(false)
      mqtt.subscribe('$SYS/#', draw)
      if (watched) watch(watched)
      // The clocks of boxes differ from the browser's.
      fetch('health').then(answer => answer.json()).then(health => { ahead = health.time - Date.now() / 1000 }).catch(() => {})
      draw()
    },
    message (topic, payload, isRetained) {
      if (topic.startsWith('$SYS/')) feed(topic, text.decode(payload))
      if (watched && matches(watched, topic)) { grow(topic, payload, isRetained); draw() }
    },
    closed (code, why) {
      if (link === 'live') { lostAt = Date.now(); lost = code ? 'the broker has closed the connection: ' + reason(code) : why || 'the connection has ended' }
      else if (code) lost = 'the broker refuses the connection: ' + reason(code)
      if (!lostAt) lostAt = Date.now()
      if (code === 0x84 && version === 5) { version = 4; return open() }
      if (REFUSED.includes(code)) {
        link = 'login'
        $('login-why').textContent = login && asked ? sentence(reason(code)) : ''
        login = null
        sessionStorage.removeItem('footbridge')
        show(true)
      } else {
        link = 'reconnecting'
        setTimeout(open, Math.min(10000, 500 * 2 ** attempts++))
      }
      draw()
    }
  })
}

function show (isLogin) {
  $('login').hidden = !isLogin
  $('all').hidden = isLogin
  if (isLogin) $('login').elements.user.focus()
}

function submitted (id, then) {
  $(id).addEventListener('submit', event => { event.preventDefault(); then(event.target.elements) })
}

submitted('login', fields => {
  asked = true
  login = { user: fields.user.value, password: fields.password.value }
  fields.password.value = ''
  link = 'connecting'
  open()
  draw()
})
submitted('watch', fields => watch(fields.filter.value))
submitted('publish', fields => {
  const said = $('publish-said')
  const topic = fields.topic.value
  said.textContent = 'Publishing\u2026'
  mqtt.publish(topic, fields.payload.value, fields.retain.checked ? 1 : 0, code => {
    said.textContent = code < 0x80 ? 'Published to ' + topic + (code === 0x10 ? '; nobody has subscribed to it.' : '.') : 'Not published: ' + reason(code) + '.'
  })
})
$('unwatch').addEventListener('click', () => { unwatch(); $('watch-said').textContent = 'Stopped.' })

// Every ten seconds a point of the last hour.
function sample () {
  const seen = new Set()
  for (const b of bridges()) {
    const samples = history.get(b.level) || []
    samples.push({ n: b.messages, isUp: b.isUp || !!resting(b) })
    if (samples.length > HOUR) samples.shift()
    history.set(b.level, samples)
    seen.add(b.level)
  }
  for (const level of history.keys()) if (!seen.has(level)) history.delete(level)
}
setInterval(sample, 10000)
setInterval(draw, 1000)

$('host').textContent = location.host
open()
drawNow()
