//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/guanlan-io/guanlan/internal/kernel/attach"
)

// A message that is on its way when the command ends is not sent again.
func TestSpansAreSentOnceAtTheEnd(t *testing.T) {
	arrived, spans := make(chan bool, 10), make(chan int, 10)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		req := ptraceotlp.NewExportRequest()
		if err := req.UnmarshalProto(raw); err != nil {
			t.Error(err)
		}
		arrived <- true
		select { // a client that goes away does not undo what was taken
		case <-time.After(300 * time.Millisecond):
		case <-r.Context().Done():
		}
		spans <- req.Traces().SpanCount()
	}))
	defer endpoint.Close()
	s := newSpanSender(endpoint.URL, attach.Origin{})
	s.add(attach.Span{Method: "GET"})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.run(ctx) }()
	<-arrived
	stop()
	<-done
	endpoint.Close()
	close(spans)
	got := 0
	for n := range spans {
		got += n
	}
	if sent, lost, err := s.result(); got != 1 || sent != 1 || lost != 0 || err != nil {
		t.Errorf("%d spans arrived, %d sent, %d lost, %v", got, sent, lost, err)
	}
}
