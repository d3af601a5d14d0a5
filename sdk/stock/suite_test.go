package stock_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
	_ "github.com/guanlan-io/guanlan/sdk/stock"
)

// got is what a receiver of OTLP got, as text that does not depend on which SDK
// sent it.
type got struct {
	mu      sync.Mutex
	spans   map[string]*tracepb.Span // by id
	logs    []string
	metrics []string
}

func (g *got) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch r.URL.Path {
	case "/v1/traces":
		var q coltrace.ExportTraceServiceRequest
		err = proto.Unmarshal(body, &q)
		for _, res := range q.ResourceSpans {
			for _, scope := range res.ScopeSpans {
				for _, sp := range scope.Spans {
					g.spans[hex.EncodeToString(sp.SpanId)] = sp
				}
			}
		}
	case "/v1/logs":
		var q collogs.ExportLogsServiceRequest
		err = proto.Unmarshal(body, &q)
		for _, res := range q.ResourceLogs {
			for _, scope := range res.ScopeLogs {
				for _, r := range scope.LogRecords {
					g.logs = append(g.logs, fmt.Sprint(r.SeverityText, " ", r.Body.GetStringValue(), " ", text(r.Attributes), " in a span: ", len(r.SpanId) == 8 && len(r.TraceId) == 16))
				}
			}
		}
	case "/v1/metrics":
		var q colmetrics.ExportMetricsServiceRequest
		err = proto.Unmarshal(body, &q)
		for _, res := range q.ResourceMetrics {
			for _, scope := range res.ScopeMetrics {
				for _, m := range scope.Metrics {
					if strings.HasPrefix(m.Name, "go.") || strings.HasPrefix(m.Name, "process.") || strings.Contains(m.Name, "sdk.") || strings.HasPrefix(m.Name, "guanlan.") {
						continue
					}
					for _, p := range m.GetSum().GetDataPoints() {
						g.metrics = append(g.metrics, fmt.Sprint(m.Name, " ", text(p.Attributes), " = ", p.GetAsInt()))
					}
					for _, p := range m.GetHistogram().GetDataPoints() {
						g.metrics = append(g.metrics, fmt.Sprint(m.Name, " ", text(p.Attributes), " count ", p.Count))
					}
				}
			}
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// changing are attributes of which only the name is compared.
var changing = []string{"server.port", "network.peer.port", "url.full", "exception.stacktrace"}

func text(attrs []*commonpb.KeyValue) string {
	var all []string
	for _, kv := range attrs {
		value := kv.Value.GetStringValue()
		switch v := kv.Value.GetValue().(type) {
		case *commonpb.AnyValue_IntValue:
			value = fmt.Sprint(v.IntValue)
		case *commonpb.AnyValue_BoolValue:
			value = fmt.Sprint(v.BoolValue)
		}
		if slices.Contains(changing, kv.Key) {
			value = "…"
		}
		all = append(all, kv.Key+"="+value)
	}
	sort.Strings(all)
	return strings.Join(all, " ")
}

// tree is the spans below a parent, indented.
func (g *got) tree(parent, indent string) string {
	var all []string
	for id, sp := range g.spans {
		if hex.EncodeToString(sp.ParentSpanId) != parent {
			continue
		}
		line := fmt.Sprintf("%s%s %s [%s] %s\n", indent, strings.TrimPrefix(sp.Kind.String(), "SPAN_KIND_"), sp.Name, text(sp.Attributes), strings.TrimPrefix(sp.Status.GetCode().String(), "STATUS_CODE_"))
		for _, e := range sp.Events {
			line += fmt.Sprintf("%s  event %s [%s]\n", indent, e.Name, text(e.Attributes))
		}
		all = append(all, line+g.tree(id, indent+"  "))
	}
	sort.Strings(all)
	return strings.Join(all, "")
}

// The same service sends the same, built with the tag guanlan_stock and without.
func TestService(t *testing.T) {
	receiver := &got{spans: map[string]*tracepb.Span{}}
	server := httptest.NewServer(receiver)
	defer server.Close()
	s, err := sdk.Start(t.Context(), sdk.Options{
		ServiceName: "suite", Endpoint: server.URL, Sampler: core.NewByThreshold(1), Baggage: []string{"tenant"}, NoRuntime: true,
		Failed: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%T", s.TracerProvider()); got != provider {
		t.Fatalf("the tracer provider is a %s, want a %s", got, provider)
	}
	log := slog.New(s.LogHandler(nil))
	orders, err := otel.Meter("suite").Int64Counter("orders")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		ctx, sp := otel.Tracer("suite").Start(r.Context(), "look up")
		defer sp.End()
		sp.SetAttributes(attribute.String("order.id", r.PathValue("id")))
		log.InfoContext(ctx, "looked up", "order", r.PathValue("id"))
		orders.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", "found")))
		fmt.Fprint(w, "found")
	})
	mux.HandleFunc("GET /broken", func(w http.ResponseWriter, r *http.Request) {
		_, sp := otel.Tracer("suite").Start(r.Context(), "breaks")
		sp.RecordError(errors.New("oh"))
		sp.SetStatus(codes.Error, "oh")
		sp.End()
		log.ErrorContext(r.Context(), "broken")
		w.WriteHeader(http.StatusBadGateway)
	})
	service := httptest.NewServer(sdk.Handler(mux))
	ctx, root := otel.Tracer("suite").Start(t.Context(), "visit")
	client := &http.Client{Transport: sdk.Transport(nil)}
	for _, path := range []string{"/orders/4711", "/broken"} {
		req, err := http.NewRequestWithContext(ctx, "GET", service.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("baggage", "tenant=yunshan") // as if a gateway had set it
		req.Header.Set("User-Agent", "suite")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	service.Close() // waits for the handlers
	root.End()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	const request = "client.address=127.0.0.1 http.request.method=GET http.response.body.size=%d http.response.status_code=%d http.route=%s network.peer.address=127.0.0.1 " +
		"network.peer.port=… network.protocol.version=1.1 server.address=127.0.0.1 server.port=… tenant=yunshan url.path=%s url.scheme=http user_agent.original=suite"
	want := "INTERNAL visit [] UNSET\n" +
		"  CLIENT GET [error.type=502 http.request.method=GET http.response.status_code=502 network.protocol.version=1.1 server.address=127.0.0.1 server.port=… url.full=…] ERROR\n" +
		"    SERVER GET /broken [" + fmt.Sprintf(strings.Replace(request, "client.address=127.0.0.1", "client.address=127.0.0.1 error.type=502", 1), 0, 502, "/broken", "/broken") + "] ERROR\n" +
		"      INTERNAL breaks [tenant=yunshan] ERROR\n" +
		"        event exception [exception.message=oh exception.type=*errors.errorString]\n" +
		"  CLIENT GET [http.request.method=GET http.response.status_code=200 network.protocol.version=1.1 server.address=127.0.0.1 server.port=… url.full=…] UNSET\n" +
		"    SERVER GET /orders/{id} [" + fmt.Sprintf(request, 5, 200, "/orders/{id}", "/orders/4711") + "] UNSET\n" +
		"      INTERNAL look up [order.id=4711 tenant=yunshan] UNSET\n"
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(receiver.tree("", ""), "\n")); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	sort.Strings(receiver.logs)
	id := root.SpanContext().TraceID().String() // of the requests, too, as none came
	if diff := cmp.Diff([]string{"ERROR broken request_id=" + id + " tenant=yunshan in a span: true", "INFO looked up order=4711 request_id=" + id + " tenant=yunshan in a span: true"}, receiver.logs); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	sort.Strings(receiver.metrics)
	server1 := "http.server.request.duration %shttp.request.method=GET http.response.status_code=%d http.route=%s network.protocol.version=1.1 url.scheme=http count 1"
	client1 := "http.client.request.duration %shttp.request.method=GET http.response.status_code=%d server.address=127.0.0.1 server.port=… url.scheme=http count 1"
	wantMetrics := []string{
		fmt.Sprintf(client1, "error.type=502 ", 502), fmt.Sprintf(client1, "", 200),
		fmt.Sprintf(server1, "error.type=502 ", 502, "/broken"), fmt.Sprintf(server1, "", 200, "/orders/{id}"),
		"orders outcome=found = 1",
	}
	if diff := cmp.Diff(wantMetrics, receiver.metrics); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}
