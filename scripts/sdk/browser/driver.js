// Sends calls through analytics.js in Chromium, from a page whose origin differs from those of the
// collector and of the script. See run.sh -h.
//
// Usage: driver.js SDK MODULES URL WRITE_KEY CALLS ROUNDS
//
// MODULES is the folder that contains node_modules. The page is served from here, and reports each
// call before it passes the call to the SDK.
const { spawn } = require('child_process')
const fs = require('fs')
const http = require('http')
const os = require('os')
const path = require('path')
const readline = require('readline')

const [sdk, modules, api, key, calls, rounds] = process.argv.slice(2)
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const umd = path.join(modules, 'node_modules/@segment/analytics-next/dist/umd')

// listen starts a server on a free port, and so with an origin of its own.
const listen = (handler) =>
  new Promise((resolve) => {
    const server = http.createServer(handler).listen(0, '127.0.0.1', () => resolve(server.address().port))
  })

// cdn serves what Segment's CDN would: the script, which is standalone.js in the package, and the
// parts that the script loads when it needs them.
function cdn (request, response) {
  const name = path.basename(request.url)
  const file = path.join(umd, name === 'analytics.min.js' ? 'standalone.js' : name)
  if (!fs.existsSync(file)) console.error(`${sdk}: the page asked the CDN for ${request.url}`)
  response.writeHead(fs.existsSync(file) ? 200 : 404, { 'Content-Type': 'text/javascript' })
  response.end(fs.existsSync(file) ? fs.readFileSync(file) : '')
}

// page returns a page like that of a website: Segment's snippet, changed to use the hosts of this
// test, and calls.
function page (cdnPort) {
  const snippet = require(path.join(modules, 'node_modules/@segment/snippet'))
  const { host } = new URL(api)
  const destination = { apiHost: `${host}/v1`, protocol: 'http' }
  if (sdk === 'chromium-batching') destination.deliveryStrategy = { strategy: 'batching', config: { size: 10, timeout: 500 } }
  const load = { integrations: { 'Segment.io': destination } }
  const loader = snippet.max({ apiKey: key, host: `127.0.0.1:${cdnPort}`, load, page: false })
    .replace('https:', 'http:')
    .replace('analytics.load(', `analytics._cdn = ${JSON.stringify(api)}; analytics.load(`) // the SDK reads its settings from the collector
  const data = JSON.stringify({ sdk, count: rounds, templates: JSON.parse(fs.readFileSync(calls, 'utf8')) })
  return `<!doctype html><html><head><title>Shop 🛍</title><script>${loader}</script></head><body>
<script type="application/json" id="data">${data.replaceAll('<', '\\u003c')}</script>
<script>${fs.readFileSync(path.join(__dirname, 'page.js'))}</script></body></html>`
}

async function main () {
  const cdnPort = await listen(cdn)
  const port = await listen((request, response) => {
    let body = ''
    request.setEncoding('utf8') // characters may be split between chunks
    request.on('data', (chunk) => { body += chunk })
    request.on('end', async () => {
      if (request.url === '/record') process.stdout.write(body)
      if (request.url === '/half') {
        console.log('{"half":true}')
        await lines.next()
      }
      response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' })
      response.end(request.url === '/' ? page(cdnPort) : '')
    })
  })
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'sealift-chromium-'))
  const browser = spawn('chromium', [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', `--user-data-dir=${profile}`, '--no-first-run', '--no-proxy-server',
    '--disable-background-networking', '--disable-component-update', '--disable-default-apps', '--disable-extensions', '--disable-sync',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1', '--remote-debugging-port=0', `http://localhost:${port}/`
  ], { stdio: 'ignore', detached: true })
  const stop = () => { try { process.kill(-browser.pid, 'SIGKILL') } catch {} }
  process.on('exit', () => {
    stop()
    fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
  })
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(1))
  browser.on('exit', (code) => {
    console.error(`${sdk}: Chromium ended: ${code}`)
    process.exit(1)
  })
  await ended
  browser.removeAllListeners('exit')
  process.exit(0)
}

// The page cannot tell when everything is sent. Whoever started this driver can, and then closes its
// standard input.
let end
const ended = new Promise((resolve) => { end = resolve })
process.stdin.on('end', () => end())

main().catch((err) => {
  console.error(err)
  process.exit(1)
})
