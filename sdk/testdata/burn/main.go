// Burn serves requests to itself that take CPU time, and prints the trace of each,
// until its input ends.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk"
)

var sink atomic.Uint64

//go:noinline
func burn(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		for i := range uint64(10_000) {
			sink.Add(i)
		}
	}
}

func main() {
	ctx := context.Background()
	s, err := sdk.Start(ctx, sdk.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	h := sdk.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(trace.SpanContextFromContext(r.Context()).TraceID())
		burn(time.Second)
	}))
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for {
		select {
		case <-ended:
			_ = s.Shutdown(ctx)
			return
		default:
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}
	}
}
