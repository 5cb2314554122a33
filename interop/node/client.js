// SPDX-License-Identifier: Apache-2.0

// kafkajs through the verbs of interop/README.md.
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require('kafkajs')
const lz4 = require('lz4-napi')
const zstd = require('@bokuweb/zstd-wasm')

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async e => lz4.compressFrameSync(e.buffer),
  decompress: async b => lz4.decompressFrameSync(b),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async e => Buffer.from(zstd.compress(e.buffer)),
  decompress: async b => Buffer.from(zstd.decompress(b)),
})

const verb = process.argv[2]
const a = Object.fromEntries(process.argv.slice(3).map(x => [x.slice(0, x.indexOf('=')), x.slice(x.indexOf('=') + 1)]))
const num = (k, d) => parseInt(a[k] ?? d)
const yes = k => a[k] === '1'
const out = o => process.stdout.write(JSON.stringify(o) + '\n')
const kafka = new Kafka({ clientId: 'kafkajs-interop', brokers: a.bootstrap.split(','), logLevel: logLevel.NOTHING })
const sleep = ms => new Promise(r => setTimeout(r, ms))

const table = new Uint32Array(256).map((_, n) => { for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1; return n >>> 0 })
const crc32 = b => { let c = 0xffffffff; for (const x of b) c = (c >>> 8) ^ table[(c ^ x) & 255]; return (c ^ 0xffffffff) >>> 0 }

function payload (i, size) {
  const b = Buffer.alloc(size)
  for (let k = 0; k < size; k++) b[k] = 97 + k % 26
  b.write(`${i}|`.slice(0, size))
  return b
}

function record (p, m) {
  const h = Object.entries(m.headers ?? {}).map(([k, v]) => `${k}=${v};`).join('')
  const v = m.value
  out({ p, o: Number(m.offset), i: parseInt(v.toString('latin1').split('|')[0]), len: v.length, crc: crc32(v), key: (m.key ?? '').toString(), h })
}

async function produce () {
  const codecs = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }
  const p = kafka.producer({ idempotent: yes('idempotent'), maxInFlightRequests: yes('idempotent') ? 1 : 5 })
  await p.connect()
  const start = num('start', 0); const n = num('n', 1); const size = num('size', 100)
  for (let i = start; i < start + n;) {
    const messages = []
    for (; i < start + n && messages.length < 50; i++) {
      messages.push({ key: yes('keyed') ? `key-${i % 17}` : null, value: payload(i, size), headers: yes('headers') ? { [`h-${i}`]: `v-${i}` } : {} })
    }
    // kafkajs reports base offsets by partition, not one a record
    const r = await p.send({ topic: a.topic, acks: (a.acks ?? 'all') === 'all' ? -1 : 1, compression: codecs[a.codec ?? 'none'], messages })
    if (r.some(x => x.errorCode !== 0)) throw new Error(JSON.stringify(r))
  }
  await p.disconnect()
  out({ done: true })
}

// asked asks again after errors that pass, such as a leader that has just gone:
// kafkajs' admin client does not.
async function asked (f) {
  for (const until = Date.now() + 20000; ; await sleep(50)) {
    try { return await f() } catch (e) { if (!e.retriable || Date.now() > until) throw e }
  }
}

// consume reads with a group of its own: kafkajs has no consumer without one.
async function consume () {
  const ad = kafka.admin()
  await ad.connect()
  const from = a.from ?? 'start'
  const offsets = async () => from === 'start' ? (await ad.fetchTopicOffsets(a.topic)).map(o => ({ partition: o.partition, offset: o.low }))
    : from === 'end' ? (await ad.fetchTopicOffsets(a.topic)).map(o => ({ partition: o.partition, offset: o.high }))
      : await ad.fetchTopicOffsetsByTimestamp(a.topic, Number(from.slice(5)))
  const at = await asked(offsets)
  const groupId = `reader-${process.pid}-${Date.now()}`
  await ad.disconnect()
  const c = kafka.consumer({ groupId, sessionTimeout: 6000, rebalanceTimeout: 6000 })
  const had = new Set() // a group that rebalances reads again what it had not committed
  let finish
  const done = new Promise(r => { finish = r })
  await c.connect()
  await c.subscribe({ topic: a.topic, fromBeginning: true })
  c.on(c.events.GROUP_JOIN, () => out({ ready: true }))
  c.on(c.events.CRASH, e => { console.error(e.payload.error, e.payload.restart); if (!e.payload.restart) process.exit(1) })
  c.run({
    eachMessage: async ({ partition, message }) => {
      if (had.has(`${partition}:${message.offset}`)) return
      record(partition, message)
      if (had.add(`${partition}:${message.offset}`).size === num('n', 1)) finish()
    }
  })
  // Not by setOffsets: that joins the group for a moment, and what a broker's
  // restart leaves of it there holds the group up for its session of 30 s.
  for (const { partition, offset } of at) c.seek({ topic: a.topic, partition, offset })
  await Promise.race([done, sleep(1000 * num('timeout', 30)).then(() => { throw new Error(`got ${had.size} of ${a.n}`) })])
  await c.disconnect()
  out({ done: true })
}

