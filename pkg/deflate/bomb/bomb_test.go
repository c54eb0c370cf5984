package bomb_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/deflate/bomb"
	"github.com/sealift/sealift/pkg/gziptest"
)

func TestBombIsValid(t *testing.T) {
	unit := bytes.Repeat([]byte("{}\n"), 100_000)
	object := bomb.New([]byte("head\n"), unit, 50)
	require.Less(t, len(object), 50*len(unit)/500)
	require.Equal(t, "head\n"+strings.Repeat(string(unit), 50), gziptest.Unzip(t, bytes.NewReader(object)))
}
