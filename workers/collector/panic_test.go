package collector

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// panicReader calls itself, to panic, when it is read.
type panicReader func()

// Read implements io.Reader.
func (t panicReader) Read([]byte) (int, error) {
	t()
	return 0, io.EOF
}

// TestPanicEndsOnlyItsRequest: a panic ends only its request and is logged and counted; nothing
// that the request held leaks, and the log has nothing of its contents.
func TestPanicEndsOnlyItsRequest(t *testing.T) {
	for hazard, with := range map[string]func(){
		"an_error": func() { panic(errors.New("secret")) },
		"a_text":   func() { panic("secret") },
		"a_bug":    func() { _ = strings.Fields("a b")[seven()] },
	} {
		t.Run(hazard, func(t *testing.T) {
			b := newFixture(t, Config{MaxInFlight: 1 << 20})
			for range 1000 {
				w := b.do(post("/v1/track", io.MultiReader(text(`{"userId":"secret",`), panicReader(with))))
				require.Equal(t, http.StatusInternalServerError, w.Code)
				require.Contains(t, w.Body.String(), `"internal"`)
				require.NotEmpty(t, w.Header().Get("Retry-After"))
			}
			require.Zero(t, b.inFlight.used.Load())
			require.Equal(t, http.StatusOK, b.do(post("/v1/track", text(`{"userId":"u"}`))).Code)
			require.InDelta(t, 1000, b.metric(t, "sealift_collector_panics_total"), 0)
			require.InDelta(t, 1000, b.metric(t, "sealift_collector_requests_total", "status", "500"), 0)
			require.Contains(t, b.logged.String(), "panic_test.go", "the stack")
			require.NotContains(t, b.logged.String(), "secret")
			require.Equal(t, hazard == "a_bug", strings.Contains(b.logged.String(), "index out of range [7] with length 2"))
			<-b.gate.close()
		})
	}
}

func seven() int { return 7 }
