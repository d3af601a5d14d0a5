package event

import (
	"hash/maphash"
	"strconv"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/store"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// traceIndex tells when the spans of a trace ended, so that a trace is read
// from the few blocks of that time instead of all of them.
//
// It is helper rows among the spans, in streams of their own: a row with a key
// made of the trace id says that spans of the trace end within traceReach of
// its _time, the anchor. A new row is written for a span outside of what
// the anchors known for its trace cover. Known are the last traces, in a
// fixed table; forgetting one costs a second row later, nothing else. The
// table also answers for rows that the engine does not show yet.
//
// All methods are safe for concurrent use.
type traceIndex struct {
	seed   maphash.Seed
	shards [indexShards]indexShard
}

const (
	// colTraceIndex marks helper rows; its value is the bucket. Span reads
	// exclude rows that have it.
	colTraceIndex = "trace_idx"
	colTraceKey   = "trace_key" // number
	// traceBuckets spreads the helper rows over streams: a lookup reads one
	// in 16 of them.
	traceBuckets = 16
	// anchorStep is the resolution of anchors: rounded times cost less disk.
	anchorStep = 16 * time.Second
	// traceReach is how far from its anchor a row speaks for spans: most
	// traces are over within a minute.
	traceReach = time.Minute

	// indexShards times indexSets times indexWays traces are remembered, 16
	// bytes each: 262,144 in 4 MiB, several seconds even of a replay at full
	// speed. The engine shows rows after a second.
	indexShards = 16
	indexSets   = 2048
	indexWays   = 8
)

type indexShard struct {
	mu   sync.Mutex
	sets [indexSets][indexWays]indexEntry
}

// indexEntry is a trace with its two last anchors, in anchorSteps since the
// epoch; two, so that a trace whose spans come from two times in turn does not
// write a row each.
type indexEntry struct {
	trace   uint64
	anchors [2]uint32
}

func newTraceIndex() *traceIndex { return &traceIndex{seed: maphash.MakeSeed()} }

func (x *traceIndex) hash(t store.Tenant, id pcommon.TraceID) uint64 {
	var b [24]byte
	copy(b[:], id[:])
	for i := range 4 {
		b[16+i], b[20+i] = byte(t.Account>>(8*i)), byte(t.Project>>(8*i))
	}
	return maphash.Bytes(x.seed, b[:]) | 1 // zero is an empty entry
}

func (x *traceIndex) set(h uint64) (*indexShard, *[indexWays]indexEntry) {
	s := &x.shards[h>>60]
	return s, &s.sets[h>>32%indexSets]
}

// note takes notice of a span that ends at end. isNew tells that a row with
// the anchor must be written.
func (x *traceIndex) note(t store.Tenant, id pcommon.TraceID, end int64) (anchor int64, isNew bool) {
	step := uint32(floorDiv(end, int64(anchorStep)))
	h := x.hash(t, id)
	shard, set := x.set(h)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	i := 0
	for i < indexWays-1 && set[i].trace != h {
		i++
	}
	e := set[i]
	if e.trace != h {
		e = indexEntry{trace: h}
	}
	if i > 0 { // the most recently used stands first
		copy(set[1:i+1], set[:i])
	}
	if !reaches(e.anchors[0], step) && !reaches(e.anchors[1], step) {
		e.anchors = [2]uint32{step, e.anchors[0]}
		isNew = true
	}
	set[0] = e
	return int64(step) * int64(anchorStep), isNew
}

// reaches reports whether an anchor speaks for spans that end within step. A
// span's end may be anywhere in its step, so one step less than traceReach
// counts.
func reaches(anchor, step uint32) bool {
	const steps = uint32(traceReach/anchorStep) - 1
	return anchor != 0 && anchor+steps >= step && step+steps >= anchor
}

// recent appends the anchors that the table has for a trace.
func (x *traceIndex) recent(dst []int64, t store.Tenant, id pcommon.TraceID) []int64 {
	h := x.hash(t, id)
	shard, set := x.set(h)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	for _, e := range set {
		if e.trace == h {
			for _, a := range e.anchors {
				if a != 0 {
					dst = append(dst, int64(a)*int64(anchorStep))
				}
			}
		}
	}
	return dst
}

// add adds the helper row of an anchor.
func (x *traceIndex) add(lr *logstorage.LogRows, tenant logstorage.TenantID, id pcommon.TraceID, anchor int64) {
	bucket, key := indexKey(id)
	lr.MustAdd(tenant, anchor, []logstorage.Field{{Name: colTraceIndex, Value: bucket}, {Name: colTraceKey, Value: key}}, 1)
}

// indexKey is the bucket of a trace and how its helper rows name it: 36 bits of
// the low half of the id, as senders with 64-bit ids leave the high half zero.
// That two traces share a key only costs a look at the wrong time.
func indexKey(id pcommon.TraceID) (bucket, key string) {
	_, low := traceHalves(id)
	return bucketNames[low>>32%traceBuckets], strconv.FormatUint(uint64(uint32(low)), 10)
}

var bucketNames = func() (names [traceBuckets]string) {
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names
}()
