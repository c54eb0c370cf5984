// Sends calls through Segment's Kotlin SDK on the JVM. See run.sh -h.
//
// Usage: DriverKt SDK URL WRITE_KEY CALLS ROUNDS

import com.segment.analytics.kotlin.core.Analytics
import com.segment.analytics.kotlin.core.BaseEvent
import com.segment.analytics.kotlin.core.Configuration
import com.segment.analytics.kotlin.core.RequestFactory
import java.io.File
import java.time.Instant
import kotlin.system.exitProcess
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive

/** Connects to the collector over plain HTTP, although the SDK always uses https. */
object Plain : RequestFactory() {
    override fun openConnection(url: String) = super.openConnection(url.replaceFirst("https://", "http://"))
}

fun main(args: Array<String>) {
    val (sdk, url, key, calls, rounds) = args
    val out = System.out
    System.setOut(System.err) // the SDK logs to System.out
    val host = url.substringAfter("://") + "/v1"
    // Events that could not be sent stay on disk, and each flush tries them again.
    val client = Analytics(Configuration(key, application = Plain, apiHost = host, cdnHost = host, flushAt = 20, flushInterval = 1, requestFactory = Plain))
    val templates = Json.parseToJsonElement(File(calls).readText()).jsonArray
    val count = rounds.toInt() * templates.size
    val start = Instant.parse("2026-11-22T10:00:00Z")
    for (n in 0 until count) {
        if (n == count / 2) {
            out.println("""{"half":true}""")
            readLine()
        }
        // A client has a single user, which only identify and alias can set, by userId. It has
        // screens, but no pages.
        var template = templates[n % templates.size].jsonObject
        if (template.text("type") == "page") template = JsonObject(template + ("type" to JsonPrimitive("screen")))
        val user = if (template.text("type") in setOf("identify", "alias")) setOf("userId") else setOf()
        val call = JsonObject(template.filterKeys { it !in setOf("userId", "anonymousId", "previousId") || it in user } +
            mapOf("messageId" to JsonPrimitive("$sdk-$n"), "timestamp" to JsonPrimitive(start.plusMillis(n.toLong()).toString())))
        out.println(JsonObject(mapOf("call" to call)))
        send(client, call)
    }
    client.flush()
    readLine() // the SDK does not tell when everything is sent; whoever started this driver knows
    File("/tmp/analytics-kotlin/$key").deleteRecursively()
    exitProcess(0)
}

fun JsonObject.text(name: String) = getValue(name).jsonPrimitive.content

fun JsonObject.members(name: String) = get(name)?.jsonObject ?: JsonObject(mapOf())

fun send(client: Analytics, call: JsonObject) {
    val enrich = { event: BaseEvent? ->
        event?.apply {
            messageId = call.text("messageId")
            timestamp = call.text("timestamp")
            if ("context" in call) context = JsonObject(context + call.members("context"))
            if ("integrations" in call) integrations = call.members("integrations")
        }
    }
    when (call.text("type")) {
        "identify" -> client.identify(call.text("userId"), call.members("traits"), enrich)
        "track" -> client.track(call.text("event"), call.members("properties"), enrich)
        "screen" -> client.screen(call.text("name"), call.members("properties"), "", enrich)
        "group" -> client.group(call.text("groupId"), call.members("traits"), enrich)
        else -> client.alias(call.text("userId"), enrich)
    }
}
