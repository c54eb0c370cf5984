package objstore_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
)

func TestAllListsEveryPage(t *testing.T) {
	for _, n := range []int{0, 1, 999, 1000, 1001, 2500} {
		m := objstore.NewMemory("b")
		var want []string
		for i := range n {
			want = append(want, fmt.Sprintf("a/%05d", i))
		}
		for _, key := range append([]string{"Z", "a", "b/1"}, want...) {
			_, err := m.Put(t.Context(), key, strings.NewReader("x"), objstore.PutOptions{})
			require.NoError(t, err)
		}
		var got []string
		for info, err := range objstore.All(t.Context(), m, "a/") {
			require.NoError(t, err)
			got = append(got, info.Key)
			require.NoError(t, m.Delete(t.Context(), info.Key), "delete during the listing")
		}
		require.Equal(t, want, got)
	}
}

func TestAllStopsWithItsConsumer(t *testing.T) {
	m := objstore.NewMemory("b")
	for i := range 1500 {
		_, err := m.Put(t.Context(), fmt.Sprintf("%05d", i), strings.NewReader("x"), objstore.PutOptions{})
		require.NoError(t, err)
	}
	lists, seen := 0, 0
	m.SetFault(func(op objstore.Op) objstore.Fault {
		if lists++; lists > 1 {
			return objstore.Fault{Before: objstore.ErrUnavailable}
		}
		return objstore.Fault{}
	})
	for range objstore.All(t.Context(), m, "") {
		if seen++; seen == 1000 {
			break
		}
	}
	require.Equal(t, 1, lists, "listed further than ranged over")

	lists, seen = 0, 0
	for _, err := range objstore.All(t.Context(), m, "") {
		if err != nil {
			require.ErrorIs(t, err, objstore.ErrUnavailable)
			break
		}
		seen++
	}
	require.Equal(t, 1000, seen)
	require.Equal(t, 2, lists)
}
