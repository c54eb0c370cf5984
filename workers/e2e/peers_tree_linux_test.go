package e2e

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestProcessTreeKeepsTimesOfEndedProcesses: the CPU time of a child that has ended is counted, and
// a child that is not told to end is killed. The shell itself uses no CPU time.
func TestProcessTreeKeepsTimesOfEndedProcesses(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `
sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'
sleep 1000 &
trap "exit 3" TERM
echo ready
wait`)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	p, err := startTree(t.Context(), cmd)
	require.NoError(t, err)
	_, err = out.Read(make([]byte, 10))
	require.NoError(t, err)
	children := p.sample()
	require.Greater(t, len(children), 1)
	own, err := procStat(p.Process.Pid)
	require.NoError(t, err)
	require.Greater(t, own.children, own.cpu)
	peak, err := procPeak(p.Process.Pid)
	require.NoError(t, err)
	require.GreaterOrEqual(t, peak, own.rss)
	p.stop(time.Minute)
	require.GreaterOrEqual(t, p.cpuBy(time.Now()), own.children)
	require.Positive(t, p.peakRSS())
	require.Equal(t, 3, p.ProcessState.ExitCode(), "not ended by SIGTERM")
	for _, pid := range children {
		stat, err := procStat(pid)
		require.True(t, err != nil || stat.zombie || stat.session != p.Process.Pid, "process %d is still running", pid)
	}
}
