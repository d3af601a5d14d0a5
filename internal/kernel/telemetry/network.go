//go:build linux

package telemetry

import (
	"iter"
	"math"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

// Network turns reports on TCP into metrics. It remembers which series it told.
// Counters are deltas; one that moves for the first time, or again after it was
// silent, comes with a zero at the beginning of the interval, so that what sums
// up increases sees the first event as well.
//
// Safe for concurrent use.
type Network struct {
	origin Origin

	mu     sync.Mutex
	sets   sets
	spaces map[uint32]uint32 // states that were told, by namespace and bit
}

// NewNetwork makes a Network that told nothing.
func NewNetwork(o Origin) *Network {
	return &Network{origin: o, sets: sets{all: map[setKey]*set{}, max: maxSets}, spaces: map[uint32]uint32{}}
}

// Folded counts the sets of series that were summed up under others.
func (n *Network) Folded() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sets.folded
}

// Metrics says what a report counts.
func (n *Network) Metrics(r *tcp.Report) pmetric.Metrics {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sets.place(r, n.origin.Names)
	b := builder{origin: n.origin, out: pmetric.NewMetrics(), from: r.From, to: r.To}
	for who, all := range byWho(n.sets.told(r.To), func(x *set) subject { return x.key.who }) {
		b.scope(&who)
		b.sets(all)
	}
	b.listeners(r.Namespaces)
	b.scope(nil)
	n.spaces = b.namespaces(r.Namespaces, n.spaces)
	return b.out
}

// byWho gives the stretches of a sorted list that are about one subject each.
func byWho[T any](all []T, who func(T) subject) iter.Seq2[subject, []T] {
	return func(yield func(subject, []T) bool) {
		for len(all) > 0 {
			first := who(all[0])
			end := slices.IndexFunc(all, func(x T) bool { return who(x) != first })
			if end < 0 {
				end = len(all)
			}
			if !yield(first, all[:end]) {
				return
			}
			all = all[end:]
		}
	}
}

// telling is how counters become a metric: one, or several that an attribute
// tells apart.
type telling struct {
	name, unit string
	first      counter
	key        string
	values     []string
}

var tellings = []telling{
	{semconv.MetricKernelTCPIO, "By", bytesOut, semconv.NetworkIODirection, []string{transmit, receive}},
	{semconv.MetricKernelTCPSegments, "{segment}", segments, "", nil},
	{semconv.MetricKernelTCPRetransmits, "{segment}", retransmits, "", nil},
	{semconv.MetricKernelTCPOutOfOrder, "{segment}", outOfOrder, "", nil},
	{semconv.MetricKernelTCPConnectFailures, "{connection}", failed, semconv.ErrorType, failures()},
	{semconv.MetricKernelTCPAccepts, "{connection}", accepts, "", nil},
	{semconv.MetricKernelTCPAcceptWait, "s", waitTime, "", nil},
	{semconv.MetricKernelTCPAcceptWaits, "{connection}", waits, "", nil},
	{semconv.MetricKernelTCPCloses, "{connection}", closes, "", nil},
	{semconv.MetricKernelTCPTimeWaits, "{connection}", timeWaits, "", nil},
	{semconv.MetricKernelTCPResets, "{reset}", resetsSent, semconv.NetworkIODirection, []string{transmit, receive}},
	{semconv.MetricKernelTCPZeroWindows, "{event}", zeroLocal, semconv.KernelTCPSide, []string{"local", "peer"}},
}

const transmit, receive = "transmit", "receive"

func failures() []string {
	out := make([]string, tcp.Failures)
	for i := range out {
		out[i] = tcp.Failure(i).String()
	}
	return out
}

// builder makes the metrics of one interval.
type builder struct {
	origin   Origin
	out      pmetric.Metrics
	from, to time.Time
	at       pmetric.ScopeMetrics
}

// scope begins a resource: of a subject or, with nil, of the agent.
func (b *builder) scope(who *subject) {
	rm := b.out.ResourceMetrics().AppendEmpty()
	if who == nil {
		b.origin.own(rm.Resource())
	} else {
		who.put(b.origin, rm.Resource())
	}
	b.at = rm.ScopeMetrics().AppendEmpty()
	b.at.Scope().SetName(scopeTCP)
	b.at.Scope().SetVersion(b.origin.Version)
}

// metric makes one when it is first needed: one without points is none.
func (b *builder) metric(name, unit string, kind func(pmetric.Metric)) func() pmetric.Metric {
	var m pmetric.Metric
	made := false
	return func() pmetric.Metric {
		if !made {
			made = true
			m = b.at.Metrics().AppendEmpty()
			m.SetName(name)
			m.SetUnit(unit)
			kind(m)
		}
		return m
	}
}

func deltaSum(m pmetric.Metric) {
	s := m.SetEmptySum()
	s.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	s.SetIsMonotonic(true)
}

func deltaHistogram(m pmetric.Metric) {
	m.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
}

func gauge(m pmetric.Metric) { m.SetEmptyGauge() }

// beforeFrom is where the zero before a counter's first point begins.
const beforeFrom = time.Millisecond

