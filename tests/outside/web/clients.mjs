// mqtt.js against the broker at the URLs of the command line: every version, every QoS.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import mqtt from 'mqtt'

const VERSIONS = {
  3: { protocolId: 'MQIsdp', protocolVersion: 3 },
  4: { protocolId: 'MQTT', protocolVersion: 4 },
  5: { protocolId: 'MQTT', protocolVersion: 5 },
}

const connect = (url, version, clientId, more = {}) =>
  mqtt.connectAsync(url, { ...VERSIONS[version], clientId, reconnectPeriod: 0, ...more })

async function next (client) {
  const [topic, payload, packet] = await once(client, 'message')
  return { topic, payload, qos: packet.qos, retain: packet.retain, properties: packet.properties }
}

async function everyQos (url, version) {
  const [pub, sub] = await Promise.all(['pub', 'sub'].map(id => connect(url, version, id)))
  for (const qos of [0, 1, 2]) {
    const [granted] = await sub.subscribeAsync(`t/${qos}`, { qos })
    assert.equal(granted.qos, qos)
    for (const size of [0, 200, 100_000, 1_000_000]) {
      const payload = Buffer.alloc(size, 'x')
      const message = next(sub)
      await pub.publishAsync(`t/${qos}`, payload, { qos })
      const got = await message
      assert.equal(got.qos, qos)
      assert.ok(got.payload.equals(payload))
    }
  }
  await pub.publishAsync('retained', 'kept', { qos: 1, retain: true })
  const retained = next(sub)
  await sub.subscribeAsync('retained')
  assert.deepEqual(await retained.then(m => [m.payload.toString(), m.retain]), ['kept', true])
  await pub.publishAsync('retained', '', { retain: true })
  await Promise.all([pub.endAsync(), sub.endAsync()])
}

async function durable (url, version) {
  const keep = { clean: false, ...(version == 5 && { properties: { sessionExpiryInterval: 600 } }) }
  const first = await connect(url, version, 'durable', keep)
  await first.subscribeAsync('d', { qos: 2 })
  await first.endAsync()
  const pub = await connect(url, version, 'pub')
  for (const qos of [1, 2]) await pub.publishAsync('d', `${qos}`, { qos })
  const again = mqtt.connect(url, { ...VERSIONS[version], clientId: 'durable', reconnectPeriod: 0, ...keep })
  const got = []
  again.on('message', (topic, payload) => got.push(payload.toString()))
  const [connack] = await once(again, 'connect')
  assert.equal(connack.sessionPresent, version != 3)
  while (got.length < 2) await once(again, 'message')
  assert.deepEqual(got.sort(), ['1', '2'])
  await again.unsubscribeAsync('d')
  await Promise.all([again.endAsync(), pub.endAsync()])
}

async function will (url, version) {
  const watcher = await connect(url, version, 'watcher')
  await watcher.subscribeAsync('will')
  const message = next(watcher)
  const victim = await connect(url, version, 'victim', { will: { topic: 'will', payload: 'gone', qos: 0, retain: false } })
  victim.stream.destroy()
  assert.equal((await message).payload.toString(), 'gone')
  await watcher.endAsync()
}

async function properties (url) {
  const client = await connect(url, 5, 'five', { properties: { topicAliasMaximum: 5 } })
  await client.subscribeAsync('p')
  const message = next(client)
  const sent = { contentType: 'text/plain', correlationData: Buffer.from([1, 2]), userProperties: { a: 'b' } }
  await client.publishAsync('p', 'x', { qos: 1, properties: sent })
  const got = (await message).properties
  assert.equal(got.contentType, 'text/plain')
  assert.equal(got.userProperties.a, 'b')
  await client.endAsync()
}

for (const url of process.argv.slice(2)) {
  for (const version of Object.keys(VERSIONS)) {
    for (const story of [everyQos, durable, will]) {
      await story(url, version)
      console.log(`${story.name} ${new URL(url).protocol} ${version}: ok`)
    }
  }
  await properties(url)
}
