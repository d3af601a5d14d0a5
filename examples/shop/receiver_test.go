package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectorlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver is an OTLP server that keeps what it is sent, and what services
// write.
type receiver struct {
	url string

	mu        sync.Mutex
	arrived   chan struct{} // closed and replaced when something arrives
	resources map[string]map[string]string
	spans     []span
	logs      []record
	points    []point
	lines     map[string][]string // by service
}

type span struct {
	*trace.Span
	service string
}

type record struct {
	*logs.LogRecord
	service string
}

// point is one data point of a metric, with the trace ids of its exemplars.
type point struct {
	service, metric string
	attrs           map[string]string
	exemplars       []string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{arrived: make(chan struct{}), resources: map[string]map[string]string{}, lines: map[string][]string{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// ServeHTTP takes export requests.
func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch q.URL.Path {
	case "/v1/traces":
		var req collectortrace.ExportTraceServiceRequest
		if err = proto.Unmarshal(body, &req); err == nil {
			r.addTraces(&req)
		}
	case "/v1/logs":
		var req collectorlogs.ExportLogsServiceRequest
		if err = proto.Unmarshal(body, &req); err == nil {
			r.addLogs(&req)
		}
	case "/v1/metrics":
		var req collectormetrics.ExportMetricsServiceRequest
		if err = proto.Unmarshal(body, &req); err == nil {
			r.addMetrics(&req)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// wait blocks until done says so of what has arrived; it fails the test with
// what is missing when that takes too long.
func (r *receiver) wait(t *testing.T, done func() (missing string)) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		r.mu.Lock()
		missing, arrived := done(), r.arrived
		r.mu.Unlock()
		if missing == "" {
			return
		}
		select {
		case <-arrived:
		case <-late:
			t.Fatalf("still missing: %s", missing)
		}
	}
}

// add runs f, which keeps something, and wakes wait.
func (r *receiver) add(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.arrived)
	r.arrived = make(chan struct{})
}

// forget drops spans and log records, for the next case of a test.
func (r *receiver) forget() { r.add(func() { r.spans, r.logs = nil, nil }) }

// service names the sender; r.mu is held.
func (r *receiver) service(resource []*common.KeyValue) string {
	attrs := attributes(resource)
	name := attrs["service.name"]
	r.resources[name] = attrs
	return name
}

// trace returns the spans of a trace by id; r.mu is held.
func (r *receiver) trace(id string) map[string]span {
	found := map[string]span{}
	for _, s := range r.spans {
		if hex.EncodeToString(s.TraceId) == id {
			found[hex.EncodeToString(s.SpanId)] = s
		}
	}
	return found
}

// tree renders a trace, a span a line, children below their parent in order of
// start. Spans whose parent has not arrived stand at the left.
func tree(spans map[string]span) string {
	children := map[string][]span{}
	for _, s := range spans {
		parent := hex.EncodeToString(s.ParentSpanId)
		if _, ok := spans[parent]; !ok {
			parent = ""
		}
		children[parent] = append(children[parent], s)
	}
	var out strings.Builder
	var write func(parent string, depth int)
	write = func(parent string, depth int) {
		slices.SortFunc(children[parent], func(a, b span) int { return cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano) })
		for _, s := range children[parent] {
			kind := strings.ToLower(strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_"))
			fmt.Fprintf(&out, "%s%s %s: %s\n", strings.Repeat("  ", depth), s.service, kind, s.Name)
			write(hex.EncodeToString(s.SpanId), depth+1)
		}
	}
	write("", 0)
	return out.String()
}

func attributes(kvs []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range kvs {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			m[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			m[kv.Key] = fmt.Sprint(v.IntValue)
		default:
			m[kv.Key] = kv.Value.String()
		}
	}
	return m
}

func (r *receiver) addTraces(req *collectortrace.ExportTraceServiceRequest) {
	r.add(func() {
		for _, rs := range req.ResourceSpans {
			service := r.service(rs.Resource.Attributes)
			for _, ss := range rs.ScopeSpans {
				for _, sp := range ss.Spans {
					r.spans = append(r.spans, span{sp, service})
				}
			}
		}
	})
}

func (r *receiver) addLogs(req *collectorlogs.ExportLogsServiceRequest) {
	r.add(func() {
		for _, rl := range req.ResourceLogs {
			service := r.service(rl.Resource.Attributes)
			for _, sl := range rl.ScopeLogs {
				for _, lr := range sl.LogRecords {
					r.logs = append(r.logs, record{lr, service})
				}
			}
		}
	})
}

func (r *receiver) addMetrics(req *collectormetrics.ExportMetricsServiceRequest) {
	r.add(func() {
		for _, rm := range req.ResourceMetrics {
			service := r.service(rm.Resource.Attributes)
			for _, sm := range rm.ScopeMetrics {
				for _, m := range sm.Metrics {
					for _, p := range points(m) {
						p.service, p.metric = service, m.Name
						r.points = append(r.points, p)
					}
				}
			}
		}
	})
}

func points(m *metrics.Metric) []point {
	var found []point
	add := func(attrs []*common.KeyValue, exemplars []*metrics.Exemplar) {
		p := point{attrs: attributes(attrs)}
		for _, e := range exemplars {
			p.exemplars = append(p.exemplars, hex.EncodeToString(e.TraceId))
		}
		found = append(found, p)
	}
	for _, p := range m.GetGauge().GetDataPoints() {
		add(p.Attributes, p.Exemplars)
	}
	for _, p := range m.GetSum().GetDataPoints() {
		add(p.Attributes, p.Exemplars)
	}
	for _, p := range m.GetHistogram().GetDataPoints() {
		add(p.Attributes, p.Exemplars)
	}
	return found
}
