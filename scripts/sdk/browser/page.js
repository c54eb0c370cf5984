/* global analytics, fetch */
// Makes the calls of the page; driver.js puts this script into it.
(async () => {
  const { sdk, count: rounds, templates } = JSON.parse(document.getElementById('data').textContent)
  const count = rounds * templates.length
  const post = (path, body) => fetch(path, { method: 'POST', body })

  const call = (n) => {
    const { userId, anonymousId, ...rest } = structuredClone(templates[n % templates.length])
    // A browser has a single user, set by identify and alias; other calls cannot name one.
    const user = ['identify', 'alias'].includes(rest.type) ? { userId } : {}
    return { ...rest, ...user, messageId: `${sdk}-${n}`, timestamp: new Date(Date.UTC(2026, 10, 22, 10, 0, 0, n)) }
  }
  const send = ({ type, messageId, timestamp, context, integrations, ...fields }) => {
    const options = { messageId, timestamp, context, integrations }
    switch (type) {
      case 'identify': return analytics.identify(fields.userId, fields.traits, options)
      case 'track': return analytics.track(fields.event, fields.properties, options)
      case 'group': return analytics.group(fields.groupId, fields.traits, options)
      case 'alias': return analytics.alias(fields.userId, fields.previousId, options)
      default: return analytics[type](fields.name, fields.properties, options)
    }
  }
  const half = async (from, to) => {
    const calls = []
    for (let n = from; n < to; n++) calls.push(call(n))
    await post('/record', calls.map((c) => JSON.stringify({ call: c }) + '\n').join(''))
    calls.forEach(send)
  }
  const middle = Math.floor(count / 2)
  await half(0, middle)
  await post('/half')
  await half(middle, count)
})()
