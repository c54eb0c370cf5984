package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/porttest"
)

// One answer of "slow down" must not void a whole audit.
func TestTheAuditorsReadsAreTriedAgain(t *testing.T) {
	cfg := config.Default()
	cfg.Kafka.Brokers = []string{porttest.Free(t)}
	s, err := open(cfg, identity{credentials: testCredentials}, false, silent, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	staging, asked := objstore.NewMemory("staging"), 0
	staging.SetFault(func(objstore.Op) objstore.Fault {
		if asked++; asked == 1 {
			return objstore.Fault{Before: objstore.ErrUnavailable}
		}
		return objstore.Fault{}
	})
	s.staging = staging
	roles, err := assemble(t.Context(), s, []string{auditorRole})
	require.NoError(t, err)
	require.NoError(t, roles.roles[0].ready(t.Context()))
	require.Equal(t, 2, asked)
}
