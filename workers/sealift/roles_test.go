package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/porttest"
)

// A single "slow down" does not void a whole audit.
func TestAuditorRetriesStagingReads(t *testing.T) {
	cfg := config.Default()
	cfg.Kafka.Brokers = []string{porttest.Free(t)}
	s, err := openServices(cfg, testCredentials, false, silent, nil)
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

// A zero that the operator configures means zero, although in a role's Config zero means the
// default.
func TestConfiguredZerosAreNotReplacedByDefaults(t *testing.T) {
	cfg := config.Default()
	require.Equal(t, 10*time.Second, appenderConfig(cfg).Grace)
	require.Equal(t, cfg.Copier.ReplayConcurrency, copierConfig(cfg).ReplayConcurrency)
	cfg.Appender.Grace, cfg.Copier.ReplayConcurrency = 0, 0
	require.Negative(t, appenderConfig(cfg).Grace)
	require.Negative(t, copierConfig(cfg).ReplayConcurrency)
}
