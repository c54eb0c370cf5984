package ledgertest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/verify"
)

// The ledgers made are valid, and a receipt that is left out is reported missing.
func TestLedgersAreValid(t *testing.T) {
	staging, l := objstore.NewMemory("staging"), ledger.Log{Topic: "events", Incarnation: "1", Partition: 3}
	head := Append(t, staging, Init(l, time.Now().Add(-48*time.Hour)))
	alone := File(l, ledger.File{Last: 9, Owed: []string{"ws/a", "ws/b"}}, []byte("alone"))
	Put(t, staging, alone.StagedKey, []byte("alone"))
	sealed := Append(t, staging, Next(head, alone))
	receipt := delivery.Receipt{Bucket: "b", Key: delivery.ObjectKey("", l, &alone), SHA256: alone.SHA256, Bytes: alone.GzipBytes, Records: alone.Records}
	Receipt(t, staging, sealed, 0, "ws/a", receipt)
	packed := []ledger.File{File(l, ledger.File{First: 10}, []byte("one")), File(l, ledger.File{Source: "app", First: 11}, []byte("two"))}
	Put(t, staging, Pack(l, sealed.Seq+1, packed, []byte("onetwo")), []byte("onetwo"))
	Append(t, staging, Next(sealed, packed...))

	for _, want := range []map[verify.Kind]int64{{verify.Debt: 1}, {}} {
		r, err := verify.Verify(t.Context(), verify.Config{Topic: l.Topic, Partition: -1, Overdue: time.Hour}, verify.Deps{Staging: staging})
		require.NoError(t, err)
		require.Equal(t, want, r.ByKind, "%v", r.Examples)
		require.EqualValues(t, 12, r.Records)
		Receipt(t, staging, sealed, 0, "ws/b", receipt)
	}
}
