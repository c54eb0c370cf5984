package collector

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/stream"
)

func parcels() []parcel {
	at := time.UnixMilli(1_795_305_600_123).UTC()
	return []parcel{
		{},
		{records: []stream.Record{{Time: at, Key: []byte("web"), Value: []byte(`{"a":1}`), Headers: []stream.Header{{Key: "sealift-line", Value: []byte("1")}, {Key: "sealift-message", Value: []byte{}}, {Key: "x"}}}}},
		{dead: []stream.Record{{Time: at.Add(-time.Hour)}}, records: []stream.Record{{Time: at, Value: bytes.Repeat([]byte("x"), 70_000)}, {Time: time.UnixMilli(-1).UTC(), Key: []byte{}}}},
	}
}

func TestParcels(t *testing.T) {
	for _, in := range parcels() {
		b := appendParcel(nil, in)
		require.LessOrEqual(t, int64(len(b)), parcelBytes(in), "the estimate is too small")
		out, err := parseParcel(b)
		require.NoError(t, err)
		require.Equal(t, in, out)
		for n := range b {
			if n < 200 || n > len(b)-200 {
				_, err := parseParcel(b[:n])
				require.ErrorIs(t, err, errParcel, "truncated")
			}
		}
		_, err = parseParcel(append(b, 0))
		require.ErrorIs(t, err, errParcel, "trailing bytes")
		b[0]++
		_, err = parseParcel(b)
		require.ErrorContains(t, err, "that this release knows")
	}
}

// FuzzParcel: whatever a parcel contains, what is parsed from it can be written and parsed again
// unchanged.
func FuzzParcel(f *testing.F) {
	for _, p := range parcels() {
		f.Add(appendParcel(nil, p))
	}
	f.Add([]byte{parcelVersion, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseParcel(b)
		if err != nil {
			return
		}
		again, err := parseParcel(appendParcel(nil, p))
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Fatalf("%v became %v: %v", p, again, err)
		}
	})
}
