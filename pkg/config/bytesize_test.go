package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestByteSize(t *testing.T) {
	for in, want := range map[string]ByteSize{
		"0": 0, "17": 17, "100MB": 100_000_000, "512MiB": 512 << 20, "1.5 GiB": 3 << 29, "2gb": 2e9, "3 B": 3, "0.5KB": 500, "8TiB": 8 << 40,
	} {
		got, err := ParseByteSize(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
		again, err := ParseByteSize(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	for _, in := range []string{"", "MB", "-1", "1e3", "1M", "1 apple", "NaN", "0x10", "1..2", "99999999999999999999", "9999999999TiB", "9999999999.5TiB"} {
		_, err := ParseByteSize(in)
		require.Error(t, err, in)
	}
	require.Equal(t, "100MB", ByteSize(100e6).String())
	require.Equal(t, "512MiB", ByteSize(512<<20).String())
	require.Equal(t, "1001", ByteSize(1001).String())
	require.Equal(t, "-5", ByteSize(-5).String())
}

func FuzzByteSize(f *testing.F) {
	f.Add("100MB")
	f.Add("1.5GiB")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := ParseByteSize(s)
		if err != nil {
			return
		}
		require.GreaterOrEqual(t, b, ByteSize(0))
		again, err := ParseByteSize(b.String())
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}
