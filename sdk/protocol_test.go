package sdk

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// closing is a core.Sender that counts its closing.
type closing struct {
	*core.Sender
	closed *atomic.Int64
}

func (c closing) Close() error { c.closed.Add(1); return nil }

// A program that cannot send over gRPC says what to import; one whose import
// comes after Start, as with package auto, can.
func TestProtocolGRPC(t *testing.T) {
	sink := newSink(t)
	defer RegisterGRPC(nil)
	for _, registered := range []string{"never", "after Start", "before Start"} {
		t.Run(registered, func(t *testing.T) {
			var opened, closed atomic.Int64
			register := func() {
				RegisterGRPC(func(signal string, opts core.SenderOptions) (Sender, error) {
					if !strings.HasPrefix(opts.URL, "http://") {
						t.Errorf("%s goes to %s", signal, opts.URL)
					}
					opts.URL += "/" + signal
					opened.Add(1)
					s, err := core.NewSender(opts)
					return closing{s, &closed}, err
				})
			}
			RegisterGRPC(nil)
			if registered == "before Start" {
				register()
			}
			failed := make(chan error, 10)
			s, err := Start(t.Context(), Options{Protocol: "grpc", Endpoint: sink.URL, Sampler: core.NewByThreshold(1), Failed: func(err error) { failed <- err }})
			if err != nil {
				t.Fatal(err)
			}
			if registered == "after Start" {
				register()
			}
			_, sp := s.TracerProvider().Tracer("t").Start(t.Context(), "a span")
			sp.End()
			if registered == "never" {
				if err := s.Shutdown(t.Context()); err == nil || !strings.Contains(err.Error(), "send metrics: protocol grpc") {
					t.Errorf("shutdown: error %v", err)
				}
				if err := <-failed; !strings.Contains(err.Error(), `import _ "github.com/guanlan-io/guanlan/sdk/otlpgrpc"`) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err := s.Flush(t.Context()); err != nil { // what became of metrics is told by the next ones
				t.Fatal(err)
			}
			got := sent(t, s, sink)
			if !strings.Contains(got["/traces"], "a span") || len(failed) > 0 {
				t.Errorf("got %v", got)
			}
			if m := got["/metrics"]; !strings.Contains(m, "otlp_grpc_span_exporter") || !strings.Contains(m, "otlp_grpc_metric_exporter") || strings.Contains(m, "otlp_http_") {
				t.Errorf("what sends is not called by its protocol in %.2000q", m)
			}
			if opened.Load() < 2 || closed.Load() != opened.Load() {
				t.Errorf("%d senders were opened, %d closed", opened.Load(), closed.Load())
			}
		})
	}
}

func TestConfigureProtocol(t *testing.T) {
	const base = "OTEL_EXPORTER_OTLP_"
	for _, test := range []struct {
		env    map[string]string
		opts   Options
		traces string
		logs   string
		wrong  bool
	}{
		{map[string]string{"PROTOCOL": "grpc"}, Options{}, "grpc http://localhost:4317", "grpc http://localhost:4317", false},
		{map[string]string{"PROTOCOL": "grpc", "ENDPOINT": "http://c:1/"}, Options{}, "grpc http://c:1", "grpc http://c:1", false},
		{map[string]string{"TRACES_PROTOCOL": "grpc", "TRACES_ENDPOINT": "c:1"}, Options{}, "grpc https://c:1", "http/protobuf http://localhost:4318/v1/logs", false},
		{map[string]string{"PROTOCOL": "grpc", "ENDPOINT": "c:1", "TRACES_INSECURE": "true"}, Options{}, "grpc http://c:1", "grpc https://c:1", false},
		{map[string]string{"PROTOCOL": "grpc"}, Options{Protocol: "http/protobuf"}, "http/protobuf http://localhost:4318/v1/traces", "http/protobuf http://localhost:4318/v1/logs", false},
		{map[string]string{"LOGS_PROTOCOL": "http/json"}, Options{}, "http/protobuf http://localhost:4318/v1/traces", "http/protobuf http://localhost:4318/v1/logs", true},
		{nil, Options{Protocol: "grcp"}, "http/protobuf http://localhost:4318/v1/traces", "http/protobuf http://localhost:4318/v1/logs", true},
	} {
		c, err := configure(test.opts, func(k string) string { return test.env[strings.TrimPrefix(k, base)] })
		if (err != nil) != test.wrong || c.traces.protocol+" "+c.traces.URL != test.traces || c.logs.protocol+" "+c.logs.URL != test.logs {
			t.Errorf("%v, %q: traces over %s to %s, logs over %s to %s, error %v", test.env, test.opts.Protocol, c.traces.protocol, c.traces.URL, c.logs.protocol, c.logs.URL, err)
		}
	}
}
