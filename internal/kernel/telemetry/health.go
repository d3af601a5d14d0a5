//go:build linux

package telemetry

import (
	"errors"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/attach"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

// Health is how a feature fares, with what was lost behind it.
type Health struct {
	kernel.Status
	Lost   uint64 // by our queues, besides Stats.Dropped
	Folded uint64 // sets of series that were summed up under others
	// Injected says what became of requests, where a feature writes into them.
	Injected []attach.Result
}

// HealthMetrics says how features fare, since from. Programs are told where the
// kernel keeps statistics of them.
func HealthMetrics(o Origin, all []Health, from, to time.Time) pmetric.Metrics {
	out := pmetric.NewMetrics()
	b := builder{origin: o, out: out, from: from, to: to}
	b.scope(nil)
	b.at.Scope().SetName(scopeHealth)
	total := func(m pmetric.Metric) {
		deltaSum(m)
		m.Sum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	}
	up := b.metric(semconv.MetricGuanlanKernelFeatureUp, "{feature}", gauge)
	events := b.metric(semconv.MetricGuanlanKernelEvents, "{event}", total)
	dropped := b.metric(semconv.MetricGuanlanKernelDropped, "{event}", total)
	folded := b.metric(semconv.MetricGuanlanKernelFolded, "{series}", total)
	injected := b.metric(semconv.MetricGuanlanKernelInjectRequests, "{request}", total)
	runs := b.metric(semconv.MetricGuanlanKernelProgramRuns, "{run}", total)
	spent := b.metric(semconv.MetricGuanlanKernelProgramTime, "s", total)
	add := func(list pmetric.NumberDataPointSlice, feature string, n uint64) pmetric.NumberDataPoint {
		p := list.AppendEmpty()
		b.point(p, false)
		p.SetIntValue(int64(n))
		p.Attributes().PutStr(semconv.KernelFeature, feature)
		return p
	}
	for _, h := range all {
		if h.Err != nil {
			missing(add(up().Gauge().DataPoints(), h.Name, 0).Attributes(), h.Err)
			continue
		}
		add(up().Gauge().DataPoints(), h.Name, 1)
		add(events().Sum().DataPoints(), h.Name, h.Stats.Events)
		add(dropped().Sum().DataPoints(), h.Name, h.Stats.Dropped+h.Lost)
		if h.Folded > 0 {
			add(folded().Sum().DataPoints(), h.Name, h.Folded)
		}
		for _, r := range h.Injected {
			add(injected().Sum().DataPoints(), h.Name, r.Count).Attributes().PutStr(semconv.KernelInjectResult, r.Name)
		}
		for _, p := range h.Stats.Programs {
			if p.Runs == 0 {
				continue
			}
			add(runs().Sum().DataPoints(), h.Name, p.Runs).Attributes().PutStr(semconv.KernelProgram, p.Name)
			d := add(spent().Sum().DataPoints(), h.Name, 0)
			d.SetDoubleValue(p.Time.Seconds())
			d.Attributes().PutStr(semconv.KernelProgram, p.Name)
		}
	}
	return out
}

func missing(a pcommon.Map, err error) {
	what := "see the log"
	if u := (*kernel.Unsupported)(nil); errors.As(err, &u) {
		what = u.Missing
	}
	a.PutStr(semconv.KernelMissing, what)
}
