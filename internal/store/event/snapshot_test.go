package event

import (
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
)

// A snapshot that is taken while the engine merges parts in memory must hold
// every row and every stream all the same.
func TestSnapshotIsComplete(t *testing.T) {
	if testing.Short() {
		t.Skip("needs seconds of merges")
	}
	setUpEngine(0, slog.New(slog.DiscardHandler))
	e := newEngine(t.TempDir(), "traces", kindTraces, Keep{}, 1)
	e.openDB()
	defer e.db.MustClose()
	name := noon.Format(dayFormat)
	var (
		adding sync.RWMutex // held for reading while a batch is added
		added  atomic.Int64 // batches of 500 rows, 50 streams
		wg     sync.WaitGroup
	)
	stop := make(chan struct{})
	defer wg.Wait()
	defer close(stop)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
				adding.RLock()
				batch := int(added.Add(1))
				for j := range 500 {
					n := batch*500 + j
					lr.MustAdd(logstorage.TenantID{}, noon.UnixNano()+int64(n), []logstorage.Field{
						{Name: "stream", Value: strconv.Itoa(n / 10)},
						{Name: "id", Value: strconv.Itoa(n * 7919)},
						{Name: "text", Value: strings.Repeat(strconv.Itoa(n*104729), 40)},
					}, 1)
				}
				e.db.MustAddRows(lr)
				adding.RUnlock()
				logstorage.PutLogRows(lr)
			}
		})
	}
	incomplete := 0
	for round := range 5 {
		for deadline := time.Now().Add(3 * time.Second); ; { // until a merge runs
			var st logstorage.StorageStats
			e.db.UpdateStats(&st)
			if st.ActiveInmemoryMerges+st.IndexdbActiveInmemoryMerges > 0 || time.Now().After(deadline) {
				break
			}
			runtime.Gosched()
		}
		adding.Lock()
		e.partitions[name] = &partition{dirty: true}
		e.db.DebugFlush()
		var all []taken
		for {
			var complete bool
			var err error
			if all, complete, err = e.trySnapshot(map[string]bool{name: true}); err != nil {
				t.Fatal(err)
			}
			if complete {
				break
			}
			incomplete++
		}
		batches := int(added.Load())
		adding.Unlock()
		rows, streams := openSnapshot(t, name, all[0].path)
		if rows != batches*500 || streams != batches*50 {
			t.Fatalf("round %d: snapshot has %d rows, %d streams, want %d, %d", round, rows, streams, batches*500, batches*50)
		}
	}
	t.Logf("%d snapshots were not complete and taken again", incomplete)
}

// openSnapshot opens a copy of a snapshot in an engine of its own and counts.
func openSnapshot(t *testing.T, name, path string) (rows, streams int) {
	t.Helper()
	c := newEngine(t.TempDir(), "copy", kindTraces, Keep{}, 1)
	to := c.partitionDir(name)
	if err := copyTree(path, to); err != nil {
		t.Fatal(err)
	}
	c.openDB()
	defer c.db.MustClose()
	q, err := logstorage.ParseQueryAtTimestamp("*", time.Now().UnixNano())
	if err != nil {
		t.Fatal(err)
	}
	q.AddTimeFilter(noon.UnixNano(), noon.Add(time.Hour).UnixNano())
	found, err := c.db.GetStreams(logstorage.NewQueryContext(t.Context(), &logstorage.QueryStats{}, []logstorage.TenantID{{}}, q, false, nil), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range found {
		rows += int(s.Hits)
	}
	return rows, len(found)
}
