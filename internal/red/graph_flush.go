package red

import (
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/guanlan-io/guanlan/internal/semconv"
)

// edgesPerLock is how many edges a flush writes while it holds the lock, a
// fraction of a millisecond.
const edgesPerLock = 100

// Flush hands the cumulative metrics as of now to emit, in parts. emit owns
// what it gets; no lock is held during the call. Edges that were idle for
// GraphOptions.Expiration end with a stale point and are forgotten.
func (g *Graph) Flush(now time.Time, emit func(pmetric.Metrics)) {
	g.clock.flushing.Lock()
	defer g.clock.flushing.Unlock()
	g.mu.Lock()
	before := g.waiting.len()
	g.expire(g.clock.elapsed(now))
	g.stats.Waiting.Add(int64(g.waiting.len() - before))
	f := g.clock.begin(now, g.opts.Expiration)
	list, lost := slices.Clone(g.list), slices.Clone(g.lost)
	g.mu.Unlock()

	out := newGraphMetrics(g.layout)
	for part := range slices.Chunk(list, edgesPerLock) {
		g.mu.Lock()
		for _, e := range part {
			g.flushEdge(out, e, f)
		}
		g.mu.Unlock()
		if out.points >= pointsPerFlush {
			emit(out.finish())
			out = newGraphMetrics(g.layout)
		}
	}
	g.mu.Lock()
	for _, l := range lost {
		g.flushLoss(out, l, f)
	}
	g.list = slices.DeleteFunc(g.list, func(e *edge) bool { return e.life.ended })
	g.lost = slices.DeleteFunc(g.lost, func(l *loss) bool { return l.life.ended })
	g.mu.Unlock()
	if out.points > 0 {
		emit(out.finish())
	}
}

func (g *Graph) flushEdge(out *graphMetrics, e *edge, f flush) {
	describe := func(m pcommon.Map) {
		m.EnsureCapacity(6)
		m.PutStr(semconv.GraphClient, g.names.text(e.key.client))
		m.PutStr(semconv.GraphServer, g.names.text(e.key.server))
		m.PutStr(semconv.ConnectionType, connectionNames[e.key.connection])
		m.PutBool(semconv.GraphFailed, e.key.failed)
		g.describeRest(m, e.key.overflow)
	}
	for m := range f.moments(&e.life) {
		out.number(out.requests, e.calls, m, describe)
		if e.key.failed {
			out.number(out.failed, e.calls, m, describe)
		}
		describe(e.server.appendTo(out.server, g.layout, m))
		if e.client.count > 0 {
			describe(e.client.appendTo(out.client, g.layout, m))
		}
		out.points += 4
	}
	if e.life.ended {
		delete(g.edges, e.key)
		g.names.release(e.key.client)
		g.names.release(e.key.server)
		if e.key.overflow {
			g.overflow--
		}
		g.stats.Series.Add(-1)
		g.stats.Removed.Add(1)
	}
}

func (g *Graph) flushLoss(out *graphMetrics, l *loss, f flush) {
	describe := func(m pcommon.Map) {
		client, server := g.names.text(l.key.service), ""
		if !l.key.client {
			client, server = server, client
		}
		m.EnsureCapacity(5)
		m.PutStr(semconv.GraphClient, client)
		m.PutStr(semconv.GraphServer, server)
		m.PutStr(semconv.ConnectionType, connectionNames[l.key.connection])
		g.describeRest(m, l.key.overflow)
	}
	for m := range f.moments(&l.life) {
		// Both, so that a counter has its zero before its first value.
		out.number(out.unpaired, l.unpaired, m, describe)
		out.number(out.dropped, l.dropped, m, describe)
		out.points += 2
	}
	if l.life.ended {
		delete(g.losses, l.key)
		g.names.release(l.key.service)
	}
}

func (g *Graph) describeRest(m pcommon.Map, overflow bool) {
	if overflow {
		m.PutBool(semconv.OTelMetricOverflow, true)
	}
	if g.opts.InstanceID != "" {
		m.PutStr(semconv.CollectorInstanceID, g.opts.InstanceID)
	}
}

// graphMetrics is the metrics of a graph under construction.
type graphMetrics struct {
	md                                                  pmetric.Metrics
	requests, failed, server, client, unpaired, dropped pmetric.Metric
	points                                              int
}

func newGraphMetrics(l *layout) *graphMetrics {
	out := &graphMetrics{md: pmetric.NewMetrics()}
	// No resource: an edge belongs to neither of its services.
	sm := out.md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty()
	sm.Scope().SetName("traces_service_graph")
	sm.Metrics().EnsureCapacity(6)
	counter := func(name, description string) pmetric.Metric {
		m := sm.Metrics().AppendEmpty()
		m.SetName(name)
		m.SetDescription(description)
		m.SetEmptySum().SetIsMonotonic(true)
		m.Sum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		return m
	}
	duration := func(name, description string) pmetric.Metric {
		m := sm.Metrics().AppendEmpty()
		m.SetName(name)
		m.SetDescription(description)
		m.SetUnit(Seconds.String())
		l.prepare(m)
		return m
	}
	out.requests = counter(semconv.MetricGraphRequests, "Calls from one service to another.")
	out.failed = counter(semconv.MetricGraphFailed, "Failed calls from one service to another.")
	out.server = duration(semconv.MetricGraphServerDuration, "Duration of calls as the server saw them.")
	out.client = duration(semconv.MetricGraphClientDuration, "Duration of calls as the client saw them.")
	out.unpaired = counter(semconv.MetricGraphUnpaired, "Spans whose other side did not arrive in time.")
	out.dropped = counter(semconv.MetricGraphDropped, "Spans given up early because too many waited for their other side.")
	return out
}

func (out *graphMetrics) number(metric pmetric.Metric, n uint64, m moment, describe func(pcommon.Map)) {
	p := metric.Sum().DataPoints().AppendEmpty()
	setNumber(p, n, m)
	describe(p.Attributes())
}

// finish returns the metrics without those that have no points.
func (out *graphMetrics) finish() pmetric.Metrics {
	out.md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().RemoveIf(func(m pmetric.Metric) bool {
		return m.Type() == pmetric.MetricTypeSum && m.Sum().DataPoints().Len() == 0 ||
			m.Type() == pmetric.MetricTypeHistogram && m.Histogram().DataPoints().Len() == 0 ||
			m.Type() == pmetric.MetricTypeExponentialHistogram && m.ExponentialHistogram().DataPoints().Len() == 0
	})
	return out.md
}
