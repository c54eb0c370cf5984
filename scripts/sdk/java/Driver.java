// Sends calls through Segment's Java SDK. See run.sh -h. For Rudder's SDK, which is a fork, run.sh
// replaces the names of Segment's SDK in this file.
//
// Usage: Driver SDK URL WRITE_KEY CALLS ROUNDS

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.segment.analytics.Analytics;
import com.segment.analytics.Callback;
import com.segment.analytics.messages.*;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

public class Driver {
  public static void main(String[] args) throws IOException, InterruptedException {
    String sdk = args[0];
    JsonArray templates = JsonParser.parseString(Files.readString(Path.of(args[3]))).getAsJsonArray();
    int count = Integer.parseInt(args[4]) * templates.size();
    CountDownLatch unreported = new CountDownLatch(count);
    Callback callback = new Callback() {
      @Override public void success(Message message) { unreported.countDown(); }

      @Override public void failure(Message message, Throwable why) {
        System.err.println(sdk + ": a message was dropped: " + why);
        System.exit(1);
      }
    };
    // The pauses between retries cannot be set. The first is half a minute at most; then they double.
    Analytics client = Analytics.builder(args[2]).endpoint(args[1]).callback(callback).retries(20).flushQueueSize(50).flushInterval(1, TimeUnit.SECONDS).build();
    Gson gson = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();
    long start = 1795341600000L; // 2026-11-22T10:00:00Z
    for (int n = 0; n < count; n++) {
      if (n == count / 2) {
        System.out.println("{\"half\":true}");
        System.in.read();
      }
      JsonObject call = templates.get(n % templates.size()).getAsJsonObject().deepCopy();
      Date at = new Date(start + n);
      call.addProperty("messageId", sdk + "-" + n);
      call.addProperty("timestamp", at.toInstant().toString());
      System.out.println(gson.toJson(Map.of("call", call)));
      client.enqueue(message(call).messageId(sdk + "-" + n).timestamp(at));
    }
    client.flush();
    unreported.await();
    client.shutdown();
    System.exit(0); // otherwise the thread of an idle connection keeps the process alive
  }

  static MessageBuilder<?, ?> message(JsonObject call) {
    MessageBuilder<?, ?> b = builder(call);
    if (call.has("userId")) b.userId(call.get("userId").getAsString());
    if (call.has("anonymousId")) b.anonymousId(call.get("anonymousId").getAsString());
    if (call.has("context")) b.context(members(call, "context"));
    members(call, "integrations").forEach((name, value) -> {
      if (value instanceof Boolean on) b.enableIntegration(name, on);
      else b.integrationOptions(name, asMap(value));
    });
    return b;
  }

  static MessageBuilder<?, ?> builder(JsonObject call) {
    return switch (call.get("type").getAsString()) {
      case "identify" -> IdentifyMessage.builder().traits(members(call, "traits"));
      case "track" -> TrackMessage.builder(call.get("event").getAsString()).properties(members(call, "properties"));
      case "page" -> PageMessage.builder(call.get("name").getAsString()).properties(members(call, "properties"));
      case "screen" -> ScreenMessage.builder(call.get("name").getAsString()).properties(members(call, "properties"));
      case "group" -> GroupMessage.builder(call.get("groupId").getAsString()).traits(members(call, "traits"));
      default -> AliasMessage.builder(call.get("previousId").getAsString());
    };
  }

  static Map<String, Object> members(JsonObject call, String name) {
    return call.has(name) ? asMap(value(call.get(name))) : Map.of();
  }

  @SuppressWarnings("unchecked")
  static Map<String, Object> asMap(Object value) { return (Map<String, Object>) value; }

  // value returns JSON as the Java value that a caller would use: Long, Double, String, …
  static Object value(JsonElement json) {
    if (json.isJsonObject()) {
      Map<String, Object> map = new LinkedHashMap<>();
      json.getAsJsonObject().entrySet().forEach(e -> map.put(e.getKey(), value(e.getValue())));
      return map;
    }
    if (json.isJsonArray()) {
      List<Object> list = new ArrayList<>();
      json.getAsJsonArray().forEach(e -> list.add(value(e)));
      return list;
    }
    if (json.isJsonNull()) return null;
    if (json.getAsJsonPrimitive().isBoolean()) return json.getAsBoolean();
    if (json.getAsJsonPrimitive().isString()) return json.getAsString();
    String digits = json.getAsString();
    return digits.matches("-?\\d+") ? (Object) Long.valueOf(digits) : (Object) Double.valueOf(digits);
  }
}
