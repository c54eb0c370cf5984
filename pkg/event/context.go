package event

import "bytes"

// contextFacts is what the API needs to know about a context.
type contextFacts struct {
	ip        bool // there is an ip
	userAgent bool // there is a userAgent
	direct    bool // "direct": true: the caller asks for its address
	device    bool // the library runs on a person's device
	page      bool // the library runs in a page
	library   bool // there is a library
}

func (f *contextFacts) add(key, value []byte) {
	switch string(key) {
	case `"ip"`:
		f.ip = true
	case `"userAgent"`:
		f.userAgent = true
	case `"direct"`:
		f.direct = string(value) == "true"
	case `"library"`:
		f.library = true
		eachMember(value, func(key, value []byte) bool {
			if string(key) != `"name"` {
				return true
			}
			name, _ := unquote(value)
			f.device, f.page = libraryPlatform(name)
			return false
		})
	}
}

// inherit adds the facts of the batch's context.
func (f contextFacts) inherit(batch contextFacts) contextFacts {
	if !f.library {
		f.device, f.page, f.library = batch.device, batch.page, batch.library
	}
	f.ip = f.ip || batch.ip
	f.userAgent = f.userAgent || batch.userAgent
	f.direct = f.direct || batch.direct
	return f
}

// libraryPlatform reports whether Segment's library of that name runs on a person's device rather
// than on a server, and whether it runs in a web page.
func libraryPlatform(library []byte) (device, page bool) {
	library = bytes.TrimPrefix(library, []byte("@segment/"))
	switch string(library) {
	case "analytics.js", "analytics-next":
		return true, true
	case "analytics-ios", "analytics-swift", "analytics-android", "analytics-kotlin",
		"analytics-react-native", "analytics-flutter", "analytics_flutter":
		return true, false
	}
	return false, false
}
