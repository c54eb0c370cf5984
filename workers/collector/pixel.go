package collector

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/sealift/sealift/pkg/event"
)

// pixelImage is a transparent GIF of one pixel.
var pixelImage = []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")

// pixel takes an event from the query of an image's URL. The answer is always 200 and the image,
// after Kafka's acknowledgement if there is one: nobody reads the status of an image, and a mail
// program would show a broken one. An event that was not accepted is in the dead letters if its
// source is known; otherwise only the metric refused_total counts it.
func (c *Collector) pixel(w http.ResponseWriter, r *http.Request, name string) int {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return c.countAndRefuse(w, wrongMethod(w, http.MethodGet))
	}
	if r.Method == http.MethodGet {
		c.countRefusal(c.takePixel(r, name))
	}
	header := w.Header()
	header.Set("Content-Type", "image/gif")
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(pixelImage)
	}
	return http.StatusOK
}

func (c *Collector) takePixel(r *http.Request, name string) *refusal {
	kind, ok := event.KindOf(name)
	if !ok || kind == event.Batch {
		return noSuchPath()
	}
	if !c.loaded() {
		return retryLater(http.StatusServiceUnavailable, "starting", "the collector is starting")
	}
	body, err := c.pixelBody(r.URL.RawQuery)
	if err != nil {
		return eventRefusal(err)
	}
	g := &grant{budget: &c.inFlight}
	defer g.release()
	if !g.resize(int64(cap(body))) {
		return overloaded()
	}
	stamp := c.stamp(r)
	stamp.Browser = true
	stamp.UserAgent = r.UserAgent()
	records, refused := c.parse(kind, body, stamp, authorization(r), false, g)
	if refused != nil {
		return refused
	}
	return c.produce(records, g.transfer())
}

// pixelBody uses a parser's slot until it returns: parsing a query takes many times its size in
// memory, before the write key is looked at.
func (c *Collector) pixelBody(rawQuery string) ([]byte, error) {
	p := <-c.parsers
	defer func() { c.parsers <- p }()
	// What does not parse is left out. url.ParseQuery drops a parameter with a bare semicolon,
	// which no browser escapes, and which an event may contain.
	query, _ := url.ParseQuery(strings.ReplaceAll(rawQuery, ";", "%3B"))
	return event.PixelBody(query)
}
