package spelling

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNearest(t *testing.T) {
	known := []string{"kafka.brokers", "kafka.group", "redis.url", "staging.bucket"}
	for word, want := range map[string]string{
		"kafka.broker":   "kafka.brokers",
		"kafak.brokers":  "kafka.brokers",
		"redis.uri":      "redis.url",
		"Staging.Bukcet": "staging.bucket",
		"":               "redis.url",
	} {
		require.Equal(t, want, Nearest(word, known), word)
	}
	require.Empty(t, Nearest("x", nil))
}

func TestSuggest(t *testing.T) {
	require.Equal(t, "web", Suggest("wbe", []string{"ios", "web"}))
	require.Empty(t, Suggest("something", []string{"ios", "web"}))
	require.Empty(t, Suggest("something", nil))
	require.Empty(t, Suggest("get", []string{"cat", "ls"}))
	require.Equal(t, "ls", Suggest("sl", []string{"cat", "ls"}))
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"ab", "ba", 1}, {"abc", "abd", 1}, {"abc", "bc", 1}, {"kitten", "sitting", 3}} {
		require.Equal(t, c.want, distance(c.a, c.b), "%s %s", c.a, c.b)
		require.Equal(t, c.want, distance(c.b, c.a), "%s %s", c.b, c.a)
	}
}