async function group () {
  const c = kafka.consumer({ groupId: a.group, sessionTimeout: 6000, heartbeatInterval: 500, rebalanceTimeout: 6000 })
  await c.connect()
  await c.subscribe({ topic: a.topic, fromBeginning: true })
  c.on(c.events.GROUP_JOIN, e => out({ assigned: (e.payload.memberAssignment[a.topic] ?? []).sort((x, y) => x - y) }))
  c.on(c.events.REBALANCING, () => out({ assigned: [] }))
  c.on(c.events.CRASH, e => { console.error(e.payload.error, e.payload.restart); if (!e.payload.restart) process.exit(1) })
  await c.run({ eachMessage: async ({ partition, message }) => record(partition, message) })
  await new Promise(r => { process.stdin.on('end', r); process.stdin.resume() })
  await c.disconnect()
  out({ done: true })
}

// A change is there at once on the broker that answered, and soon on the others.
async function step (s, holds) {
  let ok = false
  for (const until = Date.now() + 20000; !ok && Date.now() < until; ok || await sleep(50)) {
    try { ok = await holds() } catch (e) { if (!e.retriable) throw e }
  }
  out({ step: s, ok })
  if (!ok) process.exit(3)
}

async function admin () {
  const ad = kafka.admin(); const topic = a.topic; const groupId = a.group
  await ad.connect()
  await ad.createTopics({ topics: [{ topic, numPartitions: 3, replicationFactor: -1, configEntries: [{ name: 'retention.ms', value: '3600000' }] }] })
  await step('create', async () => (await ad.listTopics()).includes(topic))
  await step('describe', async () => (await ad.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 3)
  const res = { type: ConfigResourceTypes.TOPIC, name: topic }
  const value = async () => (await ad.describeConfigs({ resources: [res], includeSynonyms: false })).resources[0].configEntries.find(e => e.configName === 'retention.ms').configValue
  await step('config', async () => await value() === '3600000')
  await ad.alterConfigs({ resources: [{ ...res, configEntries: [{ name: 'retention.ms', value: '7200000' }] }] })
  await step('alter', async () => await value() === '7200000')
  await ad.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
  await step('partitions', async () => (await ad.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 5)
  await step('exists', async () => await ad.createTopics({ topics: [{ topic, numPartitions: 3 }] }) === false)
  const p = kafka.producer()
  await p.connect()
  for (let i = 0; i < 10; i++) await p.send({ topic, messages: [{ partition: 0, value: payload(i, 50) }] })
  await p.disconnect()
  await ad.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }] })
  const o = (await ad.fetchTopicOffsets(topic)).find(x => x.partition === 0)
  await step('offsets', async () => o.low === '4' && o.high === '10')
  await ad.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '7' }] })
  await step('commit', async () => (await ad.fetchOffsets({ groupId, topics: [topic] }))[0].partitions.find(x => x.partition === 0).offset === '7')
  await step('groups', async () => (await ad.listGroups()).groups.some(g => g.groupId === groupId))
  // kafkajs does not look for a coordinator that has moved here.
  await step('delete-group', async () => await ad.deleteGroups([groupId]) !== undefined)
  await step('group-delete', async () => (await ad.listGroups()).groups.every(g => g.groupId !== groupId))
  await step('cluster', async () => (await ad.describeCluster()).brokers.length >= 1)
  await ad.deleteTopics({ topics: [topic] })
  await step('delete', async () => !(await ad.listTopics()).includes(topic))
  await ad.disconnect()
  out({ done: true })
}

zstd.init().then(() => ({ produce, consume, group, admin })[verb]())
  .then(() => process.exit(0), e => { console.error(e); process.exit(1) })
