package event

import (
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Whatever the order in which the spans of a trace come, each lies within
// reach of an anchor that was written.
func TestEverySpanIsWithinReach(t *testing.T) {
	now := time.Now()
	rapid.Check(t, func(t *rapid.T) {
		x := newTraceIndex()
		id := pcommon.TraceID{15: 1}
		var anchors, ends []int64
		for range rapid.IntRange(1, 40).Draw(t, "spans") {
			end := now.Add(-time.Duration(rapid.Int64Range(0, int64(10*time.Minute)).Draw(t, "ago"))).UnixNano()
			if anchor, isNew := x.note(store.Tenant{}, id, end); isNew {
				anchors = append(anchors, anchor)
			}
			ends = append(ends, end)
		}
		all := window{0, 1 << 62}
	spans:
		for _, end := range ends {
			for _, w := range around(anchors, int64(traceReach), all) {
				if end >= w.from && end < w.to {
					continue spans
				}
			}
			t.Fatalf("a span at %d is out of reach of the anchors %d", end, anchors)
		}
	})
}

func TestOneAnchorATrace(t *testing.T) {
	x := newTraceIndex()
	now := time.Now().UnixNano()
	id := func(i int) pcommon.TraceID {
		return pcommon.TraceID{8: byte(i >> 16), 9: byte(i >> 8), 10: byte(i), 15: 1}
	}
	written := 0
	const traces = 20_000
	for range 10 {
		for i := range traces {
			if _, isNew := x.note(store.Tenant{}, id(i), now); isNew {
				written++
			}
		}
	}
	if written > traces+traces/100 {
		t.Errorf("%d rows for %d traces of ten spans", written, traces)
	}
	if got := x.recent(nil, store.Tenant{}, id(7)); len(got) != 1 {
		t.Errorf("the table has %d anchors of a recent trace, want 1", len(got))
	}
	if got := x.recent(nil, store.Tenant{Account: 1}, id(7)); len(got) != 0 {
		t.Errorf("the table has %d anchors of another tenant's trace", len(got))
	}
	// Spans from two times in turn write a row for each time, not each span.
	written = 0
	for i := range 20 {
		if _, isNew := x.note(store.Tenant{}, id(traces), now-int64(i%2)*int64(5*time.Minute)); isNew {
			written++
		}
	}
	if written != 2 {
		t.Errorf("%d rows for a trace at two times, want 2", written)
	}
}
