package copier

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/objstore"
)

// slowStore reads a body in pieces, with pauses.
type slowStore struct {
	objstore.Store
	pieces int
	pause  time.Duration // before each piece
	answer time.Duration // after the last piece; negative: never
	deaf   bool          // ignores its context
}

// Put implements objstore.Store.
func (s slowStore) Put(ctx context.Context, key string, body io.ReadSeeker, _ objstore.PutOptions) (objstore.Info, error) {
	size, _ := body.Seek(0, io.SeekEnd)
	_, _ = body.Seek(0, io.SeekStart)
	wait := func(d time.Duration) error {
		var done <-chan time.Time
		if d >= 0 {
			done = time.After(d)
		}
		if s.deaf {
			<-done
			return nil
		}
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return &objstore.Error{Op: "put", Key: key, Kind: objstore.ErrUnavailable, Err: context.Cause(ctx)}
		}
	}
	for range s.pieces {
		if err := wait(s.pause); err != nil {
			return objstore.Info{}, err
		}
		if _, err := io.CopyN(io.Discard, body, size/int64(s.pieces)); err != nil {
			return objstore.Info{}, err
		}
	}
	return objstore.Info{}, wait(s.answer)
}

func TestTransferTimeouts(t *testing.T) {
	const ms, mb = time.Millisecond, 1_000_000
	for hazard, c := range map[string]struct {
		store      slowStore
		size       int
		idle, late time.Duration // when it is first reported; 0: never
		ends       time.Duration
		cause      string
	}{
		"quick":                    {slowStore{pieces: 1, pause: 50 * ms, answer: 50 * ms}, 100, 0, 0, 100 * ms, ""},
		"role_and_far_away":        {slowStore{pieces: 1, pause: 900 * ms, answer: 200 * ms}, 100, 250 * ms, 0, 1100 * ms, ""},
		"large_and_moving":         {slowStore{pieces: 100, pause: 100 * ms, answer: 100 * ms}, 50 * mb, 0, 0, 10_100 * ms, ""},
		"no_answer":                {slowStore{pieces: 1, answer: -1}, 100, 300 * ms, 2050 * ms, 30_050 * ms, "nothing moved for 30s"},
		"not_even_connected":       {slowStore{pieces: 1, pause: time.Hour}, 50 * mb, 250 * ms, 2 * time.Second, 30 * time.Second, "nothing moved for 30s"},
		"no_answer_after_the_body": {slowStore{pieces: 101, pause: 203 * ms, answer: -1}, 50 * mb, 20_800 * ms, 22_550 * ms, 50_550 * ms, "nothing moved for 30s"},
		"trickles_steadily":        {slowStore{pieces: 1000, pause: 200 * ms}, mb, 0, 2500 * ms, 32 * time.Second, "not done within 32s"},
		"trickles_in_time":         {slowStore{pieces: 50, pause: 400 * ms}, mb, 250 * ms, 2500 * ms, 20 * time.Second, ""},
		"in_bursts":                {slowStore{pieces: 3, pause: 5 * time.Second}, 50 * mb, 250 * ms, 2 * time.Second, 15 * time.Second, ""},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cop := &Copier{shared: &shared{customers: destination.NewPutter(destination.Config{
					Open: func(catalog.Target, func(context.Context) (objstore.Credentials, error)) objstore.Store {
						return c.store
					},
				})}}
				begun := time.Now()
				var mu sync.Mutex
				reported := map[string]time.Duration{}
				report := func(what string) func() {
					return func() {
						mu.Lock()
						defer mu.Unlock()
						if _, before := reported[what]; !before {
							reported[what] = time.Since(begun)
						}
					}
				}
				body := bytes.NewReader(make([]byte, c.size))
				_, err := cop.put(t.Context(), catalog.Target{}, destination.Object{Body: body}, int64(c.size), attempt{onIdle: report("idle"), onLate: report("late"), onStuck: report("late")}, nil)
				require.Equal(t, c.ends, time.Since(begun))
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				require.Equal(t, []time.Duration{c.idle, c.late}, []time.Duration{reported["idle"], reported["late"]})
				if c.cause == "" {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Contains(t, destination.Judge(err, catalog.Target{}).Cause, c.cause)
			})
		})
	}
}

// Nobody is late for the time in which this process did not run: here, its watcher could not.
func TestNobodyIsLateWhileThisProcessStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cop := &Copier{shared: &shared{customers: destination.NewPutter(destination.Config{
			Open: func(catalog.Target, func(context.Context) (objstore.Credentials, error)) objstore.Store {
				return slowStore{pieces: 1, answer: time.Minute + time.Second}
			},
		})}}
		late := func() { t.Error("late") }
		job := attempt{onIdle: func() { time.Sleep(time.Minute) }, onLate: late, onStuck: late}
		_, err := cop.put(t.Context(), catalog.Target{}, destination.Object{Body: bytes.NewReader([]byte("x"))}, 1, job, nil)
		require.NoError(t, err)
	})
}

// A PUT that has to make room ends at once, whatever it is waiting for; one that has succeeded by
// then counts as done.
func TestPutEndsToMakeRoom(t *testing.T) {
	for hazard, c := range map[string]struct {
		store slowStore
		roles destination.Roles
		err   error
	}{
		"no_answer":           {slowStore{pieces: 1, answer: -1}, nil, errMadeRoom},
		"sts_does_not_answer": {slowStore{}, hangingRoles{}, errMadeRoom},
		"arrived_meanwhile":   {slowStore{pieces: 1, answer: 3 * time.Second, deaf: true}, nil, nil},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cop := &Copier{shared: &shared{customers: destination.NewPutter(destination.Config{Roles: c.roles,
					Open: func(catalog.Target, func(context.Context) (objstore.Credentials, error)) objstore.Store {
						return c.store
					},
				})}}
				target := catalog.Target{}
				if c.roles != nil {
					target.RoleARN = "arn:aws:iam::123456789012:role/logs"
				}
				begun, room := time.Now(), make(chan struct{})
				job := attempt{onIdle: func() {}, onLate: func() {}, onStuck: func() { close(room) }, yield: room}
				_, err := cop.put(t.Context(), target, destination.Object{Body: bytes.NewReader(nil)}, 0, job, nil)
				require.ErrorIs(t, err, c.err)
				<-room // it was asked to make room
				if c.err != nil {
					require.Equal(t, lateIfIdleFor, time.Since(begun))
				}
			})
		})
	}
}

// hangingRoles is an STS that never answers.
type hangingRoles struct{ destination.Roles }

func (hangingRoles) Credentials(ctx context.Context, _ assumerole.Request) (objstore.Credentials, error) {
	<-ctx.Done()
	return objstore.Credentials{}, ctx.Err()
}
