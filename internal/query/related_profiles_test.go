package query

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pprof "github.com/google/pprof/profile"

	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/profile"
)

// taken is a profile of ten seconds, with a sample of the trace.
func taken(at time.Time, trace string) *pprof.Profile {
	f := &pprof.Function{ID: 1, Name: "main.run", Filename: "main.go", StartLine: 12}
	l := &pprof.Location{ID: 1, Line: []pprof.Line{{Function: f, Line: 14}}}
	s := &pprof.Sample{Location: []*pprof.Location{l}, Value: []int64{1e7}}
	if trace != "" {
		s.Label = map[string][]string{"trace_id": {trace}}
	}
	return &pprof.Profile{
		SampleType: []*pprof.ValueType{{Type: "cpu", Unit: "nanoseconds"}}, Sample: []*pprof.Sample{s}, Location: []*pprof.Location{l}, Function: []*pprof.Function{f},
		TimeNanos: at.UnixNano(), DurationNanos: int64(10 * time.Second),
	}
}

// profiled is a store of profiles that began so long after noon.
func profiled(t *testing.T, service string, begun map[time.Duration]string) Profiler {
	t.Helper()
	st, err := profile.Open(profile.Options{Dir: t.TempDir(), Now: func() time.Time { return hour.End }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	for after, trace := range begun {
		if _, err := st.Write(t.Context(), store.Tenant{}, []profile.New{{Resource: map[string]string{"service.name": service}, Kind: "cpu", Pprof: taken(noon.Add(after), trace)}}); err != nil {
			t.Fatal(err)
		}
	}
	return NewProfiler(st)
}

func TestRelatedProfiles(t *testing.T) {
	_, m := ask(spans(
		sp{trace: 5, id: 1, service: "gate", name: "GET /", kind: server, from: time.Minute, to: time.Minute + time.Second},
		sp{trace: 5, id: 2, parent: 1, service: "order", name: "list", kind: server, from: time.Minute, to: time.Minute + time.Second},
	), records())
	p := profiled(t, "order", map[time.Duration]string{
		0:                            "",
		time.Minute - 5*time.Second:  hexTrace(5), // the trace ran in its middle
		time.Minute + time.Second/2:  "",
		time.Minute + 2*time.Second:  hexTrace(6), // just after
		time.Minute - 11*time.Second: "",          // just before
		20 * time.Minute:             "",
	})
	e := New(Options{Traces: m, Logs: m, Profiles: p})
	f := func(a Anchor, want ...string) {
		t.Helper()
		a.Start, a.End = hour.Start, hour.End
		r, err := e.Related(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		var only Related
		for _, i := range r.Items {
			if i.Kind != "profiles" {
				continue
			}
			only.Items = append(only.Items, i)
			// What an item counts is what its page then shows.
			list, err := p.Profiles(t.Context(), Window{Start: i.Start, End: i.End, Filter: i.Filter})
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, s := range list.Series {
				n += s.Profiles
			}
			if uint64(n) != i.Count {
				t.Errorf("%s: the page shows %d, counted %d", i.Title, n, i.Count)
			}
		}
		if diff := cmp.Diff(want, relatedLines(&only)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", a, diff)
		}
	}
	f(Anchor{Service: "order"}, "profiles 6: service.name = order")
	f(Anchor{TraceID: "5", SpanID: "0000000000000002"}, "profiles 2: service.name = order", "profiles 1: service.name = order and trace_id = "+hexTrace(5))
	f(Anchor{TraceID: "5"}, "profiles 0: service.name = gate", "profiles 0: service.name = gate and trace_id = "+hexTrace(5))
}

func TestFlamePlaces(t *testing.T) {
	p := profiled(t, "order", map[time.Duration]string{0: ""})
	got, err := p.Flame(t.Context(), hour, "cpu", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"main.go:12"}, got.Files); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