// point sets the times: of the interval or, for the zero before it, its beginning.
func (b *builder) point(p interface {
	SetStartTimestamp(pcommon.Timestamp)
	SetTimestamp(pcommon.Timestamp)
}, zero bool) {
	start, end := b.from, b.to
	if zero {
		start, end = b.from.Add(-beforeFrom), b.from
	}
	p.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
	p.SetTimestamp(pcommon.NewTimestampFromTime(end))
}

func (k setKey) put(a pcommon.Map) {
	a.PutStr(semconv.KernelTCPRole, k.role.String())
	a.PutStr(semconv.NetworkPeerAddress, k.peer)
	switch {
	case k.port == 0:
	case k.role == tcp.Server:
		a.PutInt(semconv.NetworkLocalPort, int64(k.port))
	default:
		a.PutInt(semconv.NetworkPeerPort, int64(k.port))
	}
	putPeer(a, k.called)
}

// sets tells the series of one subject.
func (b *builder) sets(all []*set) {
	for _, t := range tellings {
		m := b.metric(t.name, t.unit, deltaSum)
		for _, x := range all {
			for i := range max(1, len(t.values)) {
				b.counter(m, &t, x, i)
			}
		}
	}
	open := b.metric(semconv.MetricKernelTCPConnections, "{connection}", gauge)
	rtt := b.metric(semconv.MetricKernelTCPRTT, "s", deltaHistogram)
	connect := b.metric(semconv.MetricKernelTCPConnectDuration, "s", deltaHistogram)
	for _, x := range all {
		p := open().Gauge().DataPoints().AppendEmpty()
		b.point(p, false)
		p.SetIntValue(0) // a set that was silent has none open; without a value the point is invalid
		x.key.put(p.Attributes())
		var slow, slowConnect []uint32
		var sum, sumConnect time.Duration
		if x.now != nil {
			p.SetIntValue(int64(x.now.open))
			slow, sum, slowConnect, sumConnect = x.now.rtt, x.now.rttSum, x.now.connect, x.now.connectSum
		}
		b.histogram(rtt, x, &x.rtt, slow, tcp.RTTHistogram{}.Bound, sum)
		b.histogram(connect, x, &x.connect, slowConnect, tcp.ConnectHistogram{}.Bound, sumConnect)
	}
	for _, x := range all {
		x.now = nil
	}
}

func (b *builder) counter(m func() pmetric.Metric, t *telling, x *set, i int) {
	c := t.first + counter(i)
	var n uint64
	if x.now != nil {
		n = x.now.n[c]
	}
	told := x.touched&(1<<c) != 0
	if !told && n == 0 {
		return
	}
	x.touched |= 1 << c
	tell := func(n uint64, zero bool) {
		p := m().Sum().DataPoints().AppendEmpty()
		b.point(p, zero)
		x.key.put(p.Attributes())
		if t.key != "" {
			p.Attributes().PutStr(t.key, t.values[i])
		}
		if t.unit == "s" {
			p.SetDoubleValue(time.Duration(n).Seconds())
		} else {
			p.SetIntValue(int64(n))
		}
	}
	if !told {
		tell(0, true)
	}
	tell(n, false)
}

// histogram tells slots as an exponential histogram: two series in the store in
// the place of forty.
func (b *builder) histogram(m func() pmetric.Metric, x *set, told *bool, slots []uint32, bound func(int) time.Duration, sum time.Duration) {
	if !*told && slots == nil {
		return
	}
	tell := func(zero bool) pmetric.ExponentialHistogramDataPoint {
		p := m().ExponentialHistogram().DataPoints().AppendEmpty()
		b.point(p, zero)
		x.key.put(p.Attributes())
		p.SetScale(histogramScale)
		p.SetSum(0)
		return p
	}
	if !*told {
		tell(true)
		*told = true
	}
	p := tell(false)
	if slots != nil {
		fill(p, slots, bound)
		p.SetSum(sum.Seconds())
	}
}

// histogramScale has four buckets an octave, 19 % each. The kernel's slots have
// one or two an octave.
const histogramScale = 2

// fill puts what is in a slot into the bucket of the slot's middle.
func fill(p pmetric.ExponentialHistogramDataPoint, slots []uint32, bound func(int) time.Duration) {
	first, last := -1, -1
	var count uint64
	for i, n := range slots {
		if n > 0 {
			if first < 0 {
				first = i
			}
			last = i
			count += uint64(n)
		}
	}
	p.SetCount(count)
	if count == 0 {
		return
	}
	low := bucketOf(first, len(slots), bound)
	buckets := make([]uint64, bucketOf(last, len(slots), bound)-low+1)
	for i, n := range slots {
		if n > 0 {
			buckets[bucketOf(i, len(slots), bound)-low] += uint64(n)
		}
	}
	p.Positive().SetOffset(int32(low))
	p.Positive().BucketCounts().FromRaw(buckets)
}

// bucketOf is the bucket of the geometric middle of a slot. The first slot ends
// and the last begins with its bound: half an octave further counts as the middle.
func bucketOf(slot, slots int, bound func(int) time.Duration) int {
	var middle float64
	switch slot {
	case 0:
		middle = bound(0).Seconds() / math.Sqrt2
	case slots - 1:
		middle = bound(slot).Seconds() * math.Sqrt2
	default:
		middle = math.Sqrt(bound(slot-1).Seconds() * bound(slot).Seconds())
	}
	return int(math.Ceil(math.Log2(middle)*(1<<histogramScale))) - 1
}
