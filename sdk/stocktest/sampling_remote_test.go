package stocktest

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/samplers/jaegerremote"
	stock "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// patience is how long a policy may take to arrive; it takes a poll of 100 ms.
const patience = 30 * time.Second

// buildFolder is where binary puts what it builds.
var buildFolder string

// binary builds Guanlan from the sources beside this module, once.
var binary = sync.OnceValues(func() (path string, err error) {
	if buildFolder, err = os.MkdirTemp("", "guanlan-stocktest-"); err != nil {
		return "", err
	}
	path = filepath.Join(buildFolder, "guanlan")
	cmd := exec.Command("go", "build", "-tags", "remove_all_sd", "-o", path, "./cmd/guanlan")
	cmd.Dir = filepath.Join("..", "..")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build guanlan: %w\n%s", err, text)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if buildFolder != "" {
		_ = os.RemoveAll(buildFolder)
	}
	os.Exit(code)
}

// server is a running Guanlan.
type server struct {
	path, api, otlp string
}

func startGuanlan(t *testing.T) *server {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and starts Guanlan")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	var at [3]string
	for i := range at {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		at[i] = l.Addr().String()
		l.Close()
	}
	cmd := exec.Command(path, "up", "--data", t.TempDir())
	cmd.Env = append(os.Environ(), "GUANLAN_ENDPOINT="+at[0], "GUANLAN_OTLP_GRPC="+at[1], "GUANLAN_OTLP_HTTP="+at[2])
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Logf("guanlan up: %v\n%s", cmd.ProcessState, &output)
		}
	})
	s := &server{path, "http://" + at[0], "http://" + at[2]}
	eventually(t, "guanlan to be ready", func() error {
		select {
		case <-ended:
			t.Fatalf("guanlan up ended: %v\n%s", cmd.ProcessState, &output)
		default:
		}
		res, err := http.Get(s.api + "/-/ready")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("ready: %s", res.Status)
		}
		return nil
	})
	return s
}

func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("no %s: %v", what, err)
}

// set runs guanlan sampling set.
func (s *server) set(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(s.path, append([]string{"sampling", "set", "--server", s.api}, args...)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, text)
	}
}

// about waits until a share is near to what is wanted: within five standard
// errors of so many tries.
func about(t *testing.T, what string, want float64, share func(tries int) float64) {
	t.Helper()
	const tries = 4000
	eventually(t, fmt.Sprintf("share of %v of %s", want, what), func() error {
		if got := share(tries); math.Abs(got-want) > 5*math.Sqrt(want*(1-want)/tries) {
			return fmt.Errorf("%v is kept", got)
		}
		return nil
	})
}

// OpenTelemetry's own remote sampler, as it is, goes by Guanlan's policies.
func TestJaegerRemoteSamplerGoesByPolicies(t *testing.T) {
	s := startGuanlan(t)
	for _, path := range []string{"/sampling", "/api/sampling"} {
		s.set(t, "shop", "--base", "0.5")
		sampler := jaegerremote.New("shop", jaegerremote.WithSamplingServerURL(s.api+path), jaegerremote.WithSamplingRefreshInterval(100*time.Millisecond))
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
		s.set(t, "shop", "--base", "0.1", "--critical-operation", "POST /pay", "--critical-floor", "0.75", "--operation", "GET /healthz=0")
		about(t, "the critical operation", 0.75, share("POST /pay"))
		about(t, "health checks", 0, share("GET /healthz"))
		about(t, "others", 0.1, share("GET /"))
		s.set(t, "shop", "--delete")
		about(t, "everything by default", 0.01, share("GET /"))
	}
}

// A policy that the command line sets changes what a service keeps while it
// runs, by its environment too.
func TestSDKGoesByPolicies(t *testing.T) {
	s := startGuanlan(t)
	t.Setenv("OTEL_TRACES_SAMPLER", "jaeger_remote")
	t.Setenv("OTEL_TRACES_SAMPLER_ARG", "endpoint="+s.api+",pollingIntervalMs=100,initialSamplingRate=0")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
	s.set(t, "default", "--base", "0.5", "--few", "0", "--smoothing", "1", "--window", "100ms", "--all-p99", "1h")
	running, err := sdk.Start(t.Context(), sdk.Options{ServiceName: "shop", Endpoint: s.otlp, Failed: func(err error) {
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
	s.set(t, "shop", "--base", "0.25", "--few", "0", "--smoothing", "1", "--window", "100ms", "--critical-operation", "pay", "--critical-floor", "0.75")
	about(t, "everything, by the service's policy", 0.25, share("work"))
	about(t, "the critical operation", 0.75, share("pay"))
	s.set(t, "shop", "--environment", "staging", "--base", "1", "--few", "0", "--smoothing", "1", "--window", "100ms", "--operation", "work=0.125")
	about(t, "everything, in the environment", 1, share("pay"))
	about(t, "an operation of its own", 0.125, share("work"))
	s.set(t, "shop", "--environment", "staging", "--delete")
	about(t, "everything, after the deletion", 0.25, share("work"))
	if err := running.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	// What the exporters keep of connections goes by itself.
	eventually(t, "end of the SDK's goroutines", func() error {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		for _, g := range strings.Split(string(stacks), "\n\n")[1:] { // the first is this one
			if strings.Contains(g, "guanlan/sdk.") || strings.Contains(g, "guanlan/sdk/core.") {
				return fmt.Errorf("it runs:\n%s", g)
			}
		}
		return nil
	})
}
