// Sends the calls of a file through one of Segment's Node SDKs.
//
// Usage: driver.js MODULES URL WRITE_KEY CALLS ROUNDS segment-node|legacy-node;
// prints what it sent as JSON. MODULES is the folder that holds node_modules.
const fs = require('fs')
const path = require('path')

const [modules, url, key, calls, rounds, sdk] = process.argv.slice(2)
const load = (name) => require(path.join(modules, 'node_modules', name))

function dropped (why) {
  console.error(`${sdk}: a message was dropped:`, why)
  process.exitCode = 1
}

const sdks = {
  'segment-node': () => {
    const { Analytics } = load('@segment/analytics-node')
    const client = new Analytics({ writeKey: key, host: url })
    client.on('error', (err) => dropped(err.reason || err))
    return { client, package: '@segment/analytics-node', library: '@segment/analytics-node', flush: () => client.closeAndFlush() }
  },
  'legacy-node': () => {
    const Analytics = load('analytics-node')
    const client = new Analytics(key, { host: url })
    let pending = 0
    let done = () => {}
    // A message's callback tells that its batch was taken; flush's own tells
    // of the last batch only.
    const counted = (err) => {
      if (err) dropped(err)
      if (--pending === 0) done()
    }
    const wrapped = Object.fromEntries(
      ['identify', 'track', 'page', 'screen', 'group', 'alias'].map((type) => [
        type,
        (message) => {
          pending++
          client[type](message, counted)
        }
      ])
    )
    const flush = () =>
      new Promise((resolve) => {
        done = resolve
        client.flush()
      })
    return { client: wrapped, package: 'analytics-node', library: 'analytics-node', flush }
  }
}

async function main () {
  const { client, flush, library, package: name } = sdks[sdk]()
  const templates = JSON.parse(fs.readFileSync(calls, 'utf8'))
  const sent = []
  for (let n = 0; n < rounds * templates.length; n++) {
    const timestamp = new Date(Date.UTC(2026, 10, 22, 10, 0, 0, n))
    const call = { ...structuredClone(templates[n % templates.length]), messageId: `${sdk}-${n}`, timestamp }
    sent.push(JSON.parse(JSON.stringify(call)))
    const { type, ...fields } = call
    client[type](fields)
  }
  await flush()
  const { version } = load(path.join(name, 'package.json'))
  process.stdout.write(JSON.stringify({ sdk, version, library, messages: sent }))
}

main().catch((err) => {
  console.error(err)
  process.exitCode = 1
})
