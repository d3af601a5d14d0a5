package stocktest

import (
	"context"
	"fmt"
	"math"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/samplers/jaegerremote"
	stock "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// setPolicy runs guanlan sampling set.
func (g *guanlan) setPolicy(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("../../bin/guanlan", append([]string{"sampling", "set", "--server", g.api}, args...)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, text)
	}
}

// about waits until a share is near to what is wanted: within five standard
// errors of so many tries.
func about(t *testing.T, what string, want float64, share func(tries int) float64) {
	t.Helper()
	const tries = 4000
	eventually(t, fmt.Sprintf("a share of %v of %s is kept", want, what), func() bool {
		return math.Abs(share(tries)-want) <= 5*math.Sqrt(want*(1-want)/tries)
	})
}

// OpenTelemetry's own remote sampler, as it is, goes by Guanlan's policies.
func TestJaegerRemoteSamplerGoesByPolicies(t *testing.T) {
	g := startGuanlan(t)
	for _, path := range []string{"/sampling", "/api/sampling"} {
		g.setPolicy(t, "shop", "--base", "0.5")
		sampler := jaegerremote.New("shop", jaegerremote.WithSamplingServerURL(g.api+path), jaegerremote.WithSamplingRefreshInterval(100*time.Millisecond))
		defer sampler.Close()
		share := func(name string) func(int) float64 {
			return func(tries int) float64 {
				kept := 0
				for range tries {
					p := stock.SamplingParameters{ParentContext: context.Background(), TraceID: trace.TraceID(core.NewTraceID()), Name: name, Kind: trace.SpanKindServer}
					if sampler.ShouldSample(p).Decision == stock.RecordAndSample {
						kept++
					}
				}
				return float64(kept) / float64(tries)
			}
		}
		about(t, "everything", 0.5, share("GET /"))
		g.setPolicy(t, "shop", "--base", "0.1", "--critical-operation", "POST /pay", "--critical-floor", "0.75", "--operation", "GET /healthz=0")
		about(t, "the critical operation", 0.75, share("POST /pay"))
		about(t, "health checks", 0, share("GET /healthz"))
		about(t, "others", 0.1, share("GET /"))
		g.setPolicy(t, "shop", "--delete")
		about(t, "everything by default", 0.01, share("GET /"))
	}
}

// A policy that the command line sets changes what a service keeps while it
// runs, by its environment too.
func TestSDKGoesByPolicies(t *testing.T) {
	g := startGuanlan(t)
	t.Setenv("OTEL_TRACES_SAMPLER", "jaeger_remote")
	t.Setenv("OTEL_TRACES_SAMPLER_ARG", "endpoint="+g.api+",pollingIntervalMs=100,initialSamplingRate=0")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
	g.setPolicy(t, "default", "--base", "0.5", "--few", "0", "--smoothing", "1", "--window", "100ms", "--busy", "1000000000", "--all-p99", "1h")
	running, err := sdk.Start(t.Context(), sdk.Options{ServiceName: "shop", Endpoint: g.otlp, Failed: func(err error) {
		if !strings.Contains(err.Error(), "drop") {
			t.Error(err)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	tracer := running.TracerProvider().Tracer("test")
	share := func(name string) func(int) float64 {
		return func(tries int) float64 {
			kept := 0
			for range tries {
				_, span := tracer.Start(context.Background(), name)
				if span.SpanContext().IsSampled() {
					kept++
				}
				span.End()
			}
			return float64(kept) / float64(tries)
		}
	}
	about(t, "everything, by the default policy", 0.5, share("work"))
	g.setPolicy(t, "shop", "--base", "0.25", "--few", "0", "--smoothing", "1", "--window", "100ms", "--busy", "1000000000", "--critical-operation", "pay", "--critical-floor", "0.75")
	about(t, "everything, by the service's policy", 0.25, share("work"))
	about(t, "the critical operation", 0.75, share("pay"))
	g.setPolicy(t, "shop", "--environment", "staging", "--base", "1", "--few", "0", "--smoothing", "1", "--window", "100ms", "--busy", "1000000000", "--operation", "work=0.125")
	about(t, "everything, in the environment", 1, share("pay"))
	about(t, "an operation of its own", 0.125, share("work"))
	g.setPolicy(t, "shop", "--environment", "staging", "--delete")
	about(t, "everything, after the deletion", 0.25, share("work"))
	if err := running.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	// What the exporters keep of connections goes by itself.
	eventually(t, "the SDK's goroutines end", func() bool {
		stacks := make([]byte, 1<<20)
		others := strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n")[1:] // the first is this one
		return !slices.ContainsFunc(others, func(g string) bool {
			return strings.Contains(g, "guanlan/sdk.") || strings.Contains(g, "guanlan/sdk/core.")
		})
	})
}
