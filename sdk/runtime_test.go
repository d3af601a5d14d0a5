package sdk

import (
	"bytes"
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"math"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/sdk/observer"
)

// inbox answers all requests and keeps the bodies of those with metrics.
type inbox struct {
	mu      sync.Mutex
	metrics bytes.Buffer
}

func (i *inbox) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if strings.HasSuffix(r.URL.Path, "/v1/metrics") {
		i.mu.Lock()
		i.metrics.Write(body)
		i.mu.Unlock()
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, err
}

func (i *inbox) has(metric string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return bytes.Contains(i.metrics.Bytes(), []byte(metric))
}

func TestStartObservesTheRuntime(t *testing.T) {
	t.Setenv("AUTOMEMLIMIT", "off")
	before := runtime.NumGoroutine()
	f := func(on bool, opts Options) {
		t.Helper()
		got := new(inbox)
		opts.Client = &http.Client{Transport: got}
		s, err := Start(context.Background(), opts)
		if err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(time.Minute)
		for on && math.IsNaN(s.Runtime().Last(observer.RSS)) && math.IsNaN(s.Runtime().Last(observer.SchedLatency)) && time.Now().Before(deadline) {
			runtime.Gosched()
		}
		if n := s.Runtime().Last(observer.Goroutines); (n > 0) != on {
			t.Errorf("%v goroutines are observed", n)
		}
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		for _, name := range []string{"go.memory.used", "go.schedule.duration", "process.uptime"} {
			if got.has(name) != on {
				t.Errorf("%s was exported: %v, want %v", name, !on, on)
			}
		}
	}
	f(true, Options{})
	f(false, Options{NoRuntime: true})
	t.Setenv("GUANLAN_RUNTIME_OBSERVER", "off")
	f(false, Options{})
	t.Setenv("OTEL_SDK_DISABLED", "true")
	f(false, Options{})

	deadline := time.Now().Add(time.Minute)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines are left behind:\n%s", n-before, buf[:runtime.Stack(buf, true)])
	}
}

// Calling runtime.GOMAXPROCS keeps the runtime from following the processors
// that the cgroup allows. The number is in runtime/metrics too.
func TestNobodyCallsGOMAXPROCS(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files++
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && id.Name == "GOMAXPROCS" {
				t.Errorf("%s: GOMAXPROCS", fset.Position(id.Pos()))
			}
			return true
		})
		return nil
	})
	if err != nil || files < 20 {
		t.Fatalf("%d files, error %v", files, err)
	}
}
