package replay_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/deflate/bomb"
	"github.com/sealift/sealift/pkg/replay"
)

// A rebuilt object is compared with the ledger before any of it reaches a customer; a bomb in its
// place is read only as far as the ledger's size.
func TestSummarizeIsBounded(t *testing.T) {
	unit := bytes.Repeat([]byte("{}\n"), 1<<18)
	size := int64(len(unit))
	one := bomb.New(nil, unit, 1)
	for hazard, c := range map[string]struct {
		object []byte
		want   string
	}{
		"whole":              {one, ""},
		"a_bomb":             {bomb.New(nil, unit, 1024), "more than 786432 bytes"},
		"a_bomb_of_one_line": {bomb.New(nil, make([]byte, 1<<20), 1024), "more than 786432 bytes"},
		"one_byte_too_many":  {bomb.New([]byte("\n"), unit, 1), "more than 786432 bytes"},
		"a_second_member":    {append(bytes.Clone(one), bomb.New(nil, unit, 1024)...), "after its first gzip member"},
		"truncated":          {one[:len(one)-1], "unexpected EOF"},
	} {
		t.Run(hazard, func(t *testing.T) {
			stored := bytes.NewReader(c.object)
			got, err := replay.Summarize(struct{ io.Reader }{stored}, size)
			require.Less(t, len(c.object)-stored.Len(), 200<<10, "reading went past the bound")
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, size/3, got.Records)
			require.Equal(t, size, got.RawBytes)
		})
	}
}
