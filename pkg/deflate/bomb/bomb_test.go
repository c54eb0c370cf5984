package bomb_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/deflate/bomb"
)

func TestBombIsValid(t *testing.T) {
	unit := bytes.Repeat([]byte("{}\n"), 100_000)
	object := bomb.New([]byte("head\n"), unit, 50)
	require.Less(t, len(object), 50*len(unit)/500)
	z, err := gzip.NewReader(bytes.NewReader(object))
	require.NoError(t, err)
	got, err := io.ReadAll(z)
	require.NoError(t, err)
	require.True(t, bytes.Equal(got, append([]byte("head\n"), bytes.Repeat(unit, 50)...)))
}
