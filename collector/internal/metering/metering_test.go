package metering_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/goleak"

	"github.com/guanlan-io/guanlan/collector/graphconnector"
	"github.com/guanlan-io/guanlan/collector/redconnector"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var factories = []connector.Factory{redconnector.NewFactory(), graphconnector.NewFactory()}

// sink takes metrics and remembers whose they are.
type sink struct {
	consumertest.Consumer

	mu     sync.Mutex
	totals map[string]map[string]int64 // by tenant and counter; the newest values
	fail   error
}

func newSink() *sink {
	return &sink{Consumer: consumertest.NewNop(), totals: map[string]map[string]int64{}}
}

// got returns the totals, to be read only while nothing flushes.
func (s *sink) got() map[string]map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.totals)
}

func (s *sink) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *sink) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	tenant := strings.Join(client.FromContext(ctx).Metadata.Get(semconv.TenantHeader), "|")
	if s.totals[tenant] == nil {
		s.totals[tenant] = map[string]int64{}
	}
	for _, rm := range md.ResourceMetrics().All() {
		for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
			if m.Type() == pmetric.MetricTypeSum {
				points := m.Sum().DataPoints()
				s.totals[tenant][m.Name()] = points.At(points.Len() - 1).IntValue()
			}
		}
	}
	return nil
}

// request is one root server span.
func request() ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr(semconv.ServiceName, "shop")
	span := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetName("GET /")
	span.SetKind(ptrace.SpanKindServer)
	span.SetTraceID(pcommon.TraceID{1})
	span.SetSpanID(pcommon.SpanID{1})
	td.MarkReadOnly() // as it comes when other exporters share it
	return td
}

func as(tenants ...string) context.Context {
	return client.NewContext(context.Background(), client.Info{
		Metadata: client.NewMetadata(map[string][]string{"x-scope-orgid": tenants}),
	})
}

func create(t *testing.T, f connector.Factory, telemetry component.TelemetrySettings, next consumer.Metrics) connector.Traces {
	t.Helper()
	set := connectortest.NewNopSettings(f.Type())
	set.ID = component.NewIDWithName(f.Type(), "test")
	set.TelemetrySettings = telemetry
	c, err := f.CreateTracesToMetrics(context.Background(), set, f.CreateDefaultConfig(), next)
	if err != nil {
		t.Fatal(err)
	}
	if c.Capabilities().MutatesData {
		t.Error("spans would be copied for it")
	}
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// counters are the names by which each connector counts one request.
var counters = map[string]string{"red": "traces.span.metrics.calls", "graph": semconv.MetricGraphRequests}

func TestDefaultConfigIsValid(t *testing.T) {
	for _, f := range factories {
		config := f.CreateDefaultConfig()
		must(t, componenttest.CheckConfigStruct(config))
		must(t, config.(interface{ Validate() error }).Validate())
	}
}

func TestSpansInMetricsOut(t *testing.T) {
	for _, f := range factories {
		t.Run(f.Type().String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := newSink()
				c := create(t, f, componenttest.NewNopTelemetrySettings(), out)
				must(t, c.Start(t.Context(), componenttest.NewNopHost()))
				counter := counters[f.Type().String()]
				for ctx, times := range map[context.Context]int{context.Background(): 1, as("12"): 1, as("12:0"): 1, as("12:3"): 4, as("0"): 2} {
					for range times {
						must(t, c.ConsumeTraces(ctx, request()))
					}
				}
				if got := out.got(); len(got) != 0 {
					t.Errorf("metrics before the interval is over: %v", got)
				}
				time.Sleep(15*time.Second + time.Millisecond) // fake time
				synctest.Wait()
				// "12" and "12:0" are one tenant, and so are none and "0".
				want := map[string]map[string]int64{"": {counter: 3}, "12": {counter: 2}, "12:3": {counter: 4}}
				if d := cmp.Diff(want, out.got()); d != "" {
					t.Error("(-want +got):", d)
				}

				must(t, c.ConsumeTraces(as("12"), request()))
				must(t, c.Shutdown(t.Context()))
				if got := out.got()["12"][counter]; got != 3 {
					t.Errorf("%d after shutdown, want 3: the last flush is missing", got)
				}
			})
		})
	}
}

func TestStartsAndStopsTwice(t *testing.T) {
	for _, f := range factories {
		out := newSink()
		c := create(t, f, componenttest.NewNopTelemetrySettings(), out)
		must(t, c.Shutdown(t.Context())) // never started
		for range 2 {
			must(t, c.Start(t.Context(), componenttest.NewNopHost()))
			must(t, c.ConsumeTraces(t.Context(), request()))
			must(t, c.Shutdown(t.Context()))
			must(t, c.Shutdown(t.Context()))
		}
		if got := out.got()[""][counters[f.Type().String()]]; got != 2 {
			t.Errorf("%s counted %d, want 2", f.Type(), got)
		}
	}
}

func TestRefusesTenants(t *testing.T) {
	for _, f := range factories {
		c := create(t, f, componenttest.NewNopTelemetrySettings(), newSink())
		for _, ctx := range []context.Context{as("me"), as("1", "2"), as("-1")} {
			if err := c.ConsumeTraces(ctx, request()); !consumererror.IsPermanent(err) {
				t.Errorf("%s: got %v, want an error that is permanent", f.Type(), err)
			}
		}
	}
}

// What is downstream may fail; counters make up for it.
func TestNextFails(t *testing.T) {
	for _, f := range factories {
		synctest.Test(t, func(t *testing.T) {
			out := newSink()
			out.setFail(errors.New("full"))
			c := create(t, f, componenttest.NewNopTelemetrySettings(), out)
			must(t, c.Start(t.Context(), componenttest.NewNopHost()))
			must(t, c.ConsumeTraces(t.Context(), request()))
			time.Sleep(time.Minute)
			synctest.Wait()
			out.setFail(nil)
			must(t, c.Shutdown(t.Context()))
			if got := out.got()[""][counters[f.Type().String()]]; got != 1 {
				t.Errorf("%s counted %d, want 1", f.Type(), got)
			}
		})
	}
}

func TestMetricsAboutItself(t *testing.T) {
	for _, f := range factories {
		telemetry := componenttest.NewTelemetry()
		c := create(t, f, telemetry.NewTelemetrySettings(), newSink())
		must(t, c.Start(t.Context(), componenttest.NewNopHost()))
		must(t, c.ConsumeTraces(t.Context(), request()))
		prefix := "guanlan." + f.Type().String() + "."
		for name, want := range map[string]int64{"spans": 1, map[string]string{"red": "series", "graph": "edges"}[f.Type().String()]: 1, "rejected_spans": 0} {
			m, err := telemetry.GetMetric(prefix + name)
			must(t, err)
			var points []metricdata.DataPoint[int64]
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				points = data.DataPoints
			case metricdata.Gauge[int64]:
				points = data.DataPoints
			}
			if len(points) != 1 || points[0].Value != want {
				t.Errorf("%s = %+v, want %d", m.Name, points, want)
				continue
			}
			if v, _ := points[0].Attributes.Value("connector"); v.AsString() != f.Type().String()+"/test" {
				t.Errorf("%s is of connector %q", m.Name, v.AsString())
			}
		}
		must(t, c.Shutdown(t.Context()))
		must(t, telemetry.Shutdown(t.Context()))
	}
}
