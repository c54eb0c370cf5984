package collector

import (
	"net/http"

	"github.com/sealift/sealift/schemas"
)

// documentPath is where the API describes itself. It is on the API's own host, because those who
// send events can reach no other.
const documentPath = "/openapi.yaml"

func (c *Collector) document(w http.ResponseWriter, r *http.Request) int {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return c.countAndRefuse(w, wrongMethod(w, http.MethodGet))
	}
	header := w.Header()
	header.Set("Content-Type", "application/yaml")
	header.Set("Cache-Control", "public, max-age=120")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(schemas.OpenAPI)
	}
	return http.StatusOK
}
