package query

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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
	f(Anchor{TraceID: "5", SpanID: "0000000000000002"}, "profiles 1: service.name = order and trace_id = "+hexTrace(5), "profiles 2: service.name = order")
	f(Anchor{TraceID: "5"}, "profiles 0: service.name = gate")
}

// TestFoundProfiles goes from a span to the profiles of its process: the kernel
// receiver and an SDK do not name an instance alike.
func TestFoundProfiles(t *testing.T) {
	st, err := profile.Open(profile.Options{Dir: t.TempDir(), Now: func() time.Time { return hour.End }})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	put := func(kind, trace string, resource map[string]string) {
		t.Helper()
		resource["service.name"] = "order"
		if _, err := st.Write(t.Context(), store.Tenant{}, []profile.New{{Resource: resource, Kind: kind, Pprof: taken(noon.Add(time.Minute), trace)}}); err != nil {
			t.Fatal(err)
		}
	}
	put("cpu", hexTrace(5), map[string]string{"host.name": "h1", "process.pid": "7", "service.instance.id": "h1/order"})
	put("off_cpu", "", map[string]string{"host.name": "h1", "process.pid": "7", "service.instance.id": "h1/order"})
	put("cpu", "", map[string]string{"host.name": "h1", "process.pid": "8", "service.instance.id": "h1/order"})
	put("cpu", "", map[string]string{"container.id": "c1"})
	put("cpu", "", map[string]string{"service.version": "2"})
	p := NewProfiler(st)
	f := func(resource map[string]any, want ...string) {
		t.Helper()
		td := spans(sp{trace: 5, id: 1, service: "order", name: "GET /", kind: server, from: time.Minute + time.Second, to: time.Minute + 2*time.Second})
		for k, v := range resource {
			if err := td.ResourceSpans().At(0).Resource().Attributes().PutEmpty(k).FromRaw(v); err != nil {
				t.Fatal(err)
			}
		}
		_, m := ask(td, records())
		facts, err := New(Options{Traces: m, Logs: m, Profiles: p}).KernelFacts(t.Context(), KernelAnchor{TraceID: hexTrace(5)})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, x := range facts.Profiles {
			got = append(got, fmt.Sprintf("%s %s %d: %s", x.Of, x.Type, x.Profiles, strings.TrimPrefix(x.Filter, "service.name = order and ")))
			list, err := p.Profiles(t.Context(), Window{Start: x.Start, End: x.End, Filter: x.Filter})
			if err != nil || !slices.ContainsFunc(list.Series, func(s ProfileSeries) bool { return s.Type == x.Type && s.Profiles == x.Profiles && s.Total == x.Total }) {
				t.Errorf("%s: the link shows %+v, %v", got[len(got)-1], list, err)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", resource, diff)
		}
	}
	trace := "trace cpu 1: trace_id = " + hexTrace(5)
	f(map[string]any{"host.name": "h1", "process.pid": 7, "service.instance.id": "an SDK's own"}, trace,
		"process cpu 1: host.name = h1 and process.pid = 7", "process off_cpu 1: host.name = h1 and process.pid = 7")
	f(map[string]any{"service.instance.id": "h1/order"}, trace,
		"process cpu 2: service.instance.id = h1/order", "process off_cpu 1: service.instance.id = h1/order")
	f(map[string]any{"container.id": "c1", "service.version": "1"}, trace, "process cpu 1: container.id = c1")
	f(map[string]any{"service.version": "2"}, trace, "service cpu 1: service.version = 2")
	f(map[string]any{"host.name": "h9", "process.pid": 7}, trace, "service cpu 4: service.name = order", "service off_cpu 1: service.name = order")
	f(nil, trace, "service cpu 4: service.name = order", "service off_cpu 1: service.name = order")

	e := New(Options{Traces: &memory{}, Logs: &memory{}, Profiles: p})
	facts, err := e.KernelFacts(t.Context(), KernelAnchor{Service: "order", Start: hour.Start, End: hour.End})
	if err != nil || len(facts.Profiles) != 2 || facts.Profiles[0].Of != "service" || facts.Profiles[0].Profiles != 4 {
		t.Errorf("of a service: %+v, %v", facts, err)
	}
	if facts, err = e.KernelFacts(t.Context(), KernelAnchor{Service: "stock", Start: hour.Start, End: hour.End}); err != nil || len(facts.Profiles) != 0 {
		t.Errorf("of another one: %+v, %v", facts, err)
	}
}

// TestProfileFields completes a filter about profiles.
func TestProfileFields(t *testing.T) {
	e := New(Options{Traces: &memory{}, Logs: &memory{}, Profiles: profiled(t, "order", map[time.Duration]string{0: hexTrace(5), time.Minute: hexTrace(6), 2 * time.Minute: ""})})
	fields, err := e.Fields(t.Context(), hour, Profiles)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Tally{{Value: "service.name", Count: 3}, {Value: "trace_id", Count: 3}, {Value: "type", Count: 3}}, fields.Fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	values := func(w Window, field, prefix string, want ...Tally) {
		t.Helper()
		got, err := e.Values(t.Context(), w, Profiles, field, prefix, 10)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Values, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s %q (-want +got):\n%s", field, prefix, diff)
		}
	}
	values(hour, "service.name", "", Tally{Value: "order", Count: 3})
	values(hour, "service.name", "O", Tally{Value: "order", Count: 3})
	values(hour, "service.name", "x")
	values(hour, "type", "", Tally{Value: "cpu", Count: 3})
	values(hour, "trace_id", "", Tally{Value: hexTrace(5), Count: 1}, Tally{Value: hexTrace(6), Count: 1})
	narrow := hour
	narrow.Filter = "trace_id = " + hexTrace(6)
	values(narrow, "trace_id", "", Tally{Value: hexTrace(6), Count: 1})
	if _, err := e.Values(t.Context(), hour, Profiles, " ", "", 0); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("no field: %v", err)
	}
	none := New(Options{Traces: &memory{}, Logs: &memory{}})
	if l, err := none.Fields(t.Context(), hour, Profiles); err != nil || len(l.Fields) != 0 {
		t.Errorf("without a store: %v, %v", l, err)
	}
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
