//go:build stack

package e2e

import "maps"

// sdk is what to expect of an SDK, and everything that it does differently.
type sdk struct {
	library, channel string
	// adds are members that the SDK adds, by dotted path, with the value if it is known:
	// "userId=null". Every SDK adds context.library.
	adds    []string
	changes []change
	// sleepy: it sends nothing else while it waits to retry, for so long that it would sleep
	// through the outage if an answer were lost before.
	sleepy bool
}

// change is something that an SDK does to what it is told. apply modifies a call so that it matches
// the line; told is what the SDK remembers of other calls.
type change struct {
	why   string
	apply func(call, told map[string]any)
}

// Whether an SDK survives an outage depends on how often it retries and how long it waits in
// between. The drivers set the number of retries where the default is less patient:
//
//	segment-node      0.5 s, doubled, up to a minute; 20 tries (default 10)
//	legacy-node       1 s; 20 tries (default: 0.2 s, doubled; 3 tries)
//	segment-python    as Retry-After says, for half an hour (default)
//	legacy-python     up to 1 s, doubled; 30 tries (default 10)
//	segment-go        5 s (default: 0.1 s, doubled, up to 10 s); always 10 tries
//	segment-java      always up to 30 s, doubled; 20 tries (default 3)
//	segment-kotlin    keeps on disk what failed and tries at each flush, every second (default: 30 s)
//	chromium          at once, then 0.5 s, doubled; 10 tries (default)
//	rudder-node, -python, -go, -java: as legacy-node, legacy-python, segment-go, segment-java
var sdks = map[string]sdk{
	"segment-node": {library: "@segment/analytics-node", channel: "server", adds: []string{"_metadata"}},
	"legacy-node":  {library: "analytics-node", channel: "server", adds: []string{"_metadata"}},
	"segment-python": {library: "analytics-python", channel: "server",
		adds: []string{"anonymousId=null", "userId=null", "category=null"}},
	"segment-python-gzip": {library: "analytics-python", channel: "server",
		adds: []string{"anonymousId=null", "userId=null", "category=null"}},
	"legacy-python": {library: "analytics-python", channel: "server",
		adds: []string{"anonymousId=null", "userId=null", "category=null"}},
	"segment-go":   {library: "analytics-go", channel: "server", changes: []change{noEmptyProperties}},
	"segment-java": {library: "analytics-java", channel: "server", sleepy: true, adds: []string{"context.instanceId"}, changes: []change{noNulls}},
	"segment-kotlin": {library: "analytics-kotlin", channel: "server",
		adds: []string{"_metadata", "anonymousId", `userId="user-1"`, `previousId="user-1"`, `category=""`, "context.instanceId", `context.ip="127.0.0.1"`}},
	"chromium":          {library: "analytics.js", channel: "client", adds: browserAdds, changes: browserChanges},
	"chromium-batching": {library: "analytics.js", channel: "client", adds: browserAdds, changes: browserChanges},
	"rudder-node":       {library: "analytics-node", channel: "server", adds: []string{"_metadata"}, changes: []change{traitsInContextToo}},
	"rudder-python": {library: "analytics-python", channel: "server",
		adds: []string{"anonymousId=null", "userId=null", "category=null", `integrations={"All":true}`}, changes: []change{traitsInContext}},
	"rudder-go":   {library: "analytics-go", channel: "server", adds: []string{"anonymousId"}, changes: []change{noEmptyProperties}},
	"rudder-java": {library: "analytics-java", channel: "server", sleepy: true, changes: []change{noNulls}},
}

// browserAdds: a page knows its visitor, its address and its browser.
var browserAdds = []string{
	"_metadata", "anonymousId", `userId="user-1"`, `context.ip="127.0.0.1"`, `context.locale="en-US"`, "context.page", "context.timezone", "context.userAgent", "context.userAgentData",
	"properties.name", `properties.path="/"`, `properties.referrer=""`, `properties.search=""`, "properties.url",
}

var browserChanges = []change{
	{"it sends all traits that it knows of the visitor and of the group", func(call, told map[string]any) {
		kind := call["type"].(string)
		if traits, ok := call["traits"].(map[string]any); ok {
			known, _ := told[kind].(map[string]any)
			if known == nil {
				known = map[string]any{}
			}
			maps.Copy(known, traits)
			told[kind], call["traits"] = known, maps.Clone(known)
		}
	}},
	{"it sends to a destination of its own", func(call, _ map[string]any) { inside(call, "integrations")["Segment.io"] = true }},
	{"it knows the browser's userAgent and timezone better", func(call, _ map[string]any) {
		if context, ok := call["context"].(map[string]any); ok {
			delete(context, "userAgent")
			delete(context, "timezone")
		}
	}},
}

var noEmptyProperties = change{"it leaves empty properties out", func(call, _ map[string]any) {
	if properties, ok := call["properties"].(map[string]any); ok && len(properties) == 0 {
		delete(call, "properties")
	}
}}

var noNulls = change{"it leaves members out that are null", func(call, _ map[string]any) { dropNulls(call) }}

func dropNulls(v any) {
	switch v := v.(type) {
	case map[string]any:
		maps.DeleteFunc(v, func(_ string, member any) bool { return member == nil })
		for _, member := range v {
			dropNulls(member)
		}
	case []any:
		for _, element := range v {
			dropNulls(element)
		}
	}
}

var traitsInContextToo = change{"it repeats a user's traits in the context", func(call, _ map[string]any) {
	if call["type"] == "identify" {
		inside(call, "context")["traits"] = call["traits"]
	}
}}

var traitsInContext = change{"it puts a user's traits into the context", func(call, _ map[string]any) {
	if call["type"] == "identify" {
		inside(call, "context")["traits"] = call["traits"]
		delete(call, "traits")
	}
}}

// inside returns an object within a call, which it creates if necessary.
func inside(call map[string]any, name string) map[string]any {
	object, ok := call[name].(map[string]any)
	if !ok {
		object = map[string]any{}
		call[name] = object
	}
	return object
}
