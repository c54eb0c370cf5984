package assumerole

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
)

type counterKey struct{}

// WithRequestCounter returns a context in which every request to STS adds one to n, including
// retries. A caller that waits for another's request counts nothing.
func WithRequestCounter(ctx context.Context, n *atomic.Int64) context.Context {
	return context.WithValue(ctx, counterKey{}, n)
}

// countingClient counts the SDK's requests.
type countingClient struct{ aws.HTTPClient }

func (t countingClient) Do(r *http.Request) (*http.Response, error) {
	if n, ok := r.Context().Value(counterKey{}).(*atomic.Int64); ok {
		n.Add(1)
	}
	return t.HTTPClient.Do(r)
}
