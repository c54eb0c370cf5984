// Sends calls through one of the Node SDKs. See run.sh -h.
//
// Usage: driver.js SDK MODULES URL WRITE_KEY CALLS ROUNDS
//
// MODULES is the folder that contains node_modules.
const fs = require('fs')
const path = require('path')
const readline = require('readline')

const [sdk, modules, url, key, calls, rounds] = process.argv.slice(2)
const load = (name) => require(path.join(modules, 'node_modules', name))

function dropped (why) {
  console.error(`${sdk}: a message was dropped:`, why)
  process.exitCode = 1
}

// withCallbacks wraps a client so that flush waits for the callbacks of all messages. The callback of the
// SDK's own flush covers only the last batch.
function withCallbacks (client) {
  let pending = 0
  let done = () => {}
  const onResult = (err) => {
    if (err) dropped(err)
    if (--pending === 0) done()
  }
  const send = (type, message) => {
    pending++
    client[type](message, onResult)
  }
  const flush = () =>
    new Promise((resolve) => {
      done = resolve
      client.flush()
      if (pending === 0) resolve()
    })
  return { send, flush }
}

// Each SDK is set to 20 retries, about a second apart.
const sdks = {
  'segment-node': () => {
    const { Analytics } = load('@segment/analytics-node')
    const client = new Analytics({ writeKey: key, host: url, maxRetries: 20, flushInterval: 1000 })
    client.on('error', (err) => dropped(err.reason || err))
    return { send: (type, message) => client[type](message), flush: () => client.closeAndFlush({ timeout: 300000 }) }
  },
  'legacy-node': () => withCallbacks(new (load('analytics-node'))(key, { host: url, retryCount: 20, axiosRetryConfig: { retryDelay: () => 1000 } })),
  'rudder-node': () => withCallbacks(new (load('@rudderstack/rudder-sdk-node'))(key, { dataPlaneUrl: url, retryCount: 20, axiosRetryConfig: { retryDelay: () => 1000 } }))
}

async function main () {
  const client = sdks[sdk]()
  const templates = JSON.parse(fs.readFileSync(calls, 'utf8'))
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]()
  const count = rounds * templates.length
  for (let n = 0; n < count; n++) {
    if (n === Math.floor(count / 2)) {
      console.log('{"half":true}')
      await lines.next()
    }
    const timestamp = new Date(Date.UTC(2026, 10, 22, 10, 0, 0, n))
    const call = { ...structuredClone(templates[n % templates.length]), messageId: `${sdk}-${n}`, timestamp }
    console.log(JSON.stringify({ call }))
    const { type, ...fields } = call
    client.send(type, fields)
  }
  await client.flush()
  process.stdin.destroy()
}

main().catch((err) => {
  console.error(err)
  process.exitCode = 1
})
