package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/semconv"
)

// FoundProfiles is the profiles of one type that were taken around something.
type FoundProfiles struct {
	Of       string    `json:"of" enum:"trace,process,service" doc:"What they are of: samples that carry the trace id, the very process (by service.instance.id, process id, container or pod), or all of the service."`
	Service  string    `json:"service"`
	Instance string    `json:"instance" doc:"service.instance.id of the spans that they were looked for; empty where these tell none."`
	Version  string    `json:"version" doc:"service.version, where both spans and profiles tell it; it is part of the filter then."`
	Type     string    `json:"type" doc:"What is measured." example:"cpu"`
	Unit     string    `json:"unit" doc:"Unit of total."`
	Profiles int       `json:"profiles" doc:"How many there are."`
	Total    int64     `json:"total" doc:"Sum of all values."`
	Filter   string    `json:"filter" doc:"The filter of profiles that, from start to end, gives exactly these."`
	Start    time.Time `json:"start" doc:"Of spans: when they ran; where no profile was taken then, five minutes before and after."`
	End      time.Time `json:"end"`
}

// Of FoundProfiles.
const (
	profilesOfTrace   = "trace"
	profilesOfProcess = "process"
	profilesOfService = "service"
)

// maxProfiled bounds the processes of a trace whose profiles are looked for; those
// with most spans come first.
const maxProfiled = 12

// profiledProcess is what profiles are looked for: a process, as its spans tell of it.
type profiledProcess struct {
	service    string
	resource   pcommon.Map // empty where no span is known
	start, end time.Time
	trace      string
}

// sameProcess are attributes of resources that a process has for itself: those
// that one element names must all be the same.
var sameProcess = [][]string{
	{semconv.ServiceInstanceID},
	{semconv.HostName, semconv.ProcessPID},
	{semconv.ContainerID},
	{semconv.K8sPodUID},
}

// found looks for profiles of the trace, then for those of the process or, where
// none are known to be of it, of the service.
func (e *engine) found(ctx context.Context, p profiledProcess) ([]FoundProfiles, error) {
	if e.profiles == nil || p.service == "" {
		return nil, nil
	}
	f := FoundProfiles{Service: p.service, Instance: attributeOf(p.resource, semconv.ServiceInstanceID), Start: p.start, End: p.end}
	list := func(of string, where Filter) (*ProfileList, []FoundProfiles, error) {
		f := f
		f.Of, f.Filter = of, where.Text(Profiles)
		l, err := e.profiles.Profiles(ctx, Window{Start: p.start, End: p.end, Filter: f.Filter})
		if err != nil {
			return nil, nil, fmt.Errorf("look for profiles of service %q: %w", p.service, err)
		}
		var out []FoundProfiles
		for _, s := range l.Series {
			f.Type, f.Unit, f.Profiles, f.Total = s.Type, s.Unit, s.Profiles, s.Total
			out = append(out, f)
		}
		return l, out, nil
	}
	where := Filter{eq(semconv.ServiceName, p.service)}
	all, rest, err := list(profilesOfService, where)
	if err == nil && len(rest) == 0 && p.trace != "" {
		// An idle process has no sample in most intervals: those around say what it does.
		p.start, p.end = p.start.Add(-contextSlack), p.end.Add(contextSlack)
		f.Start, f.End = p.start, p.end
		all, rest, err = list(profilesOfService, where)
	}
	if err != nil || len(rest) == 0 {
		return nil, err
	}
	var out []FoundProfiles
	if p.trace != "" {
		if _, out, err = list(profilesOfTrace, append(slices.Clip(where), eq("trace_id", p.trace))); err != nil {
			return nil, err
		}
	}
	if v := attributeOf(p.resource, semconv.ServiceVersion); v != "" && slices.ContainsFunc(all.Series, func(s ProfileSeries) bool { return slices.Contains(s.Versions, v) }) {
		where, f.Version = append(where, eq(semconv.ServiceVersion, v)), v
		if _, rest, err = list(profilesOfService, where); err != nil {
			return nil, err
		}
	}
	for _, keys := range sameProcess {
		narrow := slices.Clip(where)
		for _, k := range keys {
			if v := attributeOf(p.resource, k); v != "" {
				narrow = append(narrow, eq(k, v))
			}
		}
		if len(narrow) < len(where)+len(keys) {
			continue
		}
		_, own, err := list(profilesOfProcess, narrow)
		if err != nil {
			return nil, err
		}
		if len(own) > 0 {
			return append(out, own...), nil
		}
	}
	return append(out, rest...), nil
}

// profiledIn are the processes of a trace, those with most spans first, each with
// the time in which it had spans.
func profiledIn(td ptrace.Traces, trace string) []profiledProcess {
	type one struct {
		profiledProcess
		spans int
	}
	byID := map[[2]string]*one{}
	for _, rs := range td.ResourceSpans().All() {
		r := rs.Resource().Attributes()
		id := [2]string{serviceOf(r), attributeOf(r, semconv.ServiceInstanceID)}
		p := byID[id]
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				start, end := s.StartTimestamp().AsTime(), s.EndTimestamp().AsTime()
				if p == nil {
					p = &one{profiledProcess: profiledProcess{service: id[0], resource: r, start: start, end: end, trace: trace}}
					byID[id] = p
				}
				p.spans++
				p.start, p.end = earlier(p.start, start), later(p.end, end)
			}
		}
	}
	all := make([]*one, 0, len(byID))
	for _, p := range byID {
		p.end = later(p.end, p.start.Add(time.Nanosecond))
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *one) int {
		return cmp.Or(cmp.Compare(b.spans, a.spans), cmp.Compare(a.service, b.service), a.start.Compare(b.start))
	})
	out := make([]profiledProcess, 0, maxProfiled)
	for _, p := range all[:min(len(all), maxProfiled)] {
		out = append(out, p.profiledProcess)
	}
	return out
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// foundFor looks for profiles of several processes, in their order.
func (e *engine) foundFor(ctx context.Context, all []profiledProcess) ([]FoundProfiles, error) {
	parts := make([][]FoundProfiles, len(all))
	asks := make([]func(context.Context) error, len(all))
	for i, p := range all {
		asks[i] = func(ctx context.Context) (err error) {
			parts[i], err = e.found(ctx, p)
			return err
		}
	}
	if err := together(ctx, asks...); err != nil {
		return nil, err
	}
	return append([]FoundProfiles{}, slices.Concat(parts...)...), nil
}
