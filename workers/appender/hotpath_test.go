package appender

import (
	"bytes"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/dedup"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
)

// TestAppendDoesNotAllocate: nothing is allocated on the way from the fetched record to the line
// in its file, including remembering messages and compressing blocks. Only the lists of blocks grow
// now and then.
func TestAppendDoesNotAllocate(t *testing.T) {
	for _, withDedup := range []bool{false, true} {
		t.Run(fmt.Sprintf("dedup=%t", withDedup), func(t *testing.T) {
			router, err := route.New("header", "header")
			require.NoError(t, err)
			l := &loop{core: newTestCore(t, entry(0)), router: router.WithNameCache()}
			if withDedup {
				store, err := dedup.Open(dedup.Config{Dir: t.TempDir(), Window: time.Hour, Budget: dedup.NewBudget(64 << 20)})
				require.NoError(t, err)
				t.Cleanup(store.Close)
				l.deduper = &deduper{Store: store}
			}
			line := append(append([]byte(`{"a":"`), bytes.Repeat([]byte("0123456789"), 90)...), `"}`...)
			records := make([]stream.Record, routeChunk)
			for i := range records {
				records[i] = stream.Record{Value: line, Headers: []stream.Header{
					{Key: route.HeaderSource, Value: fmt.Appendf(nil, "source%d", i%10)}, {Key: route.HeaderReceived, Value: strconv.AppendInt(nil, t0, 10)},
					{Key: route.HeaderLine, Value: []byte("1")}, {Key: route.HeaderMessage, Value: []byte("0123456789")},
				}}
			}
			var chunk [routeChunk]routed
			offset := int64(0)
			add := func() {
				for i := range records {
					records[i].Offset = offset + int64(i)
					id := records[i].Headers[3].Value[:0]
					records[i].Headers[3].Value = strconv.AppendInt(id, 1_000_000_000+records[i].Offset, 10)
				}
				l.routeAll(records, &chunk)
				for i := range records {
					_, err := l.add(records[i].Offset, &chunk[i], t0)
					require.NoError(t, err)
				}
				offset += routeChunk
			}
			for range 50 { // until buffers have their size
				add()
			}
			// 64 records per run.
			require.LessOrEqual(t, testing.AllocsPerRun(200, add), 1.0)
		})
	}
}
