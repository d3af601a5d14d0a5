package event

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/guanlan-io/guanlan/internal/store"
)

func someLogs(n, size int) plog.Logs {
	ld := plog.NewLogs()
	records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	for i := range n {
		r := records.AppendEmpty()
		r.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
		r.Body().SetStr(fmt.Sprint(i, strings.Repeat(".", size)))
	}
	return ld
}

// A reader that does not keep up loses the oldest records and is told how
// many; the writer goes on.
func TestTailLoses(t *testing.T) {
	for _, c := range []struct{ n, size int }{{3 * maxTailRows, 10}, {100, maxTailBytes / 50}} {
		s := newRowStore(t)
		ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
		defer stop()
		began, seen := make(chan struct{}), make(chan struct{})
		var got, lost uint64
		last := ""
		done := make(chan error)
		go func() {
			done <- s.Tail(ctx, store.Select{}, func(row store.LogRow, n uint64) bool {
				lost += n
				if got++; got == 1 {
					close(began)
					<-seen
				}
				last = row.Record.Body().Str()
				return !strings.HasPrefix(last, fmt.Sprint(c.n-1, "."))
			})
		}()
		for s.logRows.tail.watching.Load() == 0 {
			if ctx.Err() != nil {
				t.Fatal("the reader does not begin to watch")
			}
		}
		write := func(ld plog.Logs) {
			if err := s.WriteLogs(ctx, store.Tenant{}, ld); err != nil {
				t.Fatal(err)
			}
		}
		write(someLogs(1, 1))
		<-began // the reader now sits in its callback
		write(someLogs(c.n, c.size))
		close(seen)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if lost == 0 || got+lost != uint64(c.n)+1 {
			t.Errorf("%d records of %d bytes: saw %d, lost %d; want %d in all, some lost", c.n, c.size, got, lost, c.n+1)
		}
		if n := s.logRows.tail.watching.Load(); n != 0 {
			t.Errorf("%d readers watch after the last one left", n)
		}
	}
}

func TestTailReadersAreBounded(t *testing.T) {
	tl := newTail()
	for range maxTails {
		if _, err := tl.watch(store.Tenant{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tl.watch(store.Tenant{}, nil); !errors.Is(err, store.ErrLimit) {
		t.Errorf("one reader too many: error %v, want ErrLimit", err)
	}
}
